import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhar.core.prepared import View
from jaxhar.evaluation.boxes_ap import BoxesAP
from jaxhar.evaluation.scorer import Context
from jaxhar.training.losses.centres import Centres, focal, targets

SIDE = 64


def example():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 0.5, (2, 2, 5, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.1, 0.5, low.shape)], -1).astype(np.float32)
    there = np.array([True, True, False, False, False])
    boxed = np.broadcast_to(there, (2, 2, 5)).copy()
    ignored = np.zeros_like(boxed)
    ignored[1, :, 2] = True
    boxes = np.where((boxed | ignored)[..., None], boxes, np.nan)  # what is absent must not matter
    frames = np.zeros((2, 2, SIDE, SIDE, 3), np.uint8)
    return {"frames": frames, "boxes": boxes, "boxed": boxed, "ignored": ignored}


def truth(batch):
    return BoxesAP().truth(batch, Context(View("single", "each")))


def test_perfect_maps_cost_nothing():
    batch = example()
    loss = Centres()
    for terms in (loss(truth(batch), batch), loss.floor(batch)):
        assert terms.keys() == {"centres", "offset", "size", "overlap"}
        for value in terms.values():
            np.testing.assert_allclose(value, np.zeros(2), atol=1e-6)
    error, mark = loss.fit(truth(batch), batch)
    assert error == pytest.approx(0, abs=1e-5) and error < mark


def test_the_terms_are_those_of_the_paper():
    batch = example()
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(1, 2, 2, 16, 16)).astype(np.float32)
    extent = rng.normal(size=(1, 2, 2, 16, 16, 4)).astype(np.float32)
    found = Centres(offset=2.0, size=0.5, around=False)({"centres": logits, "extent": extent}, batch)
    target = jax.tree.map(np.asarray, targets(batch, (16, 16)))
    expected = {"centres": np.zeros(2), "offset": np.zeros(2), "size": np.zeros(2)}
    for b, t in np.ndindex(2, 2):
        for y, x in np.ndindex(16, 16):
            if not target.counted[b, t, y, x]:
                continue
            p, heat = 1 / (1 + np.exp(-np.float64(logits[0, b, t, y, x]))), float(target.heat[b, t, y, x])
            cost = (1 - p) ** 2 * np.log(p) if heat == 1 else (1 - heat) ** 4 * p**2 * np.log(1 - p)
            expected["centres"][b] -= cost / 2 / 2  # persons, frames
        for m in range(2):
            x1, y1, x2, y2 = batch["boxes"][b, t, m].astype(np.float64) * 16
            y, x = int((y1 + y2) / 2), int((x1 + x2) / 2)
            error = np.abs(
                extent[0, b, t, y, x] - [(x1 + x2) / 2 - x, (y1 + y2) / 2 - y, np.log(x2 - x1), np.log(y2 - y1)]
            )
            expected["offset"][b] += 2.0 * error[:2].sum() / 4
            expected["size"][b] += 0.5 * error[2:].sum() / 4
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, err_msg=name)


def test_gradients_are_finite_and_zero_where_nothing_counts():
    batch = example()
    extreme = {
        key: jnp.where(jnp.arange(16) % 2 == 0, 80.0, -80.0) * jnp.ones_like(value)
        for key, value in {"centres": jnp.zeros((1, 2, 2, 16, 16))}.items()
    }
    target = targets(batch, (16, 16))
    gradient = jax.grad(lambda x: focal(x, target).sum())(extreme["centres"][0])
    assert np.isfinite(np.asarray(gradient)).all() and (np.asarray(gradient)[~np.asarray(target.counted)] == 0).all()
    assert not np.asarray(target.counted).all()


def test_without_boxes_there_is_no_term():
    batch = example()
    assert Centres()({}, batch) == {} == Centres()(truth(batch), {}) and Centres().floor({}) == {}
    assert Centres().fit({}, batch)[0] == np.inf
