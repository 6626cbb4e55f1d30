"""Clips that turn out to be unreadable during training, of data sets that may leave broken files out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxhar.data import left_out
from jaxhar.data.pipeline import Example, Source
from jaxhar.host.errors import Problem

#: How many clips are tried, one after another.
TRIES = 12


class Unreadable(Problem):
    """A clip of a data set cannot be read, for a reason that concerns its own files alone."""


@dataclass(frozen=True)
class Replaced:
    """Makes an example of a record; of another one, drawn at random, in place of one that cannot be read.

    The example says in `left_out` why: a line for each clip that was tried before.

    Attributes:
      load: makes the example. source: of the other records.
    """

    load: Callable[[Any, np.random.Generator], Example]
    source: Source

    def __call__(self, record: object, rng: np.random.Generator) -> Example:
        reasons: list[str] = []
        while len(reasons) < TRIES:
            try:
                return {**self.load(record, rng), left_out.KEY: np.array("\n".join(reasons))}
            except Unreadable as problem:
                reasons.append(" ".join(str(problem).split()))
                record = self.source[int(rng.integers(len(self.source)))]
        raise Problem(f"{TRIES} clips one after another cannot be read; the last: {reasons[-1]}")
