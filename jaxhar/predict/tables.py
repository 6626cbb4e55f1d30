"""Results of `jaxhar predict` in forms that other programs read: CSV tables, MOT text, pickles of pyskl."""

import contextlib
import csv
import math
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from jaxhar.core.skeleton import Skeleton
from jaxhar.data.formats.video import Frame
from jaxhar.host.files import atomic, open_text
from jaxhar.predict.boxes import seen
from jaxhar.predict.frame_result import FrameResult
from jaxhar.predict.segments import Runs, Segment

#: Added on every side of the joints' box, as a share of its extent, to reach the outline of the person.
_MARGIN = 0.1


class Table(Protocol):
    """A file that is written frame by frame. It gets its name when the stack unwinds without an error."""

    @property
    def path(self) -> Path:
        """The file."""

    def add(self, frame: Frame, results: Sequence[FrameResult]) -> None:
        """Adds the persons of a frame, and perhaps the scene; all frames in order."""

    def finish(self) -> None:
        """Writes what is left, after the last frame."""


@dataclass
class Setting:
    """What tables need: the folder, an open stack, joints, names of the actions (()), name of the source."""

    folder: Path
    stack: contextlib.ExitStack
    skeleton: Skeleton
    actions: Sequence[str]
    name: str


#: The columns of trajectories.csv.
TRAJECTORIES = ("source", "frame", "time", "person", "joint", "x", "y", "z", "confidence")


def trajectories(skeleton: Skeleton, frame: Frame, results: Sequence[FrameResult]) -> Iterator[tuple]:
    """The rows of a frame, not rounded; NaN for what a network does not predict."""
    for result in results:
        for joint, point, sure in zip(skeleton.joints, result.pose.tolist(), result.confidence.tolist(), strict=True):
            x, y, z = (*point, math.nan)[:3]
            yield frame.path.name, frame.index, frame.time, result.id, joint, x, y, z, sure


class Trajectories:
    """trajectories.csv: a row for each joint of each person in each frame."""

    def __init__(self, setting: Setting):
        self.path, self._skeleton = setting.folder / "trajectories.csv", setting.skeleton
        self._csv = csv.writer(open_text(setting.stack, self.path))
        self._csv.writerow(TRAJECTORIES)

    def add(self, frame: Frame, results: Sequence[FrameResult]) -> None:
        for source, index, time, who, joint, x, y, z, sure in trajectories(self._skeleton, frame, results):
            deep, told = ("" if math.isnan(value) else f"{value:.4f}" for value in (z, sure))
            self._csv.writerow([source, index, f"{time:.6f}", who, joint, f"{x:.2f}", f"{y:.2f}", deep, told])

    def finish(self) -> None:
        pass


#: All persons together in the column person of CSV files.
SCENE_NAME = "scene"


class Segments:
    """segments.csv: see `segments.Runs`, with the mean probability."""

    def __init__(self, setting: Setting):
        self.path, self._actions = setting.folder / "segments.csv", setting.actions
        self._csv = csv.writer(open_text(setting.stack, self.path))
        columns = "person start_frame end_frame start_time end_time action probability".split()
        self._csv.writerow(columns)
        self._runs = Runs()

    def add(self, frame: Frame, results: Sequence[FrameResult]) -> None:
        self._write(self._runs.add(frame.index, frame.time, results))

    def _write(self, segments: Iterable[Segment]) -> None:
        for one in segments:
            span = [one.start_frame, one.end_frame, f"{one.start_time:.3f}", f"{one.end_time:.3f}"]
            self._csv.writerow([one.person or SCENE_NAME, *span, self._actions[one.action], f"{one.probability:.4f}"])

    def finish(self) -> None:
        self._write(self._runs.finish())


class Mot:
    """mot.txt: frame (from 1), identity, x, y, width, height, score, -1, -1, -1; see `outline`."""

    def __init__(self, setting: Setting):
        self.path = setting.folder / "mot.txt"
        self._file = open_text(setting.stack, self.path)

    def add(self, frame: Frame, results: Sequence[FrameResult]) -> None:
        for result in results:
            x1, y1, x2, y2 = outline(result)
            score = float(np.nan_to_num(result.confidence, nan=1.0)[seen(result.confidence)].mean())
            numbers = ",".join(f"{v:.2f}" for v in (x1, y1, x2 - x1, y2 - y1))
            self._file.write(f"{frame.index + 1},{result.id},{numbers},{score:.4f},-1,-1,-1\n")

    def finish(self) -> None:
        pass


class Pyskl:
    """pyskl.pkl: keypoint (M, T, V, 2) float16 and keypoint_score (M, T, V), as pyskl and mmaction2 read them.

    M are all persons of the video, by identity; where one is absent its joints and scores are 0. The label is -1.
    """

    def __init__(self, setting: Setting):
        self.path, self._setting = setting.folder / "pyskl.pkl", setting
        self._frames: list[dict[int, tuple[np.ndarray, np.ndarray]]] = []
        self._shape = (0, 0)

    def add(self, frame: Frame, results: Sequence[FrameResult]) -> None:
        assert frame.image is not None
        self._shape = frame.image.shape[0], frame.image.shape[1]
        self._frames.append(
            {
                result.id: (result.pose[:, :2].astype(np.float16), np.nan_to_num(result.confidence, nan=1.0))
                for result in results
            }
        )

    def finish(self) -> None:
        people = sorted({who for frame in self._frames for who in frame})
        shape = (len(people), len(self._frames), len(self._setting.skeleton))
        points, scores = np.zeros((*shape, 2), np.float16), np.zeros(shape, np.float16)
        for t, frame in enumerate(self._frames):
            for who, (pose, sure) in frame.items():
                points[people.index(who), t], scores[people.index(who), t] = pose, sure
        one: dict[str, Any] = {
            "frame_dir": self._setting.name,
            "label": -1,
            "img_shape": self._shape,
            "original_shape": self._shape,
            "total_frames": len(self._frames),
            "keypoint": points,
            "keypoint_score": scores,
        }
        content = {"split": {"all": [self._setting.name]}, "annotations": [one]}
        part = self._setting.stack.enter_context(atomic(self.path))
        part.write_bytes(pickle.dumps(content, protocol=4))


#: The words of --format, but for json and coco.
TABLES: dict[str, Callable[[Setting], Table]] = {"trajectories": Trajectories, "mot": Mot, "pyskl": Pyskl}


def outline(result: FrameResult) -> np.ndarray:
    """(4,) x1, y1, x2, y2 of a person: as detected or given, else about its confident joints, with a margin."""
    if result.outline is not None:
        return result.outline
    points = result.pose[seen(result.confidence), :2]
    low, high = points.min(0), points.max(0)
    return np.concatenate([low - _MARGIN * (high - low), high + _MARGIN * (high - low)])
