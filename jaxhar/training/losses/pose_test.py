import jax.numpy as jnp
import numpy as np

from jaxhar.training.losses.multitask_test import example
from jaxhar.training.losses.pose import entropy, pose


def reference_pose(pred, target, valid):
    """The formula, coordinate by coordinate, in float64."""
    total, count = 0.0, 0
    for p, t, v in zip(pred.ravel(), target.ravel(), valid.ravel(), strict=True):
        if v:
            p64, t64 = float(p), float(t)
            clipped = min(max(p64, 1e-7), 1 - 1e-7)
            bce = -(t64 * np.log(clipped) + (1 - t64) * np.log(1 - clipped))
            total += abs(p64 - t64) + (p64 - t64) ** 2 + 0.01 * bce
            count += 1
    return total / max(count, 1)


def test_pose_equals_the_formula():
    preds, batch = example()
    got = pose(preds["pose"], batch["pose"], batch["valid"])
    assert got.shape == (3, 2, 2)
    for k, b, t in np.ndindex(*got.shape):
        args = (np.asarray(a) for a in (preds["pose"][k, b, t], batch["pose"][b, t], batch["valid"][b, t]))
        np.testing.assert_allclose(got[k, b, t], reference_pose(*args), rtol=1e-5)


def test_a_frame_without_labels_costs_nothing():
    preds, batch = example()
    assert (pose(preds["pose"], batch["pose"], jnp.zeros_like(batch["valid"])) == 0).all()


def test_the_entropy_of_the_labels_is_the_loss_of_the_truth():
    _, batch = example()
    target = jnp.where(batch["valid"], batch["pose"], jnp.nan)
    found = entropy(target, batch["valid"])
    truth = jnp.where(batch["valid"], batch["pose"], 0)
    np.testing.assert_allclose(pose(truth, target, batch["valid"], coordinate_bce=1.0), found, rtol=1e-6)
    p = np.where(batch["valid"], np.clip(np.asarray(batch["pose"], np.float64), 1e-7, 1 - 1e-7), 0.5)
    own = np.where(batch["valid"], -(p * np.log(p) + (1 - p) * np.log(1 - p)), 0).sum((-2, -1))
    np.testing.assert_allclose(found, own / np.maximum(np.asarray(batch["valid"]).sum((-2, -1)), 1), rtol=1e-5)
