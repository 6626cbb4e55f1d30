"""The labels of the performer in a .skeleton text file of NTU RGB+D."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxhar.core.skeleton import NTU
from jaxhar.data.formats.skeleton_text import TrackedBody, read_bodies

_JOINTS = len(NTU)
_FAR = 10 * 1920  # pixels; joints farther away are errors


@dataclass(frozen=True)
class Labels:
    """The joints of one person.

    Attributes:
      frames: (n,) rising frame indices from 0. points: (n, 25, 3) float32: pixels of 1920 x 1080, depth in mm.
    """

    frames: np.ndarray
    points: np.ndarray

    @property
    def labelled(self) -> np.ndarray:
        """(n, 25) bool: all three numbers are positive and finite (deephar's rule), and not farther than `_FAR`."""
        with np.errstate(invalid="ignore"):
            return (np.isfinite(self.points) & (self.points > 0) & (self.points < _FAR)).all(-1)


def choose(bodies: list[TrackedBody]) -> list[TrackedBody]:
    """The performer of a sequence: one tracked body, and other ids that the Kinect gave to the same person.

    Of the bodies in at least half as many frames as the most frequent body, the one with the largest motion is chosen.
    In frames without it, other bodies are taken that are never in a frame together with it: the Kinect lost the person
    and tracked it again under another id.
    """
    most = max(len(body.frames) for body in bodies)
    main = max((b for b in bodies if 2 * len(b.frames) >= most), key=lambda body: body.motion)
    chosen, seen = [main], set(main.frames.tolist())
    for body in sorted(bodies, key=lambda b: -len(b.frames)):
        if not seen & set(body.frames.tolist()):
            chosen.append(body)
            seen |= set(body.frames.tolist())
    return chosen


def read_skeleton(path: Path) -> Labels | None:
    """The labels of the performer in every frame of a file, NaN in frames without it; None without any body.

    Raises:
      Problem: see `read_bodies`.
    """
    total, bodies = read_bodies(path)
    if not bodies:
        return None
    points = np.full((total, _JOINTS, 3), np.nan, np.float32)
    for body in choose(bodies):
        points[body.frames] = body.joints[..., [3, 4, 2]] * [1, 1, 1000]
    return Labels(np.arange(total), points)
