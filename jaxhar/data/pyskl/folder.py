"""Reads a pickle of skeletons in pictures, as pyskl and mmaction2 write it, for packing.

The root is the file, or a folder with one such file. A file classes.txt beside it gives the names of the classes, one a
line; without it, the classes are those that the file names, those of NTU RGB+D if there are as many, or numbered.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxhar.core import classes
from jaxhar.core.skeleton import COCO, JHMDB, Skeleton
from jaxhar.data.formats import class_names, skeleton_pickle
from jaxhar.data.pyskl import clip_files, sample_videos
from jaxhar.data.records.record import Field, Folder, Record, Skipped
from jaxhar.host.errors import Problem

_NTU_NAME = re.compile(r"S\d{3}C(\d{3})P(\d{3})R\d{3}A\d{3}")


def find(root: str | Path) -> Path:
    """The pickle of a root; Problem if there is none, or more than one."""
    root = Path(root).expanduser()
    if root.is_file():
        return root
    if not root.exists():
        raise Problem(f"there is no file or folder {root}; expected a pickle of skeletons, or a folder with one")
    found = sorted(root.glob("*.pkl")) + sorted(root.glob("*.pickle")) if root.is_dir() else []
    if len(found) != 1:
        listed = ", ".join(path.name for path in found[:4]) or "none"
        raise Problem(f"{root} must be a pickle of skeletons, or a folder with one; it has {listed}")
    return found[0]


def skeleton(root: str | Path) -> Skeleton:
    """The joints of a pickle by the number of those of its first sample; Problem for an unknown number."""
    path = find(root)
    points = skeleton_pickle.read_all(path)[0][0].get("keypoint")
    shape: tuple[int, ...] = points.shape if isinstance(points, np.ndarray) else ()
    found = next((one for one in (COCO, JHMDB) if len(shape) == 4 and shape[2] == len(one)), None)
    if found is None:
        raise Problem(
            f"the first sample of {path} has a keypoint of shape {shape}; expected (persons, frames, joints, 2) with "
            f"the {len(COCO)} joints of COCO or the {len(JHMDB)} of JHMDB"
        )
    return found


def _class_names(path: Path, annotations: Sequence[dict[str, Any]], count: int | None) -> tuple[str, ...]:
    """The names of `count` classes; None for as many as the labels tell. Problem for a label that tells too many."""
    beside = path.with_name(class_names.FILE)
    if beside.is_file():
        return class_names.read(beside)
    labelled = [one for one in annotations if isinstance(one.get("label"), int | np.integer)]
    named = {one["label"]: str(one["class"]) for one in labelled if "class" in one}
    if named and {*named} == {*range(len(named))}:
        return tuple(named[label] for label in range(len(named)))
    if not count:
        last = max(labelled, key=lambda one: one["label"], default={"label": 0})
        count = last["label"] + 1
        if count > class_names.MOST:
            raise Problem(
                f"the label of sample {last[skeleton_pickle.identifier(annotations)]} of {path} is "
                f"{skeleton_pickle.shown(last['label'])}; correct it, since labels must be those of classes, below "
                f"{class_names.MOST:,}"
            )
    known = {60: classes.NTU, 120: classes.NTU120}
    return known.get(count, tuple(f"class {i}" for i in range(count)))


def folder(
    root: str | Path,
    num_actions: int | None,
    joints: int = len(COCO),
    least_box: float = 0.5,
    videos: Path | None = None,
) -> Folder:
    """The folder to pack.

    Args:
      num_actions: number of classes; None for those of classes.txt, or as many as the labels tell.
      joints: number of joints that every sample must have.
      least_box: smallest score of the boxes of persons, see `clip_files`.
      videos: folder with the video of every sample, see `sample_videos`; None for skeletons alone.

    Raises:
      Problem: there is no such file, or it has another layout.
    """
    path = find(root)
    annotations, splits = skeleton_pickle.read_all(path)
    key = skeleton_pickle.identifier(annotations)
    known = {one[key] for one in annotations}
    for split, names in splits.items():
        if absent := set(names) - known:
            raise Problem(
                f"the split {split!r} of {path} names {len(absent)} samples that it lacks, e.g. {min(absent)}"
            )
    actions = _class_names(path, annotations, num_actions)
    of_sample: dict[str, list[str]] = {}
    for split, members in splits.items():
        for name in members:
            of_sample.setdefault(name, []).append(split)
    persons = max(_persons(one, least_box) for one in annotations)
    load = partial(_load, path, of_sample, key, len(actions), persons, joints, least_box)
    if videos is not None:
        load = partial(sample_videos.load, load, videos)
    return Folder(
        title=path.name,
        slug="pyskl" if videos is None else "pyskl-videos",
        root=path,
        fingerprint=partial(_fingerprint, path, num_actions, least_box, videos),
        scan=lambda skip_broken: (annotations, []),
        load=load,
        fields={
            "skeletons": Field((None, persons, joints, 2), np.float16),
            "score": Field((None, persons, joints), np.float16),
            "shape": Field((2,), np.int32),
        },
        actions=actions,
        counts={f"split {split}": len(members) for split, members in splits.items()},
        doubts=tuple(_doubts(path, splits)),
    )


def _doubts(path: Path, splits: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """On samples that are in both sides of a division."""
    for split, members in splits.items():
        for other in (split.replace("train", "val"), split.replace("train", "test")):
            if split != other and (both := {*members} & {*splits.get(other, ())}):
                yield (
                    f"{len(both)} samples of {path}, as {min(both)}, are in both {split} and {other}, so that the "
                    "figures are too good; move each to one side"
                )


def size(root: str | Path, split: str) -> tuple[int, int]:
    """Number of samples in a split, and number of classes; Problem if there is no such split."""
    path = find(root)
    annotations, splits = skeleton_pickle.read_all(path)
    if not splits.get(split):
        raise Problem(f"{path} has no samples in a split {split!r}; it has {', '.join(splits) or 'no splits'}")
    return len(splits[split]), len(_class_names(path, annotations, None))


def _persons(one: dict[str, Any], least_box: float) -> int:
    """M of an annotation, at least 1."""
    if clip_files.is_apart(one):
        return max(1, clip_files.persons(one, least_box))
    points = one.get("keypoint")
    return len(points) if isinstance(points, np.ndarray) and points.size and points.ndim else 1


def _fingerprint(path: Path, num_actions: int | None, least_box: float, videos: Path | None = None) -> Iterator[str]:
    for one in (path, path.with_name(class_names.FILE)):
        if one.is_file():
            stat = one.stat()
            yield f"{one} {stat.st_size} {stat.st_mtime_ns}"
    yield f"{num_actions} {least_box}" + ("" if videos is None else f" {videos.resolve()}")


@np.errstate(over="ignore")  # what is too large for float16 is infinite
def _load(
    path: Path,
    of_sample: dict[str, list[str]],
    key: str,
    num_actions: int,
    persons: int,
    joints: int,
    least_box: float,
    annotation: dict[str, Any],
    skip_broken: bool,
) -> tuple[Record | None, list[Skipped]]:
    """The record of an annotation. Its split is the names of all its splits, separated by commas."""
    name = str(annotation[key])
    try:
        if clip_files.is_apart(annotation):
            annotation = clip_files.joined(annotation, path, least_box)
        one = skeleton_pickle.checked(annotation, path, num_actions)
        points, score = one["keypoint"], one["keypoint_score"]
        if points.shape[2:] != (joints, 2):
            raise Problem(
                f"sample {name} of {path} has {points.shape[2]} joints in {points.shape[3]} coordinates; the network "
                f"reads {joints} in 2"
            )
    except Problem as problem:
        if not skip_broken:
            raise
        return None, [Skipped(f"{path}: {name}", str(problem))]
    length = points.shape[1]
    fields = {
        "skeletons": np.zeros((length, persons, joints, 2), np.float16),
        "score": np.zeros((length, persons, joints), np.float16),
        "shape": np.array(one["img_shape"], np.int32),
    }
    points = points.astype(np.float16)
    finite = np.isfinite(points).all(-1)
    fields["skeletons"][:, : len(points)] = np.where(finite[..., None], points, 0).swapaxes(0, 1)
    fields["score"][:, : len(points)] = np.where(finite, score, 0).swapaxes(0, 1)
    match = _NTU_NAME.fullmatch(name)
    view, subject = map(int, match.groups()) if match else (-1, -1)
    split = ",".join(of_sample.get(name, []))
    record = Record(name, split, length, fields, action=int(one["label"]), subject=subject, view=view)
    return record, []
