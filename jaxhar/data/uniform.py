"""Frames of clips spread evenly over a sequence: one random frame of each of n equal parts.

The rules and the random numbers are those of pyskl and mmaction2 (Duan et al., CVPR'22), and of dmae_st.
"""

from enum import StrEnum

import numpy as np

from jaxhar.host.errors import Problem

#: With it the originals seed the numbers of test clips.
TEST_SEED = 255


class Style(StrEnum):
    """Programs that differ in the order of their random numbers and in some constants."""

    MMACTION2 = "mm"
    PYSKL = "pk"


def segments(length: int, count: int, uniforms: np.ndarray) -> np.ndarray:
    """`count` frame numbers of a sequence of `length` frames, one in each of as many equal parts.

    Args:
      uniforms: (count,) places in the parts, in [0, 1); 0.5 is the middle.

    Raises:
      Problem: the sequence has no frame.
    """
    if length < 1:
        raise Problem("a sequence without a single frame has no clip")
    return np.floor((np.arange(count) + uniforms) * (length / count)).astype(np.int64)


def clip(length: int, count: int, rng: np.random.RandomState, start: int | None = None) -> np.ndarray:
    """`count` frame numbers of a sequence of `length` frames, by the legacy generator of the originals.

    Args:
      start: first frame of a sequence shorter than `count`, which is repeated; None draws it.
    """
    if length < 1:
        raise Problem("a sequence without a single frame has no clip")
    if length < count:
        first = int(rng.randint(0, length)) if start is None else start
        return np.arange(first, first + count) % length
    if length < 2 * count:
        skipped = np.zeros(count + 1, np.int64)
        skipped[rng.choice(count + 1, length - count, replace=False)] = 1
        return np.arange(count) + np.cumsum(skipped)[:-1]
    borders = np.arange(count + 1) * length // count
    return borders[:-1] + rng.randint(np.diff(borders))


def random_clip(length: int, count: int, rng: np.random.RandomState, style: Style = Style.MMACTION2) -> np.ndarray:
    """A random clip (count,)."""
    _interval(rng, style)
    return clip(length, count, rng)


def fixed_clips(length: int, count: int, clips: int, style: Style = Style.MMACTION2) -> np.ndarray:
    """The clips of a sequence in evaluation, (clips, count), always the same."""
    rng, found = np.random.RandomState(TEST_SEED), []
    for i in range(clips):
        _interval(rng, style)
        found.append(clip(length, count, rng, i if length < clips else i * length // clips))
    return np.stack(found)


def _interval(rng: np.random.RandomState, style: Style) -> None:
    """pyskl draws a part of the sequence first, which is all of it."""
    if Style(style) is Style.PYSKL:
        rng.rand()
        rng.randint(1)
