"""Filters of joints over time: a Butterworth without delay, and the One-Euro filter (Casiez et al., CHI 2012)."""

import contextlib
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from jaxhar.host.errors import Usage
from jaxhar.predict.boxes import seen
from jaxhar.predict.frame_result import FrameResult

#: The usual cut-offs in Hz: that of walking and sports (Winter, Biomechanics); that of a joint at rest.
CUTOFFS = {"butterworth": 6.0, "one-euro": 1.0}
_ORDER = 4  # of the Butterworth filter: of order 2, forwards and backwards
#: Lowest cut-off over the frame rate: a lower one needs more frames than there are, then more digits.
_LOWEST = 1e-4
#: Of the One-Euro filter: rise of the cut-off in Hz per speed in box sides a second, and the cut-off of that speed. On
#: generated motion at 25 Hz with noise of 1 % of a side this rise gave the smallest error of 1, 2, 4, 8, 16 and 32.
_RISE, _SPEED_CUTOFF = 16.0, 1.0


@dataclass(frozen=True)
class Smoothing:
    """A filter by its name, and its cut-off in Hz."""

    name: str
    cutoff: float

    @classmethod
    def parse(cls, words: str) -> "Smoothing":
        """From "NAME" or "NAME:HZ"; Usage for anything else."""
        name, _, hertz = words.partition(":")
        try:
            cutoff = float(hertz) if hertz else CUTOFFS[name]
        except (KeyError, ValueError):
            cutoff = math.nan
        if name not in CUTOFFS or not (math.isfinite(cutoff) and cutoff > 0):
            known = " or ".join(CUTOFFS)
            raise Usage(f"--smooth {words!r} is no filter: give {known}, with a cut-off in Hz as in butterworth:4")
        return cls(name, cutoff)

    def __str__(self) -> str:
        return f"{self.name}:{self.cutoff:g}"

    def check(self, fps: float | None) -> None:
        """Usage if it is not for a source of this frame rate; None for still images."""
        if fps is None:
            raise Usage("--smooth is for videos, not for pictures")
        if self.name == "butterworth":
            check_rate(fps, self.cutoff)

    def __call__(
        self, results: Generator[list[FrameResult], None, None], times: Sequence[float], fps: float
    ) -> Generator[list[FrameResult], None, None]:
        """The results frame by frame, with smoothed joints; those that are not seen stay as they are.

        The Butterworth filter waits for the last frame, the One-Euro filter for none.

        Args:
          times: of the frames, in seconds. fps: frames per second.
        """
        with contextlib.closing(results):
            if self.name == "butterworth":
                frames = list(results)
                self._butterworth(frames, fps)
                yield from frames
                return
            states: dict[int, _OneEuro] = {}
            for index, persons in enumerate(results):
                before = {who: state for who, state in states.items() if state.index == index - 1}
                states = {one.id: before.get(one.id, _OneEuro(self.cutoff)) for one in persons if one.person}
                for one in persons:
                    if one.person:
                        states[one.id].smooth(index, times[index], one)
                yield persons

    def _butterworth(self, frames: list[list[FrameResult]], fps: float) -> None:
        found: dict[int, dict[int, FrameResult]] = {}
        for index, persons in enumerate(frames):
            for one in persons:
                if one.person:
                    found.setdefault(one.id, {})[index] = one
        for here in found.values():
            first = min(here)
            shape = next(iter(here.values())).pose.shape
            points = np.full((max(here) - first + 1, *shape), np.nan)
            for index, one in here.items():
                points[index - first] = np.where(seen(one.confidence)[:, None], one.pose, np.nan)
            points = butterworth(points, fps, self.cutoff)
            for index, one in here.items():
                new = points[index - first]
                one.pose = np.where(np.isfinite(new), new, one.pose)


class _OneEuro:
    """The filter of one person: each joint's cut-off rises with its speed, so that fast motion has little delay."""

    def __init__(self, cutoff: float):
        self.index, self._cutoff = -1, cutoff
        self._time = 0.0
        self._pose = self._speed = np.zeros((0, 0))

    def smooth(self, index: int, time: float, one: FrameResult) -> None:
        """Take the next frame, and replace the joints in it."""
        pose = np.where(seen(one.confidence)[:, None], one.pose, np.nan)
        if self.index >= 0 and time > self._time:
            step = time - self._time
            # depth is in units of the crop already
            unit = np.array([max(one.box[2:] - one.box[:2])] * 2 + [1.0])[: pose.shape[1]]
            new = ~np.isfinite(self._pose)
            raw = np.where(new, 0.0, (pose - self._pose) / unit / step)
            speed = self._speed + _share(_SPEED_CUTOFF, step) * (raw - self._speed)
            cutoff = self._cutoff + _RISE * np.linalg.norm(speed[:, :2], axis=-1, keepdims=True)
            pose = np.where(new, pose, self._pose + _share(cutoff, step) * (pose - self._pose))
            self._speed = np.where(np.isfinite(speed), speed, 0.0)
        else:
            self._speed = np.zeros_like(pose)
        one.pose = np.where(np.isfinite(pose), pose, one.pose)
        self.index, self._time, self._pose = index, time, pose


def _share(cutoff: float | np.ndarray, step: float) -> np.ndarray:
    """The share of a new value in a low-pass filter of first order; `step` in seconds."""
    turn = 2 * np.pi * np.asarray(cutoff) * step
    return turn / (1 + turn)


def butterworth(points: np.ndarray, rate: float, cutoff: float) -> np.ndarray:
    """Points (F, ..., D) after a low-pass Butterworth filter of order 4 without delay (Winter, Biomechanics, 2.2.4.4).

    Each joint is filtered between its gaps; pieces of nine frames or fewer stay as they are.

    Raises:
      Usage: see `check_rate`.
    """
    from scipy.signal import butter, filtfilt  # not needed without a filter, and slow to import

    check_rate(rate, cutoff)
    b, a = butter(_ORDER // 2, cutoff / (rate / 2))
    out = points.copy()
    for joint in np.ndindex(points.shape[1:-1]):
        here = np.flatnonzero(np.isfinite(points[:, *joint]).all(-1))
        for piece in np.split(here, np.flatnonzero(np.diff(here) > 1) + 1):
            if len(piece) > 3 * len(b):
                out[piece, *joint] = filtfilt(b, a, points[piece, *joint], axis=0)
    return out


def check_rate(rate: float, cutoff: float) -> None:
    """Usage if a Butterworth filter cannot have this cut-off in Hz at this frame rate."""
    if cutoff < rate * _LOWEST:
        raise Usage(f"--smooth {cutoff:g} must be at least {rate * _LOWEST:g} Hz at {rate:g} frames per second")
    if cutoff >= rate / 2:
        raise Usage(f"--smooth {cutoff:g} must be below half of the {rate:g} frames per second")
