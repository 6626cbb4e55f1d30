"""Errors of 3-D poses in millimetres: functions of arrays, and metric objects for configs.

Evaluation converts predictions to world coordinates (from the crop to the image, then by the camera) before it calls
these metrics.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from jaxhar.core.skeleton import Skeleton
from jaxhar.evaluation.metrics import Metric, State, mpjpe, stack

#: Largest error, in mm, that counts as learned by heart: the threshold of 3D PCK in Mehta et al., 3DV 2017.
LEARNED = 150.0
#: Largest error of the true pose, in mm, with lens distortion inverted exactly and by deephar's formula.
EXACT, DEEPHAR_LENS = 0.01, 20.0


class WorldMetric(Metric, Protocol):
    """A metric of poses in space."""

    @property
    def deephar(self) -> bool:
        """Whether lens distortion is inverted by deephar's approximate formula."""

    def get(
        self, pred: np.ndarray, true: np.ndarray, valid: np.ndarray, norm: np.ndarray | None, skeleton: Skeleton
    ) -> State:
        """Sums (K, J) of one clip from pred (K, T, J, 3), true (T, J, 3), valid (T, J), all in world mm."""


def procrustes(pred: np.ndarray, true: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Predictions aligned to the truth by the translation, rotation and scale with the least squared error.

    Args:
      pred, true: (..., J, 3) points.
      valid: (..., J) joints used to compute the alignment, which is applied to all joints.

    Returns:
      (..., J, 3) float64. Where no joint is valid, the prediction is returned unchanged.
    """
    pred, true = np.asarray(pred, np.float64), np.asarray(true, np.float64)
    weight = np.broadcast_to(np.asarray(valid, bool), pred.shape[:-1])[..., None].astype(np.float64)
    share = weight / np.maximum(weight.sum(-2, keepdims=True), 1)
    from_, to = np.where(weight > 0, pred, 0), np.where(weight > 0, true, 0)
    middle, target = (from_ * share).sum(-2, keepdims=True), (to * share).sum(-2, keepdims=True)
    spread = (from_ - middle) * weight
    u, size, vt = np.linalg.svd(np.swapaxes(spread, -1, -2) @ (to - target))
    # Where a reflection would fit better, flip the axis of the smallest singular value to get a rotation.
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
    """Mean per joint position error in world coordinates, each pose relative to its own root (Ionescu et al., PAMI
    2014).

    The mean is over all joints, including the root, whose error is 0, as in Luvizon et al., CVPR 2018.

    Attributes:
      root: name of the root joint.
      deephar: invert lens distortion by deephar's formula, which is up to 4 mm wrong at the edge of the picture.
      name: title; "" gives "MPJPE" and so on.
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
    """The error after alignment by translation, rotation and scale: PA-MPJPE, also called protocol 2."""

    title = "PA-MPJPE"
    learned = False

    def _core(self, pred, true, valid, skeleton) -> tuple[np.ndarray, np.ndarray]:
        return pa_mpjpe(pred, true, valid)


@dataclass(frozen=True)
class AbsoluteMPJPE(MPJPE):
    """The error in world coordinates without any alignment. The networks here do not predict the depth of the root;
    the true one is used."""

    title = "absolute MPJPE"
    learned = False

    def _core(self, pred, true, valid, skeleton) -> tuple[np.ndarray, np.ndarray]:
        return mpjpe(pred, true, valid)
