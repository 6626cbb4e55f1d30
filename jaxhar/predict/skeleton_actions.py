"""Actions of the persons in a video by a network on their joints (PoseConv3D), over sliding windows.

The joints come from a pose network and are taken by their names. A person is given to the network alone, for its own
action, and all persons together for the action of the scene.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from flax import nnx

from jaxhar.core.skeleton import Skeleton
from jaxhar.data import uniform
from jaxhar.data.pyskl import views
from jaxhar.host.errors import Problem, Usage
from jaxhar.inference import infer
from jaxhar.models.poseconv.network import PoseConvConfig
from jaxhar.predict.boxes import clips
from jaxhar.predict.frame_result import Clip, FrameResult, normalised, scene
from jaxhar.predict.joints import Joints, lacking, mapped, stacked
from jaxhar.weights import checkpoint

#: Default length of a window in seconds; the clips of NTU RGB+D are about as long.
WINDOW = 3.0


@dataclass(frozen=True)
class Window:
    """Consecutive frames in which persons are looked at.

    Attributes:
      who: identity of the person, or `frame_result.SCENE`. persons: places in `Joints` of those who are looked at.
      start, end: first frame, and the one after the last.
    """

    who: int
    persons: np.ndarray
    start: int
    end: int


@dataclass(frozen=True)
class SkeletonActions:
    """A network on joints in pictures with its weights; made by `load`.

    Attributes:
      path: of the weights. model, meta: the network, and information about it.
      seconds: length of a window; windows overlap by half.
    """

    path: Path
    model: nnx.Module
    meta: checkpoint.Meta
    seconds: float = WINDOW

    @property
    def layout(self) -> Skeleton:
        """The joints that the network reads."""
        return self.meta.joints("naming actions by joints")

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the actions; () if no label has trained them."""
        return () if self.meta.untrained_actions(self.path) else self.meta.actions

    @property
    def config(self) -> PoseConvConfig:
        """Settings of the network."""
        assert isinstance(self.meta.config, PoseConvConfig)  # so says `load`
        return self.meta.config

    def notes(self, source: Skeleton) -> tuple[str, ...]:
        """Sentences on joints that a pose network lacks, and on what the weights do not know.

        Raises:
          Problem: the networks have too few joints in common.
        """
        missing = lacking(source, self.layout)
        told = f"for the actions, the joints {', '.join(missing)} have score 0: the pose network lacks them"
        found = (told if missing else None, self.meta.untrained_actions(self.path), self.meta.unseen_classes())
        return tuple(filter(None, found))

    def name(
        self, frames: Sequence[list[FrameResult]], source: Skeleton, fps: float, shape: tuple[int, int], several: bool
    ) -> None:
        """Gives the persons of a whole video their actions, in place, and adds the scene to every frame.

        Args:
          frames: the persons of each frame. source: their joints. shape: (height, width) of the video.
          several: whether there may be several persons; if not, the scene is the person, and not added.
        """
        joints = mapped(stacked(frames, len(source)), source, self.layout)
        length = max(1, round(self.seconds * fps))
        windows = person_windows(joints, length)
        if several:
            for t, results in enumerate(frames):
                results.append(scene(t, len(source)))
            windows += scene_windows(joints, length, self.config.num_persons)
        for window, action in zip(windows, self._actions(joints, windows, shape), strict=True):
            first = True
            for t in range(window.start, window.end):
                for one in frames[t]:
                    if one.id == window.who and not one.unfamiliar:
                        if first:
                            one.clips.append(Clip(np.arange(window.start, window.end), action))
                            first = False
                        log = np.log(np.maximum(action, 1e-12))
                        one.votes.append(log)
        for results in frames:
            for one in results:
                if one.votes:
                    one.action = normalised(np.mean(one.votes, axis=0))
                    one.votes.clear()

    def _actions(self, joints: Joints, windows: Sequence[Window], shape: tuple[int, int]) -> np.ndarray:
        """The probabilities (N, A) of the classes in N windows."""
        if not windows:
            return np.zeros((0, len(self.classes)))
        inputs = [self._input(joints, window, shape) for window in windows]
        given = {key: np.stack([one[key] for one in inputs]) for key in ("points", "score")}
        found = infer(self.model, given)
        found = found if self.meta.calibration is None else self.meta.calibration(found)
        return np.asarray(found["action"][-1], np.float64)

    def _input(self, joints: Joints, window: Window, shape: tuple[int, int]) -> dict[str, np.ndarray]:
        """The clip of a window as in evaluation: points (T, M, J, 2) in crop units and score (T, M, J)."""
        config, length = self.config, window.end - window.start
        points = np.zeros((config.num_persons, length, len(self.layout), 2), np.float32)
        score = np.zeros(points.shape[:3], np.float32)
        points[: len(window.persons)] = joints.points[window.persons, window.start : window.end]
        score[: len(window.persons)] = joints.score[window.persons, window.start : window.end]
        frames = uniform.fixed_clips(length, config.num_frames, 1)[0]
        seen = views.for_evaluation(views.chosen(points, score, shape, frames), config.volume_size(training=False))
        units = (seen.points / np.array(seen.shape[::-1])).astype(np.float32)
        return {"points": units.swapaxes(0, 1), "score": seen.score.swapaxes(0, 1)}


def person_windows(joints: Joints, length: int) -> list[Window]:
    """The windows of each person, between its first and last frame.

    In at least half of a window's frames the person is there, and in most of these it looks familiar.
    """
    found = []
    for m, who in enumerate(joints.ids):
        there = np.flatnonzero(joints.present[m])
        for start, end in _spans(there, length):
            here = joints.present[m, start:end]
            if 2 * here.sum() >= end - start and 2 * (here & joints.strange[m, start:end]).sum() <= here.sum():
                found.append(Window(who, np.array([m]), start, end))
    return found


def scene_windows(joints: Joints, length: int, most: int) -> list[Window]:
    """The windows of the scene: those of at most `most` persons with the largest sums of scores who look familiar."""
    found = []
    for start, end in _spans(np.flatnonzero(joints.present.any(0)), length):
        here = joints.present[:, start:end]
        familiar = 2 * (here & joints.strange[:, start:end]).sum(1) <= here.sum(1)
        sums = np.where(familiar, joints.score[:, start:end].sum((1, 2)), 0)
        persons = np.sort(np.argsort(-sums, kind="stable")[:most])
        persons = persons[sums[persons] > 0]
        if 2 * here[persons].any(0).sum() >= end - start:
            found.append(Window(0, persons, start, end))
    return found


def _spans(there: np.ndarray, length: int) -> list[tuple[int, int]]:
    """Spans of `length` frames that overlap by half, from the first to the last of the frames `there`."""
    if not len(there):
        return []
    first, count = int(there[0]), int(there[-1]) + 1 - int(there[0])
    if count <= length:
        return [(first, first + count)]
    return [(first + int(one[0]), first + int(one[-1]) + 1) for one in clips(count, length)]


def load(weights: Path, seconds: float = WINDOW) -> SkeletonActions:
    """A network on joints in pictures, for `SkeletonActions`.

    Raises:
      Problem: the weights cannot be read, or are those of another kind of network. Usage: a wrong length.
    """
    if not (np.isfinite(seconds) and seconds > 0):
        raise Usage(f"--window must be a number of seconds above 0, not {seconds}")
    model, meta = checkpoint.load_model(weights)
    if not isinstance(meta.config, PoseConvConfig):
        raise Problem(
            f"the network of {weights} reads {', '.join(meta.config.reads)}: actions are named by a network on joints "
            "in pictures, PoseConv3D (configs/poseconv3d.py)"
        )
    if meta.skeleton is None or not meta.actions:
        raise Problem(f"the network of {weights} has no names of joints or actions; train it by configs/poseconv3d.py")
    return SkeletonActions(weights, model, meta, seconds)
