"""Training loss of masked autoencoders: the squared error of the patches that were removed."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxhar.core.batch import Batch, Preds
from jaxhar.core.patches import Patching

#: Threshold of `Reconstruction.fit`: a patch is nearly known when a quarter of its variance is left.
MARK = 0.25


@dataclass(frozen=True)
class Reconstruction:
    """Mean squared error of removed patches, of clips without any label.

    Attributes:
      patching: what is reconstructed, `config.patching` of the network.
    """

    patching: Patching

    def __call__(self, preds: Preds, batch: Batch) -> dict[str, jax.Array]:
        """The mean over the removed patches of every clip, and over the predictions: (B,)."""
        if "patches" not in preds or "frames" not in batch:
            return {}
        target = self.patching.target(batch)
        error = jnp.square(preds["patches"] - target).mean(-1)
        removed = preds["removed"]
        return {"reconstruction": ((error * removed).sum(-1) / jnp.maximum(removed.sum(-1), 1)).mean(0)}

    def floor(self, batch: Batch) -> dict[str, jax.Array]:
        """The smallest possible terms, 0."""
        return {"reconstruction": jnp.zeros(batch["frames"].shape[0])}

    def fit(self, preds: Preds, batch: Batch) -> tuple[float, float]:
        """The error, and the threshold that it should not exceed once a batch is memorised."""
        return float(self(preds, batch)["reconstruction"].mean()), MARK
