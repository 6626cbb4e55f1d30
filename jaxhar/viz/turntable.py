"""A web page with skeletons in space that can be turned and played; one file, without links."""

import json
from collections.abc import Mapping, Sequence
from importlib import resources

import numpy as np

from jaxhar.core.camera import Camera
from jaxhar.viz.draw import CENTRE, LEFT, RIGHT


def page(
    points: np.ndarray,
    joints: Sequence[str],
    limbs: Sequence[tuple[int, int]],
    cameras: Mapping[str, Camera],
    rate: float | None,
) -> str:
    """The page as text.

    Args:
      points: (F, P, J, 3) mm of P persons, NaN where there is no point.
      joints: J names. limbs: pairs of their indices.
      cameras: by name. Where up is, follows from them.
      rate: frames per second; None plays 10.
    """
    up = _up(list(cameras.values()))
    side = np.eye(3)[np.abs(up).argmin()]
    right = np.cross(up, side) / np.linalg.norm(np.cross(up, side))
    axes = np.stack([right, np.cross(up, right), up])  # to x, y and z, with z up
    here = points @ axes.T
    content = {
        "frames": [
            [[None if np.isnan(p).any() else np.round(p, 1).tolist() for p in person] for person in frame]
            for frame in here
        ],
        "joints": list(joints),
        "limbs": [list(pair) for pair in limbs],
        "colours": [_colour(name) for name in joints],
        "cameras": [{"name": name, "at": np.round(axes @ c.t, 1).tolist()} for name, c in cameras.items()],
        "rate": rate or 10.0,
    }
    text = json.dumps(content, allow_nan=False).replace("<", "\\u003c")  # no end of the script in a name
    return resources.files("jaxhar.viz").joinpath("turntable.html").read_text().replace("/*CONTENT*/null", text)


def _up(cameras: Sequence[Camera]) -> np.ndarray:
    """(3,) up: at right angles to the rows of all pictures, if the cameras are level and look in different directions.

    If not, opposite to the mean of the pictures' columns, which is tilted as the cameras are on the whole.
    """
    up = -np.mean([camera.R[1] for camera in cameras], axis=0)
    up = up / np.linalg.norm(up) if np.linalg.norm(up) > 1e-6 else np.array([0.0, 0.0, 1.0])
    _, spread, axes = np.linalg.svd(np.stack([camera.R[0] for camera in cameras]))
    if len(spread) > 1 and spread[1] > 0.2 * spread[0] and (len(spread) < 3 or spread[2] < 0.1 * spread[0]):
        return axes[2] * (1.0 if axes[2] @ up > 0 else -1.0)
    return up


def _colour(joint: str) -> str:
    red, green, blue = RIGHT if joint.startswith("r_") else LEFT if joint.startswith("l_") else CENTRE
    return f"rgb({red},{green},{blue})"
