"""Tables of sinusoids for the positions of joints in a clip."""

from collections.abc import Sequence

import numpy as np


def code(length: int, width: int) -> np.ndarray:
    """(length, width) float64: sines in even, cosines in odd channels; the base of the frequencies is the length."""
    channel = np.arange(width)
    angle = np.arange(length)[:, None] / length ** (2 * (channel // 2) / width)
    return np.where(channel % 2 == 0, np.sin(angle), np.cos(angle))


def table(frames: int, bodies: int, joints: int, widths: Sequence[int]) -> np.ndarray:
    """(1, 1 + frames * bodies * joints, C) float32: codes of frame, body and joint side by side, the first row for the
    class token.

    Args:
      widths: of the three codes.
    """
    counts = frames, bodies, joints
    codes = [code(count + 1, width) for count, width in zip(counts, widths, strict=True)]
    first = np.concatenate([one[0] for one in codes])
    place = np.indices(counts).reshape(3, -1)  # frames first, joints last
    grid = np.concatenate([one[1:][at] for one, at in zip(codes, place, strict=True)], axis=1)
    return np.concatenate([first[None], grid])[None].astype(np.float32)
