"""The boxes of all persons in MPII's photos, whose annotations list everybody: settings and reader.

MPII has no boxes of whole persons. That of a person is the box of the labelled joints, which reach from the ankles to
the top of the head, enlarged on each side by 5 % of its longer side. A person with fewer than six joints is a square as
high as the person, by position and scale, in which nothing is learned or scored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from jaxhar.data.generate.film import Synth
from jaxhar.data.mpii import folder as mpii_folder
from jaxhar.data.mpii import generate as mpii_generate
from jaxhar.data.mpii.mat import Person
from jaxhar.data.people import folder as people_folder
from jaxhar.data.people.folder import Photo
from jaxhar.data.people.settings import People
from jaxhar.data.records.record import Folder, Skipped
from jaxhar.host.errors import Problem

_SPLITS = ("train", "valid")
#: Share of the longer side of the joints' box by which the box of a person is larger on each side.
_AROUND = 0.05
#: Labelled joints that a person needs for a box.
_FEWEST = 6


@dataclass(frozen=True)
class PeopleOfMPII(People):
    """The photos of MPII in an experiment on person boxes; see `People`."""

    title: ClassVar[str] = "People of MPII"
    home: ClassVar[str] = "MPII"
    splits: ClassVar[tuple[str, ...]] = _SPLITS
    eval_split: ClassVar[str] = "valid"

    def open(self, root: Path) -> Folder:
        return folder(root)

    def generate(self, out: Path, synth: Synth) -> None:
        mpii_generate.write(out, synth)


def folder(root: str | Path) -> Folder:
    """The folder to pack, one record per photo of the training and the validation split.

    Raises:
      Problem: it is no MPII folder, or one in deephar's form, which leaves persons out.
    """
    form = mpii_folder.check_root(root)
    if form.name == "deephar":
        raise Problem(
            f"{form.files['all']} does not list all persons of a photo, so that some would be learned as background; "
            "give the official annotations, mpii_human_pose_v1_u12_1.mat"
        )
    counts: dict[str, int] = {}

    def scan(skip_broken: bool) -> tuple[list[Photo], list[Skipped]]:
        persons, skipped = mpii_folder.scan(form, skip_broken, everyone=True)
        of_photos: dict[Path, list[Person]] = {}
        for person in persons:
            if person.split in _SPLITS:
                of_photos.setdefault(person.image, []).append(person)
        photos = [_photo(image, people) for image, people in of_photos.items()]
        counts.update(people_folder.counted(photos))
        return photos, skipped

    return Folder(
        title=PeopleOfMPII.title,
        slug="people-mpii",
        root=form.images.parent,
        fingerprint=partial(mpii_folder.fingerprint, form, "boxes"),
        scan=scan,
        load=people_folder.load,
        fields=people_folder.FIELDS,
        counts=counts,
    )


def _photo(image: Path, people: Sequence[Person]) -> Photo:
    if len(people) > people_folder.MOST:
        raise Problem(f"{image} has {len(people)} persons, more than the {people_folder.MOST} of a batch; leave it out")
    ignored = np.array([person.labelled.sum() < _FEWEST for person in people])
    boxes = [_square(one) if far else _box(one) for one, far in zip(people, ignored, strict=True)]
    return Photo(people[0].split, image, str(image), np.stack(boxes), ignored)


def _box(person: Person) -> np.ndarray:
    joints = person.points[person.labelled].astype(np.float64)
    low, high = joints.min(0), joints.max(0)
    around = _AROUND * (high - low).max()
    return np.concatenate([low - around, high + around])


def _square(person: Person) -> np.ndarray:
    half = 100 * person.scale
    return np.concatenate([person.center - half, person.center + half])
