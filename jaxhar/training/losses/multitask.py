"""Training loss of the multitask networks: pose, visibility and action, per example.

Masks are applied to the inputs, not to the result, so that values without a label (even NaN) affect neither the loss
nor the gradient. Axis letters as in `jaxhar.core.batch`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxhar.core.batch import Batch, Preds
from jaxhar.training.losses import action, pose
from jaxhar.training.losses.binary import visible

#: Threshold of `Multitask.fit` for memorised poses: for one example, and for several.
MARK_ONE, MARK_MANY = 0.005, 0.03
#: The same for actions: the cross-entropy of a class with probability 0.9.
MARK_ACTION = 0.1


@dataclass(frozen=True)
class Multitask:
    """Weighted sum of pose, visibility and action losses with intermediate supervision.

    All prediction blocks, action heads and label sets have equal weight. Pose terms are averaged over time.

    Attributes:
      pose: weight of the coordinates.
      visible: weight of the joint probabilities.
      action: weight of each action head.
      clip_pose: factor on the first two for clips with an action label, whose frames are similar to each other.
      coordinate_bce: weight of the cross-entropy inside the coordinate loss.
    """

    pose: float = 1.0
    visible: float = 0.01
    action: float = 1.0
    clip_pose: float = 1.0
    coordinate_bce: float = 0.01

    def __call__(self, preds: Preds, batch: Batch) -> dict[str, jax.Array]:
        """The weighted terms (B,), summed over blocks and heads; terms without prediction or label are absent."""
        terms = {}
        share = self._share(batch)
        if "pose" in preds and has_pose(batch):
            per_frame = pose.pose(preds["pose"], batch["pose"], batch["valid"], self.coordinate_bce)  # (K, B, T)
            terms["pose"] = share * self.pose * per_frame.mean(-1).sum(0)
        if "visible" in preds and "visible" in batch:
            per_frame = visible(preds["visible"], batch["visible"])  # (K, B, T)
            terms["visible"] = share * self.visible * per_frame.mean(-1).sum(0)
        if "action" in preds and "action" in batch:
            costs = [action.action(logits, labels).sum(0) for logits, labels in _sets(preds, batch)]
            terms["action"] = self.action * jnp.stack(costs).sum(0)
        return terms

    def floor(self, batch: Batch) -> dict[str, jax.Array]:
        """The smallest possible terms (B,) of one block or head: those of a prediction equal to the labels.

        They are not 0 where the labels have an entropy: coordinates (as probabilities) and soft action labels.
        """
        terms = {}
        share = self._share(batch)
        if has_pose(batch):
            per_frame = self.coordinate_bce * pose.entropy(jnp.asarray(batch["pose"]), jnp.asarray(batch["valid"]))
            terms["pose"] = share * self.pose * per_frame.mean(-1)
        if "visible" in batch:
            labels = jnp.asarray(batch["visible"])
            terms["visible"] = share * self.visible * visible(labels, labels).mean(-1)
        if "action" in batch:
            sets = batch["action"] if isinstance(batch["action"], tuple) else (batch["action"],)
            terms["action"] = self.action * jnp.stack([action.entropy(jnp.asarray(one)) for one in sets]).sum(0)
        return terms

    def fit(self, preds: Preds, batch: Batch) -> tuple[float, float]:
        """Error of the last predictions on a memorised batch, and the threshold it should not exceed.

        With poses: the mean over labelled coordinates of |d| + d^2 in crop units, plus 0.01 times the mean
        cross-entropy of visibility. The cross-entropy of coordinates is omitted, because it is not 0 for a perfect
        prediction. Without poses: the mean cross-entropy of the last action head. Infinite if nothing can be compared.
        """
        if "pose" in preds and has_pose(batch):
            cost = pose.pose(preds["pose"][-1], batch["pose"], batch["valid"], coordinate_bce=0.0)
            if "visible" in preds and "visible" in batch:
                cost = cost + 0.01 * visible(preds["visible"][-1], batch["visible"])
            return float(cost.mean()), MARK_ONE if len(cost) == 1 else MARK_MANY
        if "action" in preds and "action" in batch:
            above = [action.action(one[-1], labels) - action.entropy(labels) for one, labels in _sets(preds, batch)]
            return float(jnp.stack(above).sum(0).mean()), MARK_ACTION
        return float("inf"), 0.0

    def _share(self, batch: Batch) -> float:
        return self.clip_pose if "action" in batch else 1.0


def has_pose(batch: Batch) -> bool:
    """Whether a batch has pose labels."""
    return "pose" in batch and "valid" in batch


def _sets(preds: Preds, batch: Batch) -> Iterator[tuple[jax.Array, jax.Array]]:
    """Logits (K', B, A) and labels of every label set."""
    logits, labels = preds["action"], batch["action"]
    yield from zip(logits, labels, strict=True) if isinstance(logits, tuple) else [(logits, labels)]
