"""The command `jaxhar finetune`."""

import argparse
from pathlib import Path

from jaxhar.finetune.run import Settings, run
from jaxhar.host import compile_cache as compiled


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `jaxhar finetune`."""
    default = Settings()
    add = parser.add_argument
    add("folder", type=Path, metavar="DIR", help="CLASS/*.mp4, *.jpg or *.png, or a CSV of file, label, person, box")
    add("--weights", type=Path, required=True, help="a model folder, a training run or a .safetensors file")
    add("--out", type=Path, help="for the report and the model (default: runs/finetune-DIR)")
    add("--folds", type=int, default=default.folds, metavar="K", help="parts to test on in turn (default: %(default)s)")
    add("--steps", type=int, default=default.steps, metavar="N", help="of the heads' training (default: %(default)s)")
    add("--batch", type=int, default=default.batch, metavar="N", help="clips in a step (default: %(default)s)")
    add(
        "--copies", type=int, default=default.copies, metavar="N", help="of each clip, augmented (default: %(default)s)"
    )
    add("--frames", type=int, metavar="T", help="of a clip (default: as the weights were trained)")
    add(
        "--unfreeze",
        nargs="*",
        metavar="PATTERN",
        help="then train more than the heads: leaves whose dotted path a pattern matches, or everything",
    )
    add("--unfreeze-steps", type=int, default=default.unfreeze_steps, metavar="N", help="(default: %(default)s)")
    add("--multi", action="store_true", help="test by all clips of a video and their mirror images as well: slower")
    add("--whole-picture", action="store_true", help="do not look for the person where no box is given")
    add("--seed", type=int, default=default.seed)
    add("--skip-broken", action="store_true", help="leave out files that cannot be read, and list them")
    add("--no-progress", action="store_true", help="no progress bars")


def main(args: argparse.Namespace) -> None:
    """Run `jaxhar finetune` with the arguments of `add_arguments`; Problem or Usage tell what is wrong."""

    compiled.enable()
    settings = Settings(
        folds=args.folds,
        steps=args.steps,
        batch=args.batch,
        copies=args.copies,
        unfreeze=None if args.unfreeze is None else tuple(args.unfreeze),
        unfreeze_steps=args.unfreeze_steps,
        multi=args.multi,
        frames=args.frames,
        boxes=not args.whole_picture,
        seed=args.seed,
        skip_broken=args.skip_broken,
    )
    out = args.out or Path("runs") / f"finetune-{args.folder.absolute().stem}"
    run(args.folder, args.weights, out, settings, not args.no_progress)
