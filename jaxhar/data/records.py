"""Packed records: the one form of every data set, made once from its folder and read at random afterwards.

A `Folder` says how a data set lies on disk; `packed` writes what it holds as array_record files of JPEG frames and
labels; `Records` reads them. What a record means for training is the business of `jaxhar.data.sequences`.
"""

import contextlib
import errno
import fcntl
import functools
import hashlib
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import cv2
import numpy as np
from PIL import Image

from jaxhar import files
from jaxhar.errors import Problem

_FORM = 3  # raised whenever the packed form changes
_KEPT = 4096  # labels of so many records are read once
FAR = 10  # what lies further off than this many frame sizes is a damaged number
_LISTED = 20  # files that are named when some were left out


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


def packed(folder: Folder, cache: Path, skip_broken: bool = False) -> tuple[Path, Index]:
    """Where under `cache` the records of a folder are, and their index; packed first if they are not there.

    What was left out is listed on stderr. Problem as of `pack`.
    """
    path = pack(folder, cache, skip_broken)
    index: Index = json.loads((path / "index.json").read_text())
    if index["skipped"]:
        print(f"left out {len(index['skipped'])} unusable files of {folder.root}:", file=sys.stderr)
        for name, reason in index["skipped"][:_LISTED]:
            print(f"  {name}: {reason}", file=sys.stderr)
        if len(index["skipped"]) > _LISTED:
            print(f"  and {len(index['skipped']) - _LISTED} more, all in {path / 'index.json'}", file=sys.stderr)
    return path, index


def pack(folder: Folder, cache: Path, skip_broken: bool = False, means: Means = Means()) -> Path:
    """Pack the records of a folder under `cache`, unless they are there; returns where.

    One process packs, others wait. A killed one leaves finished parts in a folder "*.parts" of its own, from which the
    next goes on; nothing half-written is taken for whole.

    Raises:
      Problem: a damaged file (named) without `skip_broken`, nothing usable in the folder, no room for the records.
    """
    digest, shared = hashlib.sha256(f"{_FORM} {skip_broken}\n".encode()), hashlib.sha256(f"{_FORM}\n".encode())
    for line in folder.fingerprint():
        digest.update(f"{line}\n".encode())
        shared.update(f"{line}\n".encode())
    path = cache / f"{folder.slug}-{digest.hexdigest()[:16]}"
    # parts without broken files serve with and without skip_broken
    work = cache / f"{folder.slug}-{shared.hexdigest()[:16]}.parts"
    if not (path / "index.json").exists():
        with locked(work.with_suffix(".lock")):
            if not (path / "index.json").exists():
                _pack(folder, path, work, skip_broken, means)
    return path


def _pack(folder: Folder, path: Path, work: Path, skip_broken: bool, means: Means) -> None:
    from jaxhar.data import packing

    others = [str(other) for other in path.parent.glob(f"{folder.slug}-*.parts") if other != work]
    if others:
        print(
            f"unfinished, of other files or settings, and perhaps to be deleted: {', '.join(others)}", file=sys.stderr
        )
    for leftover in (path, path.with_suffix(".tmp")):  # without an index: of a version that did not keep parts
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        packing.pack(folder, path, work, skip_broken, means)
    except OSError as error:
        raise Problem(f"packing {folder.root} into {path} failed: {error.strerror or error}") from error


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time; the system frees the lock of a killed one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "w")
    except OSError as error:
        raise Problem(f"the data cache {path.parent} cannot be written ({error.strerror})") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Records:
    """Some packed records by number, each a dict of the fields of `Record` (without `split`) and its extras.

    The frames of one are a sequence that reads each when it is asked for.
    """

    def __init__(self, folder: Path, numbers: list[int]):
        from jaxhar.data import builder

        self._folder, self._numbers = folder, numbers
        with self._damage():
            index: Index = json.loads((folder / "index.json").read_text())
            self._first = np.cumsum([0, *(entry["frames"] for entry in index["sequences"])])
            labels, self._frames = builder.sources(folder)
            if len(self._frames) != self._first[-1]:
                raise ValueError(f"{self._first[-1]} frames should be there, {len(self._frames)} are")
        self._read = functools.lru_cache(_KEPT)(labels.__getitem__)

    def __reduce__(self) -> tuple:
        return Records, (self._folder, self._numbers)  # a worker process opens the files again

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> dict:
        number = self._numbers[index]
        with self._damage():
            record = self._read(number)
            if record["points"] is None:  # what array_record gives of a file that was cut off
                raise ValueError("a record is empty")
        frames = _Frames(self._frame, range(self._first[number], self._first[number + 1]))
        return {**record, "frames": frames, "index": index}

    def _frame(self, number: int) -> bytes:
        with self._damage():
            if not (data := self._frames[number]):
                raise ValueError("a frame is empty")
            return data

    @contextlib.contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of array_record, of protobuf, of TFDS
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            if os.strerror(errno.EMFILE) in str(error):
                raise Problem(
                    f"reading the packed records in {self._folder} takes more open files than this process may have; "
                    "raise its limit, as by ulimit -Hn 65536"
                ) from error
            raise Problem(
                f"the packed records in {self._folder} are damaged ({reason}); delete that folder, to pack them again"
            ) from error


@dataclass(frozen=True)
class _Frames(Sequence[bytes]):
    read: Callable[[int], bytes]
    numbers: range

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: Any) -> Any:
        return self.read(self.numbers[index])


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


#: Of a size alone: the flag for RGB decides the channels.
_REDUCED = {2: cv2.IMREAD_REDUCED_GRAYSCALE_2, 4: cv2.IMREAD_REDUCED_GRAYSCALE_4, 8: cv2.IMREAD_REDUCED_GRAYSCALE_8}


def decode(data: bytes, name: str, reduction: int = 1) -> np.ndarray:
    """JPEG bytes to RGB uint8 (H, W, 3) as stored, for labels are in stored pixels, whatever an EXIF tag says.

    Problem with `name` if they cannot be decoded. A `reduction` of 2, 4 or 8 gives an image smaller by that factor, its
    sides rounded up, in less time than the whole one.
    """
    flags = _REDUCED.get(reduction, 0) | cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise Problem(f"a frame of {name} cannot be decoded; delete the data cache so that it is packed again")
    return image


def as_read(record: Record, index: int = 0) -> dict:
    """A record that was not packed in the form in which `Records` gives it."""
    fields = {k: getattr(record, k) for k in ("frames", "points", "labelled", "action", "subject", "view")}
    return {
        **fields,
        **record.extras,
        "name": record.name.encode(),
        "size": np.array(record.size, np.int32),
        "index": index,
    }


def encode(image: np.ndarray, quality: int = 92) -> bytes:
    """BGR uint8 (H, W, 3), as OpenCV reads videos, to JPEG bytes."""
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def read_jpeg(path: Path) -> tuple[bytes, tuple[int, int]]:
    """The bytes of a JPEG file and its (width, height), after decoding it once; Problem if it is none or cut off."""
    data = files.read(path, "frame")
    try:
        with Image.open(io.BytesIO(data)) as image:
            kind, size = image.format, image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        kind, size = None, (0, 0)
    if kind != "JPEG":
        raise Problem(f"the frame {path} is not a JPEG image; restore it or set skip_broken")
    # OpenCV fills a cut-off image with grey and says nothing, but a whole one ends with this marker.
    if b"\xff\xd9" not in data[-1024:]:
        raise Problem(f"the frame {path} is cut off; restore it or set skip_broken")
    if cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8) is None:
        raise Problem(f"the frame {path} cannot be decoded; restore it or set skip_broken")
    return data, size


def read_frames(
    paths: list[Path], skip_broken: bool = False
) -> tuple[list[bytes], np.ndarray, tuple[int, int], list[Skipped]]:
    """Check and read the JPEG files of one sequence.

    Returns:
      the bytes of the good ones, their indices in `paths`, (width, height), and those left out.

    Raises:
      Problem: one is broken or differs in size from those before it, without `skip_broken`.
    """
    frames, keep, skipped = [], [], []
    size: tuple[int, int] | None = None
    for i, path in enumerate(paths):
        try:
            data, found = read_jpeg(path)
            size = size or found
            if found != size:
                raise Problem(f"the frame {path} is {found} pixels large, the ones before it are {size}")
        except Problem as problem:
            if not skip_broken:
                raise
            skipped.append(Skipped(str(path), str(problem)))
            continue
        frames.append(data)
        keep.append(i)
    return frames, np.array(keep, np.int64), size or (0, 0), skipped
