"""Clips that turn out to be unreadable during training or evaluation, of data sets that may leave broken files out.

In training another clip is taken in place of one; in evaluation it is masked. Each file is told once, and all at the
end of the process.
"""

import atexit
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxhar.data.pipeline import Example, Source
from jaxhar.host.errors import Problem

#: How many clips are tried, one after another.
TRIES = 12
#: Reason -> how many clips were left out for it.
_counts: Counter[str] = Counter()
_lock = threading.Lock()


class Unreadable(Problem):
    """A clip of a data set cannot be read, for a reason that concerns its own files alone."""


def note(problem: Unreadable) -> None:
    """Count a clip that is left out."""
    reason = str(problem)
    with _lock:  # several threads read
        _counts[reason] += 1
        first = _counts[reason] == 1
    if first:
        print(f"left out: {reason}", file=sys.stderr)


def told() -> list[str]:
    """What was left out so far, a line for each file; the first line has the total."""
    if not _counts:
        return []
    lines = [f"  {reason}" + (f" ({count} clips)" if count > 1 else "") for reason, count in _counts.items()]
    return [f"{_counts.total()} clips of {len(lines)} files could not be read and were left out:", *lines]


@atexit.register
def _tell() -> None:
    for line in told():
        print(line, file=sys.stderr)


@dataclass(frozen=True)
class Replaced:
    """Makes an example of a record; of another one, drawn at random, in place of one that cannot be read.

    Attributes:
      load: makes the example. source: of the other records.
    """

    load: Callable[[Any, np.random.Generator], Example]
    source: Source

    def __call__(self, record: object, rng: np.random.Generator) -> Example:
        for _ in range(TRIES):
            try:
                return self.load(record, rng)
            except Unreadable as problem:
                note(problem)
                last = problem
                record = self.source[int(rng.integers(len(self.source)))]
        raise Problem(f"{TRIES} clips one after another cannot be read; the last: {last}")
