"""Loss of heat maps against Gaussian targets, which are drawn on the device from the labelled joints."""

from dataclasses import dataclass
from enum import StrEnum

import jax
import jax.numpy as jnp

from jaxhar.core.batch import Batch, Preds
from jaxhar.core.gaussian import encode, encode_lip
from jaxhar.training.losses import pose as pose_loss
from jaxhar.training.losses.binary import precise
from jaxhar.training.losses.multitask import MARK_MANY, has_pose

Array = jax.Array


class Targets(StrEnum):
    """How target maps are drawn."""

    #: Simple Baselines, HRNet and multi-view fusion, see `jaxhar.core.gaussian.encode`.
    STANDARD = "standard"
    #: single-person-pose-estimation on LIP, see `jaxhar.core.gaussian.encode_lip`: missing joints have empty maps.
    LIP = "lip"
    #: The same as the original draws them, without the last row and column.
    LIP_LEGACY = "lip_legacy"


def targets(batch: Batch, size: tuple[int, int], kind: Targets, sigma: float) -> tuple[Array, Array]:
    """Target maps (B, T, h, w, J) of a batch with pose and valid, and weights (B, T, J).

    Args:
      size: (h, w) of the maps. sigma: in cells; that of LIP is always 1.
    """
    pose, labelled = precise(jnp.asarray(batch["pose"]))[..., :2], jnp.asarray(batch["valid"])[..., :2].all(-1)
    cells = jnp.where(labelled[..., None], pose, 0) * jnp.asarray(size[::-1], pose.dtype)
    if kind is Targets.STANDARD:
        return encode(cells, labelled, size, sigma)
    maps = encode_lip(cells, labelled, size, legacy=kind is Targets.LIP_LEGACY)
    return maps, jnp.ones(labelled.shape, maps.dtype)


def squared_error(maps: Array, target: Array, weight: Array) -> Array:
    """(..., J) means over the pixels of (weight (map - target))^2, for maps (..., h, w, J) and weights (..., J)."""
    return ((weight[..., None, None, :] * (precise(maps) - target)) ** 2).mean((-3, -2))


@dataclass(frozen=True)
class Maps:
    """Squared error of the maps of every prediction: mean over the pixels, sum over joints, frames and predictions.

    Attributes:
      kind, sigma: of the targets.
      weight: factor. The original multi-view code has 1; the single-view code of Simple Baselines 1 / (2 J), its mean
        over the joints of half of the error; single-person-pose-estimation 1 / J, the mean over all values.
    """

    kind: Targets = Targets.STANDARD
    sigma: float = 2.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", Targets(self.kind))

    def __call__(self, preds: Preds, batch: Batch) -> dict[str, Array]:
        """The term maps (B,); {} without maps or labels."""
        if "maps" not in preds or not has_pose(batch):
            return {}
        target, weight = targets(batch, preds["maps"].shape[3:5], self.kind, self.sigma)
        error = squared_error(preds["maps"], target, weight)  # (K, B, T, J)
        return {"maps": self.weight * error.sum((0, 2, 3))}

    def floor(self, batch: Batch) -> dict[str, Array]:
        """The smallest possible term: 0, for maps equal to the targets."""
        return {"maps": jnp.zeros(jnp.asarray(batch["pose"]).shape[0])} if has_pose(batch) else {}

    def fit(self, preds: Preds, batch: Batch) -> tuple[float, float]:
        """The mean of |d| + d^2 of the last prediction's joints in crop units, and the limit for memorised examples.

        A joint is known to a cell only, so the limit is that of several examples of a regression.
        """
        if "pose" not in preds or not has_pose(batch):
            return float("inf"), 0.0
        cost = pose_loss.pose(preds["pose"][-1], batch["pose"], batch["valid"], coordinate_bce=0.0)
        return float(cost.mean()), MARK_MANY
