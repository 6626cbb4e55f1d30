"""The command `jaxhar data boxes`: predict the person boxes of a data set, or of a folder of videos."""

import argparse
from pathlib import Path

from jaxhar.data import sets
from jaxhar.data.formats import box_pickle
from jaxhar.host import compile_cache
from jaxhar.host.errors import Usage
from jaxhar.host.settings import setting
from jaxhar.predict import data_set_boxes, many_videos, persons, video_boxes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `jaxhar data boxes`."""
    add = parser.add_argument
    add("name", nargs="?", choices=sets.with_setting("boxes"), help="which data set; none with --videos")
    add("--root", type=Path, help="folder of the data set")
    add("--weights", type=Path, help="of a pose network: a model folder, a training run or a .safetensors file")
    add("--out", type=Path, required=True, help="the JSON file to write, for data.boxes; with --videos a folder")
    add("--cache", type=Path, help="folder for the data set's packed records")
    add("--batch", type=int, default=16, help="frames in one run of the network (default: %(default)s)")
    add("--deephar", "--authors", action="store_true", help="by the rule of deephar's script, including its mistake")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting of the data")
    add("--videos", type=Path, metavar="DIR", help="in place of a data set: all videos below this folder")
    add("--detector", metavar="own|RUN|FILE.onnx", help="with --videos: what finds the persons, as of jaxhar predict")
    add(
        "--form",
        choices=list(video_boxes.FORMS),
        default="pickle",
        help="with --videos: dmae_st's pickles, or COCO's detections as JSON (default: %(default)s)",
    )
    add(
        "--least",
        type=float,
        default=box_pickle.LEAST,
        metavar="SCORE",
        help="with --videos: leave out boxes with a lower score (default: %(default)s)",
    )
    add(
        "--sheets",
        type=int,
        default=100,
        metavar="N",
        help="with --videos: draw frames of every Nth video, 0 for none (default: %(default)s)",
    )
    add("--shard", metavar="K/N", help=f"with --videos: {many_videos.SHARD_HELP}")
    add("--no-progress", action="store_true", help="no progress bar")


def main(args: argparse.Namespace) -> int:
    """Run `jaxhar data boxes`; after a crash, a second call continues where the first one stopped."""
    compile_cache.enable()
    if args.videos is not None:
        return _of_videos(args)
    if args.name is None or args.root is None or args.weights is None:
        raise Usage("give a data set with --root and --weights, or a folder of videos: --videos DIR --detector own")
    if args.detector or args.shard:
        raise Usage("--detector and --shard go with --videos DIR")
    found = data_set_boxes.run(
        args.name,
        args.root,
        args.weights,
        args.out,
        changes=dict(map(setting, args.set)),
        cache=args.cache,
        batch=args.batch,
        deephar=args.deephar,
    )
    print(f"boxes of {found:,} frames: {args.out}")
    print(f"evaluate with them by --config.data.boxes={args.out}")
    return 0


def _of_videos(args: argparse.Namespace) -> int:
    if args.name or args.root or args.weights or args.deephar or args.set or args.cache:
        raise Usage("--videos takes its boxes from --detector; leave out the data set and its options")
    if not 0 <= args.least <= 1 or args.sheets < 0:
        raise Usage("--least must be between 0 and 1, and --sheets 0 or more")
    part = many_videos.share(args.shard)
    detector = persons.detector_of(args.detector or "own", args.least)
    told = video_boxes.run(
        args.videos,
        args.out,
        detector,
        form=args.form,
        least=args.least,
        sheets=args.sheets,
        part=part,
        progress=not args.no_progress,
    )
    many_videos.show(told)
    print(f"boxes: {args.out}; jaxhar predict reads them by --boxes")
    return 1 if told.broken else 0
