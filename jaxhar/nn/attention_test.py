"""Attention in portions for the cache: equal to the plain formula, and linear in memory."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhar.nn import platform, transformer
from jaxhar.nn.attention import in_portions


def plain(query, key, value, padding):
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) * query.shape[-1] ** -0.5
    scores = scores if padding is None else jnp.where(padding[:, None, None], -jnp.inf, scores)
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), value)


@pytest.mark.parametrize(("scores", "padded"), [(400_000, True), (1, True), (60_000, False)])
def test_portions_give_the_plain_formula_and_its_gradients(scores, padded):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        # differences of 100 between scores, as of networks that are sure
        query, key, value = (jnp.asarray(rng.standard_normal((2, 150, 4, 6))) * scale for scale in (10, 10, 1))
        padding = jnp.asarray(rng.random((2, 150)) < 0.4).at[:, 0].set(False) if padded else None
        wanted = jnp.asarray(rng.standard_normal(value.shape))

        def both(attend):
            return jax.jit(jax.value_and_grad(lambda *args: (wanted * attend(*args, padding)).sum(), (0, 1, 2)))

        found = both(partial(in_portions, scores=scores))(query, key, value)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11), found, both(plain)(query, key, value)
        )


def test_memory_of_gradients_grows_with_the_tokens_not_with_their_square():
    def needed(tokens: int) -> int:
        one = jax.ShapeDtypeStruct((2, tokens, 4, 4), jnp.float32)
        gradient = platform.jit(jax.grad(lambda *args: transformer.attend(*args, None).sum(), (0, 1, 2)))
        return gradient.trace(one, one, one).lower().compile().memory_analysis().temp_size_in_bytes

    assert needed(12_800) < 2.5 * needed(6_400)
