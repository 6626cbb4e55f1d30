"""Boxes of persons in every frame of a video, from the files that `jaxhar data boxes --videos` writes.

Pickles are those of dmae_st, see `box_pickle`. JSON files hold COCO's detections: a list of {"image_id": the number of
the frame from 0, "category_id": 1, "bbox": [x, y, width, height] in pixels of the video}.
"""

from pathlib import Path

import numpy as np

from jaxhar.data.formats import box_pickle
from jaxhar.host import files
from jaxhar.host.errors import Problem

#: Endings of these files.
ENDINGS = (".pkl", ".json")
#: COCO's category of persons.
_PERSON = 1


def read(path: Path, length: int, size: tuple[int, int]) -> tuple[list[np.ndarray], tuple[int, int]]:
    """The boxes (N, 4 or more) of every frame, and (height, width) of the pictures to whose pixels they belong.

    Args:
      length, size: number of frames of the video, and (width, height).

    Raises:
      Problem: the file is of neither form or of another number of frames, or a box is outside of the pictures, has a
        negative size, or a score outside of [0, 1].
    """
    boxes, (width, height) = _detections(path, length, size) if path.suffix == ".json" else _pickled(path, size)
    if len(boxes) != length:
        raise Problem(
            f"{path} has boxes of {len(boxes)} frames, the video has {length}: they are of another video, or one of "
            "them is cut off"
        )
    for number, one in enumerate(boxes):
        x1, y1, x2, y2 = one[:, :4].T
        out = ~np.isfinite(one[:, :4]).all(-1) | (x2 <= 0) | (y2 <= 0) | (x1 >= width) | (y1 >= height)
        if out.any():
            raise Problem(
                f"{path}: box {int(out.argmax())} of frame {number} lies outside of the picture, {width}x{height}"
            )
        wrong = (x2 < x1) | (y2 < y1) | ~((one[:, 4:] >= 0) & (one[:, 4:] <= 1)).all(-1)
        if wrong.any():
            raise Problem(
                f"{path}: box {int(wrong.argmax())} of frame {number} is {one[wrong][0].tolist()}; expected x1 <= x2, "
                "y1 <= y2 and a score from 0 to 1"
            )
    return boxes, (height, width)


def _pickled(path: Path, size: tuple[int, int]) -> tuple[list[np.ndarray], tuple[int, int]]:
    boxes = box_pickle.read(path)
    if isinstance(boxes, dict):
        raise Problem(f"{path} has boxes of pictures by their names, not of the frames of a video")
    return boxes, box_pickle.side_of(*size)


def _detections(path: Path, length: int, size: tuple[int, int]) -> tuple[list[np.ndarray], tuple[int, int]]:
    content = files.read_json(path, "file of boxes")
    found: dict[int, list[list[float]]] = {}
    try:
        for one in content:
            if one.get("category_id", _PERSON) == _PERSON:
                x, y, width, height = map(float, one["bbox"])
                found.setdefault(int(one["image_id"]), []).append([x, y, x + width, y + height])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise Problem(
            f"{path} is no list of COCO's detections: each needs image_id, the number of the frame, and bbox"
        ) from error
    other = next((number for number in found if not 0 <= number < length), None)
    if other is not None:
        raise Problem(
            f"{path} has boxes of frame {other:.4g}, the video has {length}, counted from 0: they are of another video"
        )
    return [np.array(found.get(number, ()), np.float64).reshape(-1, 4) for number in range(length)], size
