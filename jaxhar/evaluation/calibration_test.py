"""Temperatures: they are found again, keep the most likely answer, and lower the calibration error."""

import numpy as np
import pytest

from jaxhar.core.calibration import Calibration, of_actions, of_joints
from jaxhar.evaluation.calibration import Answers, fit
from jaxhar.host.errors import Problem

RNG = np.random.default_rng(0)
SEQUENCES = np.arange(4000) % 50


def test_the_temperature_of_joints_is_found_again():
    true = RNG.uniform(0.02, 0.98, 4000)
    right = RNG.uniform(size=4000) < true
    found = fit(Answers(of_joints(true, 1 / 3), right, SEQUENCES))  # three times too certain
    assert found.temperature == pytest.approx(3, rel=0.1) and found.count == 4000
    assert found.before > 0.1 and found.after < 0.03


def test_the_temperature_of_actions_is_found_again():
    logits = RNG.normal(0, 1.5, (4000, 5))
    true = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    labels = (RNG.uniform(size=(4000, 1)) < true.cumsum(-1)).argmax(-1)
    given = of_actions(true, 1 / 4)
    found = fit(Answers(given, labels, SEQUENCES))
    assert found.temperature == pytest.approx(4, rel=0.1)
    assert found.before > 0.15 and found.after < 0.03
    again = of_actions(given, found.temperature)
    np.testing.assert_array_equal(again.argmax(-1), given.argmax(-1))
    np.testing.assert_allclose(again.sum(-1), 1, rtol=1e-5)


def test_certain_answers_stay_numbers():
    for probability in (0.0, 1.0):
        assert np.isfinite(of_joints(np.array([probability]), 0.5)).all()
    assert np.isfinite(of_actions(np.array([[1.0, 0.0]]), 0.5)).all()


def test_other_predictions_are_unchanged():
    preds = {"pose": np.ones(3), "visible": np.array([0.9]), "action": (np.array([[0.8, 0.2]]), np.array([[0.5, 0.5]]))}
    found = Calibration(joints=2.0, actions=2.0)(preds)
    assert found["pose"] is preds["pose"] and found["visible"][0] == pytest.approx(0.75)
    np.testing.assert_allclose(found["action"][0], [[2 / 3, 1 / 3]], rtol=1e-5)
    np.testing.assert_allclose(found["action"][1], [[0.5, 0.5]], rtol=1e-5)


def test_answers_of_one_sequence_are_too_few():
    with pytest.raises(Problem, match="two sequences at least"):
        fit(Answers(np.array([0.5, 0.6]), np.array([True, False]), np.array([3, 3])))
