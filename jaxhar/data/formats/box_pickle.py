"""Reads and writes person boxes in the pickles of dmae_st; nothing in them is executed.

Of a video: a list with an array (N, 5) float32 for every frame, x1, y1, x2, y2 and the score, in pixels of the video
with a shorter side of 540. Of pictures: a dict from the name of the file to such an array, or to a tensor of PyTorch,
in pixels of the picture.
"""

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxhar.data.formats import safe_pickle
from jaxhar.host import files
from jaxhar.host.errors import Problem

#: Shorter side of the videos, in pixels, to which the boxes belong.
SIDE = 540
#: Detections with at least this score are kept.
LEAST = 0.8


def side_of(width: int, height: int) -> tuple[int, int]:
    """(width, height) of a video in these files."""
    if width < height:
        return SIDE, int(SIDE * height / width)
    return int(SIDE * width / height), SIDE


def read(path: Path) -> list[np.ndarray] | dict[str, np.ndarray]:
    """The boxes (N, 5) of every frame of a video, or of pictures by the name of the file.

    Raises:
      Problem: the file is no such pickle, or an entry has another form.
    """
    content = safe_pickle.load(path)
    if isinstance(content, dict):
        return {str(name): _checked(value, f"picture {name}", path) for name, value in content.items()}
    if isinstance(content, list):
        return [_checked(value, f"frame {number}", path) for number, value in enumerate(content)]
    raise Problem(
        f"{path} holds no boxes: expected is a list of arrays (N, 5), one a frame, or a dict of them by picture"
    )


def _checked(value: object, where: str, path: Path) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.ndim != 2 or value.shape[1] != 5 or value.dtype.kind != "f":
        found = f"shape {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
        raise Problem(f"{where} of {path} has {found} in place of boxes (N, 5): x1, y1, x2, y2, score")
    return np.array(value, np.float32)


def write(path: Path, frames: Sequence[np.ndarray]) -> None:
    """Writes the boxes (N, 5) of every frame of a video."""
    files.write(path, pickle.dumps([np.array(boxes, np.float32).reshape(-1, 5) for boxes in frames], protocol=4))
