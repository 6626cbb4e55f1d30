import jax
import jax.numpy as jnp
import numpy as np

from jaxhar.training.losses.binary import binary_crossentropy, visible
from jaxhar.training.losses.multitask_test import example


def test_predictions_at_the_edge_and_targets_beyond_it_stay_finite():
    pred = jnp.array([0.0, 1.0, 1.0, 0.0])
    target = jnp.array([1.0, 0.0, 1.3, -0.2])
    value, grad = jax.value_and_grad(lambda p: binary_crossentropy(p, target).sum())(pred)
    assert np.isfinite(value) and np.isfinite(grad).all()
    assert (binary_crossentropy(pred, target) >= 0).all()
    np.testing.assert_allclose(binary_crossentropy(pred, target)[0], -np.log(1e-7), rtol=1e-5)


def test_visible_is_the_mean_over_joints():
    preds, batch = example()
    v, t = np.asarray(preds["visible"], np.float64), np.asarray(batch["visible"])
    expected = -(t * np.log(v) + (1 - t) * np.log(1 - v)).mean(-1)
    np.testing.assert_allclose(visible(preds["visible"], batch["visible"]), expected, rtol=1e-5)
