"""Packed records: the one form of every data set, made once from its folder and read at random afterwards.

A `Folder` says how a data set lies on disk; `packed` writes what it holds as array_record files of JPEG frames and
labels; `Records` reads them. What a record means for training is the business of `jaxhar.data.dataset`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from jaxhar.host.errors import Problem

FAR = 10  # what lies further off than this many frame sizes is a damaged number


@dataclass(frozen=True)
class Skipped:
    """A file left out, and why; `expected` where the data set itself says so."""

    path: str
    reason: str
    expected: bool = False


@dataclass(frozen=True)
class Record:
    """What is packed of one sequence; a photo is a sequence of one frame.

    Attributes:
      name: unique in its data set. split: the one it belongs to by the data set's own division.
      frames: T times the bytes of a JPEG file. size: (width, height) of all of them.
      points: (T, J, D) float32, image pixels of the frames; D = 3 adds the depth from the camera in mm.
      labelled: (T, J) bool; points are 0 elsewhere.
      action: class index, -1 without one. subject, view: person and camera by the data set's numbers, -1 if unknown.
      extras: float32 arrays of the names and shapes that `Folder.extras` promises.
    """

    name: str
    split: str
    frames: list[bytes]
    size: tuple[int, int]
    points: np.ndarray
    labelled: np.ndarray
    action: int = -1
    subject: int = -1
    view: int = -1
    extras: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Folder:
    """A data set as it lies on disk.

    Attributes:
      title: in messages. slug: in file names. root: the folder itself.
      joints, dims: J and D of `Record.points`.
      fingerprint: text lines of all that decides what is packed: names, sizes, times of the files, and settings.
      scan: given skip_broken, the sequences (in the form `load` wants) and what was left out. It should be quick.
      load: given a sequence and skip_broken, its record (None if nothing of it is left) and what was left out.
        Called in threads.
      actions: names of the classes, `Record.action` counts in them.
      extras: shape of further float32 arrays of a record, None for its T: a box {"box": (None, 4)}, the camera
        {"camera": (22,)}, a reference length in pixels {"norm": (None,)}.
      published: known sizes of the whole set to compare with, by name of a split, "sequences", or a name in `counts`.
      counts: further sizes that `scan` fills in.
    """

    title: str
    slug: str
    root: Path
    joints: int
    dims: int
    fingerprint: Callable[[], Iterable[str]]
    scan: Callable[[bool], tuple[list[Any], list[Skipped]]]
    load: Callable[[Any, bool], tuple[Record | None, list[Skipped]]]
    actions: tuple[str, ...] = ()
    extras: Mapping[str, tuple[int | None, ...]] = field(default_factory=dict)
    published: Mapping[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


class Entry(TypedDict):
    """A line of the index: what is known of a record without reading it. `frames` is T."""

    name: str
    split: str
    frames: int
    action: int
    subject: int
    view: int


class Index(TypedDict):
    """What was packed, in the order of the records, and the [path, reason] of what was not; names of the classes."""

    actions: list[str]
    sequences: list[Entry]
    skipped: list[list[str]]


@dataclass(frozen=True)
class Means:
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
    sequence: Any,
    skip_broken: bool,
) -> tuple[Record | None, list[Skipped]]:
    """What `Folder.load` gives; a record with impossible labels is a Problem, or left out with `skip_broken`."""
    record, skipped = folder_load(sequence, skip_broken)
    if record is None or not record.labelled.any():
        return record, skipped
    where, points = f"sequence {record.name} of {root}", record.points[record.labelled]
    wrong = None
    if not np.isfinite(points).all():
        wrong = f"{where} has a joint at NaN or infinity that is called labelled; repair its labels"
    elif np.abs(points[:, :2]).max() > FAR * max(record.size):
        far, (width, height) = np.abs(points[:, :2]).max(), record.size
        wrong = f"{where} puts a joint at {far:.0f} pixels in frames of {width}x{height}; repair its labels"
    if wrong and not skip_broken:
        raise Problem(wrong)
    return (None, [*skipped, Skipped(record.name, wrong)]) if wrong else (record, skipped)
