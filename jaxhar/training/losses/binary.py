"""Binary cross-entropy of probabilities, as Keras computes it."""

import jax
import jax.numpy as jnp

#: Keras clips probabilities this far from 0 and 1 before the logarithm.
_EPSILON = 1e-7


def precise(x: jax.Array) -> jax.Array:
    """`x` in float32 or a larger type."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def binary_crossentropy(pred: jax.Array, target: jax.Array) -> jax.Array:
    """Elementwise cross-entropy (...) of predictions in [0, 1], clipped to [1e-7, 1 - 1e-7] as in Keras.

    Targets are clipped to [0, 1]: outside it the cross-entropy has no lower bound.
    """
    pred = jnp.clip(precise(pred), _EPSILON, 1 - _EPSILON)
    target = jnp.clip(precise(target), 0.0, 1.0)
    return -(target * jnp.log(pred) + (1 - target) * jnp.log1p(-pred))


def visible(pred: jax.Array, target: jax.Array) -> jax.Array:
    """Binary cross-entropy of joint probabilities (..., J), averaged over the joints of each frame: (...)."""
    return binary_crossentropy(pred, target).mean(-1)
