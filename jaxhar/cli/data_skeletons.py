"""The command `jaxhar data skeletons`: the joints of the persons in a folder of videos, as a pickle of pyskl's form."""

import argparse
import shlex
from pathlib import Path

from jaxhar.data import listing
from jaxhar.host.errors import Usage
from jaxhar.predict import data_set_skeletons, many_videos


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `jaxhar data skeletons`."""
    parser.add_argument("videos", type=Path, help="a folder CLASS/*.mp4, or a CSV file with the columns file and label")
    parser.add_argument(
        "--weights",
        type=Path,
        required=True,
        help="of a pose network: a model folder, a run, a .safetensors file, or a name of the zoo",
    )
    parser.add_argument("--out", type=Path, required=True, help="the pickle to write, for the data set pyskl")
    parser.add_argument(
        "--persons",
        metavar="largest|all|N",
        help="whose joints: as of jaxhar predict (default: the one person that the network finds)",
    )
    parser.add_argument(
        "--detector",
        metavar="own|RUN|FILE.onnx",
        help="what finds the persons, as of jaxhar predict, for all or N of them",
    )
    parser.add_argument("--shard", metavar="K/N", help=many_videos.SHARD_HELP)
    parser.add_argument("--batch", type=int, default=16, help="frames in one run of the network (default: %(default)s)")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")


def main(args: argparse.Namespace) -> int:
    """Run `jaxhar data skeletons`; the exit code is 1 if videos are broken or show nobody."""
    if args.batch < 1:
        raise Usage("--batch must be 1 or more")
    part = many_videos.share(args.shard)
    summary, missing = data_set_skeletons.run(
        args.videos,
        args.weights,
        args.out,
        batch=args.batch,
        detector=args.detector,
        several=args.persons,
        part=part,
        progress=not args.no_progress,
    )
    if missing:
        print(f"the network lacks {', '.join(missing)}: they have score 0")
    for line in (*summary.notes, *listing.told(summary.left, args.videos)):
        print(line)
    many_videos.show(summary.told)
    if summary.samples:
        print(f"skeletons of {summary.samples:,} videos: {args.out}")
        print(f"train on them with --config={shlex.quote(f'configs/poseconv3d.py:own:{args.out}')}")
    elif part[1] > 1:
        print("when all parts are done, the same command without --shard joins them")
    return 1 if summary.told.broken else 0
