"""Reads joints of persons in COCO's format (see `jaxhar.data.formats.coco_json`), one record per person.

The keypoints of a category are assigned to joints by their names (`names`); keypoints of other names are not used, and
told. Of the categories with keypoints, "person" is used if there is one, else all that have joints of a person. A
keypoint is x, y in pixels and v: 0 not labelled, 1 labelled but hidden, 2 visible. Crowds, annotations with "ignore"
and persons without keypoints are left out and counted. Where a folder has no split for evaluation, a quarter is chosen,
see `divided`.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxhar.core.skeleton import BODY
from jaxhar.data.coco import names
from jaxhar.data.formats import coco_json
from jaxhar.data.formats.jpeg import read_picture
from jaxhar.data.listing import by_number
from jaxhar.data.records.record import FAR, SMALL, Field, Folder, Record, Skipped, joint_fields, or_skipped, stamp
from jaxhar.host.errors import Problem

_EXPECTED = (
    "expected annotations/person_keypoints_*.json and images/, as COCO and CVAT write them, or Label Studio's "
    "result.json and images/"
)
_CROWDS, _UNLABELLED = "crowds and ignored annotations, not used", "persons without keypoints, not used"
#: One in this many sources, or pictures of a source, is used for evaluation if the folder has no split for it.
_SHARE = 4


@dataclass(frozen=True)
class Person:
    """One annotated person.

    Attributes:
      split, image: the picture. name: of the picture in its file. number: id of the annotation. where: for messages.
      points: (29, 2) pixels of the joints of `BODY`. labelled, hidden: (29,) bool.
      box: (4,) x1, y1, x2, y2 in pixels; around the joints if none is given.
      area: of the person in square pixels; that of the box if none is given.
    """

    split: str
    image: Path
    name: str
    number: Any
    where: str
    points: np.ndarray
    labelled: np.ndarray
    hidden: np.ndarray
    box: np.ndarray
    area: float


class _Keypoints:
    """The keypoints of the categories of an annotation file.

    Attributes:
      joints: id of a category -> the index in `BODY` of each keypoint, -1 where its name is unknown.
      known, unknown: names of keypoints that are used, and of those that are not.
    """

    def __init__(self, table: Path):
        self.table = table
        self.joints: dict[Any, np.ndarray] = {}
        self.known: list[str] = []
        self.unknown: list[str] = []

    def choose(self, categories: list[dict]) -> set:
        """See `coco_json.read`."""
        labels = {i: one for i, one in enumerate(categories) if one.get("keypoints")}
        chosen = {i: one for i, one in labels.items() if one.get("name") == "person"} or labels
        for one in chosen.values():
            words = one["keypoints"]
            where = f"category {one.get('name')!r} of {self.table}"
            if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                raise Problem(f"the keypoints of {where} are no list of names")
            found = names.joints(words, where)
            self.unknown += [word for word, joint in zip(words, found, strict=True) if joint is None]
            self.known += [joint for joint in found if joint is not None]
            if any(found):
                self.joints[one.get("id")] = np.array([-1 if j is None else BODY.index(j) for j in found])
        if not self.joints:
            raise Problem(
                f"{self.table} has no keypoints of a person: "
                + (
                    f"unknown are {self._listed}; known names are {', '.join(BODY.joints)}"
                    if labels
                    else "no category has a list 'keypoints' of their names; export the file as COCO Keypoints"
                )
            )
        return {*self.joints}

    @property
    def _listed(self) -> str:
        return ", ".join(map(repr, dict.fromkeys(self.unknown)))

    def sentences(self) -> tuple[list[str], list[str]]:
        """A note on the joints that are used, and a doubt on unknown names."""
        used = [joint for joint in BODY.joints if joint in self.known]
        doubt = (
            f"the keypoints {self._listed} of {self.table} are not used, because no joint has these names; there are "
            f"{', '.join(BODY.joints)}"
        )
        return [f"{self.table} has {len(used)} joints: {', '.join(used)}"], [doubt] if self.unknown else []


def folder(root: str | Path) -> Folder:
    """The folder to pack, one record per person."""
    counts: dict[str, int] = {_CROWDS: 0, _UNLABELLED: 0}
    persons: list[Person] = []
    wrong: list[Problem] = []
    notes: list[str] = []
    doubts: list[str] = []
    tables = coco_json.tables(root, (coco_json.KEYPOINTS,), _EXPECTED)
    for split, table in tables.items():
        keypoints = _Keypoints(table)
        for picture in coco_json.read(table, keypoints.choose):
            if isinstance(picture, Problem):
                wrong.append(picture)
                continue
            for annotation in picture.annotations:
                try:
                    person = _person(picture, annotation, keypoints, split)
                except Problem as problem:
                    wrong.append(problem)
                    continue
                if isinstance(person, Person):
                    persons.append(person)
                else:
                    counts[person] += 1
        told = keypoints.sentences()
        notes += told[0]
        doubts += told[1]
    if persons and len(tables) == 1:
        persons, note = divided(persons)
        notes.append(note)
    counts["joints"] = int(sum(person.labelled.sum() for person in persons))
    counts["hidden joints"] = int(sum(person.hidden.sum() for person in persons))

    def scan(skip_broken: bool) -> tuple[list[Person], list[Skipped]]:
        if wrong and not skip_broken:
            raise wrong[0]
        if not persons:
            raise Problem(f"{root} has no person with keypoints")
        return persons, [Skipped(str(next(iter(tables.values()))), str(problem)) for problem in wrong]

    return Folder(
        title="COCO keypoints",
        slug="coco",
        root=Path(root).expanduser(),
        fingerprint=partial(_fingerprint, tables, persons),
        scan=scan,
        load=load,
        fields=joint_fields(len(BODY))
        | {"hidden": Field((None, len(BODY)), np.bool_), "box": Field((4,)), "area": Field((None,))},
        counts=counts,
        notes=tuple(notes),
        doubts=tuple(doubts),
    )


def _person(picture: coco_json.Picture, annotation: dict, keypoints: _Keypoints, split: str) -> Person | str:
    """The person of an annotation, or the reason why it is not used; Problem if something is wrong in it."""
    if coco_json.is_ignored(annotation):
        return _CROWDS
    points, labelled, hidden = _joints(annotation, keypoints.joints[annotation["category_id"]], picture.where)
    if not labelled.any():
        return _UNLABELLED
    around = np.concatenate([points[labelled].min(0), points[labelled].max(0)])
    box = np.array(coco_json.box(annotation, picture.where)) if "bbox" in annotation else around
    box = box if (box[2:] > box[:2]).all() else around
    area: Any = annotation.get("area")
    if not isinstance(area, int | float) or not 0 < area < np.inf:
        area = (box[2:] - box[:2]).prod()
    number = annotation.get("id")
    where = f"annotation {number} of {picture.where}"
    return Person(split, picture.image, picture.name, number, where, points, labelled, hidden, box, float(area))


def _joints(annotation: dict, index: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The joints of an annotation: points (29, 2), labelled (29,), hidden (29,)."""
    points = np.zeros((len(BODY), 2))
    labelled, hidden = np.zeros(len(BODY), bool), np.zeros(len(BODY), bool)
    where = f"{where}: annotation {annotation.get('id')}"
    given: Any = annotation.get("keypoints") or []
    if not given:
        return points, labelled, hidden
    if not isinstance(given, list) or len(given) != 3 * len(index):
        count = len(given) if isinstance(given, list) else given
        raise Problem(f"{where} has {count} values in 'keypoints'; x, y, v of {len(index)} keypoints are expected")
    if not all(isinstance(value, int | float) for value in given):
        raise Problem(f"{where} has keypoints that are no numbers")
    rows = np.array(given, float).reshape(-1, 3)
    if not np.isin(rows[:, 2], (0, 1, 2)).all():
        raise Problem(f"{where} has a keypoint with v = {rows[~np.isin(rows[:, 2], (0, 1, 2)), 2][0]:g}, not 0, 1 or 2")
    used = (index >= 0) & (rows[:, 2] > 0)
    if not np.isfinite(rows[used, :2]).all():
        raise Problem(f"{where} has a labelled keypoint at NaN or infinity")
    points[index[used]], labelled[index[used]], hidden[index[used]] = rows[used, :2], True, rows[used, 2] == 1
    return points, labelled, hidden


def divided(persons: Sequence[Person]) -> tuple[list[Person], str]:
    """The persons with a quarter of the pictures in the split "val", always the same, and a sentence on how.

    Pictures whose names differ by their last number only are taken as frames of one source. With four sources or more,
    a quarter of the sources is chosen; else the last quarter of the frames of each, because neighbouring frames are too
    similar to be in both splits.
    """
    sources: dict[str, set[str]] = defaultdict(set)
    for person in persons:
        sources[_source(person.name)].add(person.name)
    if len(sources) >= _SHARE:
        order = sorted(sources, key=lambda source: hashlib.sha256(source.encode()).digest())
        tested = set().union(*(sources[source] for source in order[: len(order) // _SHARE]))
        how = f"a quarter of the {len(sources)} sources, told by the names of the pictures"
    else:
        tested = set()
        for pictures in sources.values():
            order = sorted(pictures, key=lambda name: by_number(Path(name)))
            tested |= set(order[len(order) - len(order) // _SHARE :])
        how = (
            f"the last quarter of the pictures of each of the {len(sources)} sources, told by the names of the pictures"
        )
    found = [replace(person, split="val" if person.name in tested else "train") for person in persons]
    return found, f"there is no split for evaluation; {how}, is used for it ({len(tested)} pictures)"


def _source(name: str) -> str:
    """The source of a picture: its name without the last number; a name that is a number alone is its own source."""
    path = Path(name)
    match = re.fullmatch(r"(.*?[^-_. \d].*?|)[-_. ]*\d+", path.stem)
    return str(path.parent / match[1]) if match and match[1] else name


def _fingerprint(tables: dict[str, Path], persons: Sequence[Person]) -> Iterator[str]:
    for split, table in tables.items():
        yield f"{split} {table.resolve()} {stamp(table)}"
    for image in dict.fromkeys(person.image for person in persons):
        if image.is_file():
            yield f"{image} {stamp(image)}"


def load(person: Person, skip_broken: bool = False) -> tuple[Record | None, list[Skipped]]:
    """The record of a person: one picture with joints, the box and the area."""
    return or_skipped(partial(_record, person), person.image, skip_broken)


def _record(person: Person) -> Record:
    data, size, _ = read_picture(person.image)
    width, height = person.box[2:] - person.box[:2]
    if max(width, height) < SMALL:
        raise Problem(
            f"{person.where} is {width:.2g} x {height:.2g} pixels large; positions must be in pixels of the "
            "picture, not in fractions of it"
        )
    far = np.abs(person.box).max()
    if far > FAR * max(size):
        raise Problem(f"{person.where} has a box at {far:.0f} pixels in a picture of {size[0]}x{size[1]}")
    return Record(
        name=f"{person.split}/{person.name}#{person.number}",
        split=person.split,
        length=1,
        fields={
            "points": person.points[None].astype(np.float32),
            "labelled": person.labelled[None],
            "hidden": person.hidden[None],
            "box": person.box.astype(np.float32),
            "area": np.array([person.area], np.float32),
        },
        pictures=[data],
        size=size,
    )
