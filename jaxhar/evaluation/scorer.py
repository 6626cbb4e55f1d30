"""What evaluation asks of a scorer, and what it tells it.

A scorer is a frozen dataclass of settings that an experiment lists (`jaxhar.evaluation.evaluate.Eval`). For each view
of the data it begins sums, which take the examples one by one and at the end give sections for the report.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from jaxhar.core.batch import Batch, Preds
from jaxhar.core.network import NetworkConfig
from jaxhar.core.prepared import View
from jaxhar.core.skeleton import Skeleton
from jaxhar.evaluation.sections import Section

#: An example of a batch and its predictions (K, ...): without the batch axis, on the host, in their own types.
Example = Mapping[str, Any]
Predicted = Mapping[str, Any]


@dataclass(frozen=True)
class Context:
    """What is evaluated.

    Attributes:
      view: how the data is looked at.
      first: whether no view before it shows every sequence by itself. The figures of the first such view have plain
        names, "pck@0.2"; those of another are called "pck@0.2/flip".
      skeleton: of the data, None without.
      classes: of the data, () without.
      names: of the sequences; `Batch.sequence` counts in them.
      too_short: indices of the sequences with too few frames for a clip; None if the data does not say.
      network: settings of the network; None where a function predicts.
      network_classes: names of the network's classes, a tuple of such tuples with several sets of labels; () where it
        knows those of the data.
    """

    view: View
    first: bool = True
    skeleton: Skeleton | None = None
    classes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    too_short: frozenset[int] | None = None
    network: NetworkConfig | None = None
    network_classes: tuple = ()

    def name(self, example: Example) -> str:
        """Name of the sequence that an example is of; "" if it is not known."""
        number = int(example.get("sequence", -1))
        return self.names[number] if 0 <= number < len(self.names) else ""

    @property
    def suffix(self) -> str:
        """Last part of the names of figures: "" in the first view, else "/" and the name of the view."""
        return "" if self.first else f"/{self.view.name}"


class Sums(Protocol):
    """The sums of one scorer in one view, which do not depend on the order of the examples or the size of batches."""

    def add(self, example: Example, preds: Predicted) -> None:
        """Adds one example; Problem if it cannot be scored. Where either lacks a key, nothing is added.

        Args:
          example: values of a `Batch`. preds: (K, ...) values of `Preds`; the scorer converts them to float64 itself.
        """

    def sections(self) -> list[Section]:
        """What was found; [] if nothing was added."""


class Scorer(Protocol):
    """A kind of figure."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Keys of the predictions that it needs; only what some scorer reads leaves the device."""

    def begin(self, context: Context) -> Sums | None:
        """Empty sums; None where it has nothing to say of this view or this data."""

    def truth(self, batch: Batch, context: Context) -> Preds:
        """The predictions (K, B, ...) that it would score highest, from the labels of a batch; {} if it has none."""


def float64(value: npt.ArrayLike) -> np.ndarray:
    """An array of any type as float64, in which all figures are computed."""
    return np.asarray(value).astype(np.float64)
