"""The command `jaxhar finetune`: train a network for your own classes and test it."""

import argparse
from pathlib import Path

from jaxhar.finetune import of_skeletons
from jaxhar.finetune.run import Settings, run
from jaxhar.host import compile_cache as compiled
from jaxhar.host.errors import Usage
from jaxhar.predict.predictor import located


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `jaxhar finetune`."""
    default = Settings()
    add = parser.add_argument
    add(
        "folder",
        type=Path,
        metavar="DIR",
        help="CLASS/*.mp4, *.jpg or *.png, or a CSV of file, label, person, box; or a pickle of skeletons, FILE.pkl",
    )
    add("--weights", help="a model folder, a training run, a .safetensors file, or a name of `jaxhar weights`")
    add("--out", type=Path, help="folder for the report and the model (default: runs/finetune-DIR)")
    add("--folds", type=int, default=default.folds, metavar="K", help="cross-validation folds (default: %(default)s)")
    add("--steps", type=int, default=default.steps, metavar="N", help="training steps (default: %(default)s)")
    add("--batch", type=int, default=default.batch, metavar="N", help="clips per step (default: %(default)s)")
    add(
        "--copies",
        type=int,
        default=default.copies,
        metavar="N",
        help="training clips per video: the middle one, its mirror image, random variations (default: %(default)s)",
    )
    add(
        "--turn",
        type=float,
        default=default.turn,
        metavar="DEGREES",
        help="largest rotation of the random variations; 180 for bodies upside down (default: %(default)g)",
    )
    add("--frames", type=int, metavar="T", help="frames per clip (default: as the weights were trained)")
    add(
        "--unfreeze",
        nargs="*",
        metavar="PATTERN",
        help="then train more weights than the action heads': those whose name matches a pattern, or all without one",
    )
    add(
        "--unfreeze-steps",
        type=int,
        default=default.unfreeze_steps,
        metavar="N",
        help="steps with --unfreeze (default: %(default)s)",
    )
    add(
        "--joint-steps",
        type=int,
        metavar="N",
        help=f"training steps of the small network on joints beside it; 0 for none (default: {default.joint_steps}; "
        f"of skeletons alone, {of_skeletons.STEPS})",
    )
    add("--multi", action="store_true", help="also test with all clips of a video and their mirror images: slower")
    add("--whole-picture", action="store_true", help="use the whole picture where no box is given: find no person")
    add("--seed", type=int, default=default.seed, help="random seed (default: %(default)s)")
    add("--skip-broken", action="store_true", help="leave out files that cannot be read, and list them")
    add("--no-progress", action="store_true", help="no progress bars")


def main(args: argparse.Namespace) -> None:
    """Run `jaxhar finetune` with the arguments of `add_arguments`; errors are raised as Problem or Usage."""
    compiled.enable()
    of_skeletons_alone = args.folder.suffix.lower() in (".pkl", ".pickle")
    default_steps = of_skeletons.STEPS if of_skeletons_alone else Settings().joint_steps
    settings = Settings(
        folds=args.folds,
        steps=args.steps,
        batch=args.batch,
        copies=args.copies,
        turn=args.turn,
        unfreeze=None if args.unfreeze is None else tuple(args.unfreeze),
        unfreeze_steps=args.unfreeze_steps,
        multi=args.multi,
        frames=args.frames,
        boxes=not args.whole_picture,
        seed=args.seed,
        skip_broken=args.skip_broken,
        joint_steps=default_steps if args.joint_steps is None else args.joint_steps,
    )
    out = args.out or Path("runs") / f"finetune-{args.folder.absolute().stem}"
    if of_skeletons_alone == (args.weights is not None):
        raise Usage(
            f"{args.folder} is a pickle of skeletons, whose networks start from scratch: leave --weights out"
            if of_skeletons_alone
            else "--weights is needed: the pose network on whose features the heads are trained"
        )
    if of_skeletons_alone:
        of_skeletons.run(args.folder, out, settings, not args.no_progress)
    else:
        run(args.folder, located(args.weights), out, settings, not args.no_progress)
