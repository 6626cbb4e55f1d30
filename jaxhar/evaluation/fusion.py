"""Class scores of several networks for the same samples, and their weighted sum."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from jaxhar.evaluation.class_metrics import mean_class, top_k
from jaxhar.evaluation.sections import Section, Table, Tile, number
from jaxhar.host.errors import Problem, Usage

#: Figures of the table: title -> key of that of the sum, and a function of scores (N, A) and labels (N,).
_FIGURES: dict[str, tuple[str, Callable[[np.ndarray, np.ndarray], float]]] = {
    "top-1": ("accuracy/fused", top_k),
    "top-5": ("accuracy/fused/top5", partial(top_k, k=5)),
    "mean-class": ("accuracy/fused/balanced", mean_class),
    "mean-class, seen": ("accuracy/fused/seen", partial(mean_class, over="seen")),
}


@dataclass(frozen=True)
class Scores:
    """The class scores of every sample.

    Attributes:
      classes: their names; () if they are not known.
      names: of the N samples; () if they are not known.
      labels: (N,) classes. scores: (N, A) float64, the probabilities of a video, as the mean over its clips.
    """

    classes: tuple[str, ...]
    names: tuple[str, ...]
    labels: np.ndarray
    scores: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """The content of a file for `read`."""
        texts = {"classes": np.array(self.classes, str), "names": np.array(self.names, str)}
        return {**texts, "labels": self.labels, "scores": self.scores}

    def in_order_of(self, names: Sequence[str]) -> "Scores":
        """The same samples in another order."""
        place = {name: n for n, name in enumerate(self.names)}
        order = [place[name] for name in names]
        return Scores(self.classes, tuple(names), self.labels[order], self.scores[order])


def read(path: Path) -> Scores:
    """The scores_VIEW.npz of an evaluation; Problem if it is something else."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as content:
            classes, names, labels, scores = (content[key] for key in ("classes", "names", "labels", "scores"))
    except Exception as error:  # damaged archives raise many types
        raise Problem(f"{path} holds no class scores of an evaluation ({error}); evaluate again") from error
    samples, count = scores.shape if scores.ndim == 2 else (0, 0)
    if not samples * count or scores.dtype.kind not in "fiu" or not np.isfinite(scores).all():
        wrong = f"scores of shape {scores.shape}, which are not finite numbers of samples by classes"
    elif labels.shape != (samples,) or labels.dtype.kind not in "iu" or not ((0 <= labels) & (labels < count)).all():
        wrong = f"labels that are not one whole number from 0 to {count - 1} for each of {samples} samples"
    elif not _texts(classes, count) or not _texts(names, samples):
        wrong = f"names that are not one text for each of {count} classes and {samples} samples"
    else:
        return Scores(tuple(classes.tolist()), tuple(names.tolist()), labels, scores.astype(np.float64))
    raise Problem(f"{path} holds {wrong}; evaluate again")


def _texts(names: np.ndarray, count: int) -> bool:
    """Whether these are `count` names, or none."""
    return names.ndim == 1 and names.dtype.kind == "U" and len(names) in (0, count)


def fuse(parts: Sequence[Scores], weights: Sequence[float], names: Sequence[str]) -> Scores:
    """The weighted sum of the scores of every sample, in the order of the first part.

    Args:
      names: of the parts, for messages.

    Raises:
      Usage: not one finite weight for each part. Problem: the parts have other classes, samples or labels.
    """
    if len(weights) != len(parts) or not np.isfinite(weights).all() or not np.any(weights):
        raise Usage(f"--weights must be {len(parts)} numbers, one for each run and not all 0, not {list(weights)}")
    first = parts[0]
    summed = np.zeros(first.scores.shape)
    for weight, part, name in zip(weights, parts, names, strict=True):
        summed += weight * _like(first, part, names[0], name).scores
    return Scores(first.classes, first.names, first.labels, summed)


def _like(first: Scores, part: Scores, of_first: str, of_part: str) -> Scores:
    """`part` in the order of `first`; Problem if they do not fit each other."""
    both = f"{of_first} and {of_part} cannot be added"
    if first.scores.shape[1] != part.scores.shape[1]:
        raise Problem(f"{both}: they have {first.scores.shape[1]} and {part.scores.shape[1]} classes")
    if first.classes and part.classes and first.classes != part.classes:
        a, b = next((a, b) for a, b in zip(first.classes, part.classes, strict=True) if a != b)
        raise Problem(f"{both}: they have other classes, e.g. {a!r} where the second has {b!r}")
    if len(first.labels) != len(part.labels):
        raise Problem(f"{both}: they have {len(first.labels)} and {len(part.labels)} samples")
    if first.names and part.names:
        for one, name in ((first, of_first), (part, of_part)):
            if len(set(one.names)) < len(one.names):
                raise Problem(f"{both}: samples of {name} have the same name; evaluate a view with one score a video")
        if missing := set(first.names) - set(part.names):
            raise Problem(f"{both}: {len(missing)} samples of the first are not in the second, e.g. {min(missing)}")
        part = part.in_order_of(first.names)
    if (other := np.flatnonzero(first.labels != part.labels)).size:
        where = first.names[other[0]] if first.names else f"number {other[0]}"
        raise Problem(f"{both}: {len(other)} samples have another label, e.g. {where}")
    return part


def section(parts: Sequence[Scores], total: Scores, weights: Sequence[float], names: Sequence[str]) -> Section:
    """A table of the parts and their sum; top-5 beside more than five classes."""
    rows, scalars = [], {}
    figures = {title: pair for title, pair in _FIGURES.items() if title != "top-5" or total.scores.shape[1] > 5}
    for name, weight, one in zip((*names, "sum"), (*weights, None), (*parts, total), strict=True):
        found = [figure(one.scores, one.labels) for _, figure in figures.values()]
        rows.append((name, "" if weight is None else f"{weight:g}", *map(number, found)))
        if weight is None:
            scalars = dict(zip((key for key, _ in figures.values()), found, strict=True))
    table = Table(
        f"Accuracy over {len(total.labels):,} samples, %",
        ("run", "weight", *figures),
        tuple(rows[:-1]),
        (rows[-1],),
        soft=(1,),
        note="mean-class: over the classes that occur as labels; seen: as labels or predictions, as mmaction2 counts",
    )
    return Section(
        "Fused scores",
        scalars=scalars,
        units=dict.fromkeys(scalars, "%"),
        tiles=(Tile("Fused accuracy", f"{number(scalars['accuracy/fused'])} %", " + ".join(names)),),
        tables=(table,),
        arrays={"scores_fused": total.arrays()},
    )
