"""The command `jaxhar data boxes`."""

import argparse
import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

from jaxhar.data import sets
from jaxhar.host import compile_cache as compiled
from jaxhar.host.errors import Usage
from jaxhar.host.settings import override, setting
from jaxhar.inference import infer
from jaxhar.predict.data_set_boxes import digest, predict
from jaxhar.weights import checkpoint

#: Sets whose settings take a file of boxes.
NAMES = ("penn", "ntu", "ntu120")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `jaxhar data boxes`."""
    parser.add_argument("name", choices=NAMES, help="which data set")
    parser.add_argument("--root", type=Path, required=True, help="its folder")
    parser.add_argument("--weights", type=Path, required=True, help="a model folder, a workdir or a .safetensors file")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write: data.boxes")
    parser.add_argument("--cache", type=Path, help="folder for the data set's packed records")
    parser.add_argument("--batch", type=int, default=16, help="frames in one run of the network (default: %(default)s)")
    parser.add_argument("--authors", action="store_true", help="by the rule of the authors' script, its slip included")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting of the data")


def main(args: argparse.Namespace) -> None:
    """Run `jaxhar data boxes`; a killed one goes on where it was."""

    compiled.keep()
    if args.batch < 1:
        raise Usage("--batch must be 1 or more")
    model, meta = checkpoint.load_model(args.weights)
    settings: Any = override(sets.get(args.name).settings, dict(setting(text) for text in args.set))
    cache = None if args.cache is None else str(args.cache)
    prepared = dataclasses.replace(settings, root=str(args.root.expanduser()), cache=cache).prepare(args.out.parent)
    length = meta.config.num_frames or 1
    shape = max(1, args.batch // length), length
    found = predict(
        prepared, partial(infer, model), meta.config.image_size, shape, args.out, digest(model), args.authors
    )
    print(f"boxes of {found:,} frames: {args.out}")
    print(f"evaluate with them by --config.data.boxes={args.out}")
