"""Reads MPII as the multi-view networks do: every four persons of a file are a group, which are no views of a moment.

The folder mpii/ or MPII/ has annot/train.json and annot/valid.json (or validation.json) in the common JSON form, each a
list of persons with image, center, scale, joints (16 pairs that count from 1) and joints_vis; the photos are in images/
or images.zip. Persons left over at the end of a file are not used.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from jaxhar.core.skeleton import MPII
from jaxhar.data import centre_crop
from jaxhar.data.formats import photos as photo_files
from jaxhar.data.formats.photos import Photos
from jaxhar.data.records.record import Field, Folder, Record, Skipped, joint_fields, or_skipped
from jaxhar.host import files
from jaxhar.host.errors import Problem

SIZE = 4
_NAMES = {"train": ("train.json",), "validation": ("valid.json", "validation.json")}
#: Head size of PCKh from the distance of head top and upper neck: 0.6 of a diagonal, of which they are 0.8 apart.
_HEAD = 0.6 / 0.8
_NECK, _TOP = MPII.index("neck"), MPII.index("head")
_EXPECTED = "expected mpii/annot/train.json or valid.json, with images/ or images.zip beside annot/"


@dataclass(frozen=True)
class Persons:
    """Four persons of a file: their dicts, and the index of the first."""

    split: str
    path: Path
    first: int
    entries: tuple[dict, ...]

    @property
    def numbers(self) -> tuple[int, ...]:
        """The indices of the persons in the file."""
        return tuple(range(self.first, self.first + SIZE))


def labels(root: Path) -> tuple[Path, dict[str, Path]]:
    """The folder of MPII, `root`/mpii, `root`/MPII or `root`, and the label file of each split; Problem if none."""
    for folder in (root / "mpii", root / "MPII", root):
        paths = {
            split: next((p for n in names if (p := folder / "annot" / n).is_file()), None)
            for split, names in _NAMES.items()
        }
        found = {split: path for split, path in paths.items() if path is not None}
        if found:
            return folder, found
    raise Problem(f"{root} holds no label files of MPII; {_EXPECTED}")


def folder(root: Path) -> Folder:
    """The folder to pack, with one record of four persons.

    Record fields besides the joints: centers (T, 2) and scales (T,) of the crops by `centre_crop.prepared`, norm (T,)
    head size, 0 where unknown.
    """
    home, chosen = labels(Path(root).expanduser())
    photos = photo_files.find(home)
    counts: dict[str, int] = {}
    return Folder(
        title="MPII in groups of four",
        slug="mpii_groups",
        root=home,
        fingerprint=partial(_fingerprint, chosen, photos),
        scan=partial(_scan, chosen, counts),
        load=partial(load, photos),
        fields=joint_fields(len(MPII))
        | {"centers": Field((None, 2), np.float64), "scales": Field((None,), np.float64), "norm": Field((None,))},
        counts=counts,
    )


def _fingerprint(chosen: dict[str, Path], photos: Photos) -> Iterator[str]:
    for split, path in chosen.items():
        stat = path.stat()
        yield f"{split} {path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    yield from photos.fingerprint()


def _scan(chosen: dict[str, Path], counts: dict[str, int], skip_broken: bool) -> tuple[list[Persons], list[Skipped]]:
    del skip_broken  # a person that cannot be used makes its group unusable, which `load` tells
    found = []
    for split, path in chosen.items():
        found += groups(path, split, counts)
    return found, []


def groups(path: Path, split: str, counts: dict[str, int] | None = None) -> list[Persons]:
    """All groups of a label file; Problem if it has no list. `counts` is given the number of persons."""
    entries = files.read_json(path, "annotation file")
    if not isinstance(entries, list) or not entries:
        raise Problem(f"the annotation file {path} has no list of persons; expected MPII in the common JSON form")
    if counts is not None:
        counts[f"persons, {split}"] = len(entries)
    return [
        Persons(split, path, first, tuple(entries[first : first + SIZE]))
        for first in range(0, len(entries) - SIZE + 1, SIZE)
    ]


def load(photos: Photos, persons: Persons, skip_broken: bool = False) -> tuple[Record | None, list[Skipped]]:
    """The record of four persons; a group with a photo or person that cannot be read is left out as a whole."""
    return or_skipped(partial(_record, photos, persons), f"{persons.path}:{persons.first}", skip_broken)


def _record(photos: Photos, persons: Persons) -> Record:
    pictures, sizes, points, labelled, centers, scales = [], [], [], [], [], []
    for number, entry in zip(persons.numbers, persons.entries, strict=True):
        where = f"person {number} of {persons.path}"
        if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
            raise Problem(f"{where} is not an object with image, joints, joints_vis, center and scale")
        data, size = photos.read(entry["image"], where)
        joints = _numbers(entry, "joints", (len(MPII), 2), where)
        shown = (_numbers(entry, "joints_vis", (len(MPII),), where) > 0) & ~(joints == -1).all(-1)
        center, scale = centre_crop.prepared(
            _numbers(entry, "center", (2,), where), float(_numbers(entry, "scale", (), where))
        )
        if scale <= 0:
            raise Problem(f"{where} has scale {entry['scale']}; a scale is the height of the person over 200 pixels")
        pictures.append(data)
        sizes.append(size)
        points.append(np.where(shown[:, None], joints, 0))
        labelled.append(shown)
        centers.append(center)
        scales.append(scale)
    xy, known = np.stack(points).astype(np.float32), np.stack(labelled)
    head = _HEAD * np.linalg.norm(xy[:, _TOP] - xy[:, _NECK], axis=-1)
    fields = {
        "points": xy,
        "labelled": known,
        "centers": np.stack(centers),
        "scales": np.stack(scales),
        "norm": np.where(known[:, _TOP] & known[:, _NECK], head, 0).astype(np.float32),
    }
    width, height = (max(side) for side in zip(*sizes, strict=True))
    name = f"{persons.split}/{persons.first:06d}"
    return Record(name, persons.split, SIZE, fields, pictures, (width, height))


def _numbers(entry: dict, key: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    try:
        found = np.array(entry[key], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise Problem(f"{where} has no numbers in {key!r}") from error
    if found.shape != shape or not np.isfinite(found).all():
        raise Problem(f"{key!r} of {where} has shape {found.shape}, expected {shape} of finite numbers")
    return found
