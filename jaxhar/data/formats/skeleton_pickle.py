"""Reads the pickles of pyskl and mmaction2 with skeletons; no code in them is executed.

A file is {"split": {name: [frame_dir, ...]}, "annotations": [annotation, ...]}, or a bare list of annotations. An
annotation has

    frame_dir, label, total_frames (T)
    img_shape, original_shape           (height, width) in pixels; of joints in the image only
    keypoint (M, T, V, 2 or 3)          pixels, or metres
    keypoint_score (M, T, V)            of joints in the image only

DD-Net's form of JHMDB is read, too: {"pose": [(T, V, 2), ...], "label": [name, ...]}, positions without a picture.
Kinetics' files have no keypoint; there it lies in a file per clip, see `unpack`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxhar.data.formats import safe_pickle
from jaxhar.host.errors import Problem

Annotation = dict[str, Any]

_FORM = "expected a list of annotations, or a dict of them and of splits, as pyskl and mmaction2 write it"
#: Most persons of a clip of Kinetics.
MOST_PERSONS = 10
#: Height and width of the picture for poses that have none, in pixels.
_SIDE = 1000
#: Largest height and width of a picture, the largest number as float16.
_LARGEST = 65_504
#: Scores are the peaks of heat maps, which are a little above 1 now and then.
_HIGHEST = 1.25


def read(path: Path, split: str | None = None) -> list[Annotation]:
    """The annotations of a file, or of one of its splits, in the order of the file.

    Raises:
      Problem: the file is no such pickle, has no such split, or names samples in the split that it does not have.
    """
    annotations, splits = read_all(path)
    if split is None:
        return annotations
    if split not in splits:
        known = f"it has {', '.join(splits)}" if splits else "it has none"
        raise Problem(f"{path} has no split {split!r}; {known}")
    wanted = set(splits[split])
    key = identifier(annotations)
    if absent := wanted - {one[key] for one in annotations}:
        raise Problem(f"the split {split!r} of {path} names {len(absent)} samples that it lacks, e.g. {min(absent)}")
    return [one for one in annotations if one[key] in wanted]


def read_all(path: Path) -> tuple[list[Annotation], dict[str, list[str]]]:
    """All annotations of a file, and its splits; see `read`."""
    content = safe_pickle.load(path)
    splits: object = {}
    if isinstance(content, dict) and content.keys() >= {"pose", "label"}:
        content = _of_poses(content["pose"], content["label"], path)
    if isinstance(content, dict) and "annotations" in content:
        content, splits = content["annotations"], content.get("split", {})
    if not isinstance(content, list) or not isinstance(splits, dict):
        raise Problem(f"{path} has another layout: {_described(content)}; {_FORM}")
    if not content:
        raise Problem(f"{path} has no annotation")
    for number, one in enumerate(content):
        if not isinstance(one, dict) or not ("frame_dir" in one or "filename" in one):
            raise Problem(f"annotation {number} of {path} is {_described(one)} without frame_dir; {_FORM}")
        name = one.get(key := identifier(content))
        if not isinstance(name, str | int | np.integer):
            raise Problem(f"annotation {number} of {path} has {key} {shown(name)}; expected a name in every one")
    for name, names in splits.items():
        if not isinstance(names, list | tuple | set) and np.ndim(names) != 1:
            raise Problem(f"the split {shown(name)} of {path} is {_described(names)}; expected a list of names")
    return content, {str(name): [str(one) for one in names] for name, names in splits.items()}


def _of_poses(poses: object, labels: object, path: Path) -> list[Annotation]:
    """The annotations of a list of poses (T, V, 2), in a square picture that holds all of them, and of class names."""
    if not (isinstance(poses, list) and isinstance(labels, list) and len(poses) == len(labels) > 0):
        raise Problem(f"{path} must have poses and as many labels, in two lists")
    for number, (pose, label) in enumerate(zip(poses, labels, strict=True)):
        if not isinstance(label, str) or not isinstance(pose, np.ndarray) or pose.dtype.kind != "f" or not pose.size:
            raise Problem(f"sample {number} of {path} has no pose of numbers, or no name of a class")
        if pose.ndim != 3 or pose.shape[2] != 2:
            raise Problem(f"sample {number} of {path} has a pose of shape {pose.shape}; expected (frames, joints, 2)")
        if np.isinf(pose).any() or np.isnan(pose).all((0, 1)).any():
            raise Problem(f"sample {number} of {path} has a pose at infinity, or at NaN alone; repair it, or remove it")
    low = np.min([np.nanmin(pose, (0, 1)) for pose in poses], 0)
    with np.errstate(over="ignore"):
        side = float(np.max([np.nanmax(pose - low) for pose in poses]))
    if not 1e-30 < side < np.inf:
        raise Problem(f"all poses of {path} lie in one point, or too far from each other: their size is {side:g}")
    names = sorted(set(labels))
    return [
        {
            "frame_dir": f"{label}_{number:04d}",
            "label": names.index(label),
            "class": label,
            "img_shape": (_SIDE, _SIDE),
            "total_frames": len(pose),
            "keypoint": np.array(1 + (pose - low) * ((_SIDE - 1) / side))[None],
        }
        for number, (pose, label) in enumerate(zip(poses, labels, strict=True))
    ]


def identifier(annotations: Sequence[Annotation]) -> str:
    """The key by which the splits of a file name its annotations."""
    return "filename" if "filename" in annotations[0] else "frame_dir"


def _described(content: object) -> str:
    if isinstance(content, Mapping):
        return "a dict of " + ", ".join(map(str, [*content][:5]))
    return f"a {type(content).__name__}"


def shown(value: object) -> str:
    """A value in a message: one short line."""
    try:
        return " ".join(repr(value.tolist() if isinstance(value, np.ndarray) else value).split())[:60]
    except ValueError:
        return "a number of too many digits"


def checked(one: Annotation, path: Path, classes: int | None = None) -> Annotation:
    """An annotation with a score, after a check.

    Args:
      classes: number of classes that the labels must be below; None for any.

    Raises:
      Problem: shapes do not agree, a label has no class, or no frame has a valid joint; the message names the sample.
    """
    name = one.get("frame_dir", one.get("filename"))
    where = f"sample {name} of {path}"
    points = one.get("keypoint")
    if (
        not isinstance(points, np.ndarray)
        or points.dtype.kind != "f"
        or points.ndim != 4
        or points.shape[-1] not in (2, 3)
    ):
        shape = "is missing" if points is None else f"is {_described(points)}"
        shape = f"is of shape {points.shape}" if isinstance(points, np.ndarray) else shape
        raise Problem(f"the keypoint of {where} {shape}; expected numbers (persons, frames, joints, 2 or 3)")
    persons, frames, joints, dims = points.shape
    if not np.array_equal(one.get("total_frames", frames), frames):
        raise Problem(f"{where} says {shown(one['total_frames'])} frames, but its keypoint has {frames}")
    label = one.get("label")
    if not isinstance(label, int | np.integer) or label < 0 or (classes is not None and label >= classes):
        limit = "" if classes is None else f"; there are {classes} classes, 0 to {classes - 1}"
        raise Problem(f"the label of {where} is {shown(label)}{limit}")
    score = safe_pickle.numbers(one.get("keypoint_score", np.ones((persons, frames, joints), np.float32)))
    if score is None or score.shape != (persons, frames, joints):
        found = "no numbers" if score is None else f"of shape {score.shape}"
        raise Problem(f"the scores of {where} are {found}; its keypoint is of shape {points.shape}")
    known = np.where(np.isfinite(score), score, 0)
    if known.size and (known.min() < 0 or known.max() > _HIGHEST):
        raise Problem(f"{where} has scores from {known.min():.3g} to {known.max():.3g}; they must be in [0, 1]")
    seen = (np.nan_to_num(points) != 0).any(-1) & (known > 0)
    if not seen.any():
        raise Problem(f"{where} has no valid joint in its {frames} frames")
    if dims == 2:
        size = safe_pickle.numbers(one.get("img_shape"))
        if size is None or size.shape != (2,) or not ((size >= 1) & (size <= _LARGEST)).all():
            told = shown(one.get("img_shape"))
            raise Problem(f"{where} has no img_shape (height, width) from 1 to {_LARGEST:,}, but {told}")
        height, width = (int(side) for side in size)
        inside = (points[seen] >= 0).all(-1) & (points[seen] <= (width, height)).all(-1)
        if not inside.any():
            raise Problem(f"every joint of {where} lies outside of its image of {width}x{height} pixels")
    return {**one, "frame_dir": name, "keypoint_score": known}


@np.errstate(over="ignore")  # what is too large for float16 is infinite
def unpack(
    keypoint: np.ndarray,
    frame_inds: np.ndarray,
    keep: np.ndarray,
    frames: int,
    squeeze: bool = True,
    most: int = MOST_PERSONS,
) -> tuple[np.ndarray, np.ndarray, int]:
    """The joints of a clip of Kinetics, whose files list persons.

    Args:
      keypoint: (N, V, 3) x, y in pixels and score. frame_inds: (N,) frame of each person, rising.
      keep: (N,) bool, which persons to use. frames: of the video.
      squeeze: leave out frames without a person.
      most: largest number of persons; where a frame has more, those with the largest sums of scores are kept.

    Returns:
      keypoint (M, T, V, 2) and score (M, T, V) float16, and T.
    """
    keypoint, places = keypoint[keep], np.asarray(frame_inds)[keep].astype(np.int64)
    if squeeze:
        present, places = np.unique(places, return_inverse=True)
        frames = len(present)
    count = np.bincount(places, minlength=1).max() if len(places) else 0
    found = np.zeros((min(count, most), frames, keypoint.shape[1], 3), np.float16)
    for frame in np.unique(places):
        people = keypoint[places == frame]
        if count > most:
            people = people[np.argsort(-people[..., 2].sum(-1), kind="stable")][:most]
        found[: len(people), frame] = people
    return found[..., :2], found[..., 2], frames
