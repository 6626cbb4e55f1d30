"""From when to when each person does what: the longest runs of frames in which a person does the same."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jaxhar.predict.frame_result import FrameResult


@dataclass(frozen=True)
class Segment:
    """A run of frames with one action.

    Attributes:
      person: identity; 0 for the scene.
      start_frame, end_frame: first and last frame. start_time, end_time: their times in seconds.
      action: index of the class. probability: its mean over the frames.
    """

    person: int
    start_frame: int
    end_frame: int
    start_time: float
    end_time: float
    action: int
    probability: float


class Runs:
    """Finds the segments, frame by frame. One ends where the most probable action changes, or the person has none."""

    def __init__(self) -> None:
        #: Of each person: action, first and last (frame, time), probabilities' sum, number of frames.
        self._runs: dict[int, tuple[int, tuple[int, float], tuple[int, float], float, int]] = {}

    def add(self, index: int, time: float, results: Sequence[FrameResult]) -> Iterator[Segment]:
        """Add the persons of a frame; gives the segments that have ended."""
        here = (index, time)
        doing = {result.id: result.action for result in results if result.action is not None}
        for who in [who for who in self._runs if who not in doing]:
            yield self._end(who)
        for who, action in doing.items():
            top, probability = int(action.argmax()), float(action.max())
            if who in self._runs and self._runs[who][0] != top:
                yield self._end(who)
            _, first, _, total, count = self._runs.get(who, (top, here, here, 0.0, 0))
            self._runs[who] = top, first, here, total + probability, count + 1

    def finish(self) -> Iterator[Segment]:
        """The segments that last until the end."""
        for who in list(self._runs):
            yield self._end(who)

    def _end(self, who: int) -> Segment:
        top, first, last, total, count = self._runs.pop(who)
        return Segment(who, first[0], last[0], first[1], last[1], top, total / count)
