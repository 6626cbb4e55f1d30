"""The command `jaxhar doctor`: check an experiment with its own labels as predictions."""

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from jaxhar.checks.doctor import examine
from jaxhar.host import files
from jaxhar.host.errors import Usage
from jaxhar.host.settings import setting
from jaxhar.training.experiment import load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `jaxhar doctor`."""
    parser.add_argument("config", help="the experiment, e.g. configs/penn.py:demo")
    parser.add_argument(
        "--examples", type=int, default=48, metavar="N", help="number of examples to check (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/doctor"), help="folder for pictures (default: %(default)s)"
    )
    parser.add_argument("--workdir", type=Path, help="folder of the run, for its packed data (default: runs/NAME)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="or --config.NAME=VALUE: change the experiment"
    )


def main(args: argparse.Namespace) -> int:
    """Run `jaxhar doctor`; the exit code is 1 if anything is wrong."""
    if args.examples < 2:
        raise Usage(f"--examples is {args.examples}; it must be at least 2")
    experiment = load(args.config, dict(setting(text) for text in args.set))
    files.make_folder(args.out)
    workdir = args.workdir or Path("runs") / experiment.name
    findings = examine(experiment, workdir, args.examples, experiment.train.seed, args.out)
    table = Table("", "check", "found", "", title=f"doctor: {experiment.name}", title_justify="left")
    before = None
    for name, finding in findings:
        table.add_row(
            name if name != before else "", finding.check, finding.found, "PASS" if finding.passed else "FAIL"
        )
        before = name
    Console().print(table)
    failed = sum(not finding.passed for _, finding in findings)
    print(f"pictures to look at: {args.out}/doctor_*.png")
    print(
        f"{len(findings) - failed} checks passed, {failed} failed" if failed else f"all {len(findings)} checks passed"
    )
    return 1 if failed else 0
