"""The command `jaxhar weights`: download the published weights of a network and port them."""

import argparse
from pathlib import Path

from jaxhar import zoo
from jaxhar.weights import forms as convert
from jaxhar.weights import torchvision
from jaxhar.weights.releases import find, load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `jaxhar weights`."""
    parser.add_argument(
        "name", help="name of the network, as in `jaxhar zoo`, or torchvision's resnet18, 34, 50, 101, 152"
    )
    parser.add_argument("--from", dest="given", type=Path, metavar="FILE", help="use this copy of the published file")
    parser.add_argument("--out", type=Path, help="the checkpoint folder (default: the name of the network)")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")


def main(args: argparse.Namespace) -> None:
    """Run `jaxhar weights` with the arguments of `add_arguments`; errors are raised as Problem or Usage."""

    if args.name in torchvision.FILES:
        path = torchvision.fetch(args.name, args.given, not args.no_progress)
        print(f"{path}: checked; an experiment starts from it with init_from={torchvision.PREFIX}{args.name}")
        print(f"for a network of your own: jaxhar port {path} --model simple-baseline-mpii --partial --out start/")
        return
    entry = zoo.entry(args.name)
    path = find(args.name, entry, args.given, not args.no_progress)
    out = args.out or Path(args.name)
    loaded = load(path, args.name, entry)
    convert.save(loaded, out)
    for note in loaded.notes:
        print(note)
    print(f"{path} -> {out}: {convert.count(loaded):,} weights, every one placed and checked")
