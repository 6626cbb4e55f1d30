"""The command `jaxhar predict`: pose and action in videos, pictures or a whole data set."""

import argparse
import sys
from pathlib import Path

from jaxhar.cli import ending
from jaxhar.host import compile_cache
from jaxhar.host.errors import Usage
from jaxhar.predict import coco, many, predictor, skeleton_actions, sources
from jaxhar.predict.options import Options
from jaxhar.predict.outputs import FORMATS
from jaxhar.predict.progress import Bars, Progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `jaxhar predict`."""
    parser.add_argument(
        "source",
        type=Path,
        nargs="+",
        help="a video, an image, or a folder of images; or several of them, folders of videos, and patterns in quotes "
        "such as 'c/*.mov', each of which then gets a folder of its own below --out",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        required=True,
        help="a model folder, a training run, a .safetensors file, or the name of a network with published weights, as "
        "in jaxhar zoo, which are fetched once",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the results, made if absent")
    parser.add_argument(
        "--bbox",
        metavar="X1,Y1,X2,Y2",
        help="the person's box in pixels, with some margin (default: the network finds it)",
    )
    parser.add_argument(
        "--persons",
        metavar="largest|all|N",
        help="whom to follow: the largest person, all, or the N largest ones (default: with --boxes or --detector all; "
        "else the one person that the network finds by itself)",
    )
    parser.add_argument(
        "--boxes",
        type=Path,
        metavar="FILE",
        help="the persons' boxes: MOT text, COCO's detections, dmae_st's pickles, or a poses.json; identities in it "
        "are kept",
    )
    parser.add_argument(
        "--detector",
        metavar="own|RUN|FILE.onnx",
        help="what finds the persons: the small network of this package (own, the default if several are wanted), "
        "another one of configs/people.py (a run, model folder or .safetensors file), or a YOLOX or RTMDet in an ONNX "
        "file, written as yolox:FILE or rtmdet:FILE if its name does not say",
    )
    parser.add_argument(
        "--actions",
        type=Path,
        metavar="NETWORK",
        help="name the actions in a video by this PoseConv3D on the joints that --weights finds, of each person and of "
        "all together",
    )
    parser.add_argument(
        "--window",
        type=float,
        default=skeleton_actions.WINDOW,
        metavar="SECONDS",
        help="with --actions: length of the windows, which overlap by half (default: %(default)s)",
    )
    parser.add_argument("--batch", type=int, default=16, help="frames in one run of the network (default: %(default)s)")
    parser.add_argument(
        "--stride",
        type=int,
        help="step between the frames of an action clip, at the frame rate of the training if that is known (default: "
        "2; of a network that sees whole pictures that of its training, or 4 at 30 frames a second)",
    )
    parser.add_argument(
        "--every",
        type=float,
        metavar="SECONDS",
        help="of a network that sees whole pictures: from clip to clip (default: half the length of a clip)",
    )
    parser.add_argument(
        "--views",
        metavar="NxM",
        help="of a network that sees whole pictures: sum N clips from the start to the end, M crops of each, e.g. 10x3",
    )
    parser.add_argument(
        "--attention",
        action="store_true",
        help="of a vision transformer: also draw how much each patch counts for the action, as attention.mp4",
    )
    parser.add_argument(
        "--smooth",
        metavar="FILTER[:HZ]",
        help="smooth the joints of a video over time: butterworth has no delay, one-euro does not look ahead; HZ is "
        "the cut-off",
    )
    parser.add_argument(
        "--skip-broken", action="store_true", help="leave out broken images of a folder; a damaged video is no failure"
    )
    parser.add_argument("--again", action="store_true", help="of many sources: also predict those that are done")
    parser.add_argument(
        "--shard", metavar="K/N", help="of many sources: every N-th one, beginning with the K-th, for job arrays"
    )
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")
    parser.add_argument(
        "--format",
        default="json",
        metavar="FORM,...",
        help="further files: coco (coco.json), mot (mot.txt), trajectories (trajectories.csv), pyskl (pyskl.pkl, for "
        "pyskl and mmaction2)",
    )
    parser.add_argument(
        "--data",
        metavar="NAME",
        help="predict this data set, of those of jaxhar data check, with SOURCE as its root; writes only coco.json (or "
        "--pictures)",
    )
    parser.add_argument("--split", help="with --data: the split to predict (default: the one that evaluations use)")
    parser.add_argument(
        "--view",
        "--protocol",
        default="single",
        help="with --data: the evaluation view, e.g. flip (default: %(default)s)",
    )
    parser.add_argument("--cache", type=Path, help="folder for the data set's packed records")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="with --data: change a setting of the data set, e.g. crop=simple_baselines of mpii",
    )
    parser.add_argument(
        "--maps",
        nargs="?",
        const="all",
        metavar="JOINTS",
        help="also draw the heat maps of these joints, by name or number and separated by commas (without JOINTS: of "
        "all), as NAME_maps.png for a photo and maps.mp4 for a video; for networks that predict heat maps",
    )
    parser.add_argument(
        "--pictures",
        type=int,
        metavar="N",
        help="with --data: instead of predicting the whole split into coco.json, draw N of its examples, chosen at "
        "random, with the predicted joints in red, as PNG files",
    )
    parser.add_argument("--seed", type=int, default=0, help="with --pictures: of the choice (default: %(default)s)")
    parser.add_argument("--show-truth", action="store_true", help="with --pictures: also draw the true joints, in blue")
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.0,
        metavar="C",
        help="with --pictures: leave out joints with a lower confidence (default: %(default)s)",
    )
    parser.add_argument("--no-skeleton", action="store_true", help="with --pictures: draw joints without limbs")


def main(args: argparse.Namespace) -> int:
    """Run `jaxhar predict`; the exit code is 1 if a video is damaged or cut off, without --skip-broken."""
    compile_cache.enable()
    _check(args)
    if args.data is None:
        return 0 if _predict(args) else 1
    from jaxhar.cli import predict_set  # which imports all data sets

    return predict_set.main(args)


def _check(args: argparse.Namespace) -> None:
    """Usage for options that do not go together."""
    if args.data is not None and args.maps is not None:
        raise Usage("--maps is for photos and videos of your own; leave it out with --data")
    if args.data is not None and (len(args.source) > 1 or args.shard or args.again):
        raise Usage("--data takes one root of a data set, without --shard and --again")
    if args.data is not None and args.actions is not None:
        raise Usage("--actions is for videos of your own; leave it out with --data")
    if args.actions is None and args.window != skeleton_actions.WINDOW:
        raise Usage("--window is the length of the windows of a network that --actions names")
    if args.data is None and (args.pictures is not None or args.set):
        raise Usage("--pictures and --set are for a data set: name it with --data")
    if args.pictures is None and (args.show_truth or args.no_skeleton or args.threshold or args.seed):
        raise Usage("--seed, --show-truth, --threshold and --no-skeleton go with --pictures N")


def _predict(args: argparse.Namespace) -> bool:
    """Whether all could be read, or what could not was to be skipped."""
    options = Options(
        bbox=parse_bbox(args.bbox),
        batch=args.batch,
        stride=args.stride,
        skip_broken=args.skip_broken,
        boxes=args.boxes,
        detector=args.detector,
        persons=args.persons,
        smooth=args.smooth,
        every=args.every,
        views=args.views,
        attention=args.attention,
    )
    forms, progress = formats(args.format), None if args.no_progress else Bars()
    one = sources.is_one(args.source) and not args.shard
    if not one:
        sources.expand(args.source, args.out)  # for what is wrong with them, before the network is loaded
    predictor.check(args.source[0] if one else None, options, forms, args.maps)
    network = predictor.load(args.weights, args.actions, args.window)
    if not one:
        return _many(args, network, options, forms, progress)
    summary = network.write(args.source[0], args.out, options, forms=forms, maps=args.maps, progress=progress)
    for sentence in (*summary.notes, *summary.doubts()):
        print(sentence)
    for who, (first, last, action, probability) in summary.persons.items() if len(summary.persons) > 1 else ():
        named = "" if action is None else f": {action} ({probability:.1%})"
        print(f"person {who}, frames {first} to {last}{named}")
    if summary.scene is not None and summary.scene[0] is not None and len(summary.persons) > 1:
        print(f"all together: {summary.scene[0]} ({summary.scene[1]:.1%})")
    if summary.action is not None and len(summary.persons) < 2:
        print(f"action: {summary.action} ({summary.probability:.1%})")
    print(f"{summary.frames} frames in {summary.seconds:.1f} s: {ending.written(summary.files)}")
    ending.tell_broken(summary.broken)
    if "coco" in forms:
        print(f"for COCO's tools: {args.out / coco.FILE}")
    return not summary.broken or args.skip_broken


def _many(
    args: argparse.Namespace,
    network: predictor.LoadedNetwork,
    options: Options,
    forms: list[str],
    progress: Progress | None,
) -> bool:
    """Whether all sources could be read, or what of a source could not was to be skipped."""
    for sentence in network.notes:
        print(sentence)
    how = {"forms": forms, "maps": args.maps, "again": args.again, "shard": args.shard, "progress": progress}
    report = many.run(network, args.source, args.out, options, **how)
    failed = [row for row in report.rows if not row.results]
    partial = [row for row in report.rows if row.results and not row.complete]
    for row in failed:
        print(f"failed: {row.warnings[0]}", file=sys.stderr)
    ending.tell_broken(row.source for row in partial)
    new = len(report.rows) - report.skipped - len(failed)
    written = ", ".join(str(path) for path in report.files)
    print(
        f"{new} of {len(report.rows)} sources predicted, {report.skipped} done before, {len(failed)} failed: {written}"
    )
    return not failed and (not partial or args.skip_broken)


def formats(words: str) -> list[str]:
    """The words of --format; Usage for others."""
    found = [word.strip() for word in words.split(",")]
    for word in found:
        if word not in FORMATS:
            raise Usage(f"--format {word!r} is not known; there are {', '.join(FORMATS)}")
    return found


def parse_bbox(text: str | None) -> tuple[float, float, float, float] | None:
    """Four numbers from "x1,y1,x2,y2"; Usage if it is anything else."""
    if text is None:
        return None
    try:
        x1, y1, x2, y2 = (float(part) for part in text.split(","))
    except ValueError:
        raise Usage(f"--bbox {text!r} is not a box: give four numbers x1,y1,x2,y2 in pixels") from None
    return x1, y1, x2, y2
