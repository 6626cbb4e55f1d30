"""PCKh on MPII by the rule of Simple Baselines (ECCV'18) and HRNet: the rows of the papers' tables."""

from collections.abc import Sequence

import numpy as np

from jaxhar.core.skeleton import MPII
from jaxhar.evaluation.metrics import pck

#: Reference length over the diagonal of the head box.
HEAD_SHARE = 0.6
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


def head_size(boxes: np.ndarray) -> np.ndarray:
    """(N,) reference lengths of head boxes (N, 2, 2), two corners each."""
    return HEAD_SHARE * np.linalg.norm(boxes[:, 1] - boxes[:, 0], axis=-1)
