import numpy as np

from jaxhar.core.familiar import fit


def correlated(count, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 8)) @ MIX + shift


MIX = np.random.default_rng(5).normal(size=(8, 8))


def test_what_was_not_trained_on_lies_outside_of_the_band():
    found = fit(correlated(4000, 0), correlated(1000, 1))
    assert found(correlated(2000, 2)).mean() > 0.99
    assert found.score(correlated(2000, 2)).mean() == np.clip(found.score(correlated(2000, 2)).mean(), 0.9, 1.1)
    across = 5 * np.linalg.svd(MIX)[2][-1]  # along the direction of the smallest variance
    assert found(correlated(2000, 3) + across).mean() < 0.5
    assert found(correlated(2000, 3, shift=50.0)).mean() == 0


def test_few_crops_say_nothing():
    assert fit(correlated(31, 0), correlated(9, 1)) is None
    assert fit(correlated(32, 0), correlated(0, 1)) is None
    assert fit(correlated(32, 0), correlated(9, 1)) is not None
