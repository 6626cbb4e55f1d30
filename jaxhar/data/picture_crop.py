"""Crops of whole pictures for image networks, in evaluation and prediction alike (He et al., CVPR'22).

A crop is a box x1, y1, x2, y2 in pixels of the picture, not always of whole ones; it is scaled by bicubic
interpolation, smoothed where it shrinks.
"""

import numpy as np
from PIL import Image

from jaxhar.data import clips
from jaxhar.data.cover import raster

#: Side of the crop in evaluation, in units of the picture's shorter side: 224 of 256 pixels.
SHARE = 0.875

Box = tuple[float, float, float, float]


def middle(width: int, height: int, size: tuple[int, int], share: float = SHARE) -> Box:
    """The crop of evaluation: of whole pixels once the picture is scaled.

    Args:
      size: (height, width) of the scaled crop. share: its side, in units of the picture's shorter side.
    """
    high, wide = clips.short_side(height, width, int(min(size) / share))
    left, top = round((wide - size[1]) / 2), round((high - size[0]) / 2)
    x, y = width / wide, height / high
    return left * x, top * y, (left + size[1]) * x, (top + size[0]) * y


def scaled(image: np.ndarray, box: Box, size: tuple[int, int]) -> np.ndarray:
    """A crop of a picture (H, W, 3) uint8, or of a map (H, W) float32, in another size (height, width)."""
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC, box))


def cover(boxes: np.ndarray, box: Box, shape: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """(height, width) float32, the share of the pixels of a crop inside of boxes (N, 4).

    Args:
      boxes: those without an area are none. shape: (H, W) of the picture.
    """
    known = boxes[(boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]
    return scaled(raster(known, shape).astype(np.float32), box, size).clip(0, 1)
