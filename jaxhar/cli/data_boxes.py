"""The command `jaxhar data boxes`: predict the person boxes of a data set."""

import argparse
from pathlib import Path

from jaxhar.data import sets
from jaxhar.host import compile_cache
from jaxhar.host.settings import setting
from jaxhar.predict import data_set_boxes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `jaxhar data boxes`."""
    parser.add_argument("name", choices=sets.with_setting("boxes"), help="which data set")
    parser.add_argument("--root", type=Path, required=True, help="its folder")
    parser.add_argument(
        "--weights", type=Path, required=True, help="a model folder, a training run or a .safetensors file"
    )
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write, for the setting data.boxes")
    parser.add_argument("--cache", type=Path, help="folder for the data set's packed records")
    parser.add_argument("--batch", type=int, default=16, help="frames in one run of the network (default: %(default)s)")
    parser.add_argument(
        "--deephar",
        "--authors",
        action="store_true",
        help="find boxes by the rule of deephar's script, including its mistake",
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting of the data")


def main(args: argparse.Namespace) -> None:
    """Run `jaxhar data boxes`; after a crash, a second call continues where the first one stopped."""
    compile_cache.enable()
    found = data_set_boxes.run(
        args.name,
        args.root,
        args.weights,
        args.out,
        changes=dict(map(setting, args.set)),
        cache=args.cache,
        batch=args.batch,
        deephar=args.deephar,
    )
    print(f"boxes of {found:,} frames: {args.out}")
    print(f"evaluate with them by --config.data.boxes={args.out}")
