"""PCKh on MPII by the rule of Simple Baselines (ECCV'18) and HRNet: the rows of the papers' tables."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxhar.core.batch import Batch, Preds, to_image
from jaxhar.core.skeleton import MPII
from jaxhar.evaluation.metrics import pck
from jaxhar.evaluation.pose import joints_of, poses
from jaxhar.evaluation.scorer import Context, Example, Predicted, float64
from jaxhar.evaluation.sections import Section, Table, number

#: "Mean@0.1" of the papers is the rate at this threshold: an index in the original's table of thresholds is off by one.
STRICT = 0.11
_PAIRS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
#: Joints outside of the mean.
_UNCOUNTED = ("pelvis", "thorax")


def rates(
    pred: np.ndarray, true: np.ndarray, valid: np.ndarray, head: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Percentages (16,) and counts (16,) of correct joints in MPII's order; arguments as of `rows`."""
    hits, counts = pck(pred, true, valid, head, threshold)
    return 100 * hits / np.maximum(counts, 1), counts


def rows(
    pred: np.ndarray, true: np.ndarray, valid: np.ndarray, head: np.ndarray, joints: Sequence[str] = MPII.joints
) -> dict[str, float]:
    """The paper's rows in percent: the head top, plain means of left and right, the mean, and that at a tenth.

    The mean is weighted by the numbers of labelled joints, without pelvis and thorax.

    Args:
      pred, true: (N, 16, 2) in the same pixels. valid: (N, 16) bool.
      head: (N,) reference length, 0.6 times the diagonal of the head box.
    """
    found, counts = rates(pred, true, valid, head, 0.5)
    strict, _ = rates(pred, true, valid, head, STRICT)
    at = {name: i for i, name in enumerate(joints)}
    share = np.where(np.isin(joints, _UNCOUNTED), 0, counts).astype(np.float64)
    share /= max(share.sum(), 1)
    pairs = {name.title(): float((found[at[f"l_{name}"]] + found[at[f"r_{name}"]]) / 2) for name in _PAIRS}
    means = {"Mean": float(found @ share), "Mean@0.1": float(strict @ share)}
    return {"Head": float(found[at["head"]])} | pairs | means


@dataclass(frozen=True)
class PCKhRows:
    """Scores PCKh as in the tables of Simple Baselines: figures "pckh_rows/head" to "pckh_rows/mean" and "mean@0.1".

    The data must have MPII's 16 joints.
    """

    reads = ("pose",)

    def begin(self, context: Context) -> "_Sums | None":
        """Empty sums; None in "clips" views, and for data with other joints."""
        joints = () if context.skeleton is None else context.skeleton.joints
        return _Sums(context) if set(joints) == set(MPII.joints) and context.view.kind != "clips" else None

    def truth(self, batch: Batch, context: Context) -> Preds:
        """The labels as predictions."""
        return poses(batch)


class _Sums:
    def __init__(self, context: Context):
        self._context = context
        self._seen: list[tuple[np.ndarray, ...]] = []

    def add(self, example: Example, preds: Predicted) -> None:
        """See `Sums`."""
        if "pose" not in preds or "pose" not in example or "norm" not in example:
            return
        pred, true = (
            to_image(example["affine"], float64(preds["pose"][-1])),
            to_image(example["affine"], example["pose"]),
        )
        self._seen.append((pred, true, example["valid"][..., :2].all(-1), example["norm"]))

    def sections(self) -> list[Section]:
        """See `Sums`."""
        if not self._seen:
            return []
        skeleton = joints_of(self._context)
        pred, true, valid, head = (np.concatenate(parts) for parts in zip(*self._seen, strict=True))
        found = {name: value / 100 for name, value in rows(pred, true, valid, head, skeleton.joints).items()}
        prefix = "pckh_rows/"
        scalars = {f"{prefix}{name.lower()}{self._context.suffix}": value for name, value in found.items()}
        table = Table(
            "PCKh by the rule of Simple Baselines, %",
            tuple(found),
            (tuple(number(value) for value in found.values()),),
            note="Mean@0.1 is the rate at 0.11, as in the papers.",
        )
        return [
            Section(
                "Pose",
                scalars=scalars,
                units=dict.fromkeys(scalars, "%"),
                tables=(table,),
                if_true={name: (1.0, 1.0) for name in scalars if "/mean" in name},
            )
        ]
