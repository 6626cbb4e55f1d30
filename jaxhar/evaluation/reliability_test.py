"""Reliability of confidences: sums, error, table."""

import numpy as np
import pytest

from jaxhar.evaluation.reliability import BINS, Reliability


def test_the_error_is_the_mean_gap_of_the_bins():
    rng = np.random.default_rng(0)
    confidence, right = rng.uniform(size=(40, 7)), rng.uniform(size=(40, 7)) < 0.4
    gaps = []
    for low in range(BINS):
        inside = (confidence >= low / BINS) & (confidence < (low + 1) / BINS)
        gaps.append(inside.sum() * abs(confidence[inside].mean() - right[inside].mean()))
    found = Reliability.of(confidence, right)
    assert found.error == pytest.approx(sum(gaps) / confidence.size, abs=1e-6)
    assert found.count.sum() == confidence.size and found.right.sum() == right.sum()


def test_neither_the_order_nor_the_batches_matter():
    rng = np.random.default_rng(1)
    confidence, right = rng.uniform(size=1000), rng.uniform(size=1000) < 0.5
    order = rng.permutation(1000)
    whole = Reliability.of(confidence, right)
    parts = [Reliability.of(confidence[some], right[some]) for some in np.split(order, 20)]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    assert merged.error == whole.error


def test_certain_answers_are_in_the_last_bin_and_perfect_ones_have_no_error():
    found = Reliability.of([1.0, 1.2, 0.0, -0.1], [True, True, False, False])
    assert found.count.tolist() == [2, *[0] * 8, 2] and found.error == 0
    assert np.isnan(Reliability.of([], []).error)


def test_the_table_says_bins_and_gaps():
    table = Reliability.of([0.95, 0.95, 0.25], [True, False, True]).table("joints", "joints")
    assert table.rows == (("20 to 30", "1", "25.0", "100.0", "-75.0"), ("90 to 100", "2", "95.0", "50.0", "+45.0"))
    assert table.foot == (("all, mean size of the gap", "3", "71.7", "66.7", "55.0"),)
