"""Training losses: callables (predictions, batch) -> {term: (B,)}, without terms for labels the batch lacks."""

from typing import Protocol, Self, TypeVar, runtime_checkable

import jax

from jaxhar.core.batch import Batch, Preds
from jaxhar.core.network import NetworkConfig

Kept = TypeVar("Kept")


@runtime_checkable
class HasFloor(Protocol):
    """A loss that knows its minimum, for `jaxhar doctor`."""

    def floor(self, batch: Batch) -> dict[str, jax.Array]:
        """The smallest possible terms (B,) for a single prediction."""


@runtime_checkable
class HasFit(Protocol):
    """A loss that measures whether a network has memorised a batch, for `jaxhar overfit`."""

    def fit(self, preds: Preds, batch: Batch) -> tuple[float, float]:
        """Distance of the last predictions from the labels, and the threshold it should not exceed."""


@runtime_checkable
class OfNetwork(Protocol):
    """A loss that takes settings from the network that it is for."""

    def of(self, network: NetworkConfig) -> Self:
        """The loss for a network of these settings; Problem if it is for another one."""


def fitted(losses: Kept, network: NetworkConfig) -> Kept:
    """Losses for the network that they train."""
    return losses.of(network) if isinstance(losses, OfNetwork) else losses
