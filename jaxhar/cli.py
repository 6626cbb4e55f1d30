"""The `jaxhar` command. Each subcommand is imported when it is called, so that none needs what another one uses."""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

from jaxhar.errors import guard

#: command -> module with `add_arguments` and `main`, and what it does.
_COMMANDS = {
    "predict": ("predict_command", "pose and action in a video, an image or a folder of images"),
    "zoo": ("catalogue", "list the networks"),
    "weights": ("weights", "fetch the authors' weights of a network and port them"),
    "port": ("convert", "convert weights between Keras .h5, our checkpoints and PyTorch"),
    "export": ("export", "write a network that runs without this package"),
    "finetune": ("finetune", "train action heads on a folder of your own, and say how good they are"),
    "overfit": ("overfit", "learn a few samples by heart: does the whole chain work?"),
    "doctor": ("doctor", "put the truth of an experiment through its whole chain: does it score 100 %%?"),
}

#: Layouts of `jaxhar data synth`: the module and function that write one, and whose it is.
_LAYOUTS = {
    "penn": ("synthetic", "write_penn", "Penn Action"),
    "ntu": ("synthetic_ntu", "write", "NTU RGB+D"),
    "h36m": ("synthetic_h36m", "write", "Human3.6M"),
    "mpii": ("synthetic_mpii", "write", "MPII"),
    "penn-authors": ("synthetic_penn_authors", "write", "Penn Action, the authors' form"),
    "folder": ("synthetic_own", "write", "a folder of one's own"),
}


class _Command(argparse.ArgumentParser):
    """A parser that learns its options when its command is called, so that `jaxhar --help` imports next to nothing."""

    learn: Callable[["_Command"], None] | None = None

    def parse_known_args(self, args=None, namespace=None):
        if self.learn is not None:
            self.learn(self)
        args = list(sys.argv[1:] if args is None else args)
        if "--beam" in args[:-1]:  # what follows looks like an option of ours
            at = args.index("--beam")
            args[at : at + 2] = [f"--beam={args[at + 1]}"]
        return super().parse_known_args(args, namespace)


def main(argv: list[str] | None = None) -> int:
    """Parse a command line, run it, return its exit code: 0, 1 for a problem outside, 2 for wrong usage."""
    parser = _parser()
    args = parser.parse_args(argv)
    return guard(lambda: args.run(args), debug=args.debug)


def _parser() -> argparse.ArgumentParser:
    parser = _Command(prog="jaxhar", description="Human pose estimation and action recognition.")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    for name, (module, what) in _COMMANDS.items():
        commands.add_parser(name, help=what).learn = partial(_learn, module)
    data = commands.add_parser("data", help="work on data sets").add_subparsers(required=True, metavar="WHAT")
    synth = data.add_parser("synth", help="generate videos in the layout of a data set")
    synth.add_argument("--layout", choices=list(_LAYOUTS), default="penn", help="whose layout (default: %(default)s)")
    synth.add_argument("--out", type=Path, required=True, help="a new folder, or one left unfinished")
    synth.add_argument("--sequences", type=int, nargs=2, default=(150, 60), metavar=("TRAIN", "TEST"))
    synth.add_argument("--performers", type=int, nargs=2, default=(20, 8), metavar=("TRAIN", "TEST"))
    synth.add_argument("--frames", type=int, nargs=2, default=(32, 40), metavar=("FEWEST", "MOST"))
    synth.add_argument("--size", type=int, nargs=2, default=(320, 240), metavar=("WIDTH", "HEIGHT"))
    synth.add_argument("--seed", type=int, default=0)
    synth.set_defaults(run=_synth)

    check = data.add_parser("check", help="read a whole data set and say what is in it, and what is wrong with it")
    prepare = data.add_parser("prepare", help="pack a data set once, ready to train on")
    check.learn, prepare.learn = partial(_learn_data, "check"), partial(_learn_data, "prepare")
    boxes = data.add_parser("boxes", help="predict the persons' boxes of a data set with a pose network")
    boxes.learn = partial(_learn, "data_boxes")
    return parser


def _learn(module_name: str, command: argparse.ArgumentParser) -> None:
    module = import_module(f"jaxhar.{module_name}")
    module.add_arguments(command)
    command.set_defaults(run=module.main)


def _learn_data(name: str, command: argparse.ArgumentParser) -> None:
    from jaxhar import data_tools

    data_tools.add_arguments(command, name)
    command.set_defaults(run=getattr(data_tools, name))


def _synth(args: argparse.Namespace) -> None:
    from jaxhar.data.synthetic import Synth

    module, function, title = _LAYOUTS[args.layout]
    (train, test), (trainers, testers) = args.sequences, args.performers
    synth = Synth(train, test, trainers, testers, tuple(args.frames), tuple(args.size), seed=args.seed)
    getattr(import_module(f"jaxhar.data.{module}"), function)(args.out, synth)
    print(f"{sum(args.sequences)} sequences in the layout of {title}: {args.out}")


if __name__ == "__main__":
    sys.exit(main())
