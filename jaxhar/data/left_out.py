"""What is left out of training and evaluation because it cannot be read: each file is told once, and all at the end.

Loading processes send what they left out with their batches, so that the training counts what it was given: each clip
once, however often a batch is read again, and after resuming as in a run without a stop. In evaluation a clip counts
once, however often it is evaluated.
"""

import atexit
import sys
import threading
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

#: Key of examples and batches with what others stand in for; `pipeline.BatchStream` takes it out.
KEY = "left_out"

#: A stream of training batches, see `pipeline.BatchStream`.
Stream = tuple[tuple[str, int], ...]

#: Stream -> number of a batch, -1 for all before those that this process has read -> what was left out of it.
_trained: dict[Stream, dict[int, Counter[str]]] = {}
#: Reason -> the clips of evaluation that were left out for it.
_evaluated: dict[str, set[Hashable]] = {}
_told: set[str] = set()
_lock = threading.Lock()


def of_batch(stream: Stream, number: int, reasons: Sequence[str]) -> None:
    """Count what was left out of a training batch, by the reasons."""
    with _lock:
        _trained.setdefault(stream, {}).setdefault(number, Counter(reasons))
        _tell_new(reasons)


def of_evaluation(reason: str, clip: Hashable) -> None:
    """Count a clip of evaluation that is left out."""
    with _lock:  # several threads read
        _evaluated.setdefault(reason, set()).add(clip)
        _tell_new([reason])


def before(stream: Stream, number: int) -> dict[str, int]:
    """What was left out of the batches of a stream before one, for its saved state: how many clips for each reason."""
    with _lock:
        found = [counts for batch, counts in _trained.get(stream, {}).items() if batch < number]
        return dict(sorted(sum(found, Counter()).items()))


def restore(stream: Stream, counts: Mapping[str, int]) -> None:
    """Go on counting from a saved state of a stream."""
    with _lock:
        _trained[stream] = {-1: Counter(counts)}
        _told.update(counts)


def told() -> list[str]:
    """What was left out so far, a line for each file in the order of the names; the first line has the total."""
    with _lock:
        counts = sum((counts for batches in _trained.values() for counts in batches.values()), Counter())
        counts.update({reason: len(clips) for reason, clips in _evaluated.items()})
    if not counts:
        return []
    lines = [f"  {reason}" + (f" ({count} clips)" if count > 1 else "") for reason, count in sorted(counts.items())]
    return [f"{counts.total()} clips of {len(lines)} files could not be read and were left out:", *lines]


def forget() -> None:
    """Begin to count anew."""
    with _lock:
        for kept in (_trained, _evaluated, _told):
            kept.clear()


def _tell_new(reasons: Sequence[str]) -> None:
    for reason in dict.fromkeys(reasons):
        if reason not in _told:
            _told.add(reason)
            print(f"left out: {reason}", file=sys.stderr)


@atexit.register
def _tell() -> None:
    for line in told():
        print(line, file=sys.stderr)
