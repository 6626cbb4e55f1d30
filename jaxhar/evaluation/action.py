"""The scorer of action recognition, and its figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy.stats import binomtest

from jaxhar.core.batch import Array, Batch, Preds
from jaxhar.evaluation.class_metrics import top_k
from jaxhar.evaluation.fusion import Scores
from jaxhar.evaluation.metrics import State, accuracy, confusion, log_softmax
from jaxhar.evaluation.pose import dump, last_largest
from jaxhar.evaluation.reliability import Reliability
from jaxhar.evaluation.scorer import Context, Example, Predicted
from jaxhar.evaluation.sections import Matrix, Section, Table, Tile, number, words
from jaxhar.host.errors import Problem

#: Logit of the true class in `Action.truth`, large enough for a probability of 1 in float32.
_CERTAIN = 40.0
_MOST_MISTAKES = 20

Reduce = Literal["product", "sum", "mean"]
_REDUCED = {
    "product": "“{}” multiplies the probabilities of all clips of a sequence and of their mirror images.",
    "sum": "“{}” adds the probabilities of all clips of a sequence.",
    "mean": "“{}” averages the scores of all clips of a sequence.",
}


@dataclass(frozen=True)
class Action:
    """Scores the predicted classes for every action head: of each clip, or in "clips" views of each sequence.

    Attributes:
      reduce: how the scores of the clips of a sequence are combined: "product" of the class probabilities (deephar),
        their "sum", or the "mean" of the scores before the softmax.
    """

    reduce: Reduce = "product"
    reads = ("action",)

    def begin(self, context: Context) -> "ActionSums":
        """Empty sums."""
        return ActionSums(context, self.reduce)

    def truth(self, batch: Batch, context: Context) -> Preds:
        """The labels as logits of three heads; {} without labels or classes."""
        if "action" not in batch or not context.classes:
            return {}
        logits = _CERTAIN * np.eye(len(context.classes), dtype=np.float32)[np.asarray(batch["action"])]
        return {"action": np.repeat(logits[None], 3, 0)}


def scores_of_data(scores: Array | tuple[Array, ...], context: Context) -> tuple[np.ndarray | None, str]:
    """Select the scores of the data's classes from a network's action scores (K', ..., A), or a tuple of these.

    Returns:
      The scores and "", or None and a sentence with the reason if there are none.
    """
    sets = scores if isinstance(scores, tuple) else (scores,)
    known = context.network_classes
    names = known if known and isinstance(known[0], tuple) else (known,) * len(sets)
    for one, of_set in zip(sets, names, strict=True):
        if one.shape[-1] == len(context.classes) and of_set in ((), context.classes):
            return one, ""
    counts = " + ".join(str(one.shape[-1]) for one in sets)
    return None, (
        f"Actions are not scored: the network's {counts} classes are not the {len(context.classes)} of this data."
    )


def head_names(count: int) -> tuple[str, ...]:
    """Names of the action heads in deephar's order: 9 heads are p1..p4, v1..v4, m; a single head is m."""
    blocks, merged = divmod(count, 2)
    if not merged:
        return tuple(f"head{i + 1}" for i in range(count))
    return (*(f"{stream}{i + 1}" for stream in "pv" for i in range(blocks)), "m")


def describe_heads(heads: Sequence[str]) -> str:
    """A sentence that explains the names of heads; "" for one head, or heads of other names."""
    blocks = len(heads) // 2
    if len(heads) < 3 or tuple(heads) != head_names(len(heads)) or heads[-1] != "m":
        return ""
    pose, visual = (f"{s}1..{s}{blocks}" if blocks > 1 else f"{s}1" for s in "pv")
    return (
        f"A head is one action output of the network: {pose} use only poses, {visual} only appearance features, one "
        "for each block; m combines both."
    )


@dataclass(frozen=True)
class Prediction:
    """The last head's prediction for one sequence or clip; classes are indices."""

    sequence: str
    true: int
    predicted: int
    probability: float


@dataclass(frozen=True)
class ActionFigure:
    """Accuracy of action recognition in one view.

    Attributes:
      view: its name. heads: K' names; the last head is the network's prediction.
      state: hits and counts (K',).
      confusion: (A, A) counts of the last head; the row is the true class.
      predictions: of the last head, in the order of the split.
      missing: number of sequences without a clip, which are not counted.
      top5: share of the sequences whose class is among the five that score highest, the first ones of equals, by the
        last head; None for five classes or fewer.
    """

    view: str
    heads: tuple[str, ...]
    state: State
    confusion: np.ndarray
    predictions: tuple[Prediction, ...]
    missing: int = 0
    top5: float | None = None

    @property
    def key(self) -> str:
        """Name of the figure: "accuracy/single"."""
        return f"accuracy/{self.view}"

    @property
    def best(self) -> int:
        """Index of the head with the best accuracy on the evaluated data; the last one of equals."""
        return last_largest(self.state.compute())

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of the last head's accuracy (Wilson score), if predictions are independent."""
        found = binomtest(int(self.state.total[-1]), int(self.state.count[-1]))
        low, high = found.proportion_ci(0.95, method="wilson")
        return float(low), float(high)

    @property
    def balanced(self) -> float:
        """The last head's balanced accuracy: the mean of the classes' accuracies."""
        return float(self.per_class.macro())

    @property
    def f1(self) -> float:
        """The last head's macro F1: the mean over the occurring classes of 2 hits / (true + predicted)."""
        sums = self.confusion.sum(0) + self.confusion.sum(1)
        return float(State(2 * np.diag(self.confusion), sums).macro())

    @property
    def occurring(self) -> np.ndarray:
        """Indices of the classes that are true or predicted at least once."""
        return np.flatnonzero(self.confusion.any(0) | self.confusion.any(1))

    @property
    def per_class(self) -> State:
        """Hits and counts (A,) of the last head; a class that does not occur has count 0."""
        return State(np.diag(self.confusion), self.confusion.sum(1))

    @property
    def reliability(self) -> Reliability:
        """Of the probability of the predicted class."""
        given = self.predictions
        return Reliability.of([p.probability for p in given], [p.predicted == p.true for p in given])

    def scalars(self) -> dict[str, float]:
        """The last head's accuracy as `key`, the mean of its class accuracies as "KEY/balanced", its macro F1 as
        "KEY/f1", the expected calibration error as "KEY/calibration", the top-5 accuracy as "KEY/top5", and the best
        head's accuracy as "KEY/best"."""
        rates = self.state.compute()
        found = {
            self.key: float(rates[-1]),
            f"{self.key}/balanced": self.balanced,
            f"{self.key}/f1": self.f1,
            f"{self.key}/calibration": self.reliability.error,
        }
        if self.top5 is not None:
            found[f"{self.key}/top5"] = self.top5
        if len(rates) > 1:
            found[f"{self.key}/best"] = float(rates[self.best])
        return found

    def section(self, classes: tuple[str, ...], about: str = "") -> Section:
        """The figure for the report; `about` is a sentence that explains the view."""
        absent = len(self.confusion) - len(self.occurring)
        left_out = f"{absent} actions that do not occur are left out." if absent else ""
        sentences = [about] if about else []
        if self.missing:
            sentences.append(f"{self.missing} sequences have no clip in the view “{self.view}” and are not counted.")
        if len(self.heads) > 1:
            sentences.append(describe_heads(self.heads))
            sentences.append("The last head is the network's prediction. ★ marks the best head on this data.")
        names = tuple(words(name) for name in classes)
        tables = (
            self._by_class(names, left_out),
            self._by_head(),
            self.reliability.table(f"actions, {_shown(self.view)}", "sequences"),
            self._mistakes(names),
        )
        return Section(
            "Action",
            scalars=self.scalars(),
            units=dict.fromkeys(self.scalars(), "%"),
            tiles=(self._tile(), *self._top5()),
            tables=tuple(table for table in tables if table.rows),
            matrices=(self._matrix(names),),
            about=tuple(filter(None, sentences)),
            json=self.json(),
            if_true={self.key: (1.0, 1.0)},
            if_learned={self.key: (1.0, 1.0)},
        )

    def _tile(self) -> Tile:
        rates, (low, high) = self.state.compute(), map(number, self.interval)
        note = (
            f"{self.state.total[-1]:,} of {self.state.count[-1]:,} right, 95 % confidence interval {low} to {high}; "
            f"mean of the classes' accuracies {number(self.balanced)}, macro F1 {number(self.f1)}"
        )
        if len(rates) > 1:
            note += f"; last head ({self.heads[-1]}); best head ({self.heads[self.best]}) {number(rates[self.best])}"
        return Tile(f"Action accuracy, {_shown(self.view)}", f"{number(rates[-1])} %", note)

    def _top5(self) -> tuple[Tile, ...]:
        if self.top5 is None:
            return ()
        note = "the true class is among the five of the highest scores"
        return (Tile(f"Top-5 accuracy, {_shown(self.view)}", f"{number(self.top5)} %", note),)

    def _by_class(self, names: tuple[str, ...], left_out: str) -> Table:
        rates, shown = self.per_class.compute(), self.occurring

        def row(n: int) -> tuple[str, ...]:
            others = np.where(np.arange(len(names)) == n, 0, self.confusion[n])
            taken_for = f"{names[others.argmax()]} ({others.max()})" if others.any() else ""
            return names[n], f"{self.confusion[n].sum():,}", number(rates[n]), taken_for

        return Table(
            "Accuracy by action, %",
            ("action", "sequences", self.view, "most frequent mistake"),
            tuple(row(n) for n in shown),
            soft=(1, 3),
            bars={2: tuple(np.nan_to_num(rates[shown]).tolist())},
            note=left_out,
        )

    def _by_head(self) -> Table:
        rates = self.state.compute()
        return Table(
            "Accuracy by head, %",
            ("head", self.view),
            tuple((name, number(rate)) for name, rate in zip(self.heads, rates, strict=True)),
            best=((self.best, 1),) if len(rates) > 1 else (),
        )

    def _matrix(self, names: tuple[str, ...]) -> Matrix:
        shown = self.occurring
        return Matrix(
            f"Confusion matrix, {_shown(self.view)}" + (f", head {self.heads[-1]}" if len(self.heads) > 1 else ""),
            f"confusion_{self.view}",
            tuple(names[n] for n in shown),
            self.confusion[np.ix_(shown, shown)],
        )

    def _mistakes(self, names: tuple[str, ...]) -> Table:
        wrong = sorted((p for p in self.predictions if p.true != p.predicted), key=lambda p: -p.probability)
        return Table(
            f"The most confident mistakes, {_shown(self.view)}",
            ("sequence", "true", "predicted", "probability"),
            tuple(
                (p.sequence, names[p.true], names[p.predicted], f"{p.probability:.0%}") for p in wrong[:_MOST_MISTAKES]
            ),
            folded=True,
        )

    def json(self) -> dict[str, object]:
        """The figure as JSON values; `from_json` reads them."""
        return vars(self) | {
            "state": dump(self.state),
            "confusion": self.confusion.tolist(),
            "predictions": [vars(p) for p in self.predictions],
        }

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> "ActionFigure":
        """A figure from the values of `json`."""
        return cls(
            view=tree["view"],
            heads=tuple(tree["heads"]),
            state=State(np.array(tree["state"]["total"], np.int64), np.array(tree["state"]["count"], np.int64)),
            confusion=np.array(tree["confusion"], np.int64),
            predictions=tuple(Prediction(**p) for p in tree["predictions"]),
            missing=tree["missing"],
            top5=tree.get("top5"),
        )


def _shown(view: str) -> str:
    return f"{view} clip" if view in ("single", "multi") else view


class ActionSums:
    """Scores (K', A) of every clip, or summed over the clips of each sequence."""

    def __init__(self, context: Context, reduce: Reduce = "product"):
        self._context, self._reduce = context, reduce
        self._together = context.view.kind == "clips"
        self._sums: dict[int, np.ndarray] = {}
        self._clips: dict[int, int] = {}
        self._labels: dict[int, int] = {}
        self._sequences: dict[int, int] = {}
        self._notes: dict[str, None] = {}

    def add(self, example: Example, preds: Predicted) -> None:
        """See `Sums`."""
        if "action" not in preds or "action" not in example:
            return
        logits, note = scores_of_data(preds["action"], self._context)
        if logits is None:
            self._notes[note] = None
            return
        label, sequence, name = int(example["action"]), int(example.get("sequence", -1)), self._context.name(example)
        if label == -1:  # not labelled
            return
        last = len(self._context.classes) - 1
        if not 0 <= label <= last:
            raise Problem(f"sequence {name} has the action label {label}, but classes go from 0 to {last}")
        if not np.isfinite(logits).all():
            raise Problem(f"the network's action scores for {name} are not finite numbers")
        unit = sequence if self._together else len(self._sums)
        if self._labels.setdefault(unit, label) != label:
            raise Problem(f"clips of sequence {name} have different action labels")
        self._sums[unit] = self._sums.get(unit, 0.0) + self._vote(logits)
        self._clips[unit] = self._clips.get(unit, 0) + 1
        self._sequences[unit] = sequence

    def _vote(self, logits: np.ndarray) -> np.ndarray:
        if self._reduce == "mean":
            return np.asarray(logits, np.float64)
        return log_softmax(logits) if self._reduce == "product" else np.exp(log_softmax(logits))

    def _scores(self) -> np.ndarray:
        return np.stack(list(self._sums.values()), 1)  # (K', N, A)

    def _probabilities(self, summed: np.ndarray) -> np.ndarray:
        """(N, A) probabilities from the mean over clips; the product over many clips would always be 0 or 1."""
        mean = summed / np.array(list(self._clips.values()))[:, None]
        return mean if self._reduce == "sum" else np.exp(log_softmax(mean))

    @property
    def scores(self) -> Scores:
        """The last head's mean probabilities of every sequence, to be fused with those of other networks."""
        return Scores(
            classes=self._context.classes,
            names=tuple(self._context.name({"sequence": sequence}) for sequence in self._sequences.values()),
            labels=np.array(list(self._labels.values())),
            scores=self._probabilities(self._scores()[-1]),
        )

    @property
    def figure(self) -> ActionFigure | None:
        """The accuracy so far; None if nothing was added."""
        if not self._sums:
            return None
        scores, labels = self._scores(), np.array(list(self._labels.values()))
        best, mean = scores[-1].argmax(-1), self._probabilities(scores[-1])
        names = self._context.names
        predictions = tuple(
            Prediction(self._context.name({"sequence": sequence}), int(label), int(choice), float(mean[n, choice]))
            for n, (sequence, label, choice) in enumerate(zip(self._sequences.values(), labels, best, strict=True))
        )
        known = set(self._sequences.values()) - {-1}
        return ActionFigure(
            view=self._context.view.name,
            heads=head_names(len(scores)),
            state=State(*accuracy(scores, labels)),
            confusion=confusion(labels, best, len(self._context.classes)),
            predictions=predictions,
            missing=len(names) - len(known) if known else 0,
            top5=top_k(scores[-1], labels, 5) if len(self._context.classes) > 5 else None,
        )

    def subset(self, sequences: frozenset[int]) -> State:
        """Hits and counts (K',) over these sequences only."""
        few = np.array([sequence in sequences for sequence in self._sequences.values()])
        labels = np.array(list(self._labels.values()))
        return State(*accuracy(self._scores()[:, few], labels[few]))

    def sections(self) -> list[Section]:
        """See `Sums`."""
        notes, view = tuple(self._notes), self._context.view
        figure = self.figure
        if figure is None:
            return [Section("Action", notes=notes)] if notes else []
        about = f"“{view.name}” scores one clip from the middle of each sequence." if view.kind == "each" else ""
        if self._together:
            about = _REDUCED[self._reduce].format(view.name)
        found = figure.section(self._context.classes, about)
        arrays = {f"scores_{view.name}": self.scores.arrays()}
        return [replace(found, notes=(*found.notes, *notes), arrays=arrays)]
