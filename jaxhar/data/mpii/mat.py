"""Reads the persons of MPII's MATLAB files: the official one and deephar's.

The official mpii_human_pose_v1_u12_1.mat holds one struct RELEASE: annolist(i) with image.name, vididx and
annorect(r), where a person has the head box x1, y1, x2, y2, scale (height over 200 pixels), objpos.x, .y and
annopoints.point(p).{x, y, id, is_visible}; img_train(i), 1 for the training split; single_person{i}, indices from 1 of
the persons in annorect who stand apart from others. Every field may be missing or empty. Labels of the test split are
not published.

Deephar's annotations.mat holds cells annot_tr and annot_val of three rows, one column a photo: the persons to use,
counted from 1; the file name; the persons, structs of head (x1, y1, x2, y2), objpos, scale and pose (2, 16), NaN where
not labelled.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from jaxhar.core.skeleton import MPII, PA16, mapping
from jaxhar.data.formats import matfile
from jaxhar.host.errors import Problem

_TO_PA16 = mapping(MPII, PA16)
#: Some files mark a missing joint with -1e9.
SENTINEL = -1e6
#: PCKh's reference length as a share of the diagonal of the head box.
HEAD_SHARE = 0.6
#: Without a list of validation photos, the photos of every 7th video of the training split are used for validation.
_HELD_OUT = 7

#: Calls a function that reads one person, given the person's place in the file, and stores the person or the error.
Attempt = Callable[[str, Callable[[], "Person | None"]], None]


@dataclass(frozen=True)
class Person:
    """One annotated person.

    Attributes:
      image: path of the photo.
      index: position in the annotation file.
      points: (16, 2) float32 image pixels in PA16 order, 0 where not labelled.
      labelled: (16,) bool.
      center: (2,) image pixels: objpos, or `center` of the common JSON.
      scale: height of the person over 200 pixels.
      head: reference length of PCKh in image pixels, 0.6 times the diagonal of the head box; 0 where unknown.
      split: "train", "valid" or "test" (without labels).
      separate: stands apart from others, as the single-person protocol asks.
      place: indices from 0 in the official file, of the photo in annolist and of the person in annorect.
    """

    image: Path
    index: int
    points: np.ndarray
    labelled: np.ndarray
    center: np.ndarray
    scale: float
    head: float = 0.0
    split: str = "train"
    separate: bool = True
    place: tuple[int, int] = (-1, -1)


class Photos:
    """The photo files of a folder, listed once."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._names = set(os.listdir(folder))

    def path(self, name: str, where: str) -> Path:
        """The path of a photo; Problem if it does not exist."""
        if name not in self._names and not (self.folder / name).is_file():
            raise Problem(f"the photo {self.folder / name} of {where} does not exist")
        return self.folder / name


def to_person(
    where: str,
    photos: Photos,
    name: str,
    index: int,
    joints: np.ndarray,
    shown: np.ndarray,
    center: np.ndarray,
    scale: float,
    head: float,
    split: str,
    separate: bool = True,
    place: tuple[int, int] = (-1, -1),
) -> Person:
    """A checked person from joints (16, 2) in MPII's order, of which `shown` (16,) are labelled.

    Raises:
      Problem: a labelled joint, the centre, the scale or the head size is not a usable number, or the photo does not
        exist. The message names `where`.
    """
    if not np.isfinite(center).all() or not 0 < scale < np.inf:
        raise Problem(
            f"{where} has center {np.asarray(center).tolist()} and scale {scale:g}; the scale must be positive"
        )
    if not np.isfinite(joints[shown]).all():
        raise Problem(f"{where} has an annotated joint at NaN or infinity; repair the file")
    points = np.where(shown[:, None], joints, 0)[_TO_PA16].astype(np.float32)
    path = photos.path(name, where)
    head = head if np.isfinite(head) else 0.0
    center = np.asarray(center, np.float64)
    return Person(path, index, points, shown[_TO_PA16], center, scale, head, split, separate, place)


def official(
    path: Path,
    photos: Photos,
    valid: set[str] | None,
    attempt: Attempt,
    counts: dict[str, int],
    everyone: bool = False,
) -> None:
    """Read the official file.

    Args:
      valid: names of the training photos of the validation split. None takes the photos of every seventh video, so
        that photos of one video are never in both splits.
      attempt: called for every person. counts: filled with the numbers of photos.
      everyone: keep persons of the training split without joints.

    Raises:
      Problem: the file or its struct RELEASE cannot be read.
    """
    release = matfile.load(path, "mpii")["RELEASE"]
    needed = ("annolist", "img_train", "single_person")
    missing = [name for name in needed if not hasattr(release, name)]
    if missing:
        raise Problem(f"RELEASE in {path} has no field {missing[0]!r}; is the file damaged?")
    entries, train, single = (matfile.items(getattr(release, name)) for name in needed)
    if len(entries) == 1:  # squeezing has removed the cell around a single element
        single = [release.single_person]
    if not len(entries) == len(train) == len(single):
        raise Problem(
            f"{path} lists {len(entries)} photos but marks {len(train)} in img_train and {len(single)} in single_person"
        )
    labelled = sum(int(t) == 1 for t in train)
    counts |= {
        "photos": len(entries),
        "photos with joints": labelled,
        "photos of the benchmark": len(entries) - labelled,
    }
    count = 0
    for i, (entry, is_train, apart) in enumerate(zip(entries, train, single, strict=True)):
        name = str(matfile.attribute(getattr(entry, "image", None), "name") or "")
        split = "test"
        if int(is_train) == 1:
            video = matfile.number(entry, "vididx")
            held = name in valid if valid is not None else (i if video is None else int(video)) % _HELD_OUT == 0
            split = "valid" if held else "train"
        apart = {int(r) - 1 for r in matfile.items(apart)}
        rects = matfile.attribute(entry, "annorect")
        for r, rect in enumerate(matfile.items(rects) if rects is not None else []):
            where = f"person {r + 1} of photo {i + 1} ({name or 'without a name'}) in {path}"
            attempt(where, partial(_official, rect, where, photos, name, count, split, r in apart, (i, r), everyone))
            count += 1


def _official(
    rect: object,
    where: str,
    photos: Photos,
    name: str,
    index: int,
    split: str,
    separate: bool,
    place: tuple[int, int],
    everyone: bool,
) -> Person | None:
    position = matfile.attribute(rect, "objpos")
    x, y = matfile.number(position, "x"), matfile.number(position, "y")
    scale = matfile.number(rect, "scale")
    if x is None or y is None or scale is None:
        return None
    joints, shown = np.full((len(MPII), 2), np.nan), np.zeros(len(MPII), bool)
    listed = matfile.attribute(matfile.attribute(rect, "annopoints"), "point")
    for point in matfile.items(listed) if listed is not None else []:
        joint = matfile.number(point, "id")
        if joint is None or joint not in range(len(MPII)):
            raise Problem(f"{where} has a joint of id {matfile.attribute(point, 'id')}; ids are 0 to 15")
        px, py = matfile.number(point, "x"), matfile.number(point, "y")
        if px is None or py is None:
            raise Problem(f"{where} has an annotated joint at NaN or infinity; repair the file")
        joints[int(joint)], shown[int(joint)] = (px, py), True
    if split != "test" and not shown.any() and not everyone:
        return None
    if not name:
        raise Problem(f"{where} has no file name in image.name")
    corners = [matfile.number(rect, key) for key in ("x1", "y1", "x2", "y2")]
    head = 0.0 if None in corners else float(head_size(*np.array(corners, np.float64).reshape(2, 2)))
    return to_person(where, photos, name, index, joints, shown, np.array([x, y]), scale, head, split, separate, place)


def head_size(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(...) reference lengths of PCKh, from two corners (..., 2) of head boxes."""
    return HEAD_SHARE * np.linalg.norm(second - first, axis=-1)


def deephar(path: Path, photos: Photos, attempt: Attempt) -> None:
    """Read deephar's file; Problem if it cannot be read. `attempt` is called for every person."""
    file = matfile.load(path, "mpii-deephar")
    for split, key in (("train", "annot_tr"), ("valid", "annot_val")):
        table = np.atleast_1d(file[key])
        if table.size and (table.ndim > 2 or table.shape[0] != 3):
            raise Problem(f"{key!r} of {path} has {table.shape[0]} rows, expected 3: persons, photo, annotation")
        count = 0
        for i, (chosen, name, rects) in enumerate(table.reshape(3, -1).T if table.size else ()):
            people = matfile.items(rects)
            for number in (int(n) for n in matfile.items(chosen)):
                where = f"person {number} of photo {i + 1} ({name}) of {key} in {path}"
                attempt(where, partial(_of_deephar, people, number, where, photos, str(name), count, split))
                count += 1


def _of_deephar(people: list, number: int, where: str, photos: Photos, name: str, index: int, split: str) -> Person:
    if not 1 <= number <= len(people):
        raise Problem(f"{where} does not exist; the photo has {len(people)} persons")
    rect = people[number - 1]
    joints = matfile.numbers(rect, "pose", (2, len(MPII)))
    center, scale = matfile.numbers(rect, "objpos", (2,)), matfile.number(rect, "scale")
    head = matfile.numbers(rect, "head", (4,))
    for field, value, form in (("pose", joints, "2 x 16"), ("objpos", center, "2"), ("scale", scale, "1")):
        if value is None:
            raise Problem(f"{where} has no {field!r} of {form} numbers")
    assert joints is not None and center is not None and scale is not None
    joints = joints.T
    shown = np.isfinite(joints).all(-1) & (joints > SENTINEL).all(-1) & ~(joints == -1).all(-1)
    size = 0.0 if head is None else float(head_size(*head.reshape(2, 2)))
    return to_person(where, photos, name, index, joints, shown, center, scale, size, split)
