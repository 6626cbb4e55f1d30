"""The rate of a video and the times of its frames, from the frames' own time stamps where these can be believed."""

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

import numpy as np

#: Steps between frames up to this many seconds, or this many times the usual step, are pauses; longer ones are jumps
#: between recordings that were joined.
_PAUSE, _STEPS = 10.0, 100
#: Times that go back by more than this many seconds begin anew; by less, they are stored out of order.
_BACK = 1.0
#: Assumed if neither the frames nor the header tell a rate.
_USUAL = Fraction(25)


def rate(
    stamps: Iterable[int | None],
    base: Fraction,
    average: Fraction | None = None,
    nominal: Fraction | None = None,
    codec: Fraction | None = None,
) -> Fraction:
    """Average frames per second.

    Headers may hold a nominal number: recordings of browsers say 1000, cover pictures 90000. So a header's rate, which
    is exact, is taken only if it fits the frames' own times: with at most one frame more or less, or as the usual step
    of a video in which at most a tenth of the frames are missing.

    Args:
      stamps: time stamps of all frames in the order of decoding, in units of `base` seconds; None where absent.
      average, nominal: rates that the header of the file states, None where absent.
      codec: the rate that the codec states; used only if no frame has a time.
    """
    known = np.array([stamp for stamp in stamps if stamp is not None], np.int64)
    stated = [header for header in (nominal, average) if header]
    steps = np.diff(known)
    steps = steps[steps >= 0]
    if not steps.any():
        return next((header for header in (codec, average, nominal) if header and header < 1000), _USUAL)
    steps = steps[steps <= max(_PAUSE / float(base), _STEPS * np.median(steps))]
    length = int(steps.sum()) * base
    if not length:
        return _USUAL
    found = len(steps) / length
    ticks = np.median(steps)
    for header in stated:
        missing = float(header / found - 1)
        if abs(missing) <= max(1.5 / (len(steps) + 1), float(2 * base / length)):
            return header
        if 0 <= missing <= 0.1 and abs(float(1 / (header * base)) - ticks) <= 1e-3 * ticks:
            return header
    # small numbers, because encoders take fractions of 32 bits
    return found.limit_denominator(1001) if found > 1 else 1 / (1 / found).limit_denominator(1001)


def rising(stamps: Sequence[int | None], base: Fraction, start: int | None) -> np.ndarray | None:
    """Seconds of frames from the first one (T,), in the order of showing; None if the stamps do not tell them for sure.

    Args:
      stamps: times of presentation in any order, in units of `base` seconds, None where absent.
      start: the time of the first one by the header.
    """
    known = np.sort(np.array([stamp for stamp in stamps if stamp is not None], np.int64))
    if not len(known) or len(known) < len(stamps) or known[0] != (start or 0):
        return None
    steps = np.diff(known)
    if len(steps) and (steps.min() < 1 or steps.max() * base > _PAUSE):
        return None
    return (known - known[0]) * float(base)


class Clock:
    """Seconds since the first frame; they rise from frame to frame, as encoders and readers of results need.

    Args:
      step: gives the usual seconds between frames; called only if a time is missing or does not rise.
      joined: a jump ahead of more than `_PAUSE` seconds is a joint of two recordings, not a pause.
    """

    def __init__(self, step: Callable[[], float], joined: bool):
        self._step, self._joined = step, joined
        self._last: float | None = None
        self._start = 0.0

    def __call__(self, moment: float | None) -> float:
        """The time of the next frame, whose own time stamp is `moment` in seconds, None if it has none."""
        if self._last is None:
            self._start = moment or 0.0
            self._last = 0.0
            return 0.0
        time = None if moment is None else moment - self._start
        if time is None or time <= self._last or (self._joined and time > self._last + _PAUSE):
            following = self._last + self._step()
            if time is not None and not -_BACK < time - self._last <= 0:
                self._start += time - following  # so that later frames keep their distances
            time = following
        self._last = time
        return time
