"""`jaxhar predict` on a data set: the poses of a whole split for COCO's tools, and for MPII's benchmark."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxhar.core import geometry
from jaxhar.data import sets, transforms
from jaxhar.data.mpii import folder as mpii_folder
from jaxhar.data.mpii import submission as mpii_submission
from jaxhar.data.mpii.settings import MPII
from jaxhar.evaluation import evaluate
from jaxhar.host import files
from jaxhar.host.errors import Problem, Usage
from jaxhar.predict import coco
from jaxhar.weights import checkpoint

COCO = "coco.json"


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

    model, meta = checkpoint.load_model(weights)
    skeleton = meta.joints("predicting poses")
    settings = sets.get(name).settings
    split = split or settings.eval_split
    settings = dataclasses.replace(
        settings,
        root=str(root.expanduser()),
        cache=None if cache is None else str(cache),
        skeleton=skeleton,
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
    files.write(out / COCO, json.dumps(coco.document(found, skeleton)).encode())
    written = [out / COCO]
    if persons is not None and persons.submits:
        names = prepared.sequence_names(split)
        written.append(persons.submit(out, dict(zip(names, (f.joints for f in found), strict=True)), skeleton))
    return written


def _found(pairs: Iterator, prepared: Any, split: str, persons: "_Persons | None") -> Iterator[coco.Found]:
    """The last block's poses in image pixels, every frame of a clip once."""

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

        self._form = mpii_folder.check_root(root)
        persons, _ = mpii_folder.scan(self._form, skip_broken)
        self._persons = {mpii_folder.name_of(p): p for p in persons if p.split == split}
        self.submits = split == "test" and self._form.name == "official"

    def photo(self, name: str) -> str:
        return self._persons[name].image.name

    def submit(self, out: Path, poses: dict[str, np.ndarray], skeleton: Any) -> Path:

        path = out / mpii_submission.FILE
        places = {self._persons[name].place: pose for name, pose in poses.items()}
        mpii_submission.write(path, self._form.files["all"], places, skeleton)
        return path
