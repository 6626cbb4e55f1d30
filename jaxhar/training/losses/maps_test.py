import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhar.training.losses.maps import Maps, Targets, targets


def example(kind=Targets.STANDARD):
    rng = np.random.default_rng(0)
    valid = np.repeat(rng.random((2, 3, 5, 1)) > 0.3, 2, -1)
    batch = {"pose": np.where(valid, rng.uniform(0.1, 0.9, (2, 3, 5, 2)), np.nan).astype(np.float32), "valid": valid}
    return batch, targets(batch, (16, 12), kind, 1.5)


@pytest.mark.parametrize("kind", list(Targets))
def test_perfect_maps_cost_nothing(kind):
    batch, (target, _) = example(kind)
    loss = Maps(kind, sigma=1.5)
    for terms in (loss({"maps": target[None]}, batch), loss.floor(batch)):
        np.testing.assert_allclose(terms["maps"], np.zeros(2), atol=1e-12)


def test_joints_and_frames_and_predictions_are_summed_and_missing_joints_do_not_count():
    batch, (target, weight) = example()
    maps = np.random.default_rng(1).normal(size=(2, *target.shape)).astype(np.float32)
    error = ((maps - np.asarray(target)) ** 2).mean((3, 4)) * np.asarray(weight)
    found = Maps(sigma=1.5, weight=0.25)({"maps": maps}, batch)["maps"]
    np.testing.assert_allclose(found, 0.25 * error.sum((0, 2, 3)), rtol=1e-5)
    gradient = jax.grad(lambda m: Maps(sigma=1.5)({"maps": m}, batch)["maps"].sum())(jnp.asarray(maps))
    assert np.isfinite(gradient).all()
    assert (np.moveaxis(np.asarray(gradient), -1, 3)[:, ~batch["valid"][..., 0]] == 0).all()


def test_maps_of_lip_are_empty_for_missing_joints_and_these_count():
    batch, (target, _) = example(Targets.LIP)
    assert (np.moveaxis(np.asarray(target), -1, 2)[~batch["valid"][..., 0]] == 0).all()
    ones = Maps(Targets.LIP)({"maps": np.ones((1, *target.shape), np.float32)}, batch)["maps"]
    assert (ones > 0).all()


def test_without_maps_or_labels_there_is_no_term_and_no_fit():
    batch, (target, _) = example()
    assert Maps()({}, batch) == {} == Maps()({"maps": target[None]}, {}) and Maps().floor({}) == {}
    assert Maps().fit({}, batch)[0] == np.inf
    pose = np.nan_to_num(batch["pose"])[None]
    assert Maps().fit({"pose": pose}, batch)[0] == pytest.approx(0)
