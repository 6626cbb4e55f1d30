"""Crops by a person's centre and scale, as in Simple Baselines, HRNet and multi-view fusion.

Pixel centres are at integers here, as in OpenCV: position p of a crop of side w has the crop unit p / w.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

#: Pixels of a person's height per unit of scale.
UNIT = 200.0


@dataclass(frozen=True)
class Jitter:
    """Random changes of scale and rotation in training.

    Attributes:
      scale: s; the scale is multiplied by 1 + s z, z normal, clipped to [1 - s, 1 + s].
      rotation: r in degrees; with probability 0.6 the crop is rotated by r z, clipped to [-2 r, 2 r].
    """

    scale: float = 0.0
    rotation: float = 0.0

    def draw(self, rng: np.random.Generator) -> tuple[float, float]:
        """A factor of the scale, and degrees."""
        factor = float(np.clip(1 + self.scale * rng.standard_normal(), 1 - self.scale, 1 + self.scale))
        angle = float(np.clip(self.rotation * rng.standard_normal(), -2 * self.rotation, 2 * self.rotation))
        return factor, angle if rng.random() <= 0.6 else 0.0


def crop_matrix(
    centre: Sequence[float] | np.ndarray,
    scale: float | Sequence[float] | np.ndarray,
    rotation: float,
    size: tuple[int, int],
) -> np.ndarray:
    """(2, 3) map of image pixels to crop pixels.

    Args:
      centre: (x, y) in image pixels, in the middle of the crop.
      scale: width of the crop in image pixels over 200; of several numbers the first counts.
      rotation: degrees, clockwise on the screen.
      size: (width, height) of the crop.
    """
    width, height = size
    factor = width / (UNIT * float(np.ravel(scale)[0]))
    angle = np.deg2rad(-rotation)
    turn = factor * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = np.array([width / 2, height / 2]) - turn @ np.asarray(centre, np.float64)
    return np.concatenate([turn, shift[:, None]], 1)


def to_units(matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(3, 3) map of image pixels to crop units, from one to crop pixels (2, 3); size (width, height)."""
    return np.diag([1 / size[0], 1 / size[1], 1.0]) @ np.vstack([matrix, [0.0, 0.0, 1.0]])


def warp(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The crop (height, width, 3) of an image, bilinear, black outside of it; size (width, height)."""
    return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR)
