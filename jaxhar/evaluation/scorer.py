"""The interface between evaluation and scorers.

A scorer is a frozen dataclass of settings, listed in an experiment (`jaxhar.evaluation.evaluate.Eval`). For each view
of the data, `begin` returns an object of sums. Examples are added to it one by one; at the end it returns sections for
the report.
"""

from collections.abc import Callable, Mapping
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
    """What a scorer knows about the evaluation.

    Attributes:
      view: the view of the data.
      first: whether it is the first view that is not a "clips" view. Figures of that view have plain names, such as
        "pck@0.2"; those of other views have a suffix, such as "pck@0.2/flip".
      skeleton: of the data; None if it has none.
      classes: names of the data's classes; () if it has none.
      names: of the sequences; `Batch.sequence` is an index into them.
      too_short: indices of the sequences with too few frames for a clip; None if unknown.
      network: config of the network; None if predictions come from a function.
      network_classes: names of the network's classes, or a tuple of such tuples for several sets of labels; () if they
        are the data's.
      shows: what the network sees in the clips of a batch, see `jaxhar.core.network.Showing`; None if it shows nothing.
    """

    view: View
    first: bool = True
    skeleton: Skeleton | None = None
    classes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    too_short: frozenset[int] | None = None
    network: NetworkConfig | None = None
    network_classes: tuple = ()
    shows: Callable[[Batch], dict[str, np.ndarray]] | None = None

    def name(self, example: Example) -> str:
        """Name of the sequence of an example; "" if unknown."""
        number = int(example.get("sequence", -1))
        return self.names[number] if 0 <= number < len(self.names) else ""

    @property
    def suffix(self) -> str:
        """Last part of the names of figures: "" in the first view, else "/" and the name of the view."""
        return "" if self.first else f"/{self.view.name}"


class Sums(Protocol):
    """The sums of one scorer in one view, which do not depend on the order of the examples or the size of batches."""

    def add(self, example: Example, preds: Predicted) -> None:
        """Adds one example; Problem if it cannot be scored. If a key is missing, nothing is added.

        Args:
          example: values of a `Batch`. preds: (K, ...) values of `Preds`; the scorer converts them to float64 itself.
        """

    def sections(self) -> list[Section]:
        """The results; [] if nothing was added."""


class Scorer(Protocol):
    """Computes one kind of figure."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Keys of the predictions that it needs; only these are copied from the device.

        With "frames" among them it also gets the frames of the examples that another process has evaluated.
        """

    def begin(self, context: Context) -> Sums | None:
        """Empty sums; None if the scorer does not apply to this view or data."""

    def truth(self, batch: Batch, context: Context) -> Preds:
        """Perfect predictions (K, B, ...), made from the labels of a batch; {} if that is impossible."""


def float64(value: npt.ArrayLike) -> np.ndarray:
    """An array converted to float64, the type in which all figures are computed."""
    return np.asarray(value).astype(np.float64)
