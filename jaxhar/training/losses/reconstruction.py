"""Training loss of masked autoencoders: the squared error of the patches that were removed."""

from dataclasses import dataclass, fields, replace
from typing import Self

import jax
import jax.numpy as jnp

from jaxhar.core.batch import Batch, Preds
from jaxhar.core.network import NetworkConfig, Reconstructing
from jaxhar.core.patches import Patching
from jaxhar.host.errors import Problem

#: Threshold of `Reconstruction.fit`: a patch is nearly known when a quarter of its variance is left.
MARK = 0.25


@dataclass(frozen=True)
class Reconstruction:
    """Mean squared error of removed patches, of clips without any label.

    Attributes:
      patching: what is reconstructed; None for `config.patching` of the network that is trained.
    """

    patching: Patching | None = None

    def of(self, network: NetworkConfig) -> Self:
        """The loss for a network; Problem if it reconstructs nothing, or something else than `patching`."""
        if not isinstance(network, Reconstructing):
            raise Problem(
                f"the loss Reconstruction is for networks that reconstruct patches; {type(network).__name__} are the "
                "settings of another"
            )
        wanted, given = network.patching, self.patching
        differing = (
            [] if given is None else [f.name for f in fields(given) if vars(given)[f.name] != vars(wanted)[f.name]]
        )
        if differing:
            name = differing[0]
            raise Problem(
                f"the loss reconstructs patches with {name} {vars(given)[name]}, and the network those with {name} "
                f"{vars(wanted)[name]}; leave patching out of Reconstruction, and it is the network's"
            )
        return replace(self, patching=wanted)

    def __call__(self, preds: Preds, batch: Batch) -> dict[str, jax.Array]:
        """The mean over the removed patches of every clip, and over the predictions: (B,)."""
        if "patches" not in preds or "frames" not in batch:
            return {}
        assert self.patching is not None, "see `of`"
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
