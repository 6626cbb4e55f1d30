"""The command `jaxhar port`: convert weights between Keras, jaxhar and PyTorch files."""

import argparse
from pathlib import Path

from jaxhar.host.settings import setting
from jaxhar.weights.forms import count, load, resized, save


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `jaxhar port`."""
    parser.add_argument(
        "source",
        type=Path,
        help="a Keras .h5 file, a model folder, a training run, a .safetensors or .pth file, also of other programs",
    )
    parser.add_argument("--model", help="name of the network, as in `jaxhar zoo`; files that jaxhar wrote need none")
    parser.add_argument(
        "--out", type=Path, required=True, help="a folder, or a file ending in .h5, .safetensors or .pth"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting of the network"
    )
    parser.add_argument(
        "--resize",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="interpolate the positions of a transformer, e.g. to image_size=288 or num_frames=32",
    )
    parser.add_argument(
        "--partial", action="store_true", help="load a file with part of the network: only layers whose names match"
    )


def main(args: argparse.Namespace) -> None:
    """Run `jaxhar port` with the arguments of `add_arguments`; errors are raised as Problem or Usage."""
    loaded = load(args.source, args.model, dict(setting(text) for text in args.set), args.partial)
    loaded = resized(loaded, dict(setting(text) for text in args.resize)) if args.resize else loaded
    save(loaded, args.out)
    for note in loaded.notes:
        print(note)
    print(
        f"{args.source} -> {args.out}: {count(loaded):,} weights{', every one placed and checked' * (not args.partial)}"
    )
