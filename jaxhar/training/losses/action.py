"""Cross-entropy of action classes with class indices or soft labels; unlabelled clips are ignored."""

import jax
import jax.numpy as jnp
import optax

from jaxhar.training.losses.binary import precise


def action(logits: jax.Array, target: jax.Array) -> jax.Array:
    """Categorical cross-entropy (..., B) of logits (..., B, A).

    Args:
      target: (B,) class indices, -1 for an unlabelled clip, whose loss is 0; or (B, A) soft labels, all 0 for an
        unlabelled clip.
    """
    if is_soft(target):
        target = jnp.broadcast_to(target, logits.shape)
        return optax.softmax_cross_entropy(precise(logits), precise(target))
    target = jnp.broadcast_to(target, logits.shape[:-1])
    cost = optax.softmax_cross_entropy_with_integer_labels(precise(logits), jnp.maximum(target, 0))
    return jnp.where(target >= 0, cost, 0.0)


def entropy(target: jax.Array) -> jax.Array:
    """The minimum of `action`, (B,): 0 for class indices, the entropy of soft labels."""
    if not is_soft(target):
        return jnp.zeros(target.shape, jnp.float32)
    share = precise(target)
    return -jnp.where(share > 0, share * jnp.log(jnp.where(share > 0, share, 1.0)), 0.0).sum(-1)


def is_soft(target: jax.Array) -> bool:
    """Whether labels are soft (B, A), not class indices (B,)."""
    return target.ndim == 2
