"""Geometry of boxes x1, y1, x2, y2, for numpy arrays and for jax arrays inside of jitted functions."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxhar.core.batch import Array


def area(boxes: Array) -> Array:
    """Areas (...) of boxes (..., 4); 0 for a box without extent."""
    sides = (boxes[..., 2:] - boxes[..., :2]).clip(0)
    return sides[..., 0] * sides[..., 1]


def overlap(a: Array, b: Array) -> Array:
    """Intersection over union (..., M, N) of boxes (..., M, 4) and (..., N, 4); 0 for boxes without area."""
    xp = jnp if isinstance(a, jax.Array) or isinstance(b, jax.Array) else np
    low = xp.maximum(a[..., :, None, :2], b[..., None, :, :2])
    high = xp.minimum(a[..., :, None, 2:], b[..., None, :, 2:])
    shared = area(xp.concatenate([low, high], -1))
    union = area(a)[..., :, None] + area(b)[..., None, :] - shared
    return xp.where(union > 0, shared / xp.where(union > 0, union, 1), 0)


def generalised_overlap(a: jax.Array, b: jax.Array) -> jax.Array:
    """Generalised IoU (...) of boxes (..., 4) pair by pair: IoU less the empty share of the box around both."""
    low, high = jnp.maximum(a[..., :2], b[..., :2]), jnp.minimum(a[..., 2:], b[..., 2:])
    shared = area(jnp.concatenate([low, high], -1))
    union = jnp.maximum(area(a) + area(b) - shared, 1e-9)
    around = area(jnp.concatenate([jnp.minimum(a[..., :2], b[..., :2]), jnp.maximum(a[..., 2:], b[..., 2:])], -1))
    return shared / union - (around - union) / jnp.maximum(around, 1e-9)
