"""Training losses of the multitask networks: per-example values, masked before any arithmetic.

The masks are applied to the inputs, not to the result, so that whatever stands in an unlabelled slot (NaN, -1e9)
changes neither a loss nor a gradient. Axis letters as in `jaxhar.core.batch`.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from jaxhar.core.batch import Batch, Preds

#: Keras clips probabilities this far from 0 and 1 before the logarithm.
_EPSILON = 1e-7


def _precise(x: jax.Array) -> jax.Array:
    """As float32 if it was less."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def binary_crossentropy(pred: jax.Array, target: jax.Array) -> jax.Array:
    """Elementwise cross-entropy (...) of predictions in [0, 1], clipped to [1e-7, 1 - 1e-7] as in Keras.

    Targets are clipped to [0, 1]: outside it the cross-entropy has no lower bound.
    """
    pred = jnp.clip(_precise(pred), _EPSILON, 1 - _EPSILON)
    target = jnp.clip(_precise(target), 0.0, 1.0)
    return -(target * jnp.log(pred) + (1 - target) * jnp.log1p(-pred))


def pose(pred: jax.Array, target: jax.Array, valid: jax.Array, coordinate_bce: float = 0.01) -> jax.Array:
    """Absolute + squared error + weighted cross-entropy, averaged over the labelled coordinates of each frame.

    Sum over valid coordinates of |p - p*| + (p - p*)^2 + coordinate_bce * BCE(p*, p), divided by their number
    (at least 1, so a frame without labels costs nothing): the `l1l2bincross` loss of the authors' training scripts.

    Args:
      pred: (..., J, D) in crop units.
      target: broadcastable to `pred`; anything where not valid.
      valid: bool, as `target`.
    Returns: (...) float32, one value per frame.
    """
    valid = jnp.broadcast_to(valid, pred.shape)
    pred = jnp.where(valid, _precise(pred), 0.5)
    target = jnp.where(valid, _precise(target), 0.5)
    error = pred - target
    cost = jnp.abs(error) + error**2 + coordinate_bce * binary_crossentropy(pred, target)
    count = jnp.maximum(valid.sum((-2, -1)), 1)
    return jnp.where(valid, cost, 0.0).sum((-2, -1)) / count


def visible(pred: jax.Array, target: jax.Array) -> jax.Array:
    """Binary cross-entropy of joint probabilities (..., J), averaged over the joints of each frame: (...)."""
    return binary_crossentropy(pred, target).mean(-1)


def action(logits: jax.Array, target: jax.Array) -> jax.Array:
    """Categorical cross-entropy (..., B) of logits (..., B, A) against class indices (B,); 0 where those are -1."""
    target = jnp.broadcast_to(target, logits.shape[:-1])
    cost = optax.softmax_cross_entropy_with_integer_labels(_precise(logits), jnp.maximum(target, 0))
    return jnp.where(target >= 0, cost, 0.0)


@dataclass(frozen=True)
class Multitask:
    """Weighted sum of pose, visibility and action losses with intermediate supervision.

    Every prediction block and action head counts alike, and every set of action labels. Clips are averaged over time.

    Attributes:
      pose: weight of the coordinates.
      visible: weight of the joint probabilities.
      action: weight of each action head.
      clip_pose: factor on the first two for clips with an action label, whose frames are much alike.
      coordinate_bce: weight of the cross-entropy inside the coordinate loss.
    """

    pose: float = 1.0
    visible: float = 0.01
    action: float = 1.0
    clip_pose: float = 1.0
    coordinate_bce: float = 0.01

    def __call__(self, preds: Preds, batch: Batch) -> dict[str, jax.Array]:
        """The weighted terms, each (B,), summed over blocks and heads; without the terms that lack a prediction
        or a label."""
        terms = {}
        share = self.clip_pose if "action" in batch else 1.0
        if "pose" in preds and "pose" in batch:
            per_frame = pose(preds["pose"], batch["pose"], batch["valid"], self.coordinate_bce)  # (K, B, T)
            terms["pose"] = share * self.pose * per_frame.mean(-1).sum(0)
        if "visible" in preds and "visible" in batch:
            per_frame = visible(preds["visible"], batch["visible"])  # (K, B, T)
            terms["visible"] = share * self.visible * per_frame.mean(-1).sum(0)
        if "action" in preds and "action" in batch:
            logits, labels = preds["action"], batch["action"]
            sets = zip(logits, labels, strict=True) if isinstance(logits, tuple) else [(logits, labels)]
            terms["action"] = self.action * jnp.stack([action(*one).sum(0) for one in sets]).sum(0)
        return terms
