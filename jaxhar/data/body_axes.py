"""Skeletons of the Kinect in axes of the body: pyskl's and mmaction2's PreNormalize3D."""

import numpy as np

#: Joints: base and middle of the spine, left and right shoulder.
_BASE, _MIDDLE, _LEFT, _RIGHT = 0, 1, 4, 8
_NO_LENGTH = 1e-6


def body_axes(points: np.ndarray) -> np.ndarray:
    """Points relative to the first pose of the first body, turned so that its shoulders lie along x.

    Its spine is turned to z first; turning the shoulders tilts it again. Missing joints stay at 0.

    Args:
      points: (M, T, 25, 3) in metres, M = 1 or 2; 0 for a missing joint. The second body becomes the first if it is
        seen in more frames.

    Returns:
      (M, T', 25, 3), float64 but for points that are 0 everywhere: the frames in which the first body is seen.
    """
    if points.sum() == 0:
        return points
    seen = [np.flatnonzero([not np.isclose(pose, 0, rtol=0, atol=1e-8).all() for pose in body]) for body in points]
    if len(points) == 2 and len(seen[1]) > len(seen[0]):
        points, seen = points[[1, 0]], seen[::-1]
    points = points[:, seen[0]]
    here = (points != 0).any(-1, keepdims=True)
    points = np.where(here, points - points[0, 0, _MIDDLE], 0)
    points = _turned(points, points[0, 0, _MIDDLE] - points[0, 0, _BASE], np.array([0.0, 0, 1]))
    return _turned(points, points[0, 0, _RIGHT] - points[0, 0, _LEFT], np.array([1.0, 0, 0]))


def _turned(points: np.ndarray, vector: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Points rotated so that `vector` has the direction of `target`; unchanged if one of them has no length."""
    axis = np.cross(vector, target)
    if np.abs(vector).sum() < _NO_LENGTH or np.abs(axis).sum() < _NO_LENGTH:
        return points
    cosine = np.dot(vector, target) / np.linalg.norm(vector) / np.linalg.norm(target)
    angle = np.arccos(np.clip(cosine, -1, 1))
    if abs(angle) < _NO_LENGTH:
        return points
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    matrix = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return points @ matrix.T
