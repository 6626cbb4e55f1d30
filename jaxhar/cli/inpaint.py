"""The command `jaxhar inpaint`: what a masked autoencoder sees of a video or of pictures, and what it fills in."""

import argparse
from pathlib import Path

from jaxhar.cli import ending
from jaxhar.cli.predict import parse_bbox
from jaxhar.host.settings import setting
from jaxhar.predict import inpaint
from jaxhar.predict.progress import Bars


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `jaxhar inpaint`."""
    parser.add_argument("source", type=Path, help="a video; for a network of images also a picture or a folder of them")
    parser.add_argument("--weights", type=Path, required=True, help="a masked autoencoder, as for jaxhar predict")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results, made if absent")
    parser.add_argument(
        "--boxes", type=Path, metavar="FILE", help="the persons' boxes, as for jaxhar predict; they are shown, too"
    )
    parser.add_argument(
        "--mask-ratio", metavar="R", help="share of the patches that are removed (default: that of the training)"
    )
    parser.add_argument(
        "--masking",
        metavar="HOW",
        help="random, tube (the same patches in all frames), directed_v1 or directed_v2 (preferably within --boxes) "
        "(default: that of the training)",
    )
    parser.add_argument(
        "--temperature",
        metavar="T",
        help="of directed masks: patches within boxes are removed e^(1/T) (directed_v1) or e^T times as likely",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the masks (default: %(default)s)")
    parser.add_argument(
        "--bbox",
        metavar="X1,Y1,X2,Y2",
        help="look at the square about this box (default: in the middle of the picture)",
    )
    parser.add_argument(
        "--stride",
        type=int,
        help="step between the frames of a clip (default: that of the training, or 4 at 30 frames a second)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change another setting of the network, e.g. image_size=288, for which positions are interpolated",
    )
    parser.add_argument("--batch", type=int, default=16, help="frames in one run of the network (default: %(default)s)")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")


def main(args: argparse.Namespace) -> int:
    """Run `jaxhar inpaint`; the exit code is 1 if a video is damaged or cut off."""
    named = {
        name: vars(args)[name] for name in ("temperature", "mask_ratio", "masking") if vars(args)[name] is not None
    }
    settings = inpaint.Settings(
        changes={**dict(setting(text) for text in args.set), **named},
        boxes=args.boxes,
        bbox=parse_bbox(args.bbox),
        seed=args.seed,
        batch=args.batch,
        stride=args.stride,
    )
    summary = inpaint.run(args.source, args.weights, args.out, settings, None if args.no_progress else Bars())
    for sentence in summary.notes:
        print(sentence)
    error = f"{summary.error:.3f} {summary.unit}".strip()
    print(f"{summary.kept} of {summary.tokens} patches of a clip were seen; mean squared error of the others {error}")
    print(f"{summary.clips} clips in {summary.seconds:.1f} s: {ending.written(summary.files)}")
    ending.tell_broken(summary.broken)
    return 1 if summary.broken else 0
