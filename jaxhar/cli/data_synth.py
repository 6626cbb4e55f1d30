"""The command `jaxhar data synth`: generated data in the layout of a data set."""

import argparse
from pathlib import Path

from jaxhar.data import sets
from jaxhar.data.generate.film import Synth


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `jaxhar data synth`."""
    parser.add_argument(
        "--layout",
        choices=list(sets.LAYOUTS),
        type=lambda name: "penn-deephar" if name == "penn-authors" else name,  # an alias for old scripts
        default="penn",
        help="which data set's layout (default: %(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="a new folder, or one that an interrupted run left unfinished"
    )
    parser.add_argument("--sequences", type=int, nargs=2, default=(150, 60), metavar=("TRAIN", "TEST"))
    parser.add_argument("--performers", type=int, nargs=2, default=(20, 8), metavar=("TRAIN", "TEST"))
    parser.add_argument("--frames", type=int, nargs=2, default=(32, 40), metavar=("FEWEST", "MOST"))
    parser.add_argument("--size", type=int, nargs=2, default=(320, 240), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument(
        "--classes",
        nargs="+",
        default=(),
        metavar="NAME",
        help="which classes, or how many; for the layouts penn and folder (default: all 15)",
    )
    parser.add_argument("--seed", type=int, default=0)


def main(args: argparse.Namespace) -> None:
    """Run `jaxhar data synth` with the arguments of `add_arguments`."""
    (train, test), (trainers, testers) = args.sequences, args.performers
    synth = Synth(train, test, trainers, testers, tuple(args.frames), tuple(args.size), seed=args.seed)
    sets.generate(args.layout, args.out, synth, args.classes)
    print(f"{sum(args.sequences)} sequences in the layout of {sets.LAYOUTS[args.layout][0]}: {args.out}")
