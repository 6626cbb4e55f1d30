"""Softmax attention of portions that stay in the processor's cache, with its own gradient.

Memory grows with the number of tokens and not with its square, in training, too: of the scores nothing is kept.

Processor time beside other programs, over that of PyTorch's scaled_dot_product_attention, whose waiting threads count,
too: inference and with gradients; "before" is `transformer.attend` without these portions, "-" was not measured:

    clips x tokens x heads x width     here        before
    1 x 1601 x  8 x 16, padding        0.92 0.55   2.9 4.8
    2 x 1601 x  4 x  4, padding        0.41 0.37   -   0.9
    1 x 6401 x  2 x 16, padding        0.86 -      -   -
    1 x 1568 x 12 x 64                 1.19 -      2.1 -
    8 x  157 x 12 x 64                 1.20 0.58   2.9 0.58

Portions whose queries are no multiple of 16 took 1.0 to 1.1 times as long, with gradients 1.3 to 1.6 times; scores as
(queries, N) in portions of 64 queries 1.2 times; the sum of the exponentials apart from the product 1.1 times; portions
of 13 MB of scores, more than the cache, 1.5 to 3 times. With 50 tokens gradients take 1.5 times as long as before.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp

Array = jax.Array

#: Of fewer tokens the gradients are slower than those of one portion.
FEWEST = 128
#: Least and most queries of a portion of many tokens, and what their number is a multiple of: they lie along the
#: processor's vectors.
QUERIES, LANES = (128, 256), 16
#: Added to scores that must not count. Not infinity, which times 0 is no number.
NEVER = -1e30


def in_portions(query: Array, key: Array, value: Array, padding: Array | None, scores: int) -> Array:
    """Softmax attention; scores of a portion are (heads, N, queries), so that sums are over rows.

    Args:
      query, key, value: (B, N, heads, width).
      padding: (B, N) bool, tokens that no token attends to; at least one must not be. None for no such tokens.
      scores: about so many are computed at once.

    Returns:
      (B, N, heads, width).
    """
    batch, tokens, heads, width = query.shape
    query, key, value = (
        jnp.moveaxis(x, 2, 1).reshape(batch * heads, tokens, width) for x in (width**-0.5 * query, key, value)
    )
    if padding is not None:
        # One more channel: adding it up in the product is cheaper than adding it to the scores.
        never = jnp.repeat(jnp.where(padding, NEVER, 0).astype(key.dtype), heads, axis=0)
        query, key = _beside(query, 1), _beside(key, never)
    count = math.ceil(tokens / min(max(scores // tokens, QUERIES[0]), QUERIES[1]))
    size = LANES * math.ceil(tokens / count / LANES)
    together = max(n for n in range(1, heads + 1) if heads % n == 0 and n <= max(1, scores / (tokens * size)))
    groups = batch * (heads // together)
    found = _attention(*(x.reshape(groups, together, *x.shape[1:]) for x in (query, key, value)), size)
    return jnp.moveaxis(found.reshape(batch, heads, tokens, width), 1, 2)


def _beside(x: Array, channel: Array | float) -> Array:
    """(..., N, C) with one more channel (..., N) at the end."""
    return jnp.concatenate([x, jnp.broadcast_to(jnp.asarray(channel, x.dtype), x.shape[:-1])[..., None]], axis=-1)


def _product(form: str, a: Array, b: Array) -> Array:
    return jnp.einsum(form, a, b, preferred_element_type=jnp.promote_types(a.dtype, jnp.float32))


def _parts(x: Array, size: int) -> Array:
    """(heads, N, C) -> (portions, heads, queries, C), with zeros at the end."""
    heads, tokens, channels = x.shape
    count = math.ceil(tokens / size)
    x = jnp.pad(x, [(0, 0), (0, count * size - tokens), (0, 0)])
    return jnp.moveaxis(x.reshape(heads, count, size, channels), 1, 0)


def _whole(parts: Array, tokens: int) -> Array:
    """(portions, heads, C, queries) -> (heads, N, C)."""
    count, heads, channels, size = parts.shape
    return jnp.transpose(parts, (1, 0, 3, 2)).reshape(heads, count * size, channels)[:, :tokens]


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _attention(query: Array, key: Array, value: Array, size: int) -> Array:
    """(groups, heads, N, C) each, the scale in the query -> as value; `size` queries are a portion."""
    return _forward(query, key, value, size)[0]


def _forward(query: Array, key: Array, value: Array, size: int) -> tuple[Array, Array]:
    """The result, and the logarithm of the sum of the exponentials of each query's scores (groups, heads, N)."""

    def group(inputs: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        query, key, value = inputs
        columns = jnp.moveaxis(_beside(value, 1), 1, 2)  # its product gives the sum of the exponentials, too

        def portion(query: Array) -> Array:
            scores = _product("hkc,hqc->hkq", key, query)
            highest = scores.max(1, keepdims=True)
            total = _product("hck,hkq->hcq", columns, jnp.exp(scores - highest).astype(value.dtype))
            mean, total = total[:, :-1] / total[:, -1:], total[:, -1:]
            return jnp.concatenate([mean, highest + jnp.log(total)], axis=1)

        found = _whole(jax.lax.map(portion, _parts(query, size)), query.shape[1])
        return found[..., :-1], found[..., -1]

    return jax.lax.map(group, (query, key, value))


def _kept(query: Array, key: Array, value: Array, size: int) -> tuple[Array, tuple[Array, ...]]:
    found, total = _forward(query, key, value, size)
    return found, (query, key, value, found, total)


def _backward(size: int, kept: tuple[Array, ...], g: Array) -> tuple[Array, Array, Array]:
    def group(inputs: tuple[Array, ...]) -> tuple[Array, Array, Array]:
        query, key, value, found, total, g = inputs
        # What is taken away from each column of the scores and of their gradients is one more channel, too.
        keys, values = _beside(key, 1), _beside(value, 1)
        columns = jnp.moveaxis(key, 1, 2)
        queries, gs = _beside(query, -total), _beside(g, -(g * found).sum(-1))

        def portion(sums: tuple[Array, ...], parts: tuple[Array, Array]) -> tuple[tuple[Array, ...], Array]:
            query, g = parts
            weights = jnp.exp(_product("hkc,hqc->hkq", keys, query))
            slopes = (weights * _product("hkc,hqc->hkq", values, g)).astype(key.dtype)
            of_key = sums[0] + _product("hkq,hqc->hkc", slopes, query[..., :-1])
            of_value = sums[1] + _product("hkq,hqc->hkc", weights.astype(g.dtype), g[..., :-1])
            return (of_key, of_value), _product("hck,hkq->hcq", columns, slopes)

        zeros = tuple(jnp.zeros(x.shape, jnp.promote_types(x.dtype, jnp.float32)) for x in (key, value))
        (of_key, of_value), of_query = jax.lax.scan(portion, zeros, (_parts(queries, size), _parts(gs, size)))
        return (
            _whole(of_query, query.shape[1]).astype(query.dtype),
            of_key.astype(key.dtype),
            of_value.astype(key.dtype),
        )

    return jax.lax.map(group, (*kept, g))


_attention.defvjp(_kept, _backward)
