"""Training losses: callables (predictions, batch) -> {term: (B,)}, silent about what the batch does not have."""

from typing import Protocol, runtime_checkable

import jax

from jaxhar.core.batch import Batch, Preds


@runtime_checkable
class HasFloor(Protocol):
    """A loss that knows its value for the truth; `jaxhar doctor` compares."""

    def floor(self, batch: Batch) -> dict[str, jax.Array]:
        """The smallest terms (B,) that a single prediction can reach."""


@runtime_checkable
class HasFit(Protocol):
    """A loss that can say whether a network knows a batch by heart; `jaxhar overfit` asks it."""

    def fit(self, preds: Preds, batch: Batch) -> tuple[float, float]:
        """How far the last predictions are from the labels, and the mark that this should not exceed."""
