"""The scorer of 2-D poses in the image, and its parts that the scorer of 3-D poses uses too."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxhar.core.batch import Batch, Preds, to_image
from jaxhar.core.skeleton import Skeleton
from jaxhar.evaluation.metrics import PCK, Metric, PoseMetric, State, by_group, hits
from jaxhar.evaluation.reliability import Reliability
from jaxhar.evaluation.scorer import Context, Example, Predicted, float64
from jaxhar.evaluation.sections import Section, Table, Tile, number, words
from jaxhar.host.errors import Problem

ABOUT = (
    "Columns are the prediction blocks; the last one is the network's prediction.",
    "★ marks the best block on this data. Report the last block, since the best one was chosen on the test data.",
    "“All joints” is the mean over all labelled joints of all frames (micro mean); “mean of joints” is the mean of the "
    "joints' own rates (macro mean).",
)
COUNTED = "All labelled joints are counted, including those outside of the crop."


@dataclass(frozen=True)
class Pose:
    """Scores poses in image pixels: each metric for every prediction block and joint.

    Attributes:
      metrics: each adds figures such as "pck@0.2" and "pck@0.2/macro", see `PoseFigure.scalars`.
    """

    metrics: tuple[PoseMetric, ...] = (PCK(0.2),)
    reads = ("pose", "visible")

    def begin(self, context: Context) -> "PoseSums | None":
        """Empty sums; None in "clips" views, which are for actions only."""
        return None if context.view.kind == "clips" else PoseSums(self.metrics, context)

    def truth(self, batch: Batch, context: Context) -> Preds:
        """See `poses`."""
        return poses(batch)


def poses(batch: Batch) -> Preds:
    """The labels of a batch as predictions of a network with two blocks."""
    found = {key: np.repeat(np.asarray(batch[key])[None], 2, 0) for key in ("pose", "visible") if key in batch}  # type: ignore[literal-required]
    return found  # type: ignore[return-value]


@dataclass(frozen=True)
class PoseFigure:
    """One pose metric over a split.

    Attributes:
      state: sums (K, J) for every prediction block and joint.
      suffix: last part of its name, see `Context.suffix`.
      by_class: sums (A, K, J) by action class, if the metric is reported by class.
      reliability: of the last block's joint probabilities, if the network gives any and the metric has hits.
    """

    metric: Metric
    state: State
    skeleton: Skeleton
    suffix: str = ""
    classes: tuple[str, ...] = ()
    by_class: State | None = None
    reliability: Reliability | None = None

    @property
    def key(self) -> str:
        """Name of the figure: "pckh@0.5", or "pckh@0.5/multi"."""
        return self.metric.name.lower() + self.suffix

    @property
    def title(self) -> str:
        view = self.suffix.removeprefix("/")
        return f"{self.metric.name}, {self.metric.unit}" + (f", {view}" if view else "")

    @property
    def best(self) -> int:
        """Index of the block with the best micro mean on the evaluated data; the last one of equals."""
        means = self.state.pooled()
        return last_largest(means if self.metric.unit == "%" else -means)

    def scalars(self) -> dict[str, float]:
        """Figures of the last block by name: `key` is the micro mean, "KEY/macro" the macro mean, "KEY/head" and so
        on MPII's groups of joints, "KEY/walking" and so on the micro means by class. "KEY/best" is the micro mean of
        the best block, if there are several; "KEY/calibration" the expected calibration error of the probabilities."""
        key, means = self.key, self.state.pooled()
        found = {key: float(means[-1]), f"{key}/macro": float(self.state.macro()[-1])}
        if len(means) > 1:
            found[f"{key}/best"] = float(means[self.best])
        if self.metric.grouped:
            groups = by_group(self.state, self.skeleton)
            found |= {f"{key}/{name.lower()}": float(rates[-1]) for name, rates in groups.items()}
        if self.by_class:
            pooled = self.by_class.pooled()[:, -1]
            found |= {f"{key}/{name}": float(mean) for name, mean in zip(self.classes, pooled, strict=True)}
        if self.reliability:
            found[f"{key}/calibration"] = self.reliability.error
        return found

    def tile(self) -> Tile:
        unit, means = self.metric.unit, self.state.pooled()
        counts = self.state.count[-1].sum() // self.metric.terms
        note = f"mean over {counts:,} labelled joints; mean of joints {number(self.state.macro()[-1], unit)}"
        if len(means) > 1:
            note += f"; last block of {len(means)}; best block ({self.best + 1}) {number(means[self.best], unit)}"
        view = self.suffix.removeprefix("/")
        name = f"{self.metric.name}, {view}" if view else self.metric.name
        return Tile(name, f"{number(means[-1], unit)} {unit}", note)

    def tables(self) -> tuple[Table, ...]:
        """A table with a column per block and a row per joint, one with a row per class if there are classes, and
        the reliability of the joint probabilities."""
        tables = [self._by_joint()]
        if self.by_class:
            tables.append(self._by_class(self.by_class))
        if self.reliability:
            note = f"A joint is right where {self.metric.name} counts it as a hit."
            tables.append(self.reliability.table(f"joints{self.suffix.replace('/', ', ')}", "joints", note))
        return tuple(tables)

    def _by_joint(self) -> Table:
        """Joints that are never labelled are left out."""
        rates, counts = self.state.compute(), self.state.count[-1] // self.metric.terms
        groups = by_group(self.state, self.skeleton) if self.metric.grouped else {}
        return self._table(
            "joint",
            [
                (words(joint), rates[:, j], f"{counts[j]:,}")
                for j, joint in enumerate(self.skeleton.joints)
                if counts[j]
            ],
            [
                *((name, values, "") for name, values in groups.items() if name != "Total"),
                ("Total" if groups else "all joints", self.state.pooled(), f"{counts.sum():,}"),
                ("mean of joints", self.state.macro(), ""),
            ],
        )

    def _by_class(self, sums: State) -> Table:
        """Classes that do not occur are left out."""
        means, counts = sums.pooled(), sums.count[:, -1].sum(-1)
        seen = np.flatnonzero(counts)
        return self._table(
            "activity",
            [(words(self.classes[n]), means[n], f"{counts[n]:,}") for n in seen],
            [
                ("all joints", self.state.pooled(), f"{counts.sum():,}"),
                ("mean of activities", means[seen].mean(0), ""),
            ],
            ", by activity",
        )

    def _table(self, head: str, rows: Sequence[tuple], foot: Sequence[tuple], title: str = "") -> Table:
        """Rows are (name, values by block, count as text)."""
        unit, blocks = self.metric.unit, len(self.state.count)
        last = np.nan_to_num([float(values[-1]) for _, values, _ in rows])
        ceiling = 1.0 if unit == "%" else max(1e-9, *last, 0.0)
        names = [f"block {n + 1}" for n in range(blocks)]
        names[-1] += ", last"

        def row(name: str, values: np.ndarray, count: str) -> tuple[str, ...]:
            return (name, count, *(number(v, unit) for v in values))

        return Table(
            title=self.title + title,
            columns=(head, "labelled", *(names if blocks > 1 else [self.metric.name])),
            rows=tuple(row(*r) for r in rows),
            foot=tuple(row(*r) for r in foot),
            soft=(1,),
            bars={blocks + 1: tuple((last / ceiling).tolist())},
            best=((-1, 2 + self.best),) if blocks > 1 else (),
            brief=self.metric.grouped and head == "joint",
        )

    def json(self) -> dict[str, object]:
        """The sums."""
        return {"unit": self.metric.unit, **dump(self.state), "classes": dump(self.by_class) if self.by_class else None}


def dump(state: State) -> dict[str, list]:
    """Sums as lists."""
    return {"total": state.total.tolist(), "count": state.count.tolist()}


def last_largest(values: np.ndarray) -> int:
    """Index of the largest value, the last one of equals; NaN counts as the smallest."""
    return len(values) - 1 - int(np.argmax(np.nan_to_num(values[::-1], nan=-np.inf)))


def section(title: str, figures: Sequence[PoseFigure], notes: tuple[str, ...] = ()) -> Section:
    """A section of pose figures. Only the first metric that has `if_learned` bounds sets them."""
    learned = [f for f in figures if f.metric.if_learned is not None][:1]
    skeleton = figures[0].skeleton
    return Section(
        title,
        scalars={key: value for figure in figures for key, value in figure.scalars().items()},
        units={key: figure.metric.unit for figure in figures for key in figure.scalars()},
        tiles=tuple(figure.tile() for figure in figures),
        tables=tuple(table for figure in figures for table in figure.tables()),
        about=(*ABOUT, f"The skeleton is {skeleton.name}, {len(skeleton)} joints."),
        notes=notes,
        json={
            "skeleton": {"name": skeleton.name, "joints": skeleton.joints},
            "sums": {figure.key: figure.json() for figure in figures},
        },
        if_true={figure.key: figure.metric.if_true for figure in figures},
        if_learned={figure.key: figure.metric.if_learned for figure in learned if figure.metric.if_learned},
    )


def same_joints(pose: np.ndarray, skeleton: Skeleton) -> None:
    """Problem if poses (..., J, D) have another number of joints than the skeleton."""
    if pose.shape[-2] != len(skeleton):
        raise Problem(
            f"the network predicts {pose.shape[-2]} joints and the data has {len(skeleton)} ({skeleton.name}); "
            "use a network made for this skeleton"
        )


def judge(metrics: Sequence[Metric]) -> PCK | None:
    """The metric by which a joint is right or wrong: the first PCK; None without one."""
    return next((metric for metric in metrics if isinstance(metric, PCK) and metric.terms == 1), None)


def in_image(example: Example, preds: Predicted) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predicted (K, T, J, 2) and true (T, J, 2) joints in image pixels, and which are labelled (T, J)."""
    affine, crop = example["affine"], float64(example["pose"][..., :2])
    return to_image(affine, float64(preds["pose"])), to_image(affine, crop), example["valid"][..., :2].all(-1)


def judged(
    metric: PCK, example: Example, preds: Predicted, valid: np.ndarray, skeleton: Skeleton
) -> tuple[np.ndarray, np.ndarray]:
    """(N,) probabilities of the last block's joints that a metric counts among `valid` (T, J), and which are right."""
    pred, true, _ = in_image(example, preds)
    right, counted = hits(pred[-1], true, valid & metric.scored(skeleton), example["norm"], metric.threshold)
    return float64(preds["visible"][-1])[counted], right[counted]


def joints_of(context: Context) -> Skeleton:
    """The skeleton of the data; Problem without one."""
    if context.skeleton is None:
        raise Problem("the data has no skeleton, so poses cannot be scored; remove the pose scorer")
    return context.skeleton


class PoseSums:
    """Sums of metrics of poses in the image.

    Attributes:
      figures: one for each metric; () before the first example.
    """

    def __init__(self, metrics: tuple[PoseMetric, ...], context: Context, inside_only: bool = False, suffix: str = ""):
        """`inside_only`: do not count joints outside of the crop. `suffix`: appended to the view's suffix."""
        self._metrics, self._skeleton, self._inside = metrics, context.skeleton, inside_only
        self._context, self._suffix = context, context.suffix + suffix
        self._states: list[State] = []
        self._judge = judge(metrics)
        self._reliability = Reliability.of((), ())

    def add(self, example: Example, preds: Predicted) -> None:
        """See `Sums`."""
        if "pose" not in preds or "pose" not in example or not self._metrics:
            return
        skeleton = joints_of(self._context)
        same_joints(preds["pose"], skeleton)
        pred, true, valid = in_image(example, preds)
        if self._inside:
            crop = float64(example["pose"][..., :2])
            valid = valid & ((crop > 0) & (crop < 1)).all(-1)
        found = [metric.get(pred, true, valid, example.get("norm"), skeleton) for metric in self._metrics]
        self._states = [a.merge(b) for a, b in zip(self._states, found, strict=True)] if self._states else found
        if "visible" in preds and self._judge is not None:
            sums = Reliability.of(*judged(self._judge, example, preds, valid, skeleton))
            self._reliability = self._reliability.merge(sums)

    @property
    def figures(self) -> tuple[PoseFigure, ...]:
        if not self._states or self._skeleton is None:
            return ()
        pairs = zip(self._metrics, self._states, strict=True)
        return tuple(
            PoseFigure(
                metric,
                state,
                self._skeleton,
                self._suffix,
                reliability=self._reliability if metric is self._judge and self._reliability.count.any() else None,
            )
            for metric, state in pairs
        )

    def sections(self) -> list[Section]:
        """See `Sums`."""
        figures = self.figures
        notes = (COUNTED,) if any(figure.metric.unit == "%" for figure in figures) else ()
        return [section("Pose", figures, notes)] if figures else []
