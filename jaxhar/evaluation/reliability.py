"""How well a confidence tells the share of right answers: the reliability table and its mean error."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jaxhar.evaluation.sections import Table, number

#: Bins of equal width from 0 to 1.
BINS = 10
#: Confidences are added as whole multiples of 1 / _GRID, so that their order does not matter.
_GRID = 2**22


@dataclass(frozen=True)
class Reliability:
    """Sums by confidence, int64 (BINS,) each.

    Attributes:
      count: answers. right: right answers among them. confidence: their confidences in units of 1 / 2^22.
    """

    count: np.ndarray
    right: np.ndarray
    confidence: np.ndarray

    @classmethod
    def of(cls, confidence: npt.ArrayLike, right: npt.ArrayLike) -> "Reliability":
        """The sums of answers: confidences of one shape, cut to [0, 1], and whether each answer was right."""
        values = np.clip(np.asarray(confidence, np.float64).ravel(), 0, 1)
        bins = np.minimum((values * BINS).astype(np.int64), BINS - 1)
        weights = np.ones_like(bins), np.asarray(right, np.int64).ravel(), np.round(values * _GRID).astype(np.int64)
        sums = [np.zeros(BINS, np.int64) for _ in weights]
        for total, weight in zip(sums, weights, strict=True):
            np.add.at(total, bins, weight)
        return cls(*sums)

    def merge(self, other: "Reliability") -> "Reliability":
        """The sums over both sets, as a new object."""
        return Reliability(self.count + other.count, self.right + other.right, self.confidence + other.confidence)

    @property
    def error(self) -> float:
        """Expected calibration error: the mean over all answers of the gap between the mean confidence of their bin
        and its share of right answers (Guo et al., ICML 2017, equation 5); NaN without answers."""
        total = self.count.sum()
        return float(np.abs(self.confidence / _GRID - self.right).sum() / total) if total else float("nan")

    def table(self, what: str, answers: str, note: str = "") -> Table:
        """The table of at least one answer; `what` names the answers in the title, `answers` their number.

        Empty bins are left out.
        """
        shown = np.flatnonzero(self.count)
        share, mean = self.right[shown] / self.count[shown], self.confidence[shown] / _GRID / self.count[shown]
        rows = tuple(
            (
                f"{100 * b // BINS} to {100 * (b + 1) // BINS}",
                f"{self.count[b]:,}",
                number(mean[i]),
                number(share[i]),
                f"{100 * (mean[i] - share[i]):+.1f}",
            )
            for i, b in enumerate(shown)
        )
        total = self.count.sum()
        together = number(self.confidence.sum() / _GRID / total), number(self.right.sum() / total)
        foot = ("all, mean size of the gap", f"{total:,}", *together, number(self.error))
        return Table(
            f"Reliability of the confidence, %, {what}",
            ("confidence", answers, "mean confidence", "right", "gap"),
            rows,
            (foot,),
            soft=(1,),
            bars={3: tuple(share.tolist())},
            brief=True,
            note=note,
        )
