"""Reads boxes of persons in COCO's format (Lin et al., ECCV 2014): annotations/*.json and the pictures.

The JSON of a split is the first of annotations/person_keypoints_SPLIT*.json and annotations/instances_SPLIT*.json, e.g.
person_keypoints_train2017.json; a single file of any name is a training split. The pictures lie in images/SPLIT*/,
SPLIT*/, images/ or beside the folder annotations/. Boxes are x, y, width, height in pixels. Annotations of other
categories than "person" are not used. A crowd ("iscrowd") and an annotation with "ignore" are boxes in which nothing is
learned or scored.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxhar.data.formats.jpeg import read_picture
from jaxhar.data.records.record import FAR, Field, Folder, Record, Skipped
from jaxhar.host import files
from jaxhar.host.errors import Problem

SPLITS = ("train", "val")
#: M, the largest number of persons and ignored boxes of a picture.
MOST = 64
_KINDS = ("person_keypoints", "instances")
_EXPECTED = "expected a folder with annotations/person_keypoints_train*.json and images/, as COCO has them"


@dataclass(frozen=True)
class Photo:
    """One picture of an annotation file.

    Attributes:
      split, image: its picture. where: for messages.
      boxes: (N, 4) x1, y1, x2, y2 in pixels. ignored: (N,) bool.
    """

    split: str
    image: Path
    where: str
    boxes: np.ndarray
    ignored: np.ndarray


def check_root(root: str | Path) -> dict[str, tuple[Path, Path]]:
    """The annotation file and the folder of pictures of every split that a folder has; Problem if it has none."""
    root = Path(root).expanduser()
    if not root.exists():
        raise Problem(f"{root} does not exist; {_EXPECTED}")
    if root.is_file():
        split = next((split for split in SPLITS if split in root.stem), SPLITS[0])
        return {
            split: (
                root,
                _pictures(root.parent.parent if root.parent.name == "annotations" else root.parent, root, split),
            )
        }
    found: dict[str, tuple[Path, Path]] = {}
    for split in SPLITS:
        tables = [p for kind in _KINDS for p in sorted((root / "annotations").glob(f"{kind}_{split}*.json"))]
        if tables:
            found[split] = tables[0], _pictures(root, tables[0], split)
    if not found:
        raise Problem(f"{root} has no annotation file of COCO; {_EXPECTED}")
    return found


def _pictures(root: Path, table: Path, split: str) -> Path:
    """The folder of the pictures of an annotation file."""
    name = table.stem.rpartition("_")[2]  # e.g. train2017
    places = [root / "images" / name, root / name, root / "images" / split, root / split, root / "images", root]
    return next(place for place in places if place.is_dir())


def read(table: Path, images: Path, split: str) -> Iterator[Photo | Problem]:
    """The pictures of an annotation file in its order; a Problem in place of one that is wrong.

    Raises:
      Problem: the file as a whole is not COCO's.
    """
    tree = files.read_json(table, "annotation file")
    parts: list[Any] = [
        tree.get(key) if isinstance(tree, dict) else None for key in ("images", "annotations", "categories")
    ]
    if not all(isinstance(part, list) and all(isinstance(one, dict) for one in part) for part in parts):
        raise Problem(f"{table} is no annotation file of COCO: it has no lists images, annotations and categories")
    pictures, annotations, categories = parts
    persons = {one.get("id") for one in categories if one.get("name") == "person"}
    if not persons:
        raise Problem(f"{table} has no category named person")
    known = {one.get("id") for one in pictures}
    by_picture: dict[Any, list[dict]] = {}
    for one in annotations:
        if one.get("category_id") in persons:
            if one.get("image_id") not in known:
                yield Problem(
                    f"annotation {one.get('id')} of {table} is of picture {one.get('image_id')}, which it lacks"
                )
            by_picture.setdefault(one.get("image_id"), []).append(one)
    for picture in pictures:
        try:
            yield _photo(picture, by_picture.get(picture.get("id"), []), table, images, split)
        except Problem as problem:
            yield problem


def _photo(picture: dict, annotations: list[dict], table: Path, images: Path, split: str) -> Photo:
    name = picture.get("file_name")
    where = f"picture {picture.get('id')} of {table}"
    if not isinstance(name, str) or not name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise Problem(f"{where} has the file name {name!r}, which is not a file within its folder")
    if len(annotations) > MOST:
        raise Problem(f"{where} has {len(annotations)} persons, more than the {MOST} of a batch; leave it out")
    boxes, ignored = [], []
    for one in annotations:
        box: Any = one.get("bbox")
        numbers = isinstance(box, list) and len(box) == 4 and all(isinstance(v, int | float) for v in box)
        if not numbers or not np.isfinite(box).all() or min(box[2:]) < 0:
            raise Problem(f"{where}: annotation {one.get('id')} has the bbox {box}; expected x, y, width, height")
        x, y, width, height = box
        boxes.append([x, y, x + width, y + height])
        ignored.append(bool(one.get("iscrowd") or one.get("ignore") or min(width, height) < 1))
    return Photo(split, images / name, where, np.array(boxes, float).reshape(-1, 4), np.array(ignored, bool))


def folder(root: str | Path) -> Folder:
    """The folder to pack, one record per picture."""
    tables = check_root(root)
    counts: dict[str, int] = {}

    def scan(skip_broken: bool) -> tuple[list[Photo], list[Skipped]]:
        photos: list[Photo] = []
        skipped: list[Skipped] = []
        for split, (table, images) in tables.items():
            for row in read(table, images, split):
                if isinstance(row, Photo):
                    photos.append(row)
                elif skip_broken:
                    skipped.append(Skipped(str(table), str(row)))
                else:
                    raise row
        counts["persons"] = int(sum((~photo.ignored).sum() for photo in photos))
        counts["ignored boxes"] = int(sum(photo.ignored.sum() for photo in photos))
        counts["pictures without persons"] = sum(bool(photo.ignored.all()) for photo in photos)
        return photos, skipped

    return Folder(
        title="People",
        slug="people",
        root=Path(root).expanduser(),
        fingerprint=partial(_fingerprint, tables),
        scan=scan,
        load=load,
        fields={"boxes": Field((None, MOST, 4)), "boxed": _FLAGS, "ignored": _FLAGS},
        counts=counts,
    )


_FLAGS = Field((None, MOST), np.bool_)


def _fingerprint(tables: dict[str, tuple[Path, Path]]) -> Iterator[str]:
    for split, (table, images) in tables.items():
        stat = table.stat()
        yield f"{split} {table.resolve()} {stat.st_size} {stat.st_mtime_ns} {images.resolve()}"


def load(photo: Photo, skip_broken: bool = False) -> tuple[Record | None, list[Skipped]]:
    """The record of a picture with its boxes."""
    try:
        data, size, _ = read_picture(photo.image)
        far = np.abs(photo.boxes).max(initial=0)
        if far > FAR * max(size):
            raise Problem(f"{photo.where} has a box at {far:.0f} pixels in a picture of {size[0]}x{size[1]}")
    except Problem as problem:
        if not skip_broken:
            raise
        return None, [Skipped(str(photo.image), str(problem))]
    count = len(photo.boxes)
    boxes, boxed, ignored = np.zeros((1, MOST, 4), np.float32), np.zeros((1, MOST), bool), np.zeros((1, MOST), bool)
    boxes[0, :count], boxed[0, :count], ignored[0, :count] = photo.boxes, ~photo.ignored, photo.ignored
    record = Record(
        name=f"{photo.split}/{photo.image.name}",
        split=photo.split,
        length=1,
        fields={"boxes": boxes, "boxed": boxed, "ignored": ignored},
        pictures=[data],
        size=size,
    )
    return record, []
