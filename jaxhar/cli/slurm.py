"""The command `jaxhar slurm`: an experiment, or a command in shares, as a job of SLURM; and how such a job stands."""

import argparse
import shlex
import sys
from pathlib import Path

from jaxhar.cli import main as commands
from jaxhar.host import slurm, slurm_resources, slurm_state
from jaxhar.host.errors import Problem, Usage
from jaxhar.host.settings import setting
from jaxhar.training import experiment, history
from jaxhar.weights import store

#: Folder of the jobs in the folder of a run, and the starter of experiments.
_FOLDER, _LAUNCH = "slurm", Path("launch.py")
#: Bytes at the end of a log in which its last lines are looked for.
_END = 1 << 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `jaxhar slurm`."""
    parser.add_argument(
        "what",
        nargs="*",
        metavar="CONFIG | status RUN | -- COMMAND",
        help="an experiment to train and evaluate, e.g. configs/penn.py:paper; or status and the folder of a run; or, "
        "after --, another command of jaxhar, e.g. -- predict films/ --weights penn/ --out results/",
    )
    parser.add_argument("--time", help="limit, in SLURM's forms: minutes, hours:minutes:seconds, days-hours ...")
    parser.add_argument("--nodes", type=int, default=1, help="number of machines (default: %(default)s)")
    parser.add_argument("--gpus-per-node", type=int, default=0, help="GPUs of each machine (default: %(default)s)")
    parser.add_argument("--tasks-per-node", type=int, help="processes on each machine (default: one for each GPU)")
    parser.add_argument("--cpus-per-task", type=int, help="CPU cores of each process")
    parser.add_argument("--mem", help="memory of each machine, e.g. 64G")
    parser.add_argument("--partition", help="the partition to run in")
    parser.add_argument("--account", help="the account to charge")
    parser.add_argument("--exclude", help="machines not to use, e.g. node[3,7]")
    parser.add_argument("--comment", help="a word on the job for SLURM's lists")
    parser.add_argument(
        "--signal-delay-s", type=int, default=120, help="seconds before the limit to save at (default: %(default)s)"
    )
    parser.add_argument(
        "--max-requeues", type=int, default=30, help="how often to go on after the limit (default: %(default)s)"
    )
    parser.add_argument("--setup", action="append", default=[], help="a line of shell to run first; repeatable")
    parser.add_argument(
        "--sbatch",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="a further option of sbatch, e.g. constraint=h100 or exclusive; repeatable",
    )
    parser.add_argument("--shards", type=int, metavar="N", help="share the command after -- among N jobs of an array")
    parser.add_argument("--at-once", type=int, default=256, help="with --shards: jobs at a time (default: %(default)s)")
    parser.add_argument("--workdir", type=Path, help="folder of the run (default: as of the command itself)")
    parser.add_argument("--mode", choices=["train", "eval"], default="train", help="as of launch.py")
    parser.add_argument("--dry-run", action="store_true", help="print the script and the commands, and do nothing")
    parser.add_argument(
        "--local",
        action="store_true",
        help="run on this machine in the background, without SLURM; --mem and the like count for nothing",
    )
    parser.add_argument("--lines", type=int, default=5, help="with status: lines of each log (default: %(default)s)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="or --config.NAME=VALUE: change the experiment"
    )


def main(args: argparse.Namespace) -> None:
    """Run `jaxhar slurm`; Usage if an option does not fit, before anything is submitted."""
    match args.what:
        case ["status", run]:
            return _status(Path(run), args.lines)
        case [] | ["status", *_]:
            raise Usage("name an experiment, status and the folder of a run, or a command after --; see --help")
        case [config] if config.partition(":")[0].endswith(".py"):
            if args.shards is not None:
                raise Usage("--shards is for a command after --; an experiment takes --nodes and --gpus-per-node")
            name, run, todo = _experiment(config, args)
        case words:
            name, run, todo = _command(words, args)
    if args.time is None:
        raise Usage("--time is missing: how long the job may take, e.g. --time 4:00:00")
    resources = slurm_resources.Resources(
        slurm_resources.minutes(args.time),
        name,
        nodes=args.nodes,
        gpus=args.gpus_per_node,
        tasks=args.tasks_per_node,
        cpus=args.cpus_per_task,
        memory=args.mem,
        partition=args.partition,
        account=args.account,
        exclude=args.exclude,
        comment=args.comment,
        signal_delay=args.signal_delay_s,
        requeues=args.max_requeues,
        at_once=args.at_once,
        setup=tuple(args.setup),
        others=dict(_option(text) for text in args.sbatch),
    )
    folder = run.absolute() / _FOLDER
    if args.local and (args.nodes > 1 or (args.tasks_per_node or 1) > 1):
        raise Usage("--local is one process on this machine, for all of its --gpus-per-node")
    if args.local and len(todo) > args.at_once:
        raise Usage(f"--local starts all {len(todo)} shares at the same time; give at most --at-once as --shards")
    if args.dry_run:
        try:
            print(slurm.script(todo, resources, folder, args.local))
        except Problem:  # which can tell the commands, but not what SLURM is asked
            print("\n".join(map(shlex.join, todo)))
            raise
        return
    ids = slurm.submit(todo, resources, folder, args.local)
    what = f"job {ids[0]}" if len(ids) == 1 else f"{len(ids)} jobs, {ids[0]} to {ids[-1]}"
    print(f"{what}: logs are in {folder}; jaxhar slurm status {shlex.quote(str(run))} says how it stands")


def _option(text: str) -> tuple[str, str | bool]:
    """Name and value of an option of sbatch; True if it has none."""
    name, equals, value = text.removeprefix("--").partition("=")
    return name, value if equals else True


def _experiment(config: str, args: argparse.Namespace) -> tuple[str, Path, list[list[str]]]:
    """Name, folder and commands of an experiment, which is read here, so that its errors are told at once."""
    if not _LAUNCH.is_file():
        raise Usage(f"there is no {_LAUNCH} in this folder; call jaxhar slurm where you would call {_LAUNCH}")
    loaded = experiment.load(config, dict(setting(text) for text in args.set))
    run = args.workdir or Path("runs") / loaded.name
    changes = [f"--config.{text}" for text in args.set]
    words = [f"--config={config}", *changes, f"--workdir={run}", *(["--mode=eval"] if args.mode == "eval" else [])]
    return loaded.name, run, [[sys.executable, "-u", str(_LAUNCH), *_modules(args), *words]]


def _modules(args: argparse.Namespace) -> list[str]:
    """The options --import, which `jaxhar.cli.main` has taken."""
    return [f"--import={module}" for module in vars(args)["import"]]


def _command(words: list[str], args: argparse.Namespace) -> tuple[str, Path, list[list[str]]]:
    """Name, folder and commands of another command of jaxhar, one for each share."""
    if args.nodes > 1 or (args.tasks_per_node or 1) > 1:
        raise Usage(f"{words[0]} is one process; share its work by --shards N, not by --nodes and --tasks-per-node")
    if args.set:
        words = [*words, *(f"--set={text}" for text in args.set)]
    count = 1 if args.shards is None else args.shards
    if count < 1:
        raise Usage(f"--shards is {count}; it must be 1 or more")
    shares = [[]] if args.shards is None else [[f"--shard={number}/{count}"] for number in range(1, count + 1)]
    read = vars(commands.read([*words, *shares[0]]))
    run, out = args.workdir or read.get("workdir"), read.get("out")
    if run is None and out is not None:  # which may be a file that the command writes
        run = Path(f"{out}.jobs") if Path(out).suffix and not Path(out).is_dir() else out
    if run is None:
        raise Usage(f"give --workdir, a folder for the logs, or --out of {words[0]} if it has one")
    args.tasks_per_node = 1
    start = [sys.executable, "-u", "-m", "jaxhar.cli.main", *_modules(args), *words]
    return words[0], Path(run), [[*start, *share] for share in shares]


def _status(run: Path, lines: int) -> None:
    """Print how the newest jobs of a run stand, how far it is, and the end of their logs."""
    for job in slurm_state.jobs(run.absolute() / _FOLDER):
        again = "" if job.starts < 2 else f", begun {job.starts} times"
        print(f"job {job.id}: {job.state}{again}{f', on {job.host}' if job.host else ''}")
        if job.log is None:
            continue
        print(f"  {job.log}:")
        for line in _end(job.log, lines):
            print(f"    {line}")
    rows = history.read(run / history.FILE)
    saved = [int(path.name) for path in (run / "checkpoints").glob("*") if store.is_checkpoint(path)]
    if rows:
        print(f"metrics up to step {rows[-1]['step']}" + (f", newest checkpoint {max(saved)}" if saved else ""))


def _end(path: Path, lines: int) -> list[str]:
    """The last lines of a log that are not blank; a progress bar's new states count as lines."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - _END))
            said = file.read().decode(errors="replace").splitlines()
    except OSError as error:
        raise Problem(f"the log {path} cannot be read ({error.strerror})") from error
    return [line for line in said if line.strip()][-lines:] if lines > 0 else []
