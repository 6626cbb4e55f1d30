"""The command `jaxhar overfit`: train on a few samples until the network knows them by heart."""

import argparse
from pathlib import Path

from jaxhar.checks.overfit import CONFIG, run, shown
from jaxhar.host import compile_cache as compiled
from jaxhar.host.settings import setting
from jaxhar.training.experiment import load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `jaxhar overfit`."""
    parser.add_argument("config", nargs="?", default=CONFIG, help="the experiment (default: %(default)s)")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="MPII photos: a folder with a .json and images/")
    parser.add_argument(
        "--samples", type=int, metavar="N", help="number of samples (default: all photos, or 2 of the experiment)"
    )
    parser.add_argument(
        "--steps", type=int, default=1000, metavar="N", help="largest number of steps (default: %(default)s)"
    )
    parser.add_argument(
        "--every", type=int, default=25, metavar="N", help="steps between two printed lines (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/overfit"), help="folder for the picture (default: %(default)s)"
    )
    parser.add_argument("--workdir", type=Path, help="folder of the run, for its packed data (default: runs/NAME)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="or --config.NAME=VALUE: change the experiment"
    )


def main(args: argparse.Namespace) -> int:
    """Run `jaxhar overfit` with the arguments of `add_arguments`; the exit code is 0 for PASS and 1 for FAIL."""
    compiled.enable()
    experiment = load(args.config, dict(setting(text) for text in args.set))
    result = run(
        experiment,
        photos=args.photos,
        samples=args.samples,
        steps=args.steps,
        every=args.every,
        seed=experiment.train.seed,
        out=args.out,
        workdir=args.workdir,
    )
    words = shown(result)
    if result.loss is not None:
        words[0] += f" (limit {result.mark})"
    verdict = "PASS" if result.passed else "FAIL"
    print(f"{verdict}: {', '.join(words)} after {result.steps} steps, {result.seconds:.0f} s")
    if result.picture is not None:
        print(f"picture: {result.picture}")
    return 0 if result.passed else 1
