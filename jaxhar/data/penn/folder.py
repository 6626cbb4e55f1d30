"""Reads the published Penn Action folder, frames/0001/000001.jpg, ... and labels/0001.mat, and checks it.

Zhang, Zhu and Derpanis, "From Actemes to Action", ICCV 2013. A label file has: action and pose (viewpoint) as text; x,
y and visibility (n, 13); train, 1 for the training split; nframes. Its bbox and dimensions are not used.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import scipy.io

from jaxhar.core import classes as actions
from jaxhar.core.skeleton import PENN
from jaxhar.data import listing
from jaxhar.data.formats.jpeg import read_frames
from jaxhar.data.records.record import Folder, Record, Skipped, joint_fields
from jaxhar.host.errors import Problem

LAYOUT = "frames/0001/000001.jpg and labels/0001.mat"
PUBLISHED = {"sequences": 2326, "train": 1258, "test": 1068}


@dataclass(frozen=True)
class PennSequence:
    """One labelled video.

    Attributes:
      name: of its folder, "0001". frames: jpg files in order. action: index in `actions.PENN`.
      points: (n, 13, 2) float32 image pixels. labelled: (n, 13) bool; points are 0 elsewhere.
      train: whether it belongs to the training split.
    """

    name: str
    frames: tuple[Path, ...]
    action: int
    viewpoint: str
    points: np.ndarray
    labelled: np.ndarray
    train: bool


def check_root(root: str | Path) -> Path:
    """The folder, if it has Penn Action's layout; otherwise a Problem with the expected and the found files."""
    root = Path(root).expanduser()
    expected = f"expected a folder with {LAYOUT}"
    if not root.exists():
        raise Problem(f"{root} does not exist; {expected}")
    if not root.is_dir():
        raise Problem(f"{root} is a file, not a Penn Action folder; {expected}")
    if not (root / "frames").is_dir() or not (root / "labels").is_dir():
        entries = sorted(e.name + ("/" if e.is_dir() else "") for e in root.iterdir())
        found = ", ".join(entries[:5]) + (f" and {len(entries) - 5} more" if len(entries) > 5 else "")
        raise Problem(f"{root} is not a Penn Action folder; {expected}, found {found or 'nothing in it'}")
    if not listing.shown((root / "labels").glob("*.mat")):
        raise Problem(f"{root / 'labels'} has no .mat file; {expected}")
    return root


def fingerprint_lines(root: Path) -> Iterator[str]:
    """Name, size and modification time of every file that is read."""
    yield str(root.resolve())
    labels = [root / "labels"] if (root / "labels").is_dir() else []
    folders = [*labels, *sorted(p for p in (root / "frames").iterdir() if p.is_dir())]
    for folder in folders:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                if entry.name.lower().endswith((".mat", ".jpg")):
                    stat = entry.stat()
                    yield f"{folder.name}/{entry.name} {stat.st_size} {stat.st_mtime_ns}"


def _field(mat: dict, name: str, path: Path) -> np.ndarray:
    if name not in mat or np.size(mat[name]) == 0:
        raise Problem(f"the label file {path} has no field {name!r}; is it a Penn Action label file?")
    return np.asarray(mat[name])


def _numbers(mat: dict, name: str, path: Path) -> np.ndarray:
    values = _field(mat, name, path)
    if values.dtype.kind not in "biuf":
        raise Problem(f"the field {name!r} of the label file {path} is not numeric")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise Problem(f"the field {name!r} of the label file {path} holds NaN or infinite values; repair the file")
    return values


def action_index(name: str, path: Path) -> int:
    """Index of an action in `actions.PENN`, also by other known spellings; Problem names the file if unknown."""
    key = name.strip().lower().replace(" ", "_").replace("-", "_")
    key = actions.PENN_ALIASES.get(key, key)
    if key not in actions.PENN:
        raise Problem(f"the label file {path} has the unknown action {name!r}; known are {', '.join(actions.PENN)}")
    return actions.PENN.index(key)


def read_sequence(root: Path, name: str) -> PennSequence:
    """Read and check labels/NAME.mat and list frames/NAME; Problem if anything is wrong."""
    path = root / "labels" / f"{name}.mat"
    try:
        mat = scipy.io.loadmat(path)
    except Exception as error:  # scipy raises many types for damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise Problem(f"the label file {path} cannot be read as a MATLAB file ({reason}); restore it") from error
    x, y, visibility = (_numbers(mat, key, path) for key in ("x", "y", "visibility"))
    for key, values in (("x", x), ("y", y), ("visibility", visibility)):
        if values.ndim != 2 or values.shape[1] != len(PENN):
            joints = values.shape[-1]
            raise Problem(f"the field {key!r} of the label file {path} has {joints} joints, expected {len(PENN)}")
        if len(values) != len(x):
            raise Problem(f"the label file {path} has {len(x)} frames in 'x' but {len(values)} in {key!r}")
    if "nframes" in mat and int(_numbers(mat, "nframes", path).flat[0]) != len(x):
        expected = int(mat["nframes"].flat[0])
        raise Problem(f"the label file {path} says nframes = {expected} but labels {len(x)} frames")
    folder = root / "frames" / name
    if not folder.is_dir():
        raise Problem(f"the folder {folder} of the label file {path} does not exist")
    frames = tuple(p for p in listing.shown(folder.iterdir()) if p.suffix.lower() in (".jpg", ".jpeg"))
    if len(frames) != len(x):
        raise Problem(f"the label file {path} labels {len(x)} frames but {folder} holds {len(frames)} .jpg files")
    twice = [one for one, other in pairwise(frames) if _number(one) == _number(other)]
    if twice:
        raise Problem(f"{twice[0]} and another frame in that folder have one number, so that their order is not clear")
    labelled = (visibility > 0) & (x != 0) & (y != 0)
    points = np.where(labelled[..., None], np.stack([x, y], axis=-1), 0).astype(np.float32)
    return PennSequence(
        name=name,
        frames=frames,
        action=action_index(str(_field(mat, "action", path).flat[0]), path),
        viewpoint=str(mat["pose"].flat[0]) if np.size(mat.get("pose", ())) else "",
        points=points,
        labelled=labelled,
        train=int(_numbers(mat, "train", path).flat[0]) == 1,
    )


def _number(frame: Path) -> list[int]:
    """The numbers in the name of a frame."""
    return [int(number) for number in re.findall(r"\d+", frame.stem)] or [hash(frame.stem)]


def scan(root: Path, skip_broken: bool = False) -> tuple[list[PennSequence], list[Skipped]]:
    """All sequences of a folder in the order of their names, and the label files and folders of frames left out."""
    sequences: list[PennSequence] = []
    labels = listing.shown((root / "labels").glob("*.mat"))
    named = {path.stem for path in labels}
    skipped = [
        Skipped(str(path), f"has no label file labels/{path.name}.mat", True)
        for path in listing.shown(path for path in (root / "frames").iterdir() if path.is_dir())
        if path.name not in named
    ]
    for path in labels:
        try:
            sequences.append(read_sequence(root, path.stem))
        except Problem as problem:
            if not skip_broken:
                raise
            skipped.append(Skipped(str(path), str(problem)))
    return sequences, skipped


def _load(sequence: PennSequence, skip_broken: bool) -> tuple[Record | None, list[Skipped]]:
    """Read the frames of a sequence and make its record."""
    frames, keep, size, skipped = read_frames(list(sequence.frames), skip_broken)
    if not frames:
        return None, skipped
    record = Record(
        name=sequence.name,
        split="train" if sequence.train else "test",
        length=len(frames),
        fields={"points": sequence.points[keep], "labelled": sequence.labelled[keep]},
        pictures=frames,
        size=size,
        action=sequence.action,
    )
    return record, skipped


def folder(
    root: Path,
    scan: Callable[[Path, bool], tuple[list[PennSequence], list[Skipped]]] = scan,
    fingerprint: Callable[[Path], Iterable[str]] = fingerprint_lines,
) -> Folder:
    """The folder to pack; for labels in another form, pass other `scan` and `fingerprint` functions."""
    return Folder(
        title="Penn Action",
        slug="penn",
        root=root,
        fingerprint=partial(fingerprint, root),
        scan=partial(scan, root),
        load=_load,
        fields=joint_fields(len(PENN)),
        actions=actions.PENN,
        published=PUBLISHED,
    )
