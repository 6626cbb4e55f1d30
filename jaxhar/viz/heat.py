"""Draws how much each part of a picture counts: pale where it counts little, red where it counts most."""

import cv2
import numpy as np

from jaxhar.viz import draw

#: Side of a frame in the picture of a clip, in pixels, and their number in a row.
_SIDE, _COLUMNS = 160, 8
#: Place of the strongest colour in cv2's table of 256, whose last ones are dark.
_RED = 230
#: Opacity of the colours where they are strongest.
_OPACITY = 0.75


def painted(image: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) uint8 under the colours of shares (H, W), from 0 to 1."""
    level = np.clip(shares, 0, 1)[..., None]
    colours = cv2.applyColorMap((level[..., 0] * _RED).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    return (image * (1 - _OPACITY * level) + colours * (_OPACITY * level)).astype(np.uint8)


def over_patches(image: np.ndarray, shares: np.ndarray, box: np.ndarray | None = None) -> np.ndarray:
    """An image (H, W, 3) uint8 under the shares (h, w), from 0 to 1, of the patches of a crop.

    Args:
      box: (4,) x1, y1, x2, y2 of the crop in pixels; None for the whole image.
    """
    height, width = image.shape[:2]
    left, top, right, bottom = (0, 0, width, height) if box is None else box.tolist()
    rows, columns = shares.shape
    # cv2's pixel i is the position i + 0.5 of ours
    across, down = columns / (right - left), rows / (bottom - top)
    back = np.array([[across, 0, (0.5 - left) * across - 0.5], [0, down, (0.5 - top) * down - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    values = np.asarray(shares, np.float32)
    large = cv2.warpAffine(values, back, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    x, y = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    return painted(image, np.where((x > left) & (x < right) & (y > top) & (y < bottom), large, 0))


def clip(frames: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The frames (T, H, W, 3) uint8 of a clip under shares (T, h, w) of their patches, from the least to the most."""
    factor = max(1, round(_SIDE / max(frames.shape[1:3])))
    level = (shares - shares.min()) / max(float(np.ptp(shares)), 1e-12)
    large = frames.repeat(factor, 1).repeat(factor, 2)
    cells = [over_patches(image, one) for image, one in zip(large, level, strict=True)]
    return draw.contact_sheet(cells, _COLUMNS)
