"""Trains or evaluates an experiment.

    python launch.py --config=configs/penn.py
    python launch.py --config=configs/penn.py:paper --config.data.root=DIR --config.train.steps=10 --workdir=runs/mine
    python launch.py --config=configs/penn.py --mode=eval

Training resumes from the checkpoints in the working directory, and is followed by an evaluation of the best one.
`--config.NAME=VALUE` changes any setting of the experiment. Under SLURM, Open MPI or a job of Kubernetes the processes
that are started run the experiment together; by hand, each gets its number:

    python launch.py --config=configs/penn.py --coordinator=10.0.0.1:1234 --processes=2 --process=0
"""

import sys
from pathlib import Path

from absl import app, flags

from jaxhar import run
from jaxhar.host import cluster, user_modules
from jaxhar.host.errors import Problem, Usage, guard
from jaxhar.training.experiment import load

flags.DEFINE_string("config", None, "experiment file, with an argument for it after a colon")
flags.DEFINE_string("workdir", None, "folder for checkpoints, metrics and the report; default runs/NAME")
flags.DEFINE_enum("mode", "train", ["train", "eval"], "train and evaluate, or evaluate only")
flags.DEFINE_multi_string("import", [], user_modules.HELP)  # removed by `launch` before; only for the help
flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, if several processes are started by hand")
flags.DEFINE_integer("processes", 1, "number of processes started by hand, with a working directory that all see")
flags.DEFINE_integer("process", 0, "number of this process, from 0")
flags.DEFINE_bool("debug", False, "show the traceback of an error")


def split_overrides(argv: list[str]) -> tuple[list[str], dict[str, str]]:
    """Removes `--config.a.b=value` and `--config.a.b value` from a command line: (the rest, {"a.b": "value"})."""
    rest, overrides = [], {}
    words = iter(argv)
    for word in words:
        if not word.startswith("--config."):
            rest.append(word)
            continue
        key, equals, value = word.removeprefix("--config.").partition("=")
        overrides[key] = value if equals else next(words, "--")
        if not equals and overrides[key].startswith("--"):
            raise Usage(f"--config.{key} has no value; write --config.{key}=VALUE")
    return rest, overrides


def launch(argv: list[str]) -> None:
    """Runs a command line.

    Raises:
      Problem: the command, the experiment or the run fails.
    """
    argv, modules = user_modules.take_option(argv)
    argv, overrides = split_overrides(argv)
    try:
        extra = flags.FLAGS(argv)[1:]
    except flags.Error as error:
        raise Usage(" ".join(str(error).split())) from error
    if extra:
        raise Usage(
            f"{extra[0]!r} is not an option; there are --config, --config.NAME, --workdir, --mode, --import, "
            "--coordinator, --processes, --process and --debug"
        )
    if not flags.FLAGS.config:
        raise Usage("no experiment is given: use --config=FILE, e.g. --config=configs/penn.py")
    given = flags.FLAGS
    member = None
    if given.processes != 1 or given.process or given.coordinator:
        if not given.coordinator:
            raise Usage("--processes and --process need --coordinator=HOST:PORT, the address of process 0")
        member = cluster.Member(given.coordinator, given.processes, given.process)
    with cluster.joined(member):
        user_modules.load(modules)
        _run(overrides)


def _run(overrides: dict[str, str]) -> None:
    """Runs the experiment of the flags."""
    experiment = load(flags.FLAGS.config, overrides)
    workdir = Path(flags.FLAGS.workdir or Path("runs") / experiment.name)
    if experiment.banner:
        print(experiment.banner, flush=True)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / ".writable").touch()
        (workdir / ".writable").unlink(missing_ok=True)
    except OSError as error:
        reason = f"{error.strerror}; give another --workdir"
        raise Problem(f"cannot write in the working directory {workdir}: {reason}") from error
    run.run(experiment, workdir, flags.FLAGS.mode)


def main(argv: list[str]) -> int:
    """Runs a command line and returns its exit code; errors are printed as one sentence."""
    return guard(lambda: launch(argv), debug="--debug" in argv)


if __name__ == "__main__":
    app.define_help_flags()
    sys.exit(main(sys.argv))
