"""Affine maps of the plane as 3x3 homogeneous matrices: ``apply(b @ a, p) == apply(b, apply(a, p))``.

Coordinates are (x, y) with y down and pixel centres at half integers, so an image of width w spans 0..w.
Arguments are never modified. Leading axes broadcast.
"""

import numpy as np


def translation(x: float, y: float) -> np.ndarray:
    """(3, 3) map p -> p + (x, y)."""
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def scaling(x: float, y: float) -> np.ndarray:
    """(3, 3) map (px, py) -> (x px, y py)."""
    return np.diag([float(x), float(y), 1.0])


def rotation(degrees: float) -> np.ndarray:
    """(3, 3) rotation about the origin, counter-clockwise as seen on the screen (y down), PIL's sign."""
    angle = np.deg2rad(degrees)
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])


def invert(affine: np.ndarray) -> np.ndarray:
    """(..., 3, 3) -> (..., 3, 3) in float64; numpy.linalg.LinAlgError for a singular map."""
    return np.linalg.inv(np.asarray(affine, np.float64))


def apply(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points (..., N, 2) by affine (..., 3, 3); leading axes broadcast. A NaN affects only its own point."""
    affine, points = np.asarray(affine), np.asarray(points)
    return points @ np.swapaxes(affine[..., :2, :2], -1, -2) + affine[..., None, :2, 2]
