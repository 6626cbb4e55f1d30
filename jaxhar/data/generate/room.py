"""A room like Human3.6M's with four fixed cameras around a person in its middle."""

import numpy as np

from jaxhar.core.camera import H36M as H36M_LENS
from jaxhar.core.camera import Camera
from jaxhar.data.generate import film

_PLACES = ((1841, 4955, 1563), (1761, -5078, 1606), (-1846, 5215, 1491), (-1794, -3722, 1574))  # mm


def cameras(subject: int, size: tuple[int, int]) -> list[Camera]:
    """The four cameras of a subject's room, for photos of (width, height)."""
    rng = np.random.default_rng([subject, 36])
    scale = min(size) / 1000
    found = []
    for place in _PLACES:
        eye = np.array(place, float) + rng.normal(0, 40, 3)
        target = np.array([0.0, 0.0, 900.0]) + rng.normal(0, 100, 3)
        found.append(
            Camera(
                R=film.axes_towards(eye, target),
                t=eye,
                f=rng.normal(1146, 2, 2) * scale,
                c=np.array(size) / 2 + rng.uniform(4, 16, 2) * scale,
                k=np.array([-0.2, 0.245, -0.002]) + rng.normal(0, [0.006, 0.01, 0.005]),
                p=rng.normal([-1.5e-3, -1e-3], 5e-4),
                w=H36M_LENS,
            )
        )
    return found
