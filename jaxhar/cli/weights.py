"""The command `jaxhar weights`: download the published weights of a network and port them."""

import argparse
import shlex
from dataclasses import replace
from pathlib import Path

from jaxhar import zoo
from jaxhar.host.errors import Usage
from jaxhar.weights import forms as convert
from jaxhar.weights import torchvision
from jaxhar.weights.releases import find, load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `jaxhar weights`."""
    parser.add_argument(
        "name", help="name of the network, as in `jaxhar zoo`, or torchvision's resnet18, 34, 50, 101, 152"
    )
    parser.add_argument("--from", dest="given", type=Path, metavar="FILE", help="use this copy of the published file")
    parser.add_argument(
        "--variant", metavar="WORD", help="another published file of the network, as jaxhar zoo NAME lists them"
    )
    parser.add_argument(
        "--accept-licence", action="store_true", help="accept the licence of the file, where that must be said"
    )
    parser.add_argument("--out", type=Path, help="the model folder to write (default: the name of the network)")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")


def main(args: argparse.Namespace) -> None:
    """Run `jaxhar weights` with the arguments of `add_arguments`; errors are raised as Problem or Usage."""
    if args.name in torchvision.FILES:
        path = torchvision.fetch(args.name, args.given, not args.no_progress)
        print(f"{path}: checked; an experiment starts from it with init_from={torchvision.PREFIX}{args.name}")
        file = shlex.quote(str(path))
        print(f"for a network of your own: jaxhar port {file} --model simple-baseline-mpii --partial --out start/")
        return
    entry, name = zoo.entry(args.name), args.name
    if args.variant is not None:
        known = dict(entry.variants)
        if args.variant not in known:
            raise Usage(f"--variant {args.variant!r}: of {name} there are {', '.join(known) or 'no others'}")
        entry, name = replace(entry, release=known[args.variant], md5=""), f"{name}-{args.variant}"
    path = find(name, entry, args.given, not args.no_progress, args.accept_licence)
    out = args.out or Path(name)
    loaded = load(path, args.name, entry)
    convert.save(loaded, out)
    for note in loaded.notes:
        print(note)
    print(f"{path} -> {out}: {convert.count(loaded):,} weights, every one placed and checked")
