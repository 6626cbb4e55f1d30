"""Reads .skeleton text files of NTU RGB+D, which have up to six tracked bodies.

The file has, line by line: the number of frames; for each frame the number of bodies; for each body ten values,
beginning with its id, then the number of joints (25), and for each joint twelve values: x y z in metres from the
camera, the position in the depth picture, the position u v in the colour picture of 1920 x 1080 pixels, four numbers of
the orientation, and the tracking state.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxhar.core.skeleton import NTU
from jaxhar.host import files
from jaxhar.host.errors import Problem

_JOINTS = len(NTU)
#: Digits of 64 bits; longer words are damage, and Python refuses to read very long ones.
_MOST_DIGITS = 20


@dataclass(frozen=True)
class TrackedBody:
    """One tracked body.

    Attributes:
      frames: (n,) rising frame indices. joints: (n, 25, 5) as x y z in metres and u v in colour pixels.
      places: (n,) the place of the body in each of its frames, 0 for the first.
    """

    frames: np.ndarray
    joints: np.ndarray
    places: np.ndarray

    @property
    def motion(self) -> float:
        """Sum of the variances of all coordinates in square metres, over finite joints."""
        place = self.joints[..., :3]
        known = np.isfinite(place).all(axis=(0, 2))
        return float(place[:, known].var(axis=0).sum())


def read_bodies(path: Path) -> tuple[int, list[TrackedBody]]:
    """The number of frames of a file, and its bodies in the order of their appearance.

    Raises:
      Problem: the file cannot be read, is truncated or does not have this format; the message names the line.
    """
    lines = files.read(path, "skeleton file").decode("ascii", "replace").splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    at, total, frame = 0, 0, -1

    def wrong(what: str) -> Problem:
        return Problem(f"the skeleton file {path}, line {at}, {what}; restore it")

    def take(count: int, what: str) -> list[str]:
        nonlocal at
        if at == len(lines):
            where = f"within frame {frame + 1} of {total}" if frame >= 0 else "before its first frame"
            raise Problem(f"the skeleton file {path} ends after line {at}, {where}; restore it")
        words = lines[at].split()
        at += 1
        if len(words) != count:
            raise wrong(f"has {len(words)} values; expected the {count} of {what}")
        return words

    def integer(word: str, what: str, most: int | None = None) -> int:
        if not word.isdecimal() or len(word) > _MOST_DIGITS or (most is not None and int(word) > most):
            raise wrong(f"has {word[:40]!r}; expected {what}")
        return int(word)

    tracks: dict[int, tuple[list[int], list[np.ndarray], list[int]]] = {}
    total = integer(take(1, "a number of frames")[0], "a number of frames")
    for frame in range(total):
        for place in range(integer(take(1, "a number of bodies")[0], "a number of bodies", 6)):
            # an id can be too large for a float
            identity = integer(take(10, "a body")[0], "the id of a body")
            if integer(take(1, "a number of joints")[0], "a number of joints") != _JOINTS:
                raise wrong(f"does not have {_JOINTS} joints")
            joints = np.empty((_JOINTS, 5))
            for j in range(_JOINTS):
                x, y, z, _, _, u, v, *_ = take(12, "a joint")
                try:
                    joints[j] = float(x), float(y), float(z), float(u), float(v)
                except ValueError:
                    raise wrong("has a value that is not a number") from None
            frames, poses, places = tracks.setdefault(identity, ([], [], []))
            if frames and frames[-1] == frame:
                raise wrong(f"is the end of a second body with the id {identity} in frame {frame + 1}")
            frames.append(frame)
            poses.append(joints)
            places.append(place)
    if at < len(lines):
        at += 1
        raise wrong(f"follows the last of its {total} frames")
    return total, [
        TrackedBody(np.array(frames), np.stack(poses), np.array(places)) for frames, poses, places in tracks.values()
    ]
