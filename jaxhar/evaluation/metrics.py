"""Pose and action metrics: functions of arrays, and metric objects for configs.

The functions run on the host in integers and float64. A metric is a pair of sums, `State(total, count)`. The sums are
added over the whole data set and divided once at the end, so the result does not depend on the batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from jaxhar.core.skeleton import Skeleton
from jaxhar.host.errors import Problem

#: MPII's columns and the joints in them, in the order of the papers' tables.
MPII_GROUPS = {
    "Head": ("head", "neck"),
    **{part.title(): (f"r_{part}", f"l_{part}") for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")},
}

_GRID = 2.0**22


@dataclass(frozen=True)
class State:
    """Sums of a metric, of any equal shape; the metric is `total / count`.

    Attributes:
      total: int64 (hits) or float64 (distances).
      count: int64, number of terms in each total.
    """

    total: np.ndarray
    count: np.ndarray

    def merge(self, other: "State") -> "State":
        """The sums over both sets, as a new object."""
        return State(self.total + other.total, self.count + other.count)

    def compute(self) -> np.ndarray:
        """float64 of the same shape; NaN where nothing was counted."""
        return _ratio(self.total, self.count)

    def pooled(self) -> np.ndarray:
        """(...,) from (..., J): the micro mean, in which every counted joint of every frame has the same weight."""
        return _ratio(self.total.sum(-1), self.count.sum(-1))

    def macro(self) -> np.ndarray:
        """(...,) from (..., J): the macro mean, in which every joint with a count above 0 has the same weight."""
        rates = self.compute()
        counted = self.count > 0
        return _ratio(np.where(counted, rates, 0.0).sum(-1), counted.sum(-1))


def _ratio(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    total, count = np.broadcast_arrays(np.asarray(total, np.float64), np.asarray(count, np.float64))
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def distances(pred: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(...,) float64 Euclidean distances of points (..., D)."""
    return np.linalg.norm(np.asarray(pred, np.float64) - np.asarray(true, np.float64), axis=-1)


def _relative(pred: np.ndarray, true: np.ndarray, valid: np.ndarray, norm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances divided by the reference length, and a mask of those to count, both (..., J)."""
    norm = np.asarray(norm, np.float64)[..., None]
    usable = np.isfinite(norm) & (norm > 0)
    dist = distances(pred, true)
    relative = np.divide(dist, norm, out=np.full(dist.shape, np.nan), where=np.broadcast_to(usable, dist.shape))
    return relative, np.asarray(valid, bool) & usable


def _per_joint(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1, values.shape[-1]).sum(0)


def pck(
    pred: np.ndarray, true: np.ndarray, valid: np.ndarray, norm: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Percentage of correct keypoints: a joint is a hit where its distance / norm <= threshold.

    Yang and Ramanan, PAMI 2013, with the torso as norm; PCKh of Andriluka et al., CVPR 2014, with the head size.

    Args:
      pred: (..., J, 2) image pixels. A prediction that is not a number is a miss.
      true: (..., J, 2) image pixels.
      valid: (..., J) mask of labelled joints; the others are not counted.
      norm: (...) reference length in image pixels; frames where it is not a positive number are not counted.
      threshold: inclusive.

    Returns:
      hits (J,) and counts (J,), int64, summed over the leading axes.
    """
    near, counted = hits(pred, true, valid, norm, threshold)
    return _per_joint(near), _per_joint(counted)


def hits(
    pred: np.ndarray, true: np.ndarray, valid: np.ndarray, norm: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Masks (..., J) of the joints that `pck` takes as hits, and of those that it counts."""
    relative, counted = _relative(pred, true, valid, norm)
    return (relative <= threshold) & counted, counted


def auc(
    pred: np.ndarray, true: np.ndarray, valid: np.ndarray, norm: np.ndarray, thresholds: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Area under the PCK curve divided by its width, by the trapezoidal rule as in MPII's evaluation code.

    Arguments and shapes as in `pck`; `thresholds` are two or more values, evenly spaced.

    Returns:
      hits (J,) and counts (J,), int64, summed over the leading axes and the thresholds; all thresholds but the first
      and the last are counted twice.
    """
    relative, counted = _relative(pred, true, valid, norm)
    found = [_per_joint((relative <= threshold) & counted) for threshold in thresholds]
    hits = 2 * sum(found[1:-1]) + found[0] + found[-1]
    return np.asarray(hits, np.int64), _per_joint(counted) * 2 * (len(thresholds) - 1)


def by_group(state: State, skeleton: Skeleton) -> dict[str, np.ndarray]:
    """MPII's columns from sums (K, J): name -> (K,), in the order of the papers' tables.

    As in MPII's evaluation code, a group is the mean of its two joints' rates; "UBody" pools the joints of shoulders,
    elbows and wrists, and "Total" all scored joints.
    """

    def part(joints: tuple[str, ...]) -> State:
        index = [skeleton.index(joint) for joint in joints]
        return State(state.total[..., index], state.count[..., index])

    pairs = {name: part(joints).macro() for name, joints in MPII_GROUPS.items()}
    arms = tuple(joint for name in ("Shoulder", "Elbow", "Wrist") for joint in MPII_GROUPS[name])
    return pairs | {"UBody": part(arms).pooled(), "Total": state.pooled()}


def mpjpe(
    pred: np.ndarray, true: np.ndarray, valid: np.ndarray, root: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Mean per joint position error, Ionescu et al., PAMI 2014: the Euclidean distance in the unit of the points.

    Args:
      pred: (..., J, D) points.
      true: (..., J, D) points.
      valid: (..., J) mask of labelled joints; the others are not counted.
      root: index of a joint; each pose is taken relative to its own root. Frames without it are not counted.

    Returns:
      totals (J,) float64 and counts (J,) int64, summed over the leading axes. Each distance is rounded to a multiple
      of 2^-22 (2.4e-7), so that sums below 2e9 are exact and do not depend on the order of addition.
    """
    pred, true = np.asarray(pred, np.float64), np.asarray(true, np.float64)
    counted = np.broadcast_to(np.asarray(valid, bool), pred.shape[:-1])
    if root is not None:
        pred, true = pred - pred[..., root : root + 1, :], true - true[..., root : root + 1, :]
        counted = counted & counted[..., root : root + 1]
    away = np.round(distances(pred, true) * _GRID) / _GRID
    return _per_joint(np.where(counted, away, 0.0)), _per_joint(counted)


def accuracy(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Top-1 accuracy of each head.

    Args:
      scores: (K', N, A) logits, probabilities or log-probabilities; of equal scores the first class is taken.
      labels: (N,) class indices.

    Returns:
      hits (K',) and counts (K',), int64.
    """
    right = np.argmax(scores, -1) == np.asarray(labels)
    return right.sum(-1), np.full(right.shape[:-1], right.shape[-1], np.int64)


def confusion(true: np.ndarray, pred: np.ndarray, num_classes: int) -> np.ndarray:
    """(A, A) int64 counts: the row is the true class (N,), the column the predicted one (N,)."""
    table = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(table, (np.asarray(true), np.asarray(pred)), 1)
    return table


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """(..., A) float64 log-probabilities. Sums of these replace products of probabilities, which could underflow."""
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


class Metric(Protocol):
    """The properties of a pose metric."""

    @property
    def name(self) -> str:
        """Title in tables; in lower case the key of the scalar."""

    @property
    def unit(self) -> str:
        """ "%" (the metric is a fraction, higher is better) or the unit of a distance (lower is better)."""

    @property
    def grouped(self) -> bool:
        """Whether tables have MPII's groups of joints."""

    @property
    def terms(self) -> int:
        """Number of times that each joint is counted."""

    @property
    def if_true(self) -> tuple[float, float]:
        """Lowest and highest value for predictions equal to the truth."""

    @property
    def if_learned(self) -> tuple[float, float] | None:
        """Lowest and highest value for a network that has learned the samples by heart; None without bounds."""


class PoseMetric(Metric, Protocol):
    """A metric of poses in the image."""

    def get(
        self, pred: np.ndarray, true: np.ndarray, valid: np.ndarray, norm: np.ndarray | None, skeleton: Skeleton
    ) -> State:
        """Sums (K, J) of one clip from pred (K, T, J, 2), true (T, J, 2), valid (T, J), norm (T,); image pixels."""


@dataclass(frozen=True)
class PCK:
    """PCK with the reference length of the data set: the torso on Penn Action.

    Attributes:
      threshold: fraction of the reference length, inclusive.
      name: title; "" gives "PCK@0.2" and so on.
      exclude: names of joints that are not scored.
    """

    threshold: float = 0.2
    name: str = ""
    exclude: tuple[str, ...] = ()
    unit = "%"
    grouped = False
    terms = 1
    if_true: ClassVar[tuple[float, float]] = (1.0, 1.0)
    if_learned: ClassVar[tuple[float, float] | None] = (1.0, 1.0)

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", f"{type(self).__name__}@{self.threshold:g}")

    def get(
        self, pred: np.ndarray, true: np.ndarray, valid: np.ndarray, norm: np.ndarray | None, skeleton: Skeleton
    ) -> State:
        """See `PoseMetric.get`; Problem if the data has no reference length."""
        if norm is None:
            raise Problem(f"{self.name} needs a reference length, which this data lacks; use PixelError instead")
        return stack([self._core(block, true, valid & self.scored(skeleton), norm) for block in pred])

    def scored(self, skeleton: Skeleton) -> np.ndarray:
        """Mask (J,) of the joints that are scored."""
        return _scored(skeleton, self.exclude)

    def _core(self, pred, true, valid, norm) -> tuple[np.ndarray, np.ndarray]:
        return pck(pred, true, valid, norm, self.threshold)


@dataclass(frozen=True)
class PCKh(PCK):
    """PCK with the head size as reference length; pelvis and thorax are not scored, as on MPII."""

    threshold: float = 0.5
    exclude: tuple[str, ...] = ("pelvis", "thorax")
    grouped = True


@dataclass(frozen=True)
class AUC(PCK):
    """Area under the PCK curve from 0 to `threshold`, as a fraction, integrated in `steps` steps."""

    threshold: float = 0.5
    steps: int = 50
    if_learned = None

    @property
    def terms(self) -> int:  # type: ignore[override]
        """Number of times that each joint is counted."""
        return 2 * self.steps

    @property
    def if_true(self) -> tuple[float, float]:  # type: ignore[override]
        """Below 1, because rounding in averaged crops can miss the first threshold, 0."""
        return 1 - 1 / self.terms, 1.0

    def _core(self, pred, true, valid, norm) -> tuple[np.ndarray, np.ndarray]:
        return auc(pred, true, valid, norm, [self.threshold * i / self.steps for i in range(self.steps + 1)])


@dataclass(frozen=True)
class AUCh(AUC):
    """The area under the PCKh curve; pelvis and thorax are not scored, as on MPII."""

    exclude: tuple[str, ...] = ("pelvis", "thorax")
    grouped = True


@dataclass(frozen=True)
class PixelError:
    """Mean distance between predicted and true joints in image pixels (MPJPE in the image plane)."""

    name: str = "error"
    exclude: tuple[str, ...] = ()
    unit = "px"
    grouped = False
    terms = 1
    if_true: ClassVar[tuple[float, float]] = (0.0, 0.01)
    if_learned: ClassVar[tuple[float, float] | None] = None

    def get(
        self, pred: np.ndarray, true: np.ndarray, valid: np.ndarray, norm: np.ndarray | None, skeleton: Skeleton
    ) -> State:
        """See `PoseMetric.get`; `norm` is not used."""
        scored = valid & _scored(skeleton, self.exclude)
        return stack([mpjpe(block, true, scored) for block in pred])


def stack(sums: list[tuple[np.ndarray, np.ndarray]]) -> State:
    """Sums (K, J) from the totals and counts (J,) of K blocks."""
    totals, counts = zip(*sums, strict=True)
    return State(np.stack(totals), np.stack(counts))


def _scored(skeleton: Skeleton, exclude: tuple[str, ...]) -> np.ndarray:
    return np.array([joint not in exclude for joint in skeleton.joints])
