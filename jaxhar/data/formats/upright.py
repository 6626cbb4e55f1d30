"""Turns a decoded video frame into the RGB picture that a player shows: right range, upright, square pixels."""

from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

#: Widths of pixels in units of their height; others are errors of the header.
_NARROW, _WIDE = Fraction(1, 4), Fraction(4)


class Upright:
    """Converts the frames of one video; all pictures have the size of the first one.

    Args:
      aspect: width of a stored pixel in units of its height, None if unknown. Upright pictures are widened or
        narrowed by it.
      turns: the frames themselves may say later on how they are turned; else the first one speaks for all.
    """

    def __init__(self, aspect: Fraction | None, turns: bool):
        self._aspect = aspect if aspect and _NARROW <= aspect <= _WIDE else Fraction(1)
        self._size: tuple[int, int] | None = None
        self._matrix: np.ndarray | None = None
        self._turns = turns
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """(H, W, 3) uint8 RGB of a frame."""
        rgb = self._reformatter.reformat(
            frame, format="rgb24", interpolation=Interpolation.BILINEAR, dst_color_range=ColorRange.JPEG, threads=1
        )
        plane = rgb.planes[0]
        image: np.ndarray = np.frombuffer(memoryview(plane), np.uint8).reshape(frame.height, plane.line_size)
        image = image[:, : 3 * frame.width].reshape(frame.height, frame.width, 3)
        aspect = self._aspect
        if self._size is None or (self._turns and frame.key_frame):  # asking takes time
            matrix: Any = frame.side_data.get("DISPLAYMATRIX")
            self._matrix = None if matrix is None else np.frombuffer(bytes(matrix), "=i4")
        if self._matrix is not None:
            image, quarter = displayed(image, self._matrix)
            aspect = 1 / aspect if quarter else aspect
        if self._size is None:
            self._size = max(1, round(image.shape[1] * aspect)), image.shape[0]
        if image.shape[1::-1] != self._size:
            image = cv2.resize(image, self._size, interpolation=cv2.INTER_LINEAR)
        return image


def displayed(image: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, bool]:
    """A picture turned and mirrored by a display matrix, and whether its width and height are swapped.

    The matrix has nine numbers a b u c d v x y w and maps a point (x, y) to (a x + c y, b x + d y). Turns by other
    angles than a quarter are rounded to the nearest one.
    """
    a, b, _, c, d = (int(number) for number in matrix[:5])
    quarter = abs(b) + abs(c) > abs(a) + abs(d)
    across, down = (c, b) if quarter else (a, d)
    image = image.transpose(1, 0, 2) if quarter else image
    image = image[:, ::-1] if across < 0 else image
    return np.ascontiguousarray(image[::-1] if down < 0 else image), quarter
