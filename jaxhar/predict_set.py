"""`jaxhar predict`: the command, and the poses of a whole data set for COCO's tools, and for MPII's benchmark."""

import argparse
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxhar import coco, files, geometry
from jaxhar.errors import Problem, Usage

COCO = "coco.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `jaxhar predict`."""
    from jaxhar.data_tools import NAMES

    parser.add_argument("source", type=Path, help="a video, an image, or a folder of images")
    parser.add_argument("--weights", type=Path, required=True, help="a model folder, a workdir or a .safetensors file")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results, made if absent")
    parser.add_argument(
        "--bbox", metavar="X1,Y1,X2,Y2", help="the person's box in pixels, with some margin; else found by the network"
    )
    parser.add_argument("--batch", type=int, default=16, help="frames in one run of the network (default: %(default)s)")
    parser.add_argument(
        "--stride", type=int, default=2, help="step between the frames of an action clip (default: %(default)s)"
    )
    parser.add_argument("--skip-broken", action="store_true", help="go on after a broken image or part of a video")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")
    parser.add_argument("--format", choices=("json", "coco"), default="json", help="coco writes coco.json as well")
    parser.add_argument("--data", choices=NAMES, help="SOURCE is the root of this data set: writes coco.json alone")
    parser.add_argument("--split", help="of the data set (default: the one that is evaluated)")
    parser.add_argument("--protocol", default="single", help="of the evaluation (default: %(default)s)")
    parser.add_argument("--cache", type=Path, help="folder for the data set's packed records")


def main(args: argparse.Namespace) -> None:
    """Run `jaxhar predict` with the arguments of `add_arguments`; Problem or Usage tell what is wrong."""
    from jaxhar import compiled

    compiled.keep()
    if args.data is None:
        _predict(args)
        if args.format == "coco":
            found = coco.from_poses(args.out / "poses.json")
            files.write(args.out / COCO, json.dumps(found).encode())
            print(f"for COCO's tools: {args.out / COCO}")
        return
    written = run(
        args.data,
        args.source,
        args.weights,
        args.out,
        split=args.split,
        protocol=args.protocol,
        cache=args.cache,
        batch=args.batch,
        skip_broken=args.skip_broken,
        progress=not args.no_progress,
    )
    print(f"written: {', '.join(str(path) for path in written)}")


def _predict(args: argparse.Namespace) -> None:
    from jaxhar import predict

    summary = predict.run(
        args.source,
        args.weights,
        args.out,
        bbox=parse_bbox(args.bbox),
        batch=args.batch,
        stride=args.stride,
        skip_broken=args.skip_broken,
        progress=not args.no_progress,
    )
    for sentence in summary.broken:
        print(f"skipped: {sentence}")
    if summary.action is not None:
        print(f"action: {summary.action} ({summary.probability:.1%})")
    written = ", ".join(str(path) for path in summary.files[:4])
    more = f" and {len(summary.files) - 4} more" if len(summary.files) > 4 else ""
    print(f"{summary.frames} frames in {summary.seconds:.1f} s: {written}{more}")


def parse_bbox(text: str | None) -> tuple[float, float, float, float] | None:
    """Four numbers from "x1,y1,x2,y2"; Usage if it is anything else."""
    if text is None:
        return None
    try:
        x1, y1, x2, y2 = (float(part) for part in text.split(","))
    except ValueError:
        raise Usage(f"--bbox {text!r} is no box: give four numbers x1,y1,x2,y2 in pixels") from None
    return x1, y1, x2, y2


def run(
    name: str,
    root: Path,
    weights: Path,
    out: Path,
    *,
    split: str | None = None,
    protocol: str = "single",
    cache: Path | None = None,
    batch: int = 16,
    skip_broken: bool = False,
    progress: bool = True,
) -> list[Path]:
    """Predict every example of a split with a model checkpoint.

    Args:
      name: of the data set in `jaxhar.data.sets`. root: its folder. weights: what `checkpoint.load_model` takes.
      split, protocol: of the data set; the protocol looks at each example once, or averages crops of it.
      cache: for packed records; None for "jaxhar_data" beside `out`.

    Returns:
      The files written: coco.json, whose images are named as the photos or "SEQUENCE/FRAME" (from 0), and for MPII's
      "test" split pred_keypoints_mpii.mat.

    Raises:
      Problem: the data cannot be read, has no such split, or does not fit the network. Usage: an unknown protocol.
    """
    from jaxhar import checkpoint, evaluate
    from jaxhar.data import sets
    from jaxhar.data.mpii import MPII

    model, meta = checkpoint.load_model(weights)
    settings = sets.get(name).settings
    split = split or settings.eval_split
    settings = dataclasses.replace(
        settings,
        root=str(root.expanduser()),
        cache=None if cache is None else str(cache),
        skeleton=meta.skeleton,
        image_size=meta.config.image_size,
        clip_frames=meta.config.num_frames or 1,
        skip_broken=skip_broken,
    )
    persons = None
    if isinstance(settings, MPII):
        settings = dataclasses.replace(settings, parts=(split,))
        persons = _Persons(root, split, skip_broken)
    if protocol != "single" and protocol not in settings.crop_protocols():
        known = ", ".join(("single", *settings.crop_protocols()))
        raise Usage(f"--protocol {protocol}: poses of {settings.title} are predicted by {known}")
    out.mkdir(parents=True, exist_ok=True)
    prepared = settings.prepare(out)
    pairs = evaluate.predictions(model, prepared, split, protocol, batch, progress)
    found = list(_found(pairs, prepared, split, persons))
    files.write(out / COCO, json.dumps(coco.document(found, meta.skeleton)).encode())
    written = [out / COCO]
    if persons is not None and persons.submits:
        names = prepared.sequence_names(split)
        written.append(persons.submit(out, dict(zip(names, (f.joints for f in found), strict=True)), meta.skeleton))
    return written


def _found(pairs: Iterator, prepared: Any, split: str, persons: "_Persons | None") -> Iterator[coco.Found]:
    """The last block's poses in image pixels, every frame of a clip once."""
    from jaxhar.data import transforms

    entries, config = prepared.entries(split), prepared.config
    for example, preds in pairs:
        entry = entries[int(example["sequence"])]
        if preds["pose"].shape[-2] != len(prepared.skeleton):
            raise Problem(
                f"the network predicts {preds['pose'].shape[-2]} joints, not those of {prepared.skeleton.name}"
            )
        to_image = geometry.invert(np.asarray(example["affine"], np.float64))
        poses = geometry.apply(to_image, preds["pose"][-1, ..., :2])
        step = config.augment.fixed_subsampling
        frames = transforms.clip_frames(entry["frames"], step, config.clip_frames)
        for t in sorted({frame: t for t, frame in reversed(list(enumerate(frames)))}.values()):
            file = f"{entry['name']}/{frames[t]:06d}" if entry["frames"] > 1 else entry["name"]
            if persons is not None:
                file = persons.photo(entry["name"])
            yield coco.Found(file, None, poses[t], preds["visible"][-1, t])


class _Persons:
    """The persons of an MPII folder by the names of their records."""

    def __init__(self, root: Path, split: str, skip_broken: bool):
        from jaxhar.data import mpii_folder

        self._form = mpii_folder.check_root(root)
        persons, _ = mpii_folder.scan(self._form, skip_broken)
        self._persons = {mpii_folder.name_of(p): p for p in persons if p.split == split}
        self.submits = split == "test" and self._form.name == "official"

    def photo(self, name: str) -> str:
        return self._persons[name].image.name

    def submit(self, out: Path, poses: dict[str, np.ndarray], skeleton: Any) -> Path:
        from jaxhar.data import mpii_submission

        path = out / mpii_submission.FILE
        places = {self._persons[name].place: pose for name, pose in poses.items()}
        mpii_submission.write(path, self._form.files["all"], places, skeleton)
        return path
