"""Training losses: callables (predictions, batch) -> {term: (B,)}, without terms for labels the batch lacks."""

from typing import Protocol, runtime_checkable

import jax

from jaxhar.core.batch import Batch, Preds


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
