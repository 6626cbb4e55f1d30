"""Frames and crops of clips for video networks, by the rules of mae_st and dmae_st on Kinetics.

A clip spans `rate` times as many frames at 30 frames per second as it has, so that its length in seconds does not
depend on the video. Crops are (top, left, height, width) in pixels.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from jaxhar.host.errors import Problem

#: Frames per second that rates refer to.
NOMINAL_FPS = 30
#: How often a random crop is drawn until it fits.
TRIES = 10


class Crop(NamedTuple):
    """A rectangle of a picture."""

    top: int
    left: int
    height: int
    width: int


def span(frames: int, rate: float, fps: float) -> float:
    """Length in frames of a clip of `frames`."""
    return rate * frames * fps / NOMINAL_FPS


def random_start(length: int, span: float, uniform: float, rounded: bool = False) -> float:
    """A random first frame: `uniform` in [0, 1) of what is free in a video of `length` frames.

    Args:
      rounded: to whole frames, as the original reads clips with boxes.
    """
    start = max(length - span, 0) * uniform
    return round(start) if rounded else start


def fixed_start(length: int, span: float, clip: int, clips: int, rounded: bool = False) -> int:
    """The first frame of one of `clips` clips, spread evenly from the start to the end; a single one is in the middle.

    Args:
      rounded: round each start to the nearest frame; else round down the distance between two.
    """
    free = max(length - span, 0)
    if clips == 1:
        return math.floor(free / 2)
    return round(free * clip / (clips - 1)) if rounded else clip * math.floor(free / (clips - 1))


def frames_of(length: int, start: float, span: float, frames: int) -> np.ndarray:
    """The numbers of `frames` frames from `start` on; those beyond the last frame are the last.

    Raises:
      Problem: the video has no frame.
    """
    if length < 1:
        raise Problem("a video without a single frame has no clip")
    places = np.linspace(start, start + span - 1, frames).astype(np.float32)
    return np.clip(places, 0, length - 1).astype(np.int64)


def short_side(height: int, width: int, size: int) -> tuple[int, int]:
    """(height, width) of a picture scaled to a short side of `size`; the long side is rounded down."""
    if width >= height:
        return size, math.floor(width / height * size)
    return math.floor(height / width * size), size


def place(height: int, width: int, size: int, which: int) -> tuple[int, int]:
    """(top, left) of one of three square crops along the long side: at its start, in the middle, at its end."""
    top, left = (height - size, width - size)
    if which == 1:
        return math.ceil(top / 2), math.ceil(left / 2)
    if width >= height:
        return math.ceil(top / 2), left if which == 2 else 0
    return top if which == 2 else 0, math.ceil(left / 2)


def random_crop(
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    uniform: Callable[[float, float], float],
    integer: Callable[[int], int],
) -> Crop:
    """A random part of a picture, by its share of the area and its ratio of width to height; drawn until one fits.

    Args:
      scale: bounds of the share of the area. ratio: bounds of the ratio, whose logarithm is uniform.
      uniform: (low, high) -> a random number. integer: count -> a random number below it.

    Returns:
      The crop; if none fits in ten tries, the largest one of a permitted ratio in the middle.
    """
    for _ in range(TRIES):
        area = uniform(*scale) * height * width
        shape = math.exp(uniform(math.log(ratio[0]), math.log(ratio[1])))
        columns, rows = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < columns <= width and 0 < rows <= height:
            top = integer(height - rows + 1)
            return Crop(top, integer(width - columns + 1), rows, columns)
    rows, columns = height, width
    if width / height < ratio[0]:
        rows = round(width / ratio[0])
    elif width / height > ratio[1]:
        columns = round(height * ratio[1])
    return Crop((height - rows) // 2, (width - columns) // 2, rows, columns)


def scaled(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """Frames (T, H, W) or (T, H, W, C) in another size: bilinear, without smoothing before, float32."""
    size = (width, height)
    return np.stack([cv2.resize(one, size, interpolation=cv2.INTER_LINEAR) for one in frames.astype(np.float32)])


def cut(frames: np.ndarray, crop: Crop) -> np.ndarray:
    """The crop of frames (T, H, W, ...)."""
    top, left, height, width = crop
    return frames[:, top : top + height, left : left + width]
