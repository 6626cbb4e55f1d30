"""Loss of a person detector: focal loss of the centres, absolute errors of offsets and sizes, overlap of the boxes.

Zhou, Wang, Krähenbühl: "Objects as Points" (2019), equations 1 to 3. Sizes are compared as logarithms, and the cells
around a middle count too, see `jaxhar.core.centres`; the overlap is that of Rezatofighi et al., "Generalized
Intersection over Union" (CVPR'19).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxhar.core.batch import Batch, Preds
from jaxhar.core.boxes import generalised_overlap, overlap
from jaxhar.core.centres import Targets, corners, encode
from jaxhar.training.losses.binary import precise

Array = jax.Array

#: Exponents of the focal loss: of the error, and of the distance of a cell from the middle.
_ALPHA, _BETA = 2, 4
#: Mean of 1 - IoU, over the persons, at which a batch counts as memorised.
_MARK = 0.2


def has_boxes(batch: Batch) -> bool:
    """Whether a batch has labelled boxes."""
    return {"boxes", "boxed", "ignored"} <= batch.keys()


def targets(batch: Batch, size: tuple[int, int]) -> Targets:
    """The target maps of (h, w) cells of a batch; axes (B, T, ...)."""
    return encode(precise(jnp.asarray(batch["boxes"])), batch["boxed"], batch["ignored"], size)


def focal(logits: Array, target: Targets) -> Array:
    """(...) the focal loss of maps (..., h, w), divided by the number of persons in each, at least 1."""
    middle = target.heat == 1
    # log p = -softplus(-x) and log(1 - p) = -softplus(x), without a logarithm of 0
    found = jax.nn.sigmoid(-logits) ** _ALPHA * jax.nn.softplus(-logits)
    empty = (1 - target.heat) ** _BETA * jax.nn.sigmoid(logits) ** _ALPHA * jax.nn.softplus(logits)
    cost = jnp.where(target.counted, jnp.where(middle, found, empty), 0)
    return cost.sum((-2, -1)) / _persons(target)


def _persons(target: Targets) -> Array:
    return jnp.maximum(target.known.sum(-1), 1)


@dataclass(frozen=True)
class Centres:
    """The loss: its terms are means over persons and frames, summed over predictions.

    Attributes:
      offset, size: weights of the absolute errors. overlap: weight of 1 - generalised IoU.
      around: whether the cells around a middle count, by their share; else the cell of the middle alone.
    """

    offset: float = 1.0
    size: float = 1.0
    overlap: float = 2.0
    around: bool = True

    def __call__(self, preds: Preds, batch: Batch) -> dict[str, Array]:
        """The terms centres, offset, size and overlap (B,); {} without maps or labels."""
        if not {"centres", "extent"} <= preds.keys() or not has_boxes(batch):
            return {}
        logits, extent = precise(preds["centres"]), precise(preds["extent"])
        height, width = logits.shape[-2:]
        target = targets(batch, (height, width))
        share = target.share if self.around else (target.heat == 1).astype(target.share.dtype)

        def mean(cost: Array) -> Array:
            """(K, B, T, h, w) -> (B,)."""
            return (jnp.where(share > 0, cost * share, 0).sum((-2, -1)) / _persons(target)).mean(-1).sum(0)

        error = jnp.abs(extent - target.extent)
        return {
            "centres": focal(logits, target).mean(-1).sum(0),
            "offset": self.offset * mean(error[..., :2].sum(-1)),
            "size": self.size * mean(error[..., 2:].sum(-1)),
            "overlap": self.overlap * mean(1 - generalised_overlap(corners(extent), corners(target.extent))),
        }

    def floor(self, batch: Batch) -> dict[str, Array]:
        """The smallest possible terms: 0."""
        if not has_boxes(batch):
            return {}
        zero = jnp.zeros(jnp.asarray(batch["boxes"]).shape[0])
        return {"centres": zero, "offset": zero, "size": zero, "overlap": zero}

    def fit(self, preds: Preds, batch: Batch) -> tuple[float, float]:
        """The mean over persons of 1 - IoU with the best of the predicted boxes with a score above 0.3."""
        if not {"boxes", "scores"} <= preds.keys() or not has_boxes(batch):
            return float("inf"), 0.0
        best = jnp.where(preds["scores"][-1][..., None, :] > 0.3, overlap(batch["boxes"], preds["boxes"][-1]), 0).max(
            -1
        )
        known = jnp.asarray(batch["boxed"])
        return float(1 - jnp.where(known, best, 0).sum() / jnp.maximum(known.sum(), 1)), _MARK
