"""What `jaxhar data skeletons` does: the joints of the persons in a folder of videos, as a pickle of pyskl's form.

The data set `pyskl` reads the file, as pyskl and mmaction2 do. Until all videos are done, each finished one lies in a
file of its own in OUT.parts/; a later call goes on from there, and takes from a finished OUT what it has.
"""

import hashlib
import pickle
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxhar.core.skeleton import COCO, Skeleton
from jaxhar.data.formats import safe_pickle
from jaxhar.data.formats.source import open_file
from jaxhar.data.formats.video import Video
from jaxhar.data.own import listing
from jaxhar.data.own.folder import name_of
from jaxhar.data.own.sources import Item, divided
from jaxhar.data.records.record import Skipped
from jaxhar.host import files
from jaxhar.host.errors import Problem
from jaxhar.predict import many_videos
from jaxhar.predict.joints import Joints, lacking, mapped, stacked
from jaxhar.predict.many_videos import Told
from jaxhar.predict.options import Options
from jaxhar.predict.predictor import load, needs_pose
from jaxhar.predict.search import Box
from jaxhar.predict.task import Task

CLASSES = "classes.txt"
#: Names of the sides of a division in pyskl's files.
_SPLITS = {"train": "train", "test": "val"}


@dataclass(frozen=True)
class How:
    """How the joints of a video are found.

    Attributes:
      task: a video, and the box of the person if it is known -> its prediction.
      skeleton: the joints. most: number of persons of a video that are written, the ones who are there for longest.
    """

    task: Callable[[Video, Box | None], Task]
    skeleton: Skeleton
    most: int = 10


@dataclass
class Summary:
    """What was done.

    Attributes:
      told: of the videos of this call. samples: in the written file, 0 if another part of the work is missing.
      left: files that are no videos, or were not read. notes: sentences on how the folder is read.
    """

    told: Told
    samples: int = 0
    left: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def joints_of(video: Video, how: How, bbox: Box | None = None) -> tuple[Joints, tuple[int, int]]:
    """The persons of a video with the network's joints, and its (height, width) in pixels.

    Raises:
      Problem: the video is damaged, or has no picture.
    """
    task = how.task(video, bbox)
    shape, frames = (0, 0), []
    for found in task.frames(*task.search()):
        shape = found.image.shape[0], found.image.shape[1]
        frames.append(found.results)
    return stacked(frames, len(how.skeleton)), shape


def annotation(name: str, label: int, joints: Joints, shape: tuple[int, int]) -> dict[str, Any]:
    """One sample of a pickle for pyskl and mmaction2."""
    return {
        "frame_dir": name,
        "label": label,
        "img_shape": shape,
        "original_shape": shape,
        "total_frames": joints.score.shape[1],
        "keypoint": joints.points.astype(np.float16),
        "keypoint_score": joints.score.astype(np.float16),
    }


def run(
    root: Path,
    weights: Path,
    out: Path,
    *,
    batch: int = 16,
    detector: str | None = None,
    several: str | None = None,
    part: tuple[int, int] = (1, 1),
    progress: bool = True,
) -> tuple[Summary, tuple[str, ...]]:
    """Writes the skeletons of a folder of videos, or a part of them.

    Args:
      root: a folder CLASS/*.mp4, or a CSV file, see `jaxhar.data.own.listing`.
      weights: of a pose network, see `jaxhar.predict.predictor.load`.
      detector, several: who is looked for, see `persons.chosen`.
      part: see `many_videos.share`; a part writes no file, the last call without one does.

    Returns:
      what was done, and the joints of COCO that the network lacks, which have score 0.
    """
    options = Options(batch=batch, detector=detector, persons=several)
    _ = options.finder  # says what is wrong with it, before the network is loaded
    network = load(weights)
    needs_pose(network.meta.config, weights)
    skeleton = network.meta.joints("writing skeletons")
    missing = lacking(skeleton, COCO)

    def task(video: Video, box: Box | None) -> Task:
        how = options if box is None else Options(bbox=box, batch=batch)
        return replace(network.task(video.path, video, how), familiar=None)

    # The 2 tells them from those that earlier versions made, in looser crops.
    made_by = f"{network.sha256} {network.fingerprint(options)['detector']} {several} 2"
    return write(root, out, How(task, skeleton), made_by, part, progress), missing


def write(root: Path, out: Path, how: How, made_by: str, part: tuple[int, int], progress: bool = True) -> Summary:
    """`run` with a network as a function; `made_by` tells with what the parts are made, so that none are mixed."""
    root = root.expanduser()
    found = listing.read(root)
    home = root if root.is_dir() else root.parent
    videos = [item for item in found.items if not item.still]
    if not videos:
        raise Problem(f"{root} holds no videos, of whose persons skeletons could be made")
    labels = sorted({item.label for item in videos})
    parts = _Parts(out, made_by)

    def work(item: Item) -> None:
        video = open_file(item.path)
        if not isinstance(video, Video):
            raise Problem(f"{item.path} is a picture, not a video")
        box = None if item.box is None else (item.box[0], item.box[1], item.box[2], item.box[3])
        joints, shape = joints_of(video, how, box)
        if not joints.ids:
            raise Problem(f"{item.path}: nobody was found in it")
        joints = mapped(joints.largest(how.most), how.skeleton, COCO)
        parts.add(item, annotation(name_of(home, item), labels.index(item.label), joints, shape))

    told = many_videos.work_off(videos, part, parts.has, work, progress)
    told.broken += [skipped.reason for skipped in found.broken]
    stills = [Skipped(str(item.path), "is a picture, not a video") for item in found.items if item.still]
    summary = Summary(told, 0, [*found.left, *stills], [*found.notes, *found.doubts])
    if part[1] == 1:
        summary.samples = _join(videos, home, labels, parts, out)
    return summary


def _join(videos: Sequence[Item], home: Path, labels: Sequence[str], parts: "_Parts", out: Path) -> int:
    """Writes the finished file from the parts of all videos; returns the number of its samples."""
    done = [item for item in videos if parts.has(item)]
    if not done:
        return 0
    try:
        sides = {name_of(home, item): item.split for item in divided(done, home)[0]}
    except Problem:  # nobody can be spared for a test
        sides = {name_of(home, item): "train" for item in done}
    annotations = [
        parts.read(item) | {"frame_dir": name_of(home, item), "label": labels.index(item.label)} for item in done
    ]
    splits = {_SPLITS[side]: [name for name, other in sides.items() if other == side] for side in _SPLITS}
    content = {"split": splits, "annotations": annotations, "made_by": parts.made_by, "sources": parts.sources(done)}
    files.write(out.with_name(CLASSES), ("\n".join(labels) + "\n").encode())
    files.write(out, pickle.dumps(content, protocol=4))
    shutil.rmtree(parts.folder, ignore_errors=True)
    return len(annotations)


class _Parts:
    """Annotations of single videos, in a folder beside the finished file or in that file.

    Raises:
      Problem: they were made with other weights or options, the finished file is damaged, or a folder.
    """

    def __init__(self, out: Path, made_by: str):
        self.folder, self.made_by = out.with_name(f"{out.name}.parts"), made_by
        self._finished: dict[str, dict[str, Any]] = {}
        remedy = "give the same weights and options, another --out, or remove it"
        if out.is_dir():
            raise Problem(f"{out} is a folder; give --out a file, as {out / 'skeletons.pkl'}")
        if out.is_file():
            content = safe_pickle.load(out)
            if not isinstance(content, dict) or content.get("made_by") != made_by:
                raise Problem(f"{out} was not made by these weights and options; {remedy}")
            sources, samples = content.get("sources"), content.get("annotations")
            if not (
                isinstance(sources, list)
                and isinstance(samples, list)
                and len(sources) == len(samples)
                and all(isinstance(one, dict) for one in samples)
            ):
                raise Problem(f"{out} does not name the video of each of its samples; remove it, or give another --out")
            self._finished = dict(zip(map(str, sources), samples, strict=True))
        mark = self.folder / "made_by"
        if mark.is_file() and files.read(mark, "mark").decode("utf-8", "replace") != made_by:
            raise Problem(f"{self.folder} was not made by these weights and options; {remedy}")
        files.write(mark, made_by.encode())

    def has(self, item: Item) -> bool:
        return _key(item) in self._finished or self._place(item).is_file()

    def add(self, item: Item, sample: dict[str, Any]) -> None:
        files.write(self._place(item), pickle.dumps(sample, protocol=4))

    def read(self, item: Item) -> dict[str, Any]:
        found = self._finished.get(_key(item)) or safe_pickle.load(self._place(item))
        if not isinstance(found, dict):
            raise Problem(f"{self._place(item)} is no part of this work; remove it")
        # the arrays of `safe_pickle` are of a class of its own, which must not get into another pickle
        return {key: np.array(value) if isinstance(value, np.ndarray) else value for key, value in found.items()}

    def sources(self, items: Sequence[Item]) -> list[str]:
        return [_key(item) for item in items]

    def _place(self, item: Item) -> Path:
        return self.folder / f"{hashlib.sha256(_key(item).encode()).hexdigest()[:24]}.pkl"


def _key(item: Item) -> str:
    """A video and a box as text, other if the file was changed."""
    try:
        stat = item.path.stat()
    except OSError as error:
        raise Problem(f"the video {item.path} cannot be read ({error.strerror})") from error
    return f"{item.path.resolve()} {stat.st_size} {stat.st_mtime_ns} {item.box}"
