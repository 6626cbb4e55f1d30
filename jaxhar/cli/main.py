"""The `jaxhar` command. `jaxhar X` runs the module `cli.X`, which is imported only when that command is called."""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module

from jaxhar.host import user_modules
from jaxhar.host.errors import Usage, guard

#: Command -> what it does; the module of its name has `add_arguments` and `main`.
_COMMANDS = {
    "predict": "pose and action in videos, images or folders of them",
    "reconstruct": "joints in space from several calibrated videos of one scene",
    "inpaint": "what a masked autoencoder fills in of a video or of pictures",
    "zoo": "list the networks",
    "weights": "download the published weights of a network and port them",
    "port": "convert weights between Keras .h5, our checkpoints and PyTorch",
    "export": "write a network that runs without this package",
    "evaluate": "add the class scores of several evaluated runs",
    "sweep": "train with every combination of several values of some settings",
    "plan": "what training on many devices would need: memory, transfers, time, from the compiled program",
    "finetune": "train a network on actions of your own, and measure its accuracy",
    "overfit": "train on a few samples until the network knows them by heart, to test an experiment",
    "slurm": "submit an experiment or a command to SLURM, and see how the jobs stand",
    "doctor": "check an experiment: its own labels, taken as predictions, must score 100 %%",
}
#: `jaxhar data X` -> what it does; the module is `cli.data_X`.
_DATA = {
    "synth": "generate videos in the layout of a data set",
    "check": "read a whole data set, count its contents and list its errors",
    "prepare": "pack a data set once, before training",
    "boxes": "predict the person boxes of a data set, or of a folder of videos",
    "skeletons": "predict the joints of the persons in a folder of videos, as a pickle of pyskl's form",
}


class _Command(argparse.ArgumentParser):
    """A parser that adds its options when its command is called, so that `jaxhar --help` imports little."""

    learn: Callable[["_Command"], None] | None = None

    def parse_known_args(self, args=None, namespace=None):
        if self.learn is not None:
            self.learn(self)
        args = list(sys.argv[1:] if args is None else args)
        if "--beam" in args[:-1]:  # argparse would take its value, e.g. --runner=X, for an option
            at = args.index("--beam")
            args[at : at + 2] = [f"--beam={args[at + 1]}"]
        return super().parse_known_args(args, namespace)


def main(argv: list[str] | None = None) -> int:
    """Parse a command line, run it, return its exit code: 0; 1 for a `Problem`; 2 for wrong usage."""
    argv = list(sys.argv[1:] if argv is None else argv)

    def run() -> int | None:
        rest, modules = user_modules.take_option(argv)
        user_modules.load(modules)
        args = read(rest)
        vars(args)["import"] = modules
        return args.run(args)

    return guard(run, debug="--debug" in argv)


def read(argv: list[str]) -> argparse.Namespace:
    """The options of a command line, of which `run` is the command; ends the process if they are wrong.

    Raises:
      Usage: a setting has no value.
    """
    return _parser().parse_args(_as_set(argv))


def _as_set(argv: list[str]) -> list[str]:
    """Replaces `--config.NAME=VALUE` and `--config.NAME VALUE`, launch.py's form, by `--set=NAME=VALUE`."""
    words = []
    left = iter(argv)
    for word in left:
        if word.startswith("--config."):
            name, equals, value = word.partition("=")
            value = value if equals else next(left, "--")
            if not equals and value.startswith("--"):
                raise Usage(f"{name} has no value; write {name}=VALUE")
            word = f"--set={name.removeprefix('--config.')}={value}"
        words.append(word)
    return words


def _parser() -> argparse.ArgumentParser:
    parser = _Command(prog="jaxhar", description="Human pose estimation and action recognition.")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    # `main` has removed this option already; it is declared here for the help.
    parser.add_argument("--import", action="append", metavar="MODULE", help=user_modules.HELP)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, what in _COMMANDS.items():
        commands.add_parser(name, help=what).learn = partial(_learn, name)
    data = commands.add_parser("data", help="work on data sets").add_subparsers(required=True, metavar="WHAT")
    for name, what in _DATA.items():
        data.add_parser(name, help=what).learn = partial(_learn, f"data_{name}")
    return parser


def _learn(name: str, command: argparse.ArgumentParser) -> None:
    module = import_module(f"jaxhar.cli.{name}")
    module.add_arguments(command)
    command.set_defaults(run=module.main)


if __name__ == "__main__":
    sys.exit(main())
