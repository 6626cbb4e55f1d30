"""Reads a folder of NTU RGB+D's .skeleton files without videos, for packing.

Files may be in the root or in a folder in it; those that a list of missing skeletons names are left out (a .txt file
with "missing" in its name). A file classes.txt in the root gives the names of the classes, one a line.
"""

from collections.abc import Iterator
from enum import StrEnum
from functools import partial
from pathlib import Path

import numpy as np

from jaxhar.core import classes
from jaxhar.data.body_axes import body_axes
from jaxhar.data.formats import class_names
from jaxhar.data.ntu import bodies
from jaxhar.data.ntu.folder import PUBLISHED, look, number
from jaxhar.data.records.record import Field, Folder, Record, Skipped
from jaxhar.host.errors import Problem


class Preparation(StrEnum):
    """What is made of the bodies of a file."""

    #: Two bodies by the rules of a program, in axes of the body.
    PYSKL = "pyskl"
    MMACTION2 = "mmaction2"
    #: Three bodies in the order of the file, as the camera sees them: dmae_st.
    REFERENCE = "reference"

    @property
    def persons(self) -> int:
        """M."""
        return 3 if self is Preparation.REFERENCE else 2


def prepared(path: Path, how: Preparation) -> np.ndarray | None:
    """(T, M, 25, 3) float32 in metres, 0 where a body is missing; None without any body.

    Raises:
      Problem: the file is damaged, or has no body that looks like a person.
    """
    if how is Preparation.REFERENCE:
        found = bodies.file_order(path)
        if not np.isfinite(found).all():
            raise Problem(f"{path} has a joint at NaN or infinity; restore it")
        # As the original counts, which takes a frame without a body in between for one at the end.
        return found[: int((found != 0).any((1, 2, 3)).sum())] if found.any() else None
    cleaned = bodies.clean(path, bodies.Cleaning(how.value))
    if cleaned is None or not len(cleaned):
        return None
    turned = body_axes(cleaned.astype(np.float32)).swapaxes(0, 1)
    found = np.zeros((len(turned), how.persons, 25, 3), np.float32)
    found[:, : turned.shape[1]] = turned
    return found


def folder(root: str | Path, num_actions: int, how: Preparation) -> Folder:
    """The folder to pack.

    Args:
      num_actions: 60, or 120 with those of NTU RGB+D 120; classes.txt comes first.

    Raises:
      Problem: the root does not exist or has no .skeleton file.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise Problem(f"{root} is no folder; expected one with S001C001P001R001A001.skeleton and so on")
    found = look(root)
    if not any(path.suffix == ".skeleton" for path in found.labels.values()):
        raise Problem(f"{root} has no .skeleton file; expected S001C001P001R001A001.skeleton and so on")
    names, counts = _class_names(root, num_actions), dict[str, int]()
    return Folder(
        title="NTU RGB+D skeletons",
        slug=f"ntu-skeleton-{how}",
        root=root,
        fingerprint=partial(_fingerprint, root, num_actions, how),
        scan=partial(_scan, root, len(names), counts),
        load=partial(_load, how),
        fields={"skeletons": Field((None, how.persons, 25, 3), np.float32)},
        actions=names,
        published={} if (root / class_names.FILE).is_file() else PUBLISHED.get(num_actions, {}),
        counts=counts,
    )


def _class_names(root: Path, num_actions: int) -> tuple[str, ...]:
    listed = root / class_names.FILE
    return class_names.read(listed) if listed.is_file() else classes.NTU120[:num_actions]


def _fingerprint(root: Path, num_actions: int, how: Preparation) -> Iterator[str]:
    yield f"{root.resolve()} {num_actions} {how} {' '.join(_class_names(root, num_actions))}"
    found = look(root)
    yield " ".join(sorted(found.missing))
    for name, path in sorted(found.labels.items()):
        stat = path.stat()
        yield f"{name}{path.suffix} {stat.st_size} {stat.st_mtime_ns}"


def _scan(
    root: Path, num_actions: int, counts: dict[str, int], skip_broken: bool
) -> tuple[list[tuple[str, Path]], list[Skipped]]:
    """The files of the first `num_actions` actions in the order of their names, and those left out."""
    found = look(root)
    files_by_name = {name: path for name, path in sorted(found.labels.items()) if path.suffix == ".skeleton"}
    known = {name: path for name, path in files_by_name.items() if 1 <= number(name, "A") <= num_actions}
    missing = [name for name in known if name in found.missing]
    counts |= {
        "label files": len(known),
        "called missing": len(missing),
        f"files of actions above {num_actions}, not used": len(files_by_name) - len(known),
    }
    skipped = [
        Skipped(str(known[name]), f"has no usable skeleton according to {found.missing[name]}", True)
        for name in missing
    ]
    return [(name, path) for name, path in known.items() if name not in found.missing], skipped


def _load(how: Preparation, item: tuple[str, Path], skip_broken: bool) -> tuple[Record | None, list[Skipped]]:
    name, path = item
    try:
        points = prepared(path, how)
        if points is None or not len(points):
            raise Problem(f"{path} has no body in any frame")
    except Problem as problem:
        if not skip_broken:
            raise
        return None, [Skipped(str(path), str(problem))]
    action, subject, view = (number(name, letter) for letter in "APC")
    fields = {"skeletons": points}
    return Record(name, "", len(points), fields, action=action - 1, subject=subject, view=view), []
