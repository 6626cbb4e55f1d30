"""Points in space from their positions in several calibrated views: linear triangulation, and RANSAC against outliers.

Hartley and Zisserman, "Multiple View Geometry", section 12.2 (DLT). Distances are in the units of the cameras (mm).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from jaxhar.core.camera import Camera

#: Reprojection error in pixels up to which a view agrees with a point, in `ransac`.
THRESHOLD = 20.0


@dataclass(frozen=True)
class Triangulated:
    """Points in space.

    Attributes:
      points: (..., 3); NaN where fewer than two views are used, or the point is behind a camera that is used.
      used: (V, ...) bool, the views that each point was made of.
      errors: (V, ...) reprojection errors in pixels; NaN where the view has no position or the point is NaN.
      behind: (...) bool, whether the solution lay behind a camera that was used.
    """

    points: np.ndarray
    used: np.ndarray
    errors: np.ndarray
    behind: np.ndarray

    @property
    def error(self) -> np.ndarray:
        """(...) mean reprojection error in pixels over the used views; NaN for a point that is NaN."""
        count = self.used.sum(0)
        total = np.where(self.used, np.nan_to_num(self.errors), 0).sum(0)
        return np.where(np.isfinite(self.points[..., 0]), total / np.maximum(count, 1), np.nan)


def triangulate(cameras: Sequence[Camera], pixels: np.ndarray, confidence: np.ndarray | None = None) -> Triangulated:
    """The points that agree best with all views, by the linear method (DLT).

    Args:
      cameras: V cameras.
      pixels: (V, ..., 2) image positions; NaN where a view has none.
      confidence: (V, ...) weights of the views' equations; 0 leaves a view out. None for equal weights.
    """
    pixels, weight = _given(cameras, pixels, confidence)
    return _checked(cameras, pixels, weight, _solve(_equations(cameras, pixels), weight))


def ransac(
    cameras: Sequence[Camera],
    pixels: np.ndarray,
    confidence: np.ndarray | None = None,
    threshold: float = THRESHOLD,
) -> Triangulated:
    """As `triangulate`, without the views that contradict the others.

    Every pair of views proposes a point. The proposal that most views agree with (of equal ones that with the smaller
    error) decides which views are used; all pairs are tried, so the result does not depend on chance.

    Args:
      threshold: reprojection error in pixels up to which a view agrees.
    """
    pixels, weight = _given(cameras, pixels, confidence)
    rows = _equations(cameras, pixels)
    best = np.full(weight.shape[1:], -np.inf)
    chosen = np.zeros(weight.shape, bool)
    for pair in combinations(range(len(cameras)), 2):
        alone = np.zeros_like(weight)
        alone[list(pair)] = weight[list(pair)]
        proposal = _checked(cameras, pixels, alone, _solve(rows, alone))
        agree = (weight > 0) & (proposal.errors <= threshold)
        far = np.where(agree, np.nan_to_num(proposal.errors), 0).sum(0) / np.maximum(agree.sum(0), 1)
        score = np.where(np.isfinite(proposal.points[..., 0]), agree.sum(0) - far / (far + 1e3), -np.inf)
        better = (score > best) & (agree.sum(0) >= 2)
        best, chosen = np.where(better, score, best), np.where(better, agree, chosen)
    weight = np.where(chosen, weight, 0)
    return _checked(cameras, pixels, weight, _solve(rows, weight))


def _given(
    cameras: Sequence[Camera], pixels: np.ndarray, confidence: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Positions in float64 and the weights of the views, 0 where a view has no position."""
    pixels = np.asarray(pixels, np.float64)
    if len(pixels) != len(cameras) or len(cameras) < 2 or pixels.shape[-1] != 2:
        raise ValueError(
            f"{len(cameras)} cameras and positions of shape {pixels.shape}: there must be (V, ..., 2), V > 1"
        )
    weight = np.ones(pixels.shape[:-1]) if confidence is None else np.asarray(confidence, np.float64)
    known = np.isfinite(pixels).all(-1) & np.isfinite(weight) & (weight > 0)
    return np.where(known[..., None], pixels, 0), np.where(known, weight, 0)


def _equations(cameras: Sequence[Camera], pixels: np.ndarray) -> np.ndarray:
    """(..., V, 2, 4) the two equations of each view in pixels, for homogeneous points."""
    rows = []
    for camera, seen in zip(cameras, pixels, strict=True):
        projection = np.concatenate([camera.R, -(camera.R @ camera.t)[:, None]], 1)
        tangent = camera.undistort(seen)
        rows.append(camera.f[:, None] * (tangent[..., None] * projection[2] - projection[:2]))
    return np.stack(rows, -3)


def _solve(rows: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(..., 3) points from weighted equations; NaN where fewer than two views have weight."""
    weighted = rows * np.moveaxis(weight, 0, -1)[..., None, None]
    system = weighted.reshape(*rows.shape[:-3], -1, 4)
    solution = np.linalg.svd(system)[2][..., -1, :]
    with np.errstate(all="ignore"):
        points = solution[..., :3] / solution[..., 3:]
    return np.where(((weight > 0).sum(0) >= 2)[..., None], points, np.nan)


def _checked(cameras: Sequence[Camera], pixels: np.ndarray, weight: np.ndarray, points: np.ndarray) -> Triangulated:
    used = weight > 0
    projected = np.stack([camera.project(points) for camera in cameras])
    behind = np.any(used & (projected[..., 2] <= 0), axis=0)
    points = np.where(behind[..., None], np.nan, points)
    errors = np.linalg.norm(projected[..., :2] - pixels, axis=-1)
    known = (pixels != 0).any(-1) & np.isfinite(points[..., 0])
    return Triangulated(points, used & np.isfinite(points[..., 0]), np.where(known, errors, np.nan), behind)


def ray_distance(first: Camera, second: Camera, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distance (...) in mm between the rays through pixels `a` of one camera and `b` of another, (..., 2) each.

    It is 0 for views of one point, so it tells which persons of two views are the same.
    """

    def direction(camera: Camera, pixels: np.ndarray) -> np.ndarray:
        tangent = camera.undistort(pixels)
        local = np.concatenate([tangent, np.ones((*tangent.shape[:-1], 1))], -1)
        return local @ camera.R

    u, v = direction(first, a), direction(second, b)
    normal = np.cross(u, v)
    length = np.linalg.norm(normal, axis=-1)
    between = second.t - first.t
    parallel = np.linalg.norm(np.cross(between, u), axis=-1) / np.linalg.norm(u, axis=-1)
    with np.errstate(all="ignore"):
        skew = np.abs(normal @ between) / length
    return np.where(length < 1e-12 * np.linalg.norm(u, axis=-1) * np.linalg.norm(v, axis=-1), parallel, skew)
