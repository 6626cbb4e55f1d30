"""Reads boxes of persons in COCO's format: annotations/*.json and the pictures (see `jaxhar.data.formats.coco_json`).

The JSON of a split is the first of annotations/person_keypoints_SPLIT*.json and annotations/instances_SPLIT*.json, e.g.
person_keypoints_train2017.json; a single file of any name is a training split.
Boxes are x, y, width, height in pixels. Annotations of other categories than "person" are not used. A crowd ("iscrowd")
and an annotation with "ignore" are boxes in which nothing is learned or scored.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from jaxhar.data.formats import coco_json
from jaxhar.data.formats.jpeg import read_picture
from jaxhar.data.records.record import FAR, Field, Folder, Record, Skipped, or_skipped, stamp
from jaxhar.host.errors import Problem

#: M, the largest number of persons and ignored boxes of a picture.
MOST = 64
_FLAGS = Field((None, MOST), np.bool_)
#: Of a record.
FIELDS = {"boxes": Field((None, MOST, 4)), "boxed": _FLAGS, "ignored": _FLAGS}
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


def _persons(table: Path) -> Callable[[list[dict]], set]:
    """Chooses the categories named person; Problem if there is none."""

    def choose(categories: list[dict]) -> set:
        persons = {one.get("id") for one in categories if one.get("name") == "person"}
        if not persons:
            raise Problem(f"{table} has no category named person")
        return persons

    return choose


def read(table: Path, split: str) -> Iterator[Photo | Problem]:
    """The pictures of an annotation file in its order; a Problem in place of one that is wrong.

    Raises:
      Problem: the file as a whole is not COCO's.
    """
    for picture in coco_json.read(table, _persons(table)):
        try:
            yield picture if isinstance(picture, Problem) else _photo(picture, split)
        except Problem as problem:
            yield problem


def _photo(picture: coco_json.Picture, split: str) -> Photo:
    annotations, where = picture.annotations, picture.where
    if len(annotations) > MOST:
        raise Problem(f"{where} has {len(annotations)} persons, more than the {MOST} of a batch; leave it out")
    boxes, ignored = [], []
    for one in annotations:
        x1, y1, x2, y2 = coco_json.box(one, where)
        boxes.append([x1, y1, x2, y2])
        ignored.append(coco_json.is_ignored(one) or min(x2 - x1, y2 - y1) < 1)
    return Photo(split, picture.image, where, np.array(boxes, float).reshape(-1, 4), np.array(ignored, bool))


def folder(root: str | Path) -> Folder:
    """The folder to pack, one record per picture."""
    tables = coco_json.tables(root, (coco_json.KEYPOINTS, coco_json.INSTANCES), _EXPECTED)
    counts: dict[str, int] = {}

    def scan(skip_broken: bool) -> tuple[list[Photo], list[Skipped]]:
        photos: list[Photo] = []
        skipped: list[Skipped] = []
        for split, table in tables.items():
            for row in read(table, split):
                if isinstance(row, Photo):
                    photos.append(row)
                elif skip_broken:
                    skipped.append(Skipped(str(table), str(row)))
                else:
                    raise row
        counts.update(counted(photos))
        return photos, skipped

    return Folder(
        title="People",
        slug="people",
        root=Path(root).expanduser(),
        fingerprint=partial(_fingerprint, tables),
        scan=scan,
        load=load,
        fields=FIELDS,
        counts=counts,
    )


def counted(photos: Sequence[Photo]) -> dict[str, int]:
    """Numbers of persons, ignored boxes and pictures without persons."""
    return {
        "persons": int(sum((~photo.ignored).sum() for photo in photos)),
        "ignored boxes": int(sum(photo.ignored.sum() for photo in photos)),
        "pictures without persons": sum(bool(photo.ignored.all()) for photo in photos),
    }


def _fingerprint(tables: dict[str, Path]) -> Iterator[str]:
    for split, table in tables.items():
        yield f"{split} {table.resolve()} {stamp(table)}"


def load(photo: Photo, skip_broken: bool = False) -> tuple[Record | None, list[Skipped]]:
    """The record of a picture with its boxes."""
    return or_skipped(partial(_record, photo), photo.image, skip_broken)


def _record(photo: Photo) -> Record:
    data, size, _ = read_picture(photo.image)
    far = np.abs(photo.boxes).max(initial=0)
    if far > FAR * max(size):
        raise Problem(f"{photo.where} has a box at {far:.0f} pixels in a picture of {size[0]}x{size[1]}")
    count = len(photo.boxes)
    boxes, boxed, ignored = np.zeros((1, MOST, 4), np.float32), np.zeros((1, MOST), bool), np.zeros((1, MOST), bool)
    boxes[0, :count], boxed[0, :count], ignored[0, :count] = photo.boxes, ~photo.ignored, photo.ignored
    return Record(
        name=f"{photo.split}/{photo.image.name}",
        split=photo.split,
        length=1,
        fields={"boxes": boxes, "boxed": boxed, "ignored": ignored},
        pictures=[data],
        size=size,
    )
