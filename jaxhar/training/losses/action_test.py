import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhar.training.losses.action import action, entropy
from jaxhar.training.losses.multitask_test import example


def test_action_is_cross_entropy_from_logits():
    preds, batch = example()
    logits = np.asarray(preds["action"], np.float64)
    prob = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = -np.log(prob[:, [0, 1], np.asarray(batch["action"])])
    np.testing.assert_allclose(action(preds["action"], batch["action"]), expected, rtol=1e-5)


def test_soft_labels_are_shares_of_the_classes():
    preds, batch = example()
    one_hot = jax.nn.one_hot(batch["action"], 6)
    np.testing.assert_allclose(action(preds["action"], one_hot), action(preds["action"], batch["action"]), rtol=1e-6)
    mixed = 0.7 * one_hot + 0.3 * one_hot[::-1]
    expected = 0.7 * action(preds["action"], one_hot) + 0.3 * action(preds["action"], one_hot[::-1])
    np.testing.assert_allclose(action(preds["action"], mixed), expected, rtol=1e-5)
    assert (action(preds["action"], jnp.zeros((2, 6))) == 0).all()  # no label


def test_the_entropy_is_the_smallest_value():
    shares = jnp.array([[0.7, 0.3, 0.0], [1.0, 0.0, 0.0]])
    found = entropy(shares)
    assert found == pytest.approx([-(0.7 * np.log(0.7) + 0.3 * np.log(0.3)), 0])
    best = jnp.log(jnp.maximum(shares, 1e-30))[None]
    np.testing.assert_allclose(action(best, shares)[0], found, rtol=1e-5, atol=1e-6)
    assert (entropy(jnp.array([2, -1])) == 0).all()
