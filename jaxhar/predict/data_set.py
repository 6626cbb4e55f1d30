"""What `jaxhar predict --data` does: write the poses of a whole split for COCO's tools and MPII's benchmark.

Or draw some of its examples, see `jaxhar.predict.pictures`.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from jaxhar.core.batch import to_image
from jaxhar.core.network import Viewing, clip_length, frame_size
from jaxhar.core.skeleton import Skeleton
from jaxhar.data import sets, transforms
from jaxhar.data.dataset import PreparedSet
from jaxhar.data.mpii import folder as mpii_folder
from jaxhar.data.mpii import submission as mpii_submission
from jaxhar.data.mpii.settings import MPII
from jaxhar.evaluation import evaluate
from jaxhar.evaluation.scorer import float64
from jaxhar.host import files
from jaxhar.host.errors import Problem, Usage
from jaxhar.host.settings import override
from jaxhar.predict import coco, pictures
from jaxhar.predict.predictor import needs_pose
from jaxhar.weights import checkpoint


def run(
    name: str,
    root: Path,
    weights: Path,
    out: Path,
    *,
    split: str | None = None,
    view: str = "single",
    cache: Path | None = None,
    batch: int = 16,
    skip_broken: bool = False,
    changes: Mapping[str, str] | None = None,
    drawn: pictures.Pictures | None = None,
    progress: bool = True,
) -> list[Path]:
    """Predict every example of a split with a model checkpoint.

    Args:
      name: of the data set in `jaxhar.data.sets`. root: its folder. weights: see `checkpoint.load_model`.
      split, view: of the data set; views of kind "clips" are not possible.
      cache: for packed records; None for "jaxhar_data" beside `out`.
      changes: settings of the data set as text, see `jaxhar.host.settings.override`.
      drawn: draw these examples instead.

    Returns:
      The files written: the pictures; or coco.json, whose images are named like the photos or "SEQUENCE/FRAME" (frames
      from 0), and for MPII's "test" split pred_keypoints_mpii.mat.

    Raises:
      Problem: the data cannot be read, has no such split, or does not fit the network. Usage: an unknown view or
        setting.
    """
    model, meta = checkpoint.load_model(weights)
    needs_pose(meta.config, weights)
    skeleton = meta.joints("predicting poses")
    settings = override(sets.get(name).settings, changes or {})
    split = split or settings.eval_split
    settings = dataclasses.replace(
        settings,
        root=str(root.expanduser()),
        cache=None if cache is None else str(cache),
        skeleton=skeleton,
        image_size=frame_size(meta.config),
        clip_frames=settings.frames if settings.grouped else clip_length(meta.config),
        skip_broken=skip_broken,
    )
    assert meta.config.pose_shape is not None  # so says needs_pose
    joints = meta.config.pose_shape[0]
    if joints != len(skeleton):
        raise Problem(f"the network predicts {joints} joints, but {skeleton.name} has {len(skeleton)}")
    if settings.grouped and isinstance(meta.config, Viewing) and meta.config.views != settings.frames:
        raise Problem(f"the network reads {meta.config.views} views, but {settings.title} has {settings.frames}")
    persons = None
    if isinstance(settings, MPII):
        settings = dataclasses.replace(settings, parts=(split,))
        persons = _Persons(root, split, skip_broken)
    views = {name: one for name, one in settings.views().items() if one.kind != "clips"}
    if view not in views:
        raise Usage(f"--view {view}: to predict poses of {settings.title} the view must be {' or '.join(views)}")
    files.make_folder(out)
    prepared = settings.prepare(out)
    if drawn is not None:
        return pictures.write(model, prepared, split, views[view], out, drawn, skeleton)
    pairs = evaluate.predictions(model, prepared, split, views[view], ("pose", "visible"), batch, progress)
    found = list(_found(pairs, prepared, split, persons))
    files.write(out / coco.FILE, json.dumps(coco.document(found, skeleton)).encode())
    written = [out / coco.FILE]
    if persons is not None and persons.submits:
        names = prepared.sequence_names(split)
        written.append(persons.submit(out, dict(zip(names, (f.joints for f in found), strict=True)), skeleton))
    return written


def _found(pairs: Iterator, prepared: PreparedSet, split: str, persons: "_Persons | None") -> Iterator[coco.Detection]:
    """The last block's poses in image pixels, one for every frame of a clip."""
    entries, config = prepared.entries(split), prepared.config
    for example, preds in pairs:
        entry = entries[int(example["sequence"])]
        poses = to_image(example["affine"], preds["pose"][-1])
        step = config.augment.fixed_subsampling
        frames = transforms.clip_frames(entry["length"], step, config.frames)
        for t in sorted({frame: t for t, frame in reversed(list(enumerate(frames)))}.values()):
            file = f"{entry['name']}/{frames[t]:06d}" if entry["length"] > 1 else entry["name"].partition("#")[0]
            if persons is not None:
                file = persons.photo(entry["name"])
            confidence = float64(preds["visible"][-1, t]) if "visible" in preds else np.full(len(poses[t]), np.nan)
            yield coco.Detection(file, None, poses[t], confidence)


class _Persons:
    """The persons of an MPII folder by the names of their records."""

    def __init__(self, root: Path, split: str, skip_broken: bool):
        self._form = mpii_folder.check_root(root)
        persons, _ = mpii_folder.scan(self._form, skip_broken)
        self._persons = {mpii_folder.name_of(p): p for p in persons if p.split == split}
        self.submits = split == "test" and self._form.name == "official"

    def photo(self, name: str) -> str:
        return self._persons[name].image.name

    def submit(self, out: Path, poses: dict[str, np.ndarray], skeleton: Skeleton) -> Path:
        path = out / mpii_submission.FILE
        places = {self._persons[name].place: pose for name, pose in poses.items()}
        mpii_submission.write(path, self._form.files["all"], places, skeleton)
        return path
