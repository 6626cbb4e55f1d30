"""Attention in portions, and what dropout drops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxhar.nn import transformer
from jaxhar.nn.transformer import Block, Form, attend


def test_portions_of_queries_give_what_all_give(monkeypatch):
    rng = np.random.default_rng(0)
    query, key, value = (jnp.asarray(rng.standard_normal((2, 11, 2, 4)), jnp.float32) for _ in range(3))
    padding = jnp.asarray(rng.random((2, 11)) < 0.4).at[:, 0].set(False)

    def both(query, key, value):
        return jax.value_and_grad(lambda *args: (attend(*args, padding) ** 2).sum(), (0, 1, 2))(query, key, value)

    whole = jax.jit(both)(query, key, value)
    monkeypatch.setattr(transformer, "QUERIES", 4)
    parts = jax.jit(lambda *args: both(*args))(query, key, value)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), whole, parts)


def test_nothing_attends_to_padding():
    rng = np.random.default_rng(0)
    query, key, value = (rng.standard_normal((1, 5, 1, 4)).astype(np.float32) for _ in range(3))
    padding = np.array([[False, True, False, False, True]])
    found = attend(query, key, value, padding)
    kept = attend(query, *(array[:, ~padding[0]] for array in (key, value)), np.zeros((1, 3), bool))
    np.testing.assert_allclose(found, kept, atol=1e-6)


@pytest.mark.parametrize("form", Form)
def test_a_dropped_path_leaves_whole_examples_as_they_are(form):
    block = Block(8, 2, path_drop=0.5, form=form, depth=2, dtype=jnp.float32, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((32, 3, 8)), jnp.float32)
    moved = jnp.abs(block(x, jnp.zeros((32, 3), bool)) - x).max((1, 2)) > 0
    assert 0 < int(moved.sum()) < 32
    block.eval()
    assert (jnp.abs(block(x, jnp.zeros((32, 3), bool)) - x).max((1, 2)) > 0).all()
