"""Pinhole cameras with lens distortion: world points to pixels and depth, and back.

With x, y = X / Z, Y / Z in the camera's axes and r2 = x^2 + y^2,

    g    = 1 + k1 r2 + k2 r2^2 + k3 r2^3 + w (p1 y + p2 x)
    u, v = f * ((x, y) g + r2 (p2, p1)) + c

OpenCV's (Brown's) distortion has w = 2, that of Human3.6M w = 1. On four of its frames w = 1 gives the published image
positions to within 3e-5 px, w = 2 to within 0.2 px. deephar also uses w = 1; its file has p2 before p1.
"""

from dataclasses import dataclass, replace

import numpy as np

OPENCV, H36M = 2.0, 1.0  # w, the weight of the tangential term

SIZE = 22  # length of a camera as a vector
_STEPS = 30
_TOLERANCE = 1e-13  # of a tangent: 1e-10 px at f = 1000


@dataclass(frozen=True)
class Camera:
    """One camera.

    Attributes:
      R: (3, 3) rotation, world to camera axes (right, down, forward).
      t: (3,) the camera's position in world units (mm in Human3.6M): ``X = R (world - t)``.
      f: (2,) focal lengths in pixels. c: (2,) principal point in pixels.
      k: (3,) radial coefficients k1, k2, k3.
      p: (2,) tangential coefficients p1, p2 in OpenCV's order.
      w: weight of the tangential term, `OPENCV` or `H36M`.
    """

    R: np.ndarray
    t: np.ndarray
    f: np.ndarray
    c: np.ndarray
    k: np.ndarray
    p: np.ndarray
    w: float = OPENCV

    def __post_init__(self) -> None:
        for name, shape in (("R", (3, 3)), ("t", (3,)), ("f", (2,)), ("c", (2,)), ("k", (3,)), ("p", (2,))):
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.float64).reshape(shape))

    def to_vector(self) -> np.ndarray:
        """(22,) float64: deephar's 21 numbers, R by rows, t, f, c, p, k (p in OpenCV's order), then w."""
        return np.concatenate([self.R.ravel(), self.t, self.f, self.c, self.p, self.k, [self.w]])

    @classmethod
    def from_vector(cls, vector: np.ndarray) -> "Camera":
        """A camera from 22 numbers, or from 21 with w = `OPENCV`; ValueError for another length."""
        v = np.asarray(vector, np.float64)
        if v.shape not in ((SIZE - 1,), (SIZE,)):
            raise ValueError(f"a camera is {SIZE} numbers, not {v.shape}")
        return cls(v[:9], v[9:12], v[12:14], v[14:16], v[18:21], v[16:18], *v[21:].tolist())

    def project(self, world: np.ndarray) -> np.ndarray:
        """World points (..., 3) to (..., 3): u and v in pixels, and the depth along the optical axis.

        u and v are meaningless for points behind the camera.
        """
        local = (np.asarray(world, np.float64) - self.t) @ self.R.T
        depth = local[..., 2:]
        with np.errstate(all="ignore"):
            tangent = local[..., :2] / np.where(depth == 0, np.nan, depth)
            pixels = self._bend(tangent)[0] * self.f + self.c
        return np.concatenate([pixels, depth], axis=-1)

    def unproject(self, uvd: np.ndarray, closed_form: bool = False) -> np.ndarray:
        """Pixels with depths (..., 3) to world points (..., 3): the inverse of `project`, exact to rounding.

        Args:
          closed_form: use deephar's approximation, which evaluates the distortion at the distorted point; its error
            reaches 4 mm at the edge of the image.

        Far outside the image the distortion may have no inverse; the closed form is used there.
        """
        uvd = np.asarray(uvd, np.float64)
        tangent = self._closed_form((uvd[..., :2] - self.c) / self.f) if closed_form else self.undistort(uvd[..., :2])
        depth = uvd[..., 2:]
        return np.concatenate([tangent * depth, depth], axis=-1) @ np.linalg.inv(self.R).T + self.t

    def undistort(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) to points (..., 2) of the plane at depth 1 in the camera's axes, without lens distortion.

        Far outside the image the distortion may have no inverse; an approximation is used there.
        """
        bent = (np.asarray(pixels, np.float64) - self.c) / self.f
        return self._straighten(bent, self._closed_form(bent))

    def original_lens(self) -> "Camera":
        """This camera as the code of multi-view fusion takes it: OpenCV's tangential term, and one focal length."""
        return replace(self, f=np.full(2, self.f.mean()), w=OPENCV)

    def _bend(self, tangent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The distorted points (..., 2) and the derivative of the distortion, (..., 2, 2)."""
        x, y = tangent[..., 0], tangent[..., 1]
        (k1, k2, k3), (p1, p2) = self.k, self.p
        r2 = x * x + y * y
        g = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)) + self.w * (p1 * y + p2 * x)
        slope = 2 * (k1 + r2 * (2 * k2 + r2 * 3 * k3))
        gx, gy = slope * x + self.w * p2, slope * y + self.w * p1
        bent = np.stack([x * g + r2 * p2, y * g + r2 * p1], axis=-1)
        rows = [g + x * gx + 2 * x * p2, x * gy + 2 * y * p2, y * gx + 2 * x * p1, g + y * gy + 2 * y * p1]
        return bent, np.stack(rows, axis=-1).reshape(*r2.shape, 2, 2)

    def _closed_form(self, bent: np.ndarray) -> np.ndarray:
        x, y = bent[..., 0], bent[..., 1]
        (k1, k2, k3), (p1, p2) = self.k, self.p
        r2 = x * x + y * y
        g = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)) + self.w * (p1 * y + p2 * x)
        return (bent - r2[..., None] * np.array([p2, p1])) / g[..., None]

    def _straighten(self, bent: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Inverts the distortion by Newton's method; points where it does not converge keep `start`."""
        tangent = start
        with np.errstate(all="ignore"):
            for _ in range(_STEPS):
                found, derivative = self._bend(tangent)
                (a, b), (c, d) = np.moveaxis(derivative, (-2, -1), (0, 1))
                ex, ey = np.moveaxis(found - bent, -1, 0)
                step = np.stack([d * ex - b * ey, a * ey - c * ex], axis=-1) / (a * d - b * c)[..., None]
                tangent = tangent - step
                if not (np.abs(step) > _TOLERANCE).any():
                    break
            converged = (np.abs(self._bend(tangent)[0] - bent) <= 1e-9 * (1 + np.abs(bent))).all(axis=-1, keepdims=True)
        return np.where(converged, tangent, start)
