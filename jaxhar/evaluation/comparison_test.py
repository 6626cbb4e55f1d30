"""Variants that differ are told apart, those that do not are not, and others cannot be compared."""

import numpy as np
import pytest

from jaxhar.evaluation import comparison
from jaxhar.evaluation.fusion import Scores
from jaxhar.host.errors import Problem

NAMES = tuple(f"v{n}" for n in range(100))


def scores(share, seed):
    """Scores of 100 samples, of which about `share` are right."""
    rng = np.random.default_rng(seed)
    labels = np.arange(100) % 5
    hit = rng.random(100) < share
    return Scores(("a",) * 5, NAMES, labels, np.eye(5)[np.where(hit, labels, (labels + 1) % 5)])


def test_means_intervals_and_differences():
    arms = {
        name: [scores(share, 10 * n + seed) for seed in range(3)]
        for n, (name, share) in enumerate({"scratch": 0.4, "plain": 0.8, "other": 0.8}.items())
    }
    found = comparison.section(arms, {"scratch": "From random weights."})
    means = {
        name: np.mean([(run.scores.argmax(-1) == run.labels).mean() for run in runs]) for name, runs in arms.items()
    }
    for name, mean in means.items():
        assert found.scalars[f"accuracy/{name}"] == pytest.approx(mean)
        low, high = found.json["intervals"][name]
        assert low < mean < high and 0.05 < high - low < 0.25
    assert found.scalars["accuracy/plain - scratch"] == pytest.approx(means["plain"] - means["scratch"])
    rows = {row[0]: row for row in found.tables[1].rows}
    assert rows["plain – scratch"][3] == "more" and rows["other – plain"][3] == "not told apart"
    assert [len(row) for row in found.tables[0].rows] == [6] * 3
    assert "of 5 classes, of which chance finds 20.0 %" in found.tables[0].note
    assert found.about[-1] == "scratch: From random weights."


def test_what_all_variants_have_in_common_widens_no_difference():
    arms = {name: [scores(0.5, 1), scores(0.6, 2)] for name in ("one", "two")}
    drawn = comparison.resampled(comparison.right(arms))
    assert (drawn[0] == drawn[1]).all() and drawn[0].std() > 0.02


def test_other_samples_are_not_compared():
    one = scores(0.5, 0)
    other = Scores(one.classes, one.names[::-1], one.labels, one.scores)
    with pytest.raises(Problem, match="plain was evaluated on other samples than scratch"):
        comparison.section({"scratch": [one], "plain": [other]})
