"""The types of packed data: `Record`, one sequence, and `Folder`, a data set on disk.

`store.packed` packs the records of a folder into array_record files, once; `reader.Records` reads them in any order;
`jaxhar.data.dataset` makes examples of them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from jaxhar.core import prepared
from jaxhar.host.errors import Problem

FAR = 10  # positions farther away than this many frame sizes are errors
SMALL = 4  # persons less wide or high than this many pixels are errors, as positions in fractions of the picture give


#: Labelled joints of a record from which on they cannot all be in one place.
_SEVERAL = 3


@dataclass(frozen=True)
class Skipped:
    """A file that was left out, and the reason.

    `expected` if nothing is wrong: the data set itself lists it as unusable, or it is no data.
    """

    path: str
    reason: str
    expected: bool = False


def stamp(path: Path) -> str:
    """Size and time of a file, for `Folder.fingerprint`."""
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"


@dataclass(frozen=True)
class VideoClip:
    """A video file as the pictures of a record; it is read in place, not copied into the packed records.

    Attributes:
      path: the file, absolute. start, end: seconds from the first frame of the file, start <= t < end; None for all.
      boxes: a file with the boxes of persons in these frames, absolute.
    """

    path: str
    start: float | None = None
    end: float | None = None
    boxes: str | None = None


#: JPEG files, a video, or none.
Pictures = Sequence[bytes] | VideoClip | None


@dataclass(frozen=True)
class Record:
    """One sequence, ready to pack; a photo is a sequence of one frame.

    Attributes:
      name: unique in its data set. split: by the data set's own division.
      length: T, the number of its frames, with or without pictures.
      fields: arrays, as declared in `Folder.fields`.
      pictures: of the T frames, see `Pictures`. size: (width, height) of all pictures; None without pictures.
      action: class index, -1 if unlabelled. subject, view: the data set's numbers of person and camera, -1 if unknown.
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
    """Shape and type of an array that every record has; None in the shape stands for T."""

    shape: tuple[int | None, ...]
    dtype: DTypeLike = np.float32

    def fits(self, array: np.ndarray, length: int) -> bool:
        """Whether an array of a record of `length` frames has this shape."""
        return np.shape(array) == tuple(length if n is None else n for n in self.shape)


def or_skipped(make: Callable[[], Record], place: object, skip_broken: bool) -> tuple[Record | None, list[Skipped]]:
    """The record that `make` gives; with `skip_broken`, None and the reason why there is none, listed at `place`."""
    try:
        return make(), []
    except Problem as problem:
        if not skip_broken:
            raise
        return None, [Skipped(str(place), str(problem))]


Fields = Mapping[str, Field]


def joint_fields(joints: int, dims: int = 2) -> dict[str, Field]:
    """The two fields of a data set with labelled joints.

    points: (T, J, D) float32, image pixels of the frames; D = 3 adds the depth from the camera in mm.
    labelled: (T, J) bool; points are 0 elsewhere.
    """
    return {"points": Field((None, joints, dims)), "labelled": Field((None, joints), np.bool_)}


@dataclass(frozen=True)
class Folder:
    """A data set on disk.

    Attributes:
      title: name in messages. slug: name in file names. root: the folder itself.
      fingerprint: yields text lines with all that affects the packed records: names, sizes, times of files, settings.
      scan: given skip_broken, returns the sequences (as `load` reads them) and the files left out. It should be quick.
      load: given a sequence and skip_broken, returns its record (None if nothing is usable) and the files left out.
        Called in threads.
      fields: the arrays of every record: joints by `joint_fields`, a box {"box": Field((4,))}, the camera
        {"camera": Field((22,))}, a reference length in pixels {"norm": Field((None,))}.
      actions: names of the classes; `Record.action` is an index into them.
      published: published sizes of the full set, by name of a split, "sequences", or a name in `counts`.
      counts: further sizes, which `scan` fills in.
      notes: sentences on how the folder is read. doubts: sentences on what in it is likely a mistake.
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
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


class IndexEntry(prepared.SequenceEntry):
    """An entry of the index. `stored` is the number of JPEG pictures packed with the record."""

    stored: int


def entry(record: Record) -> IndexEntry:
    """The index entry of a record."""
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
    """The JPEG pictures to pack; () for a video or none."""
    return () if pictures is None or isinstance(pictures, VideoClip) else pictures


@dataclass(frozen=True)
class PackOptions:
    """Options for packing; they do not affect the packed records.

    Attributes:
      workers: number of processes; 0 packs in threads of this process.
      beam: options of an Apache Beam pipeline to use instead, e.g. "--runner=DirectRunner"; it needs `open`, which
        opens the folder on another machine.
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
    """Call `Folder.load` and check the record; impossible labels are a Problem, or left out with `skip_broken`."""
    record, skipped = folder_load(sequence, skip_broken)
    wrong = record and _wrong(record, root, fields)
    if wrong and not skip_broken:
        raise Problem(wrong)
    assert record is not None or not wrong
    return (None, [*skipped, Skipped(record.name, wrong)]) if record and wrong else (record, skipped)


def _wrong(record: Record, root: Path, fields: Fields) -> str | None:
    """A sentence on what is wrong with the arrays of a record; None if nothing is."""
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
        return f"{where} has a labelled joint at NaN or infinity; repair its labels"
    if record.size is not None and np.abs(points[:, :2]).max() > FAR * max(record.size):
        far, (width, height) = np.abs(points[:, :2]).max(), record.size
        return f"{where} puts a joint at {far:.0f} pixels in frames of {width}x{height}; repair its labels"
    joints = record.fields["labelled"].reshape(-1, record.fields["labelled"].shape[-1]).any(0).sum()
    spread = np.ptp(points[:, :2], axis=0).max()
    near = max(spread, np.abs(points[:, :2]).max())  # somebody far away, or a face, may be as small elsewhere
    if record.size is not None and joints >= _SEVERAL and near < SMALL:
        return f"{where} has {joints} joints within {spread:.2g} pixels; are they in fractions of the frames?"
    return None
