"""The scorer of joint detection: the share of joints within a distance in image pixels (Qiu et al., ICCV'19)."""

from dataclasses import dataclass

import numpy as np

from jaxhar.core.batch import Batch, Preds, to_image
from jaxhar.evaluation.metrics import State, distances
from jaxhar.evaluation.pose import joints_of, poses, same_joints
from jaxhar.evaluation.scorer import Context, Example, Predicted, float64
from jaxhar.evaluation.sections import Section, Table, Tile, number, words


def detected(pred: np.ndarray, true: np.ndarray, threshold: float) -> np.ndarray:
    """(..., J) bool: joints (..., J, 2) within `threshold` pixels of the truth, inclusive."""
    return distances(pred, true) <= threshold


@dataclass(frozen=True)
class Detection:
    """Joint detection rate: per joint the share of views in which it is found, and the mean over the joints.

    Visibility does not matter; joints that the data does not label are left out.

    Attributes:
      thresholds: in pixels of the original images. The original takes half a tenth of the network's input size: 12.8
        for 256 and 16 for 320, though the distance is measured in the image; so compare rates of one threshold only.
      published: joint -> rates in percent of published networks, shown beside, by their names.
    """

    thresholds: tuple[float, ...] = (12.8,)
    published: tuple[tuple[str, tuple[tuple[str, float], ...]], ...] = ()
    reads = ("pose",)

    def begin(self, context: Context) -> "_Sums | None":
        """Empty sums; None in "clips" views, which are for actions only."""
        return None if context.view.kind == "clips" else _Sums(self, context)

    def truth(self, batch: Batch, context: Context) -> Preds:
        """The labels as predictions."""
        return poses(batch)


class _Sums:
    def __init__(self, settings: Detection, context: Context):
        self._settings, self._context = settings, context
        self._states: list[State] = []
        self._hidden: list[State] = []

    def add(self, example: Example, preds: Predicted) -> None:
        """See `Sums`."""
        if "pose" not in preds or "pose" not in example:
            return
        same_joints(preds["pose"], joints_of(self._context))
        pred, true = (to_image(example["affine"], float64(source["pose"])) for source in (preds, example))
        valid = example["valid"][..., :2].all(-1)
        self._states = self._counted(self._states, pred, true, valid)
        if "hidden" in example:
            self._hidden = self._counted(self._hidden, pred, true, valid & example["hidden"])

    def _counted(self, states: list[State], pred: np.ndarray, true: np.ndarray, valid: np.ndarray) -> list[State]:
        """The sums for each threshold, with those of one example: poses (K, T, J, 2), mask (T, J)."""
        count = np.broadcast_to(valid.sum(0), (len(pred), valid.shape[-1])).astype(np.int64)
        found = [
            State((detected(pred, true, threshold) & valid).sum(1).astype(np.int64), count)
            for threshold in self._settings.thresholds
        ]
        return [a.merge(b) for a, b in zip(states, found, strict=True)] if states else found

    def sections(self) -> list[Section]:
        """See `Sums`."""
        if not self._states:
            return []
        skeleton, suffix = joints_of(self._context), self._context.suffix
        scalars: dict[str, float] = {}
        tables, tiles = [], []
        for threshold, state in zip(self._settings.thresholds, self._states, strict=True):
            rates, means = state.compute(), state.macro()
            key = f"jdr@{threshold:g}px{suffix}"
            scalars |= {key: float(means[-1])}
            scalars |= {f"{key}/{name}": float(rates[-1, j]) for j, name in enumerate(skeleton.joints)}
            if len(means) > 1:
                scalars[f"{key}/raw"] = float(means[0])
            tables.append(self._table(threshold, state, rates, means))
            if self._hidden and self._hidden[len(tables) - 1].count.any():
                pooled = self._hidden[len(tables) - 1].pooled()
                scalars[f"{key}/hidden"] = float(pooled[-1])
                if len(pooled) > 1:
                    scalars[f"{key}/hidden/raw"] = float(pooled[0])
            covered = f"; {number(scalars[f'{key}/hidden'])} % of hidden joints" if f"{key}/hidden" in scalars else ""
            note = f"mean of {int((state.count[-1] > 0).sum())} joints within {threshold:g} px of the image{covered}"
            tiles.append(Tile(f"Joint detection rate, {threshold:g} px", f"{number(means[-1])} %", note))
        return [
            Section(
                "Joint detection",
                scalars=scalars,
                units=dict.fromkeys(scalars, "%"),
                tiles=tuple(tiles),
                tables=tuple(tables),
                about=("Rates of different thresholds, and so of networks of different input size, do not compare.",),
                json={"sums": [{"total": s.total.tolist(), "count": s.count.tolist()} for s in self._states]},
                if_true={name: (1.0, 1.0) for name in scalars if "/" not in name.removesuffix(suffix)},
            )
        ]

    def _table(self, threshold: float, state: State, rates: np.ndarray, means: np.ndarray) -> Table:
        skeleton, published = joints_of(self._context), dict(self._settings.published)
        blocks = ["fused"] if len(rates) == 1 else ["raw", *(f"block {n}" for n in range(2, len(rates))), "fused"]
        if len(rates) == 1:
            blocks = ["rate"]
        rows = [
            (
                words(name),
                f"{state.count[-1, j]:,}",
                *(number(rate) for rate in rates[:, j]),
                *(_listed(dict(column), name) for column in published.values()),
            )
            for j, name in enumerate(skeleton.joints)
            if state.count[-1, j]
        ]
        foot = ("mean", "", *(number(mean) for mean in means), *(_listed(dict(c), "mean") for c in published.values()))
        return Table(
            title=f"Joint detection rate within {threshold:g} px, %",
            columns=("joint", "labelled", *blocks, *published),
            rows=tuple(rows),
            foot=(foot,),
            soft=(1,),
        )


def _listed(column: dict[str, float], name: str) -> str:
    return f"{column[name]:.1f}" if name in column else "–"
