"""The command `jaxhar sweep`: train an experiment with every combination of several values of some settings."""

import argparse
from pathlib import Path

from rich.console import Console

from jaxhar import sweep
from jaxhar.host import cluster
from jaxhar.host.errors import Usage
from jaxhar.host.settings import setting
from jaxhar.predict.many_videos import share
from jaxhar.training.experiment import load, unreached
from jaxhar.viz import tables


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `jaxhar sweep`."""
    parser.add_argument("config", help="the experiment, e.g. configs/penn.py:demo")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=A,B,C",
        help="or --config.NAME=A,B,C: values of a setting; one with a single value is the same in all runs",
    )
    parser.add_argument("--out", type=Path, help="folder of the runs (default: runs/NAME-sweep)")
    parser.add_argument("--dry-run", action="store_true", help="only list the runs and how far they are")
    parser.add_argument("--shard", metavar="K/N", help="only every N-th run, beginning with the K-th, for job arrays")


def main(args: argparse.Namespace) -> int:
    """Run `jaxhar sweep`; the exit code is 1 if a run failed."""
    part = share(args.shard)
    grid: dict[str, list[str]] = {}
    for text in args.set:
        name, several = setting(text)
        if name in grid:
            raise Usage(f"--config.{name} is given twice; write all its values into one, --config.{name}=A,B")
        grid[name] = sweep.values(several)
    with cluster.joined():  # before the experiment's own code may ask for devices
        experiment = load(args.config)
        for note in unreached(experiment, dict.fromkeys(grid, "")):
            print(note)
        runs = sweep.runs(experiment, grid)
        out = args.out or Path("runs") / f"{experiment.name}-sweep"
        if part[0] > len(runs):
            print(f"--shard {args.shard}: there are only {len(runs)} runs, none is left for this part")
        found = sweep.rows(runs, out)  # Problem for a finished run with other settings
        if args.dry_run:
            for number, row in list(enumerate(found, 1))[part[0] - 1 :: part[1]]:
                print(f"{number}  {out / row.run.name}  {row.state if row.step or row.finished else 'not begun'}")
            return 0
        if experiment.banner:
            print(experiment.banner, flush=True)
        failed = sweep.work(runs, out, part, args.debug)
        if cluster.first():
            tables.show(sweep.table(sweep.write(runs, out)), Console())
            print(f"table: {out / sweep.TABLE}")
            if (out / sweep.CHART).is_file():  # not before a run has a figure
                print(f"chart: {out / sweep.CHART}")
    if failed:
        print(f"{len(failed)} of {len(runs)} runs failed; the same command tries them again: {', '.join(failed)}")
    return 1 if failed else 0
