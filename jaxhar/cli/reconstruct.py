"""The command `jaxhar reconstruct`: joints in space from several calibrated, synchronised videos."""

import argparse
from pathlib import Path

from jaxhar.data.formats import calibration
from jaxhar.host import compile_cache
from jaxhar.predict import reconstruct
from jaxhar.predict.boxes import BOX_CONFIDENCE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `jaxhar reconstruct`."""
    parser.add_argument("videos", type=Path, nargs="*", help="one video for each camera, all with the same moments")
    parser.add_argument(
        "--cameras",
        type=Path,
        nargs="+",
        required=True,
        help="the calibration: a .toml of Pose2Sim or Anipose, a .json, or a .yml of OpenCV for each camera",
    )
    parser.add_argument("--weights", type=Path, help="a pose network, as for jaxhar predict")
    parser.add_argument("--poses", type=Path, nargs="+", default=[], help="in place of --weights: a poses.json a view")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results, made if absent")
    parser.add_argument(
        "--method",
        choices=reconstruct.METHODS,
        default="triangulate",
        help="triangulate: all views, weighted by confidence; ransac: those that agree (default: %(default)s)",
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
    parser.add_argument("--smooth", type=float, metavar="HZ", help="smooth over time with this cut-off frequency")
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
        args.videos,
        args.cameras,
        args.out,
        weights=args.weights,
        given=args.poses,
        method=args.method,
        threshold=args.threshold,
        min_confidence=args.min_confidence,
        smooth=args.smooth,
        until_shortest=args.until_shortest,
        unit=args.unit,
        batch=args.batch,
        progress=not args.no_progress,
    )
    for line in (*summary.notes, *summary.table):
        print(line)
    found, wanted = int(summary.found.sum()), summary.found.size
    print(f"{found} of {wanted} joints of {summary.frames} frames have a point in space")
    if summary.few:
        print(f"{summary.few} were seen with confidence in fewer than two views that agree")
    if summary.behind:
        print(f"{summary.behind} would lie behind a camera")
    print(f"written: {', '.join(str(path) for path in summary.files)}")
    return 0
