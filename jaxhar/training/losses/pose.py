"""Loss of joint coordinates in crop units."""

import jax
import jax.numpy as jnp

from jaxhar.training.losses.binary import binary_crossentropy, precise


def pose(pred: jax.Array, target: jax.Array, valid: jax.Array, coordinate_bce: float = 0.01) -> jax.Array:
    """Absolute + squared error + weighted cross-entropy, averaged over the labelled coordinates of each frame.

    Sum over valid coordinates of |p - p*| + (p - p*)^2 + coordinate_bce * BCE(p*, p), divided by their number
    (at least 1, so the loss of a frame without labels is 0): the `l1l2bincross` loss of deephar's training scripts.

    Args:
      pred: (..., J, D) in crop units.
      target: broadcastable to `pred`; ignored where not valid.
      valid: bool, as `target`.
    Returns: (...) float32, one value per frame.
    """
    valid = jnp.broadcast_to(valid, pred.shape)
    pred = jnp.where(valid, precise(pred), 0.5)
    target = jnp.where(valid, precise(target), 0.5)
    error = pred - target
    cost = jnp.abs(error) + error**2 + coordinate_bce * binary_crossentropy(pred, target)
    count = jnp.maximum(valid.sum((-2, -1)), 1)
    return jnp.where(valid, cost, 0.0).sum((-2, -1)) / count


def entropy(target: jax.Array, valid: jax.Array) -> jax.Array:
    """The unweighted cross-entropy term of `pose` for a prediction equal to the target: (...), per frame."""
    target = jnp.where(valid, precise(target), 0.5)
    cost = jnp.where(valid, binary_crossentropy(target, target), 0.0)
    return cost.sum((-2, -1)) / jnp.maximum(valid.sum((-2, -1)), 1)
