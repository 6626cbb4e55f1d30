"""Errors of a pose in space, in millimetres: pure array cores, and the objects that a configuration lists.

Evaluation turns predictions into world points (crop, then camera) before it asks these objects.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from jaxhar.core.skeleton import Skeleton
from jaxhar.evaluation.metrics import Metric, State, mpjpe, stack

#: Largest error that counts as learned by heart, in mm: a joint is right within it in Mehta et al., 3DV 2017.
LEARNED = 150.0
#: Largest error of the truth in mm, with the lens undone exactly and as deephar does it.
EXACT, DEEPHAR_LENS = 0.01, 20.0


class WorldMetric(Metric, Protocol):
    """A metric of poses in space."""

    @property
    def deephar(self) -> bool:
        """Whether the lens is undone as deephar does it."""

    def get(
        self, pred: np.ndarray, true: np.ndarray, valid: np.ndarray, norm: np.ndarray | None, skeleton: Skeleton
    ) -> State:
        """Sums (K, J) of one clip from pred (K, T, J, 3), true (T, J, 3), valid (T, J), all in world mm."""


def procrustes(pred: np.ndarray, true: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Predictions moved, turned (not mirrored) and scaled onto the truth with the least squared error.

    Args:
      pred, true: (..., J, 3) points. valid: (..., J) joints that take part; all are moved.

    Returns:
      (..., J, 3) float64. Where no joint is valid the prediction is returned as it is.
    """
    pred, true = np.asarray(pred, np.float64), np.asarray(true, np.float64)
    weight = np.broadcast_to(np.asarray(valid, bool), pred.shape[:-1])[..., None].astype(np.float64)
    share = weight / np.maximum(weight.sum(-2, keepdims=True), 1)
    from_, to = np.where(weight > 0, pred, 0), np.where(weight > 0, true, 0)
    middle, target = (from_ * share).sum(-2, keepdims=True), (to * share).sum(-2, keepdims=True)
    spread = (from_ - middle) * weight
    u, size, vt = np.linalg.svd(np.swapaxes(spread, -1, -2) @ (to - target))
    # a mirror image fits some predictions better: the axis that matters least is turned back
    side = np.sign(np.linalg.det(u @ vt))
    size[..., -1] *= side
    u[..., -1] *= side[..., None]
    power = (spread**2).sum((-2, -1))
    scale = np.divide(size.sum(-1), power, out=np.zeros(power.shape), where=power > 0)
    moved = scale[..., None, None] * (pred - middle) @ (u @ vt) + target
    return np.where(weight.any(-2, keepdims=True), moved, pred)


def pa_mpjpe(pred: np.ndarray, true: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`metrics.mpjpe` after `procrustes`: totals (J,) and counts (J,)."""
    return mpjpe(procrustes(pred, true, valid), true, valid)


@dataclass(frozen=True)
class MPJPE:
    """Mean per joint position error in the world, Ionescu et al., PAMI 2014: each pose relative to its own root.

    The mean is over all joints; the root is among them and adds nothing, as in "2D/3D Pose Estimation and Action
    Recognition using Multitask Deep Learning" (CVPR 2018).

    Attributes:
      root: name of the joint that both poses are put on.
      deephar: undo the lens as deephar does, in one step that is up to 4 mm off, at the picture's edge.
      name: "MPJPE" and the like where left empty.
    """

    root: str = "pelvis"
    deephar: bool = False
    name: str = ""
    unit = "mm"
    grouped = False
    terms = 1
    title: ClassVar[str] = "MPJPE"
    learned: ClassVar[bool] = True

    @property
    def if_true(self) -> tuple[float, float]:
        """See `Metric`."""
        return 0.0, DEEPHAR_LENS if self.deephar else EXACT

    @property
    def if_learned(self) -> tuple[float, float] | None:
        """See `Metric`."""
        return (0.0, LEARNED) if self.learned and not self.deephar else None

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.title + (" (deephar's camera)" if self.deephar else ""))

    def get(
        self, pred: np.ndarray, true: np.ndarray, valid: np.ndarray, norm: np.ndarray | None, skeleton: Skeleton
    ) -> State:
        """Sums (K, J) of one clip from pred (K, T, J, 3), true (T, J, 3), valid (T, J), all in world mm."""
        return stack([self._core(block, true, valid, skeleton) for block in pred])

    def _core(self, pred, true, valid, skeleton) -> tuple[np.ndarray, np.ndarray]:
        return mpjpe(pred, true, valid, skeleton.index(self.root))


@dataclass(frozen=True)
class ProcrustesMPJPE(MPJPE):
    """The error that is left after the best movement, turn and scale: "PA-MPJPE", also called protocol 2."""

    title = "PA-MPJPE"
    learned = False

    def _core(self, pred, true, valid, skeleton) -> tuple[np.ndarray, np.ndarray]:
        return pa_mpjpe(pred, true, valid)


@dataclass(frozen=True)
class AbsoluteMPJPE(MPJPE):
    """The error in the world as it is. The depth of the root is given, not predicted, by the networks here."""

    title = "absolute MPJPE"
    learned = False

    def _core(self, pred, true, valid, skeleton) -> tuple[np.ndarray, np.ndarray]:
        return mpjpe(pred, true, valid)
