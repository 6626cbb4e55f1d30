"""The form of Kinetics-400: a table of annotations without joints, whose joints lie in further pickles.

An annotation has raw_file, the pickle with its joints, in place of keypoint; then frame_inds (N,), the frame of each of
N persons, and box_score (N,). The pickle is a dict from frame_dir to {"keypoint": (N, V, 3)}, x, y in pixels and score;
or such a value alone, of one clip.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from jaxhar.data.formats import safe_pickle, skeleton_pickle
from jaxhar.host.errors import Problem

#: Folders beside the table in which the pickles may lie.
_FOLDERS = ("", "kpfiles", "k400_kpfiles")


def is_apart(one: Mapping[str, Any]) -> bool:
    """Whether the joints of an annotation lie in a further file."""
    return "keypoint" not in one and "frame_inds" in one


def persons(one: Mapping[str, Any], least: float) -> int:
    """M of an annotation, without reading its joints; 0 if its fields are damaged, which `joined` tells."""
    frames, scores = (safe_pickle.numbers(one.get(key, ())) for key in ("frame_inds", "box_score"))
    if frames is None or scores is None or frames.ndim != 1 or frames.shape != scores.shape:
        return 0
    count = np.unique(frames[scores >= least], return_counts=True)[1].max(initial=0)
    return min(int(count), skeleton_pickle.MOST_PERSONS)


def joined(one: Mapping[str, Any], table: Path, least: float) -> dict[str, Any]:
    """The annotation with keypoint and keypoint_score; frames without a person are left out.

    Args:
      least: smallest score of the boxes whose persons are used.

    Raises:
      Problem: there is no such file, it lacks the clip, or its persons do not fit the table.
    """
    name = str(one.get("frame_dir", one.get("filename")))
    path = _place(str(one.get("raw_file", f"{name}.pkl")), name, table)
    content = _read(path)
    found = content if isinstance(content, dict) and "keypoint" in content else None
    if found is None and isinstance(content, dict):
        found = content.get(name)
    points = found.get("keypoint") if isinstance(found, dict) else None
    if not isinstance(points, np.ndarray) or points.ndim != 3 or points.shape[2] != 3 or points.dtype.kind != "f":
        raise Problem(f"{path} has no keypoint (persons, joints, 3) of sample {name} of {table}")
    frames, scores = (safe_pickle.numbers(one.get(key, ())) for key in ("frame_inds", "box_score"))
    if frames is None or scores is None:
        raise Problem(f"sample {name} of {table} has frame_inds or box_score that are no numbers")
    if not frames.shape == scores.shape == (len(points),) or frames.dtype.kind not in "iu" or frames.min(initial=0) < 0:
        raise Problem(
            f"sample {name} of {table} has frame_inds {frames.shape} and box_score {scores.shape}, but {path} has "
            f"{len(points)} persons"
        )
    last = int(frames.max(initial=-1)) + 1
    keypoint, score, total = skeleton_pickle.unpack(points, frames, scores >= least, last)
    if not total:
        raise Problem(f"sample {name} of {table} has no person with a box of score {least:g} or more")
    return {**one, "keypoint": keypoint, "keypoint_score": score, "total_frames": total}


def _place(given: str, name: str, table: Path) -> Path:
    """Where a pickle lies: by the path as given, below the folder of the table, or by its name there or beside."""
    inside = not Path(given).is_absolute() and ".." not in Path(given).parts
    places = [table.parent / given] if inside else []
    places += [table.parent / folder / Path(one).name for folder in _FOLDERS for one in (given, f"{name}.pkl")]
    for place in places:
        if place.is_file():
            return place
    raise Problem(f"the joints of sample {name} of {table} are not there: {given} is neither beside it nor in kpfiles/")


@lru_cache(maxsize=4)
def _read(path: Path) -> object:
    return safe_pickle.load(path)
