"""The command `jaxhar reconstruct`: joints in space from several calibrated, synchronised views."""

import argparse
from pathlib import Path

from jaxhar.cli import ending
from jaxhar.data.formats import calibration
from jaxhar.host import compile_cache
from jaxhar.predict import across_views, reconstruct
from jaxhar.predict.boxes import BOX_CONFIDENCE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `jaxhar reconstruct`."""
    parser.add_argument(
        "views", type=Path, nargs="*", help="a video or a folder of pictures for each camera, all of the same moments"
    )
    parser.add_argument(
        "--cameras",
        type=Path,
        nargs="+",
        required=True,
        help="the calibration: a .toml of Pose2Sim or Anipose, a .json, or a .yml of OpenCV for each camera",
    )
    parser.add_argument("--weights", type=Path, help="a pose network, as for jaxhar predict")
    parser.add_argument("--poses", type=Path, nargs="+", default=[], help="in place of --weights: a poses.json a view")
    parser.add_argument(
        "--boxes",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="with --weights: the persons' boxes, a file for each view, in the forms of jaxhar predict",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the results, made if absent")
    parser.add_argument(
        "--method",
        choices=reconstruct.METHODS,
        default="triangulate",
        help="triangulate: all views, weighted by confidence; ransac: those that agree; structures: the pose that the "
        "heat maps of all views support best (default: %(default)s)",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        default=reconstruct.THRESHOLD,
        metavar="PX",
        help="of ransac: the distance up to which a view agrees (default: %(default)s)",
    )
    parser.add_argument(
        "--min-confidence",
        type=float,
        default=BOX_CONFIDENCE,
        metavar="C",
        help="joints below it are not used in that view (default: %(default)s)",
    )
    parser.add_argument(
        "--match-distance",
        type=float,
        default=across_views.LIMIT,
        metavar="PX",
        help="of several persons: the mean distance from epipolar lines up to which two are one (default: %(default)s)",
    )
    parser.add_argument(
        "--other-rig",
        action="store_true",
        help="a network with fusion was trained for other cameras: predict each view alone",
    )
    parser.add_argument("--smooth", type=float, metavar="HZ", help="smooth over time with this cut-off frequency")
    parser.add_argument("--rate", type=float, metavar="HZ", help="frames per second, where no file says it")
    parser.add_argument("--until-shortest", action="store_true", help="views of different length: stop at the shortest")
    parser.add_argument(
        "--unit", choices=list(calibration.UNITS), help="of the calibration (default: it says, or m or mm)"
    )
    parser.add_argument("--batch", type=int, default=16, help="frames in one run of the network (default: %(default)s)")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")


def main(args: argparse.Namespace) -> int:
    """Run `jaxhar reconstruct`."""
    compile_cache.enable()
    summary = reconstruct.run(
        args.views,
        args.cameras,
        args.out,
        reconstruct.Settings(
            method=args.method,
            threshold=args.threshold,
            min_confidence=args.min_confidence,
            match_distance=args.match_distance,
            smooth=args.smooth,
            until_shortest=args.until_shortest,
            other_rig=args.other_rig,
            rate=args.rate,
        ),
        weights=args.weights,
        given=args.poses,
        boxes=args.boxes,
        unit=args.unit,
        batch=args.batch,
        progress=not args.no_progress,
    )
    for line in (*summary.notes, *summary.table):
        print(line)
    frames, persons, joints = summary.found.shape
    found, of_persons = int(summary.found.sum()), f" of {persons} persons" if persons > 1 else ""
    print(f"{found} of {frames * persons * joints} joints{of_persons} of {frames} frames have a point in space")
    if summary.few:
        print(f"{summary.few} were seen with confidence in fewer than two views that agree")
    if summary.behind:
        print(f"{summary.behind} would lie behind a camera")
    print(f"written: {ending.written(summary.files, named=12)}")
    return 0
