"""Turns a decoded video frame into the RGB picture that a player shows: right range, upright, square pixels."""

from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from jaxhar.data.clips import short_side

#: Widths of pixels in units of their height; others are errors of the header.
_NARROW, _WIDE = Fraction(1, 4), Fraction(4)


class Upright:
    """Converts the frames of one video; all pictures have the size of the first one.

    Args:
      aspect: width of a stored pixel in units of its height, None if unknown. Upright pictures are widened or
        narrowed by it.
      turns: the frames themselves may say later on how they are turned; else the first one speaks for all.
      side: scale the pictures to this shorter side while they are converted, which is faster than afterwards.
    """

    def __init__(self, aspect: Fraction | None, turns: bool, side: int | None = None):
        self._aspect = aspect if aspect and _NARROW <= aspect <= _WIDE else Fraction(1)
        self._size: tuple[int, int] | None = None
        self._matrix: np.ndarray | None = None
        self._turns = turns
        self._side = side
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """(H, W, 3) uint8 RGB of a frame."""
        aspect = self._aspect
        if self._size is None or (self._turns and frame.key_frame):  # asking takes time
            matrix: Any = frame.side_data.get("DISPLAYMATRIX")
            self._matrix = None if matrix is None else np.frombuffer(bytes(matrix), "=i4")
        width, height = self._stored(frame)
        rgb = self._reformatter.reformat(
            frame,
            width,
            height,
            format="rgb24",
            interpolation=Interpolation.BILINEAR,
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )
        plane = rgb.planes[0]
        image: np.ndarray = np.frombuffer(memoryview(plane), np.uint8).reshape(height, plane.line_size)
        image = image[:, : 3 * width].reshape(height, width, 3)
        if self._side is not None:
            aspect = Fraction(1)  # the scaled pixels are square
        if self._matrix is not None:
            image, quarter = displayed(image, self._matrix)
            aspect = 1 / aspect if quarter else aspect
        if self._size is None:
            self._size = max(1, round(image.shape[1] * aspect)), image.shape[0]
        if image.shape[1::-1] != self._size:
            image = cv2.resize(image, self._size, interpolation=cv2.INTER_LINEAR)
        return image

    def _stored(self, frame: av.VideoFrame) -> tuple[int, int]:
        """(width, height) of a converted frame, before it is turned."""
        if self._side is None:
            return frame.width, frame.height
        wide, high = max(1, round(frame.width * self._aspect)), frame.height
        quarter = self._matrix is not None and _is_quarter(self._matrix)
        height, width = short_side(wide, high, self._side) if quarter else short_side(high, wide, self._side)
        return (height, width) if quarter else (width, height)


def _is_quarter(matrix: np.ndarray) -> bool:
    """Whether a display matrix swaps width and height."""
    a, b, _, c, d = (int(number) for number in matrix[:5])
    return abs(b) + abs(c) > abs(a) + abs(d)


def displayed(image: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, bool]:
    """A picture turned and mirrored by a display matrix, and whether its width and height are swapped.

    The matrix has nine numbers a b u c d v x y w and maps a point (x, y) to (a x + c y, b x + d y). Turns by other
    angles than a quarter are rounded to the nearest one.
    """
    a, b, _, c, d = (int(number) for number in matrix[:5])
    quarter = _is_quarter(matrix)
    across, down = (c, b) if quarter else (a, d)
    image = image.transpose(1, 0, 2) if quarter else image
    image = image[:, ::-1] if across < 0 else image
    return np.ascontiguousarray(image[::-1] if down < 0 else image), quarter
