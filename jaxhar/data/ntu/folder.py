"""Reads an NTU RGB+D folder, as published or in deephar's form; files are named like S001C002P003R002A013.

Shahroudy et al., "NTU RGB+D", CVPR 2016; Liu et al., "NTU RGB+D 120", TPAMI 2020. The name gives setup, camera, person,
replication and action. Labels are .skeleton text files (`skeleton_file`) or deephar's .npy arrays with one row per
frame: its number from 1, 75 values of the Kinect's 3-D joints, then 25 u, 25 v in pixels of 1920 x 1080 and 25 depths
in mm. Pictures are NAME_rgb.avi, or folders NAME with 00001.jpg, 00002.jpg, ... of any size.

Files may be in the root or in a folder in it.
"""

import contextlib
import enum
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from jaxhar.core import classes as actions
from jaxhar.core.skeleton import NTU
from jaxhar.data.formats.jpeg import encode_rgb, read_frames
from jaxhar.data.formats.video import Video
from jaxhar.data.ntu.skeleton_file import Labels, read_skeleton
from jaxhar.data.records.record import Folder, Record, Skipped, joint_fields
from jaxhar.host.errors import Problem

#: Width and height of the colour camera; labels are in its pixels.
COLOUR = (1920, 1080)
#: People of the training split, cross-subject: the first 20 are those of NTU RGB+D 60.
TRAIN_SUBJECTS = (1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38) + (
    *(45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86, 89),
    *(91, 92, 93, 94, 95, 97, 98, 100, 103),
)
#: Cameras of the training split, cross-view.
TRAIN_VIEWS = (2, 3)
#: Published sizes by number of actions: of all label files, and of those without skeletons by the published lists. The
#: divisions of the 60 are those of CVPR 2016, section 4.
PUBLISHED = {
    60: {
        "label files": 56_880,
        "called missing": 302,
        "training, cross-subject": 40_320,
        "training, cross-view": 37_920,
    },
    120: {"label files": 114_480, "called missing": 535},
}
#: Largest number of labelled frames that may be missing at the end of a video; their labels are left out.
TAIL = 2
#: numpy parses the header of a file by `ast`, which sometimes fails in threads on Python 3.11 (gh-106905).
_HEADERS = threading.Lock()
_NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})")
_EXPECTED = "expected S001C001P001R001A001.skeleton (or .npy) and S001C001P001R001A001_rgb.avi (or folders of .jpg)"


class Division(enum.Enum):
    """Division into training and test by people, by cameras (60 actions), or by setups (120; training: even)."""

    CROSS_SUBJECT = "cross_subject"
    CROSS_VIEW = "cross_view"
    CROSS_SETUP = "cross_setup"


@dataclass(frozen=True)
class NTUSequence:
    """One video and its labels: a .skeleton or .npy file, and a video file or a folder of frames."""

    name: str
    labels: Path
    pictures: Path

    def number(self, letter: str) -> int:
        """The number after S, C, P, R or A in the name."""
        return number(self.name, letter)


def number(name: str, letter: str) -> int:
    """The number after S (setup), C (camera), P (person), R (replication) or A (action) in a name."""
    return int(name[name.index(letter) + 1 :][:3])


def is_name(name: str) -> bool:
    """Whether a name has the form S001C002P003R002A013."""
    return _NAME.fullmatch(name) is not None


def side(name: str, division: Division) -> str:
    """Whether a sequence is for "train" or "test", by its name."""
    train = {
        Division.CROSS_SUBJECT: number(name, "P") in TRAIN_SUBJECTS,
        Division.CROSS_VIEW: number(name, "C") in TRAIN_VIEWS,
        Division.CROSS_SETUP: number(name, "S") % 2 == 0,
    }
    return "train" if train[division] else "test"


@dataclass(frozen=True)
class Found:
    """The files in a root by name: labels (.skeleton preferred), pictures (folders of frames preferred), and the list
    files that name sequences without skeletons."""

    labels: dict[str, Path]
    pictures: dict[str, Path]
    missing: dict[str, Path]


def look(root: Path) -> Found:
    """The files of a root by name, in it or in folders in it."""
    kinds: dict[str, dict[str, Path]] = {kind: {} for kind in (".skeleton", ".npy", ".avi", "frames")}
    missing: dict[str, Path] = {}
    inside = sorted(e.path for e in os.scandir(root) if e.is_dir() and not _NAME.fullmatch(e.name))
    for folder in (str(root), *inside):
        for entry in sorted(os.scandir(folder), key=lambda e: e.name):
            stem, suffix = os.path.splitext(entry.name)
            path = Path(entry.path)
            if suffix == ".txt" and "missing" in stem.lower() and entry.is_file():
                missing |= dict.fromkeys((m.group() for m in _NAME.finditer(path.read_text(errors="replace"))), path)
            stem = stem.removesuffix("_rgb")
            if not _NAME.fullmatch(stem):
                continue
            kind = kinds.get("frames" if not suffix and entry.is_dir() else suffix)
            if kind is None:
                continue
            if stem in kind:
                raise Problem(f"{kind[stem]} and {path} are both named {stem}; remove one of them")
            kind[stem] = path
    return Found(kinds[".npy"] | kinds[".skeleton"], kinds[".avi"] | kinds["frames"], missing)


def _deeper(root: Path) -> int:
    """Number of labels, videos and folders of frames that lie deeper than in a folder of the root."""
    count = 0
    for folder, below, names in os.walk(root):
        if len(Path(folder).relative_to(root).parts) > 1:
            count += sum(bool(_NAME.match(name)) for name in (*below, *names))
        below[:] = [name for name in below if not _NAME.match(name)]
    return count


def check_root(root: str | Path) -> Path:
    """The folder, if it has labels and pictures of NTU RGB+D; otherwise a Problem with the expected and found files."""
    root = Path(root).expanduser()
    if not root.exists():
        raise Problem(f"{root} does not exist; {_EXPECTED}")
    if not root.is_dir():
        raise Problem(f"{root} is a file, not an NTU RGB+D folder; {_EXPECTED}")
    found = look(root)
    if not found.labels or not found.pictures:
        entries = sorted(e.name + ("/" if e.is_dir() else "") for e in root.iterdir())
        listed = ", ".join(entries[:5]) + (f" and {len(entries) - 5} more" if len(entries) > 5 else "")
        lacking = "no video and no folder of frames" if found.labels else "no .skeleton and no .npy file"
        raise Problem(f"{root} has {lacking} of NTU RGB+D; {_EXPECTED}, found {listed or 'nothing in it'}")
    return root


def scan(
    root: Path, num_actions: int, skip_broken: bool, counts: dict[str, int] | None = None
) -> tuple[list[NTUSequence], list[Skipped]]:
    """The labelled videos of the first `num_actions` actions, in the order of their names, and those left out.

    Sequences in a list of missing skeletons (a .txt file with "missing" in its name) are always left out. Labels
    without a video are a Problem; videos without labels are ignored, since the published set and deephar's form lack
    some labels. `counts` is filled with the numbers that `PUBLISHED` has.
    """
    found = look(root)
    known = [name for name in found.labels if number(name, "A") <= num_actions]
    counts = {} if counts is None else counts
    counts |= {
        "label files": len(known),
        "called missing": sum(name in found.missing for name in known),
        "training, cross-subject": sum(number(name, "P") in TRAIN_SUBJECTS for name in known),
        "training, cross-view": sum(number(name, "C") in TRAIN_VIEWS for name in known),
        "videos without labels": sum(
            name not in found.labels and number(name, "A") <= num_actions for name in found.pictures
        ),
        f"label files of actions above {num_actions}, not used": len(found.labels) - len(known),
        "files in deeper folders, not used": _deeper(root),
    }
    sequences, skipped = [], []
    for name, labels in sorted(found.labels.items()):
        action = number(name, "A")
        if name in found.missing:
            skipped.append(Skipped(str(labels), f"has no usable skeleton according to {found.missing[name]}", True))
            continue
        wrong = None
        if not 1 <= action <= len(actions.NTU120):
            wrong = f"{labels} is of action {action}, but there are {len(actions.NTU120)}"
        elif name not in found.pictures:
            wrong = f"there is no {name}_rgb.avi and no folder {name} with the pictures of {labels}"
        if wrong is None and action <= num_actions:
            sequences.append(NTUSequence(name, labels, found.pictures[name]))
        elif wrong is not None and not skip_broken:
            raise Problem(wrong)
        elif wrong is not None:
            skipped.append(Skipped(str(labels), wrong))
    return sequences, skipped


def _fingerprint(root: Path, num_actions: int, keep_every: int, frame_side: int) -> Iterator[str]:
    yield f"{root.resolve()} {num_actions} {keep_every} {frame_side}"
    found = look(root)
    yield " ".join(sorted(found.missing))
    for paths in (found.labels, found.pictures):
        for name, path in sorted(paths.items()):
            stat = path.stat()  # the time of a folder of frames changes when files are added or removed
            yield f"{name}{path.suffix} {stat.st_size} {stat.st_mtime_ns}"


def read_npy(path: Path) -> Labels:
    """Read labels in deephar's form; Problem names the file."""
    try:
        with _HEADERS:
            table = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise Problem(f"the label file {path} cannot be read as a numpy array ({error}); restore it") from error
    if not isinstance(table, np.ndarray) or table.ndim != 2 or table.shape[1] != 151 or table.dtype.kind not in "iuf":
        form = f"{table.dtype} of shape {table.shape}" if isinstance(table, np.ndarray) else "no array"
        raise Problem(f"the label file {path} has {form}, expected numbers of shape (frames, 151)")
    frames = table[:, 0]
    if not len(table) or not np.isfinite(frames).all() or frames[0] < 1 or (np.diff(frames) < 1).any():
        raise Problem(f"the label file {path} has frame numbers in column 0 that do not rise from 1")
    points = np.stack([table[:, 76:101], table[:, 101:126], table[:, 126:151]], axis=-1).astype(np.float32)
    return Labels(frames.astype(int) - 1, points)


def read_labels(path: Path) -> Labels | None:
    """The labels of a .skeleton or .npy file; None if no frame of it has a usable body."""
    labels = read_skeleton(path) if path.suffix == ".skeleton" else read_npy(path)
    if labels is None or not labels.labelled.any():
        return None
    return labels


def read_video(path: Path, wanted: np.ndarray, side: int) -> tuple[list[bytes], tuple[int, int]]:
    """Frames of a video as JPEG files, shrunk if width or height exceeds `side` pixels.

    Args:
      wanted: rising frame indices.

    Returns:
      The JPEG bytes, without up to `TAIL` frames that are missing at the end, and (width, height).

    Raises:
      Problem: the file is not a video, is damaged or cut off, or more frames are missing.
    """
    needed, frames, size, at = set(wanted.tolist()), [], (0, 0), 0
    with contextlib.closing(Video(path).between(None, None, needed.__contains__)) as found:
        for frame in found:
            at = frame.index + 1
            if frame.image is not None:
                data, size, _ = encode_rgb(frame.image, side)
                frames.append(data)
                if len(frames) == len(needed):
                    break
    if not frames or at + TAIL <= wanted[-1]:
        raise Problem(f"the video {path} ends after {at} frames, but its labels go on to {wanted[-1] + 1}; restore it")
    return frames, size


def _pictures(
    sequence: NTUSequence, wanted: np.ndarray, side: int, skip_broken: bool
) -> tuple[list[bytes], np.ndarray, tuple[int, int], list[Skipped]]:
    """JPEG bytes, their indices in `wanted`, (width, height), and the files left out."""
    if sequence.pictures.is_file():
        frames, size = read_video(sequence.pictures, wanted, side)
        return frames, np.arange(len(frames)), size, []
    paths = [sequence.pictures / f"{index + 1:05d}.jpg" for index in wanted.tolist()]
    return read_frames(paths, skip_broken)


def _load(
    keep_every: int, frame_side: int, sequence: NTUSequence, skip_broken: bool
) -> tuple[Record | None, list[Skipped]]:
    """The record of a sequence."""
    try:
        labels = read_labels(sequence.labels)
        if labels is None:
            return None, [Skipped(str(sequence.labels), "has no usable skeleton in any frame")]
        wanted = labels.frames[::keep_every]
        frames, keep, size, skipped = _pictures(sequence, wanted, frame_side, skip_broken)
    except Problem as problem:
        if not skip_broken:
            raise
        return None, [Skipped(str(sequence.labels), str(problem))]
    if not frames:
        return None, skipped
    labelled = labels.labelled[::keep_every][keep]
    scale = np.array([size[0] / COLOUR[0], size[1] / COLOUR[1], 1.0], np.float32)
    record = Record(
        name=sequence.name,
        split="",  # depends on the settings
        length=len(frames),
        fields={
            "points": np.where(labelled[..., None], labels.points[::keep_every][keep] * scale, 0),
            "labelled": labelled,
        },
        pictures=frames,
        size=size,
        action=sequence.number("A") - 1,
        subject=sequence.number("P"),
        view=sequence.number("C"),
    )
    return record, skipped


def folder(root: Path, num_actions: int = 60, keep_every: int = 1, frame_side: int = 960) -> Folder:
    """The folder to pack.

    Args:
      num_actions: 60, or 120 with those of NTU RGB+D 120.
      keep_every: step between packed frames. frame_side: largest width or height; larger videos are shrunk.
    """
    counts: dict[str, int] = {}
    return Folder(
        title="NTU RGB+D",
        slug=f"ntu{num_actions}",
        root=root,
        fingerprint=partial(_fingerprint, root, num_actions, keep_every, frame_side),
        scan=partial(scan, root, num_actions, counts=counts),
        load=partial(_load, keep_every, frame_side),
        fields=joint_fields(len(NTU), 3),
        actions=actions.NTU120[:num_actions],
        published=PUBLISHED.get(num_actions, {}),
        counts=counts,
    )
