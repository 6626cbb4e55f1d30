"""Reads Look into Person (LIP, Gong et al., CVPR'17): person crops and a csv of their joints.

Two layouts: train/annotations.csv, train/img/ and val/ alike, as single-person-pose-estimation has them; and that of
the data set's own archives, TrainVal_pose_annotations/lip_train_set.csv and TrainVal_images/train_images/. A row of the
csv has 49 fields: the file name, then x, y and v of 16 joints in MPII's order, in pixels; v is 1 for an occluded joint.
All three are `nan` for a joint that is not annotated.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from jaxhar.core.skeleton import MPII
from jaxhar.data.formats.jpeg import read_picture
from jaxhar.data.records.record import FAR, Field, Folder, Record, Skipped, joint_fields, or_skipped, stamp
from jaxhar.host import files
from jaxhar.host.errors import Problem

SPLITS = ("train", "val")
#: Published numbers of rows.
PUBLISHED = {"train": 30_462, "val": 10_000}
#: The annotation file of a split and the folder of its pictures, in both layouts.
_LAYOUTS = (
    ("{split}/annotations.csv", "{split}/img"),
    ("TrainVal_pose_annotations/lip_{split}_set.csv", "TrainVal_images/{split}_images"),
    ("lip_{split}_set.csv", "{split}_images"),
)
_NECK, _TOP = MPII.index("neck"), MPII.index("head")
#: As in MPII, whose head boxes give the reference length: 0.6 of the diagonal, 0.8 of which is neck to head top.
_HEAD_SHARE = 0.6 / 0.8


@dataclass(frozen=True)
class Person:
    """One row of an annotation file.

    Attributes:
      split, image: its picture. where: file and line, for messages.
      points: (16, 2) pixels, 0 where not annotated. labelled: (16,) bool. occluded: (16,) bool.
    """

    split: str
    image: Path
    where: str
    points: np.ndarray
    labelled: np.ndarray
    occluded: np.ndarray


def check_root(root: str | Path) -> dict[str, tuple[Path, Path]]:
    """The annotation file and the folder of pictures of every split that a folder has; Problem if it has none."""
    root = Path(root).expanduser()
    if not root.exists():
        raise Problem(f"{root} does not exist; expected a folder of LIP with train/annotations.csv and train/img/")
    for table, images in _LAYOUTS:
        found = {split: (root / table.format(split=split), root / images.format(split=split)) for split in SPLITS}
        found = {split: pair for split, pair in found.items() if pair[0].is_file()}
        if found:
            return found
    raise Problem(
        f"{root} is no folder of LIP: it has neither train/annotations.csv nor "
        "TrainVal_pose_annotations/lip_train_set.csv"
    )


def read(path: Path, images: Path, split: str) -> Iterator[Person | Problem]:
    """The rows of an annotation file in order; a Problem in place of a row that is wrong."""
    lines = files.read(path, "annotation file").decode("utf-8", errors="replace").splitlines()
    for number, fields in enumerate(csv.reader(lines), 1):
        where = f"line {number} of {path}"
        try:
            yield _person(fields, images, split, where)
        except Problem as problem:
            yield problem


def _person(fields: list[str], images: Path, split: str, where: str) -> Person:
    if len(fields) != 1 + 3 * len(MPII):
        raise Problem(f"{where} has {len(fields)} fields, expected 49: a file name, and x, y, v of 16 joints")
    name = fields[0].strip()
    if not name or Path(name).name != name:
        raise Problem(f"{where} names the picture {name!r}, which is not a file name")
    rows = [[field.strip() for field in fields[1 + 3 * j : 4 + 3 * j]] for j in range(len(MPII))]
    points, labelled, occluded = np.zeros((16, 2)), np.zeros(16, bool), np.zeros(16, bool)
    for j, row in enumerate(rows):
        missing = [field.lower() == "nan" for field in row]
        if any(missing) and not all(missing):
            raise Problem(f"{where}: {MPII.joints[j]} is {','.join(row)}; it must be three numbers or three nan")
        if all(missing):
            continue
        try:
            x, y, v = (float(field) for field in row)
        except ValueError:
            raise Problem(f"{where}: {MPII.joints[j]} is {','.join(row)}, which are not numbers") from None
        if not (np.isfinite([x, y]).all() and v in (0, 1)):
            raise Problem(f"{where}: {MPII.joints[j]} is {','.join(row)}; expected finite x and y, and v of 0 or 1")
        points[j], labelled[j], occluded[j] = (x, y), True, v == 1
    return Person(split, images / name, where, points, labelled, occluded)


def folder(root: str | Path) -> Folder:
    """The folder to pack, one record per person."""
    tables = check_root(root)
    counts: dict[str, int] = {}

    def scan(skip_broken: bool) -> tuple[list[Person], list[Skipped]]:
        persons: list[Person] = []
        skipped: list[Skipped] = []
        for split, (table, images) in tables.items():
            rows = list(read(table, images, split))
            counts[split] = len(rows)
            for row in rows:
                if isinstance(row, Person):
                    persons.append(row)
                elif skip_broken:
                    skipped.append(Skipped(str(table), str(row)))
                else:
                    raise row
        counts["joints"] = int(sum(person.labelled.sum() for person in persons))
        return persons, skipped

    return Folder(
        title="LIP",
        slug="lip",
        root=Path(root).expanduser(),
        fingerprint=partial(_fingerprint, tables),
        scan=scan,
        load=load,
        fields=joint_fields(len(MPII)) | {"occluded": Field((None, len(MPII)), np.bool_), "norm": Field((None,))},
        published={split: PUBLISHED[split] for split in tables},
        counts=counts,
    )


def _fingerprint(tables: dict[str, tuple[Path, Path]]) -> Iterator[str]:
    for split, (table, images) in tables.items():
        yield f"{split} {table.resolve()} {stamp(table)} {images.resolve()}"


def load(person: Person, skip_broken: bool = False) -> tuple[Record | None, list[Skipped]]:
    """The record of a person: one picture with joints, the occluded ones marked, and the head size."""
    return or_skipped(partial(_record, person), person.image, skip_broken)


def _record(person: Person) -> Record:
    data, size, _ = read_picture(person.image, upright=True, lossless=True)
    far = np.abs(person.points).max()
    if far > FAR * max(size):
        raise Problem(f"{person.where} puts a joint at {far:.0f} pixels in a picture of {size[0]}x{size[1]}")
    head = _HEAD_SHARE * float(np.linalg.norm(person.points[_TOP] - person.points[_NECK]))
    known = person.labelled[_TOP] and person.labelled[_NECK]
    return Record(
        name=f"{person.split}/{person.image.name}",
        split=person.split,
        length=1,
        fields={
            "points": person.points[None].astype(np.float32),
            "labelled": person.labelled[None],
            "occluded": person.occluded[None],
            "norm": np.array([head if known else 0.0], np.float32),
        },
        pictures=[data],
        size=size,
    )
