"""Reads a folder of ImageNet for packing: SPLIT/CLASS/*.JPEG, with SPLIT train and val, and boxes by class.

The classes are the sorted names of the folders, e.g. n01440764. Boxes are those of dmae_st: CLASS.pkl for train, or
SPLIT/CLASS.pkl, a dict from the name of a picture to its boxes in pixels of it.
"""

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from jaxhar.data.formats import box_pickle, jpeg
from jaxhar.data.formats.picture import IMAGE_SUFFIXES
from jaxhar.data.listing import shown
from jaxhar.data.records.record import Field, Folder, Record, Skipped
from jaxhar.host.errors import Problem

SPLITS = ("train", "val")
#: Largest number of boxes of a picture; detectors give at most as many.
MOST = 100


@dataclass(frozen=True)
class Picture:
    """A picture of a split and class."""

    split: str
    action: int
    path: Path


def folder(root: str | Path, boxes: str = "") -> Folder:
    """The folder to pack.

    Args:
      boxes: folder of the files of boxes, below `root` or absolute; "" for none.

    Raises:
      Problem: there is no such folder, or it has another layout.
    """
    root = Path(root).expanduser()
    found: dict[str, dict[str, list[Path]]] = {}
    for split in SPLITS:
        classes = [path for path in shown((root / split).iterdir()) if path.is_dir()] if (root / split).is_dir() else []
        found[split] = {one.name: _pictures(one) for one in classes}
    names = sorted({name for classes in found.values() for name in classes})
    if not any(map(len, found["train"].values())):
        raise Problem(
            f"{root} has no pictures in folders of classes: expected are train/CLASS/*.JPEG and val/CLASS/*.JPEG"
        )
    place = root / Path(boxes).expanduser() if boxes else None
    if place is not None and not place.is_dir():
        raise Problem(f"{place} is no folder of boxes")
    items = [
        Picture(split, names.index(name), path)
        for split, classes in found.items()
        for name, paths in sorted(classes.items())
        for path in paths
    ]
    loose = [path for split in SPLITS for path in _pictures(root / split)]
    return Folder(
        title="ImageNet",
        slug="imagenet",
        root=root,
        fingerprint=partial(_fingerprint, items, place),
        scan=lambda skip_broken: (items, [Skipped(str(path), "is in no folder of a class", True) for path in loose]),
        load=partial(_load, place),
        fields={} if place is None else {"covered": Field((None, MOST, 4))},
        actions=tuple(names),
    )


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return shown(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


def _fingerprint(items: list[Picture], place: Path | None) -> Iterator[str]:
    yield f"{place}"
    for item in items:
        stat = os.stat(item.path)
        yield f"{item.path} {stat.st_size} {stat.st_mtime_ns} {item.action}"
    for path in sorted(place.rglob("*.pkl")) if place is not None else ():
        yield f"{path} {path.stat().st_mtime_ns}"


@functools.lru_cache(maxsize=4)
def _kept(path: Path, changed: int) -> list[np.ndarray] | dict[str, np.ndarray]:
    """The content of a file of boxes that was last changed at this time."""
    del changed
    return box_pickle.read(path)


def _boxes(place: Path, item: Picture) -> np.ndarray:
    """(1, MOST, 4) the boxes of a picture, cut at its edges by whoever draws them; 0 where there are fewer.

    Pictures of a split without files of boxes have none.
    """
    name = f"{item.path.parent.name}.pkl"
    paths = [place / item.split / name, *([place / name] if item.split == "train" else [])]
    path = next((one for one in paths if one.is_file()), None)
    if path is None:
        if item.split == "train":
            raise Problem(f"{item.path}: its boxes are not there, {paths[-1]}")
        return np.zeros((1, MOST, 4))
    content = _kept(path, path.stat().st_mtime_ns)
    if isinstance(content, list):
        raise Problem(f"{path} has boxes of the frames of a video, not of pictures by their names")
    if item.path.name not in content:
        raise Problem(f"{item.path}: its boxes are not in {path}")
    found = content[item.path.name][:, :4]
    if len(found) > MOST or not np.isfinite(found).all():
        raise Problem(f"{item.path}: {path} has {len(found)} boxes of it, at most {MOST} with finite corners are read")
    return np.concatenate([found, np.zeros((MOST - len(found), 4))])[None]


def _load(place: Path | None, item: Picture, skip_broken: bool) -> tuple[Record | None, list[Skipped]]:
    """The record of a picture."""
    try:
        data, size = jpeg.read_jpeg(item.path)
        fields = {} if place is None else {"covered": _boxes(place, item)}
    except Problem as problem:
        if not skip_broken:
            raise
        return None, [Skipped(str(item.path), str(problem).removeprefix(f"{item.path}: "))]
    name = f"{item.split}/{item.path.parent.name}/{item.path.name}"
    return Record(name, item.split, 1, fields, [data], size, item.action), []
