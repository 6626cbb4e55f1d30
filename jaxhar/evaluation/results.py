"""The outcome of an evaluation as data: sums, derived figures, frames to look at; to JSON and back."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from jaxhar.core.skeleton import Skeleton
from jaxhar.evaluation.metrics import State, by_group
from jaxhar.host import files
from jaxhar.host.errors import Problem


@dataclass(frozen=True)
class PoseResult:
    """One pose metric: sums (K, J) over the split.

    Attributes:
      unit: "%" where more is better, else that of a distance.
      protocol: by which it was taken; "" for the evaluation's first. "authors" or "flip/authors": counted by the rules
        of the authors' scripts.
      grouped: whether MPII's columns are shown.
      actions: sums (A, K, J) by class, where the metric is reported so.
      terms: counted for each joint, so many for the thresholds of an area under a curve.
    """

    name: str
    unit: str
    state: State
    protocol: str = ""
    grouped: bool = False
    actions: State | None = None
    terms: int = 1

    @property
    def key(self) -> str:
        """Name of the scalar: "pckh@0.5", or "pckh@0.5/multi"."""
        return self.name.lower() + (f"/{self.protocol}" if self.protocol else "")

    @property
    def best(self) -> int:
        """Index of the block with the best pooled mean, the last of equals. It is chosen on the evaluated set."""
        means = self.state.pooled()
        return _last_largest(means if self.unit == "%" else -means)


@dataclass(frozen=True)
class Prediction:
    """The last head's answer for one sequence (multi) or clip (single); classes are indices."""

    sequence: str
    true: int
    predicted: int
    probability: float


@dataclass(frozen=True)
class ActionResult:
    """Action recognition by one protocol.

    Attributes:
      protocol: "single" or "multi".
      heads: K' names, p1.. and v1.. of the pose and visual streams and m, their merge, last.
      state: sums (K',).
      confusion: (A, A) counts of the last head; the row is the true class.
      predictions: the last head's answers in the order of the split.
      missing: sequences of the split that no clip came from, hence are not counted.
      short: sums (K',) over the sequences too short for a clip of the "multi" protocol, which are scored by a centred
        one; None where that has no meaning.
    """

    protocol: str
    heads: tuple[str, ...]
    state: State
    confusion: np.ndarray
    predictions: tuple[Prediction, ...]
    missing: int = 0
    short: State | None = None

    @property
    def authors(self) -> State | None:
        """Sums (K',) as the authors' scripts count: what is too short for a clip is recognised by every head."""
        if self.short is None:
            return None
        return State(self.state.total - self.short.total + self.short.count, self.state.count)

    @property
    def best(self) -> int:
        """Index of the head with the best accuracy, the last of equals. It is chosen on the evaluated set."""
        return _last_largest(self.state.compute())

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the last head's accuracy, as if every answer stood for itself."""

        found = binomtest(int(self.state.total[-1]), int(self.state.count[-1]))
        low, high = found.proportion_ci(0.95, method="wilson")
        return float(low), float(high)

    @property
    def balanced(self) -> float:
        """The last head's balanced accuracy: the mean of the classes' accuracies."""
        return float(self.per_class.macro())

    @property
    def occurring(self) -> np.ndarray:
        """Numbers of the classes that are true or answered anywhere."""
        return np.flatnonzero(self.confusion.any(0) | self.confusion.any(1))

    @property
    def per_class(self) -> State:
        """Sums (A,) of the last head; a class that does not occur has count 0."""
        return State(np.diag(self.confusion), self.confusion.sum(1))


@dataclass(frozen=True)
class Sample:
    """A frame to look at, with truth and the last block's prediction. What the data or the network lacks is None.

    Attributes:
      frame: (H, W, 3) uint8 RGB.
      pred: (J, 2) crop units.
      confidence: (J,) joint probabilities.
      true: (J, 2) crop units.
      valid: (J,) which joints of `true` carry a label.
      action: true class; predicted: the last head's class; probability: its probability.
    """

    frame: np.ndarray
    sequence: str = ""
    pred: np.ndarray | None = None
    confidence: np.ndarray | None = None
    true: np.ndarray | None = None
    valid: np.ndarray | None = None
    action: int | None = None
    predicted: int | None = None
    probability: float | None = None


@dataclass(frozen=True)
class Published:
    """A figure to compare with.

    Attributes:
      key: of ours in `Results.scalars`.
      value: a fraction, or a distance in `unit`.
      protocol: how it was taken, and where it is given.
    """

    key: str
    value: float
    protocol: str
    unit: str = "%"


@dataclass(frozen=True)
class Results:
    """Everything that one evaluation found. `samples` hold images and are not saved.

    `notes` are sentences on how it was taken, beside what the protocols say.
    """

    split: str
    skeleton: Skeleton
    classes: tuple[str, ...]
    examples: dict[str, int]
    pose: tuple[PoseResult, ...] = ()
    action: tuple[ActionResult, ...] = ()
    samples: tuple[Sample, ...] = field(default=(), compare=False)
    notes: tuple[str, ...] = ()

    def scalars(self) -> dict[str, float]:
        """Figures by name, fractions in [0, 1] and distances in their unit.

        "pck@0.2" is the last block's micro mean (hits over counts of all joints together), "pck@0.2/macro" its mean
        over joints, "accuracy/single" the last head's, "accuracy/single/balanced" its mean over classes.
        "pck@0.2/best" and "accuracy/single/best" are the best block's and head's, where there are several;
        "accuracy/multi/authors" is that of `ActionResult.authors`. On MPII "pckh@0.5/head" and so on are the last
        block's columns; on Human3.6M "mpjpe/walking" and so on are the last block's by activity.
        """
        found = {}
        for metric in self.pose:
            key, means = metric.key, metric.state.pooled()
            found[key] = float(means[-1])
            found[f"{key}/macro"] = float(metric.state.macro()[-1])
            if len(means) > 1:
                found[f"{key}/best"] = float(means[metric.best])
            if metric.grouped:
                groups = by_group(metric.state, self.skeleton)
                found |= {f"{key}/{name.lower()}": float(rates[-1]) for name, rates in groups.items()}
            if metric.actions:
                pooled = metric.actions.pooled()[:, -1]
                found |= {f"{key}/{name}": float(mean) for name, mean in zip(self.classes, pooled, strict=True)}
        for result in self.action:
            key, rates = f"accuracy/{result.protocol}", result.state.compute()
            found[key] = float(rates[-1])
            found[f"{key}/balanced"] = result.balanced
            if len(rates) > 1:
                found[f"{key}/best"] = float(rates[result.best])
            if result.authors is not None:
                found[f"{key}/authors"] = float(result.authors.compute()[-1])
        return found

    def save(self, path: Path) -> None:
        """Write the sums, and the scalars for convenience, as JSON; the file appears whole or not at all."""
        tree = {
            "split": self.split,
            "scalars": {k: None if np.isnan(v) else v for k, v in self.scalars().items()},
            "examples": self.examples,
            "skeleton": {"name": self.skeleton.name, "joints": self.skeleton.joints},
            "classes": self.classes,
            "notes": self.notes,
            "pose": [
                vars(m) | {"state": _dump(m.state), "actions": _dump(m.actions) if m.actions else None}
                for m in self.pose
            ],
            "action": [
                vars(a)
                | {"state": _dump(a.state), "confusion": a.confusion.tolist()}
                | {"predictions": [vars(p) for p in a.predictions], "short": _dump(a.short) if a.short else None}
                for a in self.action
            ],
        }
        files.write(Path(path), json.dumps(tree, indent=1, allow_nan=False).encode())

    @classmethod
    def load(cls, path: Path) -> "Results":
        """Read what `save` wrote; Problem if the file is not that."""
        try:
            tree = json.loads(Path(path).read_bytes())
            return cls(
                split=tree["split"],
                skeleton=Skeleton(tree["skeleton"]["name"], tuple(tree["skeleton"]["joints"])),
                classes=tuple(tree["classes"]),
                examples=tree["examples"],
                pose=tuple(
                    PoseResult(
                        **m | {"state": _parse(m["state"]), "actions": _parse(m["actions"]) if m["actions"] else None}
                    )
                    for m in tree["pose"]
                ),
                action=tuple(
                    ActionResult(
                        protocol=a["protocol"],
                        heads=tuple(a["heads"]),
                        state=_parse(a["state"]),
                        confusion=np.array(a["confusion"], np.int64),
                        predictions=tuple(Prediction(**p) for p in a["predictions"]),
                        missing=a["missing"],
                        short=_parse(a["short"]) if a["short"] else None,
                    )
                    for a in tree["action"]
                ),
                notes=tuple(tree["notes"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Problem(f"{path} is not a results file of an evaluation ({error}); evaluate again") from error


def _last_largest(values: np.ndarray) -> int:
    return len(values) - 1 - int(np.argmax(np.nan_to_num(values[::-1], nan=-np.inf)))


def _dump(state: State) -> dict[str, list]:
    return {"total": state.total.tolist(), "count": state.count.tolist()}


def _parse(tree: dict[str, list]) -> State:
    return State(np.array(tree["total"]), np.array(tree["count"], np.int64))


def head_names(num_heads: int) -> tuple[str, ...]:
    """Names of the action heads in the authors' order: 9 heads are p1..p4, v1..v4, m; one head is m."""
    blocks, merged = divmod(num_heads, 2)
    if not merged:
        return tuple(f"head{i + 1}" for i in range(num_heads))
    return (*(f"{stream}{i + 1}" for stream in "pv" for i in range(blocks)), "m")


#: The last part of the keys of figures that are counted by those rules.
AUTHORS = "authors"
