"""Person boxes as maps of the pixels that they cover."""

from collections.abc import Sequence

import numpy as np

from jaxhar.data.clips import scaled


def raster(boxes: np.ndarray, size: tuple[int, int], wrap: bool = False) -> np.ndarray:
    """The pixels of a picture of `size` (height, width) inside of any box: uint8, 1 inside.

    Corners are rounded towards 0 and belong to the box; what lies outside of the picture is cut off, and a box whose
    ends are reversed covers nothing.

    Args:
      boxes: (n, 4 or more) x1, y1, x2, y2 in pixels.
      wrap: count negative corners from the far end, as dmae_st does.
    """
    cover = np.zeros(size, np.uint8)
    corners = np.asarray(boxes, np.float64)[:, :4].astype(np.int64) if len(boxes) else ()
    for left, top, right, bottom in corners:
        if not wrap:
            left, top = max(left, 0), max(top, 0)
            if right < 0 or bottom < 0:
                continue
        cover[top : bottom + 1, left : right + 1] = 1
    return cover


def cover(boxes: Sequence[np.ndarray], size: tuple[int, int], frame: tuple[int, int]) -> np.ndarray:
    """The share of every pixel of the frames of a clip inside of boxes: (T, H, W) float32, to be cropped as they are.

    Args:
      boxes: of every frame, in pixels of `size` (height, width), the pictures that they were found in.
      frame: (H, W) of the frames.
    """
    return scaled(np.stack([raster(one, size) for one in boxes]), *frame)
