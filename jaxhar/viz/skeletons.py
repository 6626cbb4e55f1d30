"""Draws what networks on skeletons see: heat-map volumes over time, and attention to joints over time."""

import colorsys

import cv2
import numpy as np

from jaxhar.core.skeleton import Skeleton
from jaxhar.viz import draw

#: Moments of a volume that are drawn, in how many columns, and the side of each in pixels.
_MOMENTS, _COLUMNS, _SIDE = 12, 6, 140
#: Height of the strip with the number of the moment, in pixels.
_STRIP = 22
#: Width of the names, height of a row and least width of a column of the attention, in pixels.
_NAMES, _ROW, _COLUMN = 110, 18, 14
_DARK = 24


def volume(maps: np.ndarray, skeleton: Skeleton | None = None) -> np.ndarray:
    """Heat maps (T, h, w, C) at some moments, each cell in the colour of its strongest joint or limb.

    Args:
      skeleton: of the joints, whose sides give the colours if there are as many; else C hues.
    """
    moments = np.unique(np.linspace(0, len(maps) - 1, min(_MOMENTS, len(maps))).round().astype(int))
    channels = maps.shape[-1]
    known = skeleton is not None and len(skeleton) == channels
    colours = [draw.side(name) for name in skeleton.joints] if known and skeleton else _hues(channels)
    images = []
    for t in moments:
        strongest, height = maps[t].argmax(-1), np.clip(maps[t].max(-1), 0, 1)[..., None]
        image = (_DARK + height * (np.array(colours)[strongest] - _DARK)).astype(np.uint8)
        factor = _SIDE / max(image.shape[:2])
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
        images.append(draw.draw_words(np.pad(image, [(_STRIP, 0), (0, 0), (0, 0)]), f"{t}"))
    return draw.contact_sheet(images, _COLUMNS)


def attention(shares: np.ndarray, skeleton: Skeleton | None = None) -> np.ndarray:
    """Shares (T, J) of the joints over time: a row for each joint, from the smallest share, dark, to the largest."""
    frames, joints = shares.shape
    names = skeleton.joints if skeleton is not None and len(skeleton) == joints else [f"{j}" for j in range(joints)]
    wide = max(_COLUMN, 420 // frames)
    image = np.full((joints * _ROW, _NAMES + frames * wide, 3), _DARK, np.uint8)
    level = ((shares - shares.min()) / max(float(np.ptp(shares)), 1e-12)).T[..., None]
    cells = (_DARK + level * (np.array(draw.CURVES[0]) - _DARK)).astype(np.uint8)
    image[:, _NAMES:] = cells.repeat(_ROW, 0).repeat(wide, 1)
    for j, name in enumerate(names):
        place = (6, (j + 1) * _ROW - 5)
        cv2.putText(image, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, draw.side(name), 1, cv2.LINE_AA)
    return image


def _hues(count: int) -> list[tuple[int, int, int]]:
    rgb = [colorsys.hsv_to_rgb(n / count, 0.75, 1.0) for n in range(count)]
    return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in rgb]
