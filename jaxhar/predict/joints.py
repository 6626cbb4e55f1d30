"""The joints of the persons of a video as arrays over time, and as those of another skeleton."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from jaxhar.core import skeleton as layouts
from jaxhar.core.skeleton import Skeleton
from jaxhar.host.errors import Problem
from jaxhar.predict.frame_result import FrameResult

#: Two skeletons with fewer joints in common are too different for a network that knows one of them.
FEWEST_COMMON = 12


@dataclass(frozen=True)
class Joints:
    """The persons of a video.

    Attributes:
      ids: identities of the M persons.
      points: (M, T, J, 2) pixels. score: (M, T, J) in [0, 1]; both are 0 where a person or a joint is absent.
      strange: (M, T) bool, where a person looks unlike those of the pose network's training.
    """

    ids: tuple[int, ...]
    points: np.ndarray
    score: np.ndarray
    strange: np.ndarray

    @property
    def present(self) -> np.ndarray:
        """(M, T) bool, in which frames each person is there."""
        return np.asarray(self.score.any(-1))

    def largest(self, count: int) -> "Joints":
        """The persons with the largest sums of scores, in the order of their identities."""
        order = np.sort(np.argsort(-self.score.sum((1, 2)), kind="stable")[:count])
        ids = tuple(self.ids[n] for n in order)
        return Joints(ids, self.points[order], self.score[order], self.strange[order])


def stacked(frames: Sequence[Sequence[FrameResult]], joints: int) -> Joints:
    """The persons of all frames of a video.

    Args:
      frames: the persons of each frame. joints: J.
    """
    ids = tuple(sorted({one.id for frame in frames for one in frame if one.person}))
    shape = (len(ids), len(frames), joints)
    points, score, strange = np.zeros((*shape, 2)), np.zeros(shape), np.zeros(shape[:2], bool)
    for t, frame in enumerate(frames):
        for one in frame:
            if one.person:
                m = ids.index(one.id)
                points[m, t], score[m, t] = one.pose[:, :2], np.nan_to_num(one.confidence, nan=1.0)
                strange[m, t] = bool(one.unfamiliar)
    return Joints(ids, np.where(score[..., None] > 0, points, 0), score, strange)


def lacking(source: Skeleton, target: Skeleton) -> tuple[str, ...]:
    """The joints of `target` that `source` lacks.

    Raises:
      Problem: fewer than `FEWEST_COMMON` joints have a name in common.
    """
    missing = tuple(name for name in target.joints if name not in source.joints)
    common = len(target) - len(missing)
    if common < FEWEST_COMMON:
        raise Problem(
            f"the pose network's {len(source)} joints ({source.name}) and the {len(target)} of {target.name} have "
            f"{common} in common, at least {FEWEST_COMMON} are needed: {', '.join(missing[:6])} and so on are missing; "
            f"use a pose network with the joints of {target.name}"
        )
    return missing


def mapped(joints: Joints, source: Skeleton, target: Skeleton) -> Joints:
    """The joints of `target` by their names; those that `source` lacks have score 0."""
    place = layouts.mapping(source, target)
    known = place >= 0
    points = np.where(known[:, None], joints.points[..., place, :], 0)
    return replace(joints, points=points, score=np.where(known, joints.score[..., place], 0))
