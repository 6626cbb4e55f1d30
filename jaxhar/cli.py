"""The `jaxhar` command. Each subcommand is imported when it is called, so that none needs what another one uses."""

import argparse
import math
import sys
from functools import partial
from importlib import import_module
from pathlib import Path

from jaxhar.errors import Problem, Usage, guard

#: Layouts of `jaxhar data synth`: the module and function that write one, and whose it is.
_LAYOUTS = {
    "penn": ("synthetic", "write_penn", "Penn Action"),
    "ntu": ("synthetic_ntu", "write", "NTU RGB+D"),
    "h36m": ("synthetic_h36m", "write", "Human3.6M"),
    "mpii": ("synthetic_mpii", "write", "MPII"),
    "penn-authors": ("synthetic_penn_authors", "write", "Penn Action, the authors' form"),
    "folder": ("synthetic_own", "write", "a folder of one's own"),
}


def main(argv: list[str] | None = None) -> int:
    """Parse a command line, run it, return its exit code: 0, 1 for a problem outside, 2 for wrong usage."""
    parser = _parser()
    args = parser.parse_args(argv)
    return guard(lambda: args.run(args), debug=args.debug)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jaxhar", description="Human pose estimation and action recognition.")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    port = commands.add_parser("port", help="convert weights between Keras .h5, our checkpoints and PyTorch")
    port.add_argument("source", type=Path, help="a Keras .h5 file, a model folder, a .safetensors or .pth file")
    port.add_argument("--model", help="name of the network in the zoo; not needed for our own files")
    port.add_argument("--out", type=Path, required=True, help="a folder, or a file ending in .safetensors or .pth")
    port.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting of the network"
    )
    port.set_defaults(run=_port)

    predict = commands.add_parser("predict", help="pose and action in a video, an image or a folder of images")
    overfit = commands.add_parser("overfit", help="learn a few samples by heart: does the whole chain work?")
    for command, name in ((predict, "predict"), (overfit, "overfit")):
        module = import_module(f"jaxhar.{name}")
        module.add_arguments(command)
        command.set_defaults(run=module.main)
    from jaxhar import predict_set

    predict_set.add_arguments(predict)
    predict.set_defaults(run=predict_set.main)

    zoo = commands.add_parser("zoo", help="list the networks")
    zoo.set_defaults(run=_zoo)

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
    for command, name in ((check, "check"), (prepare, "prepare")):
        command.set_defaults(run=partial(_data, name))
        import_module("jaxhar.data_tools").add_arguments(command, name)
    return parser


def _data(name: str, args: argparse.Namespace) -> int | None:
    from jaxhar import data_tools

    return getattr(data_tools, name)(args)


def _synth(args: argparse.Namespace) -> None:
    from jaxhar.data.synthetic import Synth

    module, function, title = _LAYOUTS[args.layout]
    (train, test), (trainers, testers) = args.sequences, args.performers
    synth = Synth(train, test, trainers, testers, tuple(args.frames), tuple(args.size), seed=args.seed)
    getattr(import_module(f"jaxhar.data.{module}"), function)(args.out, synth)
    print(f"{sum(args.sequences)} sequences in the layout of {title}: {args.out}")


def _zoo(args: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    from jaxhar import port, zoo

    table = Table("network", "predicts", "parameters", "authors' file", "published")
    for name in zoo.names():
        entry = zoo.entry(name)
        config = entry.config
        frames = f", {config.num_frames} frames" if config.num_frames else ""
        action = f", {config.num_actions} actions" if config.num_actions else ""
        size = sum(math.prod(shape) for shape in port.shapes(config).values())
        table.add_row(name, f"{config.num_joints} joints{frames}{action}", f"{size:,}", entry.release, entry.published)
    Console().print(table)


def _port(args: argparse.Namespace) -> None:
    from jaxhar import checkpoint, port, zoo
    from jaxhar.config import override

    source: Path = args.source
    kind = file_kind(source)
    entry = zoo.entry(args.model) if args.model else None
    changes = dict(setting(text) for text in args.set)
    if kind in ("hdf5", "torch"):
        if entry is None:
            raise Usage(f"{source} does not say which network it is of: add --model, one of {', '.join(zoo.names())}")
        config = override(entry.config, changes)
        if kind == "hdf5":
            model = port.load_keras(source, config)
        else:
            model = port.from_flat(port.from_torch(_load_pth(source), config), config, f"the weights in {source}")
        joints, actions = entry.labels(config)
    else:
        if changes:
            raise Usage(f"{source} carries the settings of its network: --set is for Keras and PyTorch files")
        model, meta = checkpoint.load_model(source)
        joints, actions, config = meta.skeleton, meta.actions, meta.config
        if entry is not None and entry.config != config:
            raise Problem(f"{source} holds a network of other settings than {args.model}: leave --model out")

    if args.out.suffix in (".pth", ".pt"):
        _twin().save(port.to_torch(port.to_flat(model)), args.out)
    elif args.out.suffix in (".h5", ".hdf5"):
        raise Usage(f"cannot write {args.out}: Keras files are read only; give a folder, a .safetensors or a .pth")
    else:
        checkpoint.save_model(args.out, model, joints, actions)
    count = sum(array.size for array in port.to_flat(model).values())
    print(f"{source} -> {args.out}: {count:,} weights, every one placed and checked")


def setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise Usage(f"--set {text}: give NAME=VALUE, e.g. num_frames=8")
    return name, value


def _twin():
    """The PyTorch twin's reader and writer of state dicts."""
    try:
        import torch_ref
    except ImportError as error:
        raise Problem(f"a .pth file needs PyTorch: pip install 'jaxhar[torch]' ({error})") from error
    return torch_ref


def _load_pth(path: Path):
    twin = _twin()
    try:
        return twin.load(path)
    except ValueError as error:
        raise Problem(str(error)) from error


def file_kind(path: Path) -> str:
    """What a weight file is by its content: "hdf5", "torch", or "ours" (a folder or safetensors).

    Raises:
      Problem: there is no such file, or it is none of these.
    """
    if not path.exists():
        raise Problem(f"{path}: there is no such file or folder")
    if path.is_dir():
        return "ours"
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise Problem(f"{path} cannot be read: {error.strerror}") from error
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return "hdf5"
    if start.startswith((b"PK\x03\x04", b"\x80\x02")):
        return "torch"
    if start[8:9] == b"{":
        return "ours"
    raise Problem(f"{path} is no weight file: neither Keras .h5, nor .safetensors, nor a PyTorch .pth")


if __name__ == "__main__":
    sys.exit(main())
