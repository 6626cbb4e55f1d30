"""Accuracies of several variants of a network, each trained with several seeds, and their differences with intervals.

Intervals are percentiles of resamples of the samples and of the seeds, together and the same for all variants, so that
a difference counts what they have in common only once. Of few seeds, they are too narrow by what a seed makes out.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from jaxhar.evaluation.fusion import Scores
from jaxhar.evaluation.sections import Section, Table, Tile, number
from jaxhar.host.errors import Problem

#: Number of resamples, and the percentiles of an interval of 95 %.
RESAMPLES, PERCENTILES = 4000, (2.5, 97.5)


def right(arms: Mapping[str, Sequence[Scores]]) -> np.ndarray:
    """Which samples (N) every variant gets right with every seed: (variants, seeds, N) bool.

    Raises:
      Problem: they were not evaluated on the same samples.
    """
    first = next(iter(arms.values()))[0]
    for name, runs in arms.items():
        if any(run.names != first.names or not np.array_equal(run.labels, first.labels) for run in runs):
            raise Problem(f"{name} was evaluated on other samples than {next(iter(arms))}; they cannot be compared")
    return np.array([[run.scores.argmax(-1) == run.labels for run in runs] for runs in arms.values()])


def resampled(right: np.ndarray, seed: int = 0) -> np.ndarray:
    """Accuracies (variants, `RESAMPLES`) over samples and seeds drawn with replacement, alike for all variants."""
    rng = np.random.default_rng(seed)
    _, seeds, count = right.shape
    found = np.empty((len(right), RESAMPLES))
    for n in range(RESAMPLES):
        drawn = right[:, rng.integers(seeds, size=seeds)][..., rng.integers(count, size=count)]
        found[:, n] = drawn.mean((1, 2))
    return found


def section(arms: Mapping[str, Sequence[Scores]], about: Mapping[str, str] | None = None) -> Section:
    """The accuracy of every variant, and of every two the difference.

    Args:
      about: variant -> what it is, for those that are to be explained.
    """
    correct = right(arms)
    names, means, drawn = tuple(arms), correct.mean((1, 2)), resampled(correct)
    each, intervals = correct.mean(2), _interval(drawn)
    rows = tuple(
        (name, number(mean), _between(interval), *map(number, seeds))
        for name, mean, interval, seeds in zip(names, means, intervals, each, strict=True)
    )
    scalars = {f"accuracy/{name}": float(mean) for name, mean in zip(names, means, strict=True)}
    differences = []
    for one, other in combinations(range(len(names)), 2):
        low, high = _interval(drawn[other] - drawn[one])
        gain = float(means[other] - means[one])
        scalars[f"accuracy/{names[other]} - {names[one]}"] = gain
        told = "more" if low > 0 else "less" if high < 0 else "not told apart"
        differences.append((f"{names[other]} – {names[one]}", f"{gain * 100:+.1f}", _between((low, high)), told))
    seeds = tuple(f"seed {n}" for n in range(correct.shape[1]))
    classes = len(next(iter(arms.values()))[0].classes)
    note = (
        f"{correct.shape[2]:,} samples of {classes} classes, of which chance finds {number(1 / classes)} %; "
        f"intervals of 95 % by {RESAMPLES:,} resamples of samples and seeds"
    )
    return Section(
        "Comparison",
        scalars=scalars,
        units=dict.fromkeys(scalars, "%"),
        tiles=tuple(
            Tile(name, f"{number(mean)} %", f"{_between(interval)}, the mean of {len(seeds)} seeds")
            for name, mean, interval in zip(names, means, intervals, strict=True)
        ),
        tables=(
            Table("Accuracy, %", ("variant", "mean", "interval", *seeds), rows, note=note),
            Table(
                "Differences, percentage points",
                ("variants", "difference", "interval", ""),
                tuple(differences),
                note="more or less: the interval does not include 0",
            ),
        ),
        about=(
            "Every variant was trained anew with every seed, on the same data.",
            *(f"{name}: {text}" for name, text in (about or {}).items()),
        ),
        json={"intervals": dict(zip(names, intervals.tolist(), strict=True)), "seeds": each.tolist()},
    )


def _interval(values: np.ndarray) -> np.ndarray:
    return np.moveaxis(np.percentile(values, PERCENTILES, axis=-1), 0, -1)


def _between(interval: Sequence[float] | np.ndarray) -> str:
    low, high = (f"{end * 100:.1f}" for end in interval)
    return f"{low} to {high}"
