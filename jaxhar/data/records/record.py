"""The packed form of every data set: what a record holds, and what a folder says of its records.

A `Folder` says how a data set lies on disk; `store.packed` writes what it holds as array_record files, once;
`reader.Records` reads them at random. What a record means for training is the business of `jaxhar.data.dataset`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import DTypeLike

from jaxhar.core import prepared
from jaxhar.host.errors import Problem

FAR = 10  # what lies further off than this many frame sizes is a damaged number


@dataclass(frozen=True)
class Skipped:
    """A file left out, and why; `expected` where the data set itself says so."""

    path: str
    reason: str
    expected: bool = False


@dataclass(frozen=True)
class VideoClip:
    """A video file as the pictures of a record: read where it lies, never copied or encoded anew.

    Attributes:
      path: the file, absolute. start, end: seconds from the first frame of the file, start <= t < end; None for all.
    """

    path: str
    start: float | None = None
    end: float | None = None


#: JPEG files one by one, a video by path, or none.
Pictures = Sequence[bytes] | VideoClip | None


@dataclass(frozen=True)
class Record:
    """What is packed of one sequence; a photo is a sequence of one frame.

    Attributes:
      name: unique in its data set. split: the one it belongs to by the data set's own division.
      length: T, the number of its frames, with or without pictures.
      fields: the arrays that `Folder.fields` declares.
      pictures: of the T frames, see `Pictures`. size: (width, height) of all of them; None without pictures.
      action: class index, -1 without one. subject, view: person and camera by the data set's numbers, -1 if unknown.
    """

    name: str
    split: str
    length: int
    fields: Mapping[str, np.ndarray] = field(default_factory=dict)
    pictures: Pictures = None
    size: tuple[int, int] | None = None
    action: int = -1
    subject: int = -1
    view: int = -1


@dataclass(frozen=True)
class Field:
    """An array of every record: its shape, None for T, and its type."""

    shape: tuple[int | None, ...]
    dtype: DTypeLike = np.float32

    def fits(self, array: np.ndarray, length: int) -> bool:
        """Whether an array of a record of `length` frames has the shape."""
        return np.shape(array) == tuple(length if n is None else n for n in self.shape)


Fields = Mapping[str, Field]


def joint_fields(joints: int, dims: int = 2) -> dict[str, Field]:
    """The two fields of a set with labelled joints.

    points: (T, J, D) float32, image pixels of the frames; D = 3 adds the depth from the camera in mm.
    labelled: (T, J) bool; points are 0 elsewhere.
    """
    return {"points": Field((None, joints, dims)), "labelled": Field((None, joints), np.bool_)}


@dataclass(frozen=True)
class Folder:
    """A data set as it lies on disk.

    Attributes:
      title: in messages. slug: in file names. root: the folder itself.
      fingerprint: text lines of all that decides what is packed: names, sizes, times of the files, and settings.
      scan: given skip_broken, the sequences (in the form `load` wants) and what was left out. It should be quick.
      load: given a sequence and skip_broken, its record (None if nothing of it is left) and what was left out.
        Called in threads.
      fields: the arrays of every record: joints by `joint_fields`, a box {"box": Field((4,))}, the camera
        {"camera": Field((22,))}, a reference length in pixels {"norm": Field((None,))}.
      actions: names of the classes, `Record.action` counts in them.
      published: known sizes of the whole set to compare with, by name of a split, "sequences", or a name in `counts`.
      counts: further sizes that `scan` fills in.
    """

    title: str
    slug: str
    root: Path
    fingerprint: Callable[[], Iterable[str]]
    scan: Callable[[bool], tuple[list, list[Skipped]]]
    load: Callable[[Any, bool], tuple[Record | None, list[Skipped]]]
    fields: Fields = field(default_factory=dict)
    actions: tuple[str, ...] = ()
    published: Mapping[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


class IndexEntry(prepared.SequenceEntry):
    """A line of the index. `stored` is the number of JPEG pictures packed with the record."""

    stored: int


def entry(record: Record) -> IndexEntry:
    """The line of a record."""
    return {
        "name": record.name,
        "split": record.split,
        "length": record.length,
        "action": int(record.action),
        "subject": int(record.subject),
        "view": int(record.view),
        "stored": len(stored(record.pictures)),
    }


def stored(pictures: Pictures) -> Sequence[bytes]:
    """The JPEG pictures among `pictures`, which are packed."""
    return () if pictures is None or isinstance(pictures, VideoClip) else pictures


class Index(TypedDict):
    """What was packed, in the order of the records, and the [path, reason] of what was not; names of the classes."""

    actions: list[str]
    sequences: list[IndexEntry]
    skipped: list[list[str]]


@dataclass(frozen=True)
class PackOptions:
    """How a set is packed; the result does not depend on it.

    Attributes:
      workers: processes; 0 packs in threads of this one.
      beam: options of an Apache Beam pipeline, as "--runner=DirectRunner", in place of that; it needs `open`, which
        gives the folder on another machine.
    """

    workers: int = 0
    beam: str | None = None
    open: Callable[[], Folder] | None = None


def load(
    folder_load: Callable[[Any, bool], tuple[Record | None, list[Skipped]]],
    root: Path,
    fields: Fields,
    sequence: object,
    skip_broken: bool,
) -> tuple[Record | None, list[Skipped]]:
    """What `Folder.load` gives; a record with impossible labels is a Problem, or left out with `skip_broken`."""
    record, skipped = folder_load(sequence, skip_broken)
    wrong = record and _wrong(record, root, fields)
    if wrong and not skip_broken:
        raise Problem(wrong)
    assert record is not None or not wrong
    return (None, [*skipped, Skipped(record.name, wrong)]) if record and wrong else (record, skipped)


def _wrong(record: Record, root: Path, fields: Fields) -> str | None:
    """What is wrong with the arrays of a record."""
    where = f"sequence {record.name} of {root}"
    for name, expected in fields.items():
        if name not in record.fields:
            return f"{where} has no {name!r}, which its folder declares"
        if not expected.fits(record.fields[name], record.length):
            found = np.shape(record.fields[name])
            return f"{where} of {record.length} frames has {name!r} of shape {found}, declared as {expected.shape}"
    if record.pictures is not None and not isinstance(record.pictures, VideoClip):
        if len(record.pictures) != record.length:
            return f"{where} of {record.length} frames has {len(record.pictures)} pictures"
    if "labelled" not in record.fields or not record.fields["labelled"].any():
        return None
    points = record.fields["points"][record.fields["labelled"]]
    if not np.isfinite(points).all():
        return f"{where} has a joint at NaN or infinity that is called labelled; repair its labels"
    if record.size is not None and np.abs(points[:, :2]).max() > FAR * max(record.size):
        far, (width, height) = np.abs(points[:, :2]).max(), record.size
        return f"{where} puts a joint at {far:.0f} pixels in frames of {width}x{height}; repair its labels"
    return None
