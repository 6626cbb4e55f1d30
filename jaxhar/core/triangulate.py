"""Triangulation: points in space from their pixels in two or more calibrated views.

`triangulate` is the direct linear transform, DLT (Hartley and Zisserman, Multiple View Geometry, section 12.2). Every
pixel is first freed from lens distortion. A view with the camera matrix M, pixel (u, v) and confidence w then gives two
rows, w (u M3 - M1) and w (v M3 - M2); the point is the right singular vector of the smallest singular value. `ransac`
finds for each joint the views that agree and leaves the others out (Fischler and Bolles, CACM 1981).

Axes: V views, any axes (...), J joints. Pixels are of the original image, lengths are in mm.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from jaxhar.core.camera import Camera

#: World unit of the homogeneous coordinates in mm. A small unit pulls noisy points away from the origin: with four
#: cameras 5 m away and 10 px of noise, the mean error is 47.1 mm with 10 m, 47.2 mm with 1 m, 47.6 mm with 1 mm.
UNIT = 10_000.0
#: Ratio of the last homogeneous coordinate to the norm of the others below which a point counts as infinitely far.
_INFINITE = 1e-12


@dataclass(frozen=True)
class Triangulated:
    """Points in space and how well the views agree on them.

    Attributes:
      points: (..., J, 3) float64 mm; NaN where there is no point, see `few` and `behind`.
      error: (..., J) float64 pixels, the mean over the used views of the distance between the given pixel and the
        projected point; NaN where there is no point.
      used: (V, ..., J) bool, the views that the point was computed from.
      errors: (V, ..., J) float64 pixels, the distance in each view with a finite pixel, used or not; else NaN.
      few: (..., J) bool, fewer than two views could be used.
      behind: (..., J) bool, the views put the point behind one of the used cameras, or infinitely far.
    """

    points: np.ndarray
    error: np.ndarray
    used: np.ndarray
    errors: np.ndarray
    few: np.ndarray
    behind: np.ndarray

    @property
    def valid(self) -> np.ndarray:
        """(..., J) bool, where there is a point."""
        return ~(self.few | self.behind)


def triangulate(
    cameras: Sequence[Camera], pixels: npt.ArrayLike, confidence: npt.ArrayLike | None = None, unit: float = UNIT
) -> Triangulated:
    """Points from all views by the confidence-weighted DLT.

    Args:
      cameras: V cameras; V >= 2 for any point to be found.
      pixels: (V, ..., J, 2). A pixel that is not finite is not used.
      confidence: (V, ..., J), the weight of a view's two rows; 0, negative or NaN: not used. None: 1 everywhere.
      unit: mm, see `UNIT`. Noise-free points do not depend on it. 1 gives the figures of the multi-view original,
        1000 those of programs that compute in metres.

    Raises:
      ValueError: shapes that do not fit the number of cameras.
    """
    seen, weight = _inputs(cameras, pixels, confidence)
    tangents = np.stack([camera.undistort(view) for camera, view in zip(cameras, seen, strict=True)])
    return _finish(cameras, seen, weight > 0, *_dlt(cameras, tangents, weight, unit))


def ransac(
    cameras: Sequence[Camera],
    pixels: npt.ArrayLike,
    confidence: npt.ArrayLike | None = None,
    threshold: float = 15.0,
    unit: float = UNIT,
    max_pairs: int = 200,
    seed: int = 0,
) -> Triangulated:
    """Points from the views that agree: for each joint the pair of views whose point most other views confirm.

    A view confirms a point that projects to within `threshold` of its pixel. Of pairs with equally many such views the
    one with the smallest sum of squared distances wins; its views give the point by `triangulate`.

    Args:
      cameras, pixels, confidence, unit: as in `triangulate`.
      threshold: pixels.
      max_pairs: all pairs of views are tried if there are no more than this, else as many chosen at random.
      seed: of that choice.
    """
    seen, weight = _inputs(cameras, pixels, confidence)
    tangents = np.stack([camera.undistort(view) for camera, view in zip(cameras, seen, strict=True)])
    pairs = list(combinations(range(len(cameras)), 2))
    if len(pairs) > max_pairs:
        chosen = np.random.default_rng(seed).choice(len(pairs), max_pairs, replace=False)
        pairs = [pairs[n] for n in sorted(chosen)]
    best = np.full(weight.shape[1:], -np.inf)
    agreeing = np.zeros(weight.shape, bool)
    for pair in pairs:
        index = list(pair)
        both = (weight[index] > 0).all(0)
        if not both.any():
            continue
        points, infinite = _dlt(
            [cameras[i] for i in pair], tangents[index], np.where(both, 1.0, 0.0)[None].repeat(2, 0), unit
        )
        errors, depth = reprojection(cameras, seen, points)
        inlier = (errors <= threshold) & (depth > 0) & (weight > 0) & ~infinite & both
        # Squared distances are below threshold^2 each, so their share is below 1 and only decides between equal counts.
        share = np.where(inlier, errors**2, 0).sum(0) / (threshold**2 * (len(cameras) + 1))
        score = np.where(inlier[index].all(0), inlier.sum(0) - share, -np.inf)
        better = score > best
        best = np.where(better, score, best)
        agreeing = np.where(better, inlier, agreeing)
    weight = np.where(agreeing, weight, 0)
    return _finish(cameras, seen, agreeing, *_dlt(cameras, tangents, weight, unit))


def _inputs(
    cameras: Sequence[Camera], pixels: npt.ArrayLike, confidence: npt.ArrayLike | None
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (V, ..., J, 2) and weights (V, ..., J), 0 where a view is not used."""
    seen = np.array(pixels, np.float64)
    if seen.ndim < 3 or seen.shape[0] != len(cameras) or seen.shape[-1] != 2:
        raise ValueError(f"pixels must be ({len(cameras)} views, ..., joints, 2), not {seen.shape}")
    weight = np.ones(seen.shape[:-1]) if confidence is None else np.array(confidence, np.float64)
    if weight.shape != seen.shape[:-1]:
        raise ValueError(f"confidence must be {seen.shape[:-1]}, as the pixels, not {weight.shape}")
    weight = np.where(np.isfinite(seen).all(-1) & (weight > 0) & np.isfinite(weight), weight, 0.0)
    return seen, weight


def _dlt(
    cameras: Sequence[Camera], tangents: np.ndarray, weight: np.ndarray, unit: float
) -> tuple[np.ndarray, np.ndarray]:
    """Points (..., J, 3) in mm, NaN with fewer than two views, and (..., J) bool: infinitely far."""
    enough = (weight > 0).sum(0) >= 2
    weight = weight[:, enough]  # (V, N)
    known = np.where((weight > 0)[..., None], tangents[:, enough], 0.0)
    matrices = np.stack([np.concatenate([c.R, -(c.R @ c.t)[:, None] / unit], 1) for c in cameras])  # (V, 3, 4)
    # In tangents instead of pixels a row is 1 / f of its size: u M3 - M1 = f (x R3 - R1), with M = K [R, -R t].
    scale = np.stack([c.f for c in cameras])[:, None] * weight[..., None]  # (V, N, 2)
    rows = (known[..., None] * matrices[:, None, 2:] - matrices[:, None, :2]) * scale[..., None]  # (V, N, 2, 4)
    rows = np.moveaxis(rows, 0, 1).reshape(weight.shape[1], 2 * len(cameras), 4)
    smallest = np.linalg.svd(rows, full_matrices=True)[2][:, -1] if len(rows) else np.zeros((0, 4))
    far = np.abs(smallest[:, 3]) <= _INFINITE * np.linalg.norm(smallest[:, :3], axis=-1)
    points, infinite = np.full((*enough.shape, 3), np.nan), np.zeros(enough.shape, bool)
    points[enough] = smallest[:, :3] / np.where(far, np.nan, smallest[:, 3])[:, None] * unit
    infinite[enough] = far
    return points, infinite


def reprojection(cameras: Sequence[Camera], pixels: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far points (..., J, 3) project from pixels (V, ..., J, 2): (V, ..., J) pixels; and their depths in mm."""
    projected = np.stack([camera.project(points) for camera in cameras])
    return np.linalg.norm(projected[..., :2] - pixels, axis=-1), projected[..., 2]


def _finish(
    cameras: Sequence[Camera], seen: np.ndarray, used: np.ndarray, points: np.ndarray, infinite: np.ndarray
) -> Triangulated:
    few = used.sum(0) < 2
    errors, depth = reprojection(cameras, seen, points)
    with np.errstate(invalid="ignore"):
        behind = ~few & (infinite | (used & (depth <= 0)).any(0))
    lost = few | behind
    points, used = np.where(lost[..., None], np.nan, points), used & ~lost
    errors = np.where(lost, np.nan, errors)
    error = np.where(used, errors, 0).sum(0) / np.where(lost, np.nan, used.sum(0))
    return Triangulated(points, error, used, errors, few, behind)
