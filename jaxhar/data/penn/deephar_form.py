"""Reads Penn Action with deephar's annotations.mat instead of labels/, beside frames/0001/000001.jpg, ...

The file has sequences_te and sequences_tr, cells or arrays of structs: idx, the number of the folder; action_id, from
1, an index into action_labels; frames, structs of f, the number of the file, w, h, pose (2, 13) in pixels and visible
(13,). joint_labels has the names of the 13 joints in the order of pose.

Deephar assigns the joints to those of pa16j from "head" on in stored order, whatever their names. If the file stores
left joints first, as Penn Action does, deephar's networks have learned left and right exchanged.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxhar.core import classes as actions
from jaxhar.core.skeleton import PA16, PENN
from jaxhar.data.formats import matfile
from jaxhar.data.listing import shown
from jaxhar.data.penn import folder as penn_folder
from jaxhar.data.penn.folder import PennSequence
from jaxhar.data.records.record import Folder, Skipped
from jaxhar.host.errors import Problem

FILE = "annotations.mat"
Order = Literal["names", "deephar"]
_SPLITS = {"train": "sequences_tr", "test": "sequences_te"}
#: Index in stored order of each of Penn Action's joints, by deephar's rule.
_DEEPHAR_ORDER = np.array([PA16.index(joint) - PA16.index("head") for joint in PENN.joints])


def scan(root: Path, skip_broken: bool = False, order: Order = "names") -> tuple[list[PennSequence], list[Skipped]]:
    """All sequences in the order of the file, training first, and those left out.

    Args:
      order: assigns stored joints by "names", those in `joint_labels` (Penn Action's order if the file has none), or by
        the rule of "deephar", for networks with deephar's weights.

    Raises:
      Problem: the file is missing, damaged or of another kind; without `skip_broken`, a sequence that does not fit.
    """
    path = root / FILE
    file = matfile.load(path, "penn-deephar")
    index = _DEEPHAR_ORDER if order == "deephar" else stored_order(file, path)
    labels = [str(label) for label in matfile.items(file.get("action_labels", actions.PENN))]
    known = [penn_folder.action_index(label, path) for label in labels]
    sequences: list[PennSequence] = []
    skipped: list[Skipped] = []
    taken: set[str] = set()
    named: set[float | None] = set()
    for split, key in _SPLITS.items():
        for i, struct in enumerate(matfile.items(file[key])):
            where = f"sequence {i + 1} of {key} in {path}"
            named.add(matfile.number(struct, "idx"))
            try:
                sequence = _sequence(root, struct, where, known, index, split == "train")
                if sequence.name in taken:
                    raise Problem(f"{where} has the folder {sequence.name}, which another sequence has, too")
            except Problem as problem:
                if not skip_broken:
                    raise
                skipped.append(Skipped(where, str(problem)))
                continue
            taken.add(sequence.name)
            sequences.append(sequence)
    skipped += [
        Skipped(str(folder), f"is no sequence of {FILE}", True)
        for folder in shown(place for place in (root / "frames").iterdir() if place.is_dir())
        if not folder.name.isdigit() or int(folder.name) not in named
    ]
    return sequences, skipped


def stored_order(file: dict[str, Any], path: Path) -> np.ndarray:
    """(13,) index in stored order of each of Penn Action's joints, by the file's names.

    Raises:
      Problem: the names are not Penn Action's 13.
    """
    if np.size(file.get("joint_labels", ())) == 0:
        return np.arange(len(PENN))
    names = [_joint(str(label)) for label in matfile.items(file["joint_labels"])]
    if sorted(names) != sorted(PENN.joints):
        raise Problem(f"'joint_labels' of {path} are {', '.join(names)}; expected the 13 joints of Penn Action")
    return np.array([names.index(joint) for joint in PENN.joints])


def _joint(label: str) -> str:
    words = label.strip().lower().replace("_", " ").replace("-", " ").split()
    sides = {"left": "l", "right": "r", "l": "l", "r": "r"}
    side = [sides[w] for w in words if w in sides]
    part = [w for w in words if w not in sides]
    return "_".join(side[:1] + part)


def _sequence(
    root: Path, struct: object, where: str, labels: list[int], index: np.ndarray, train: bool
) -> PennSequence:
    number, action = matfile.number(struct, "idx"), matfile.number(struct, "action_id")
    if number is None or action is None:
        raise Problem(f"{where} has no 'idx' or no 'action_id'")
    if int(action) - 1 not in range(len(labels)):
        raise Problem(f"{where} has action_id {action:g}; the file names {len(labels)} actions")
    name = f"{int(number):04d}"
    if not (root / "frames" / name).is_dir():
        raise Problem(f"the folder {root / 'frames' / name} of {where} does not exist")
    listed = matfile.attribute(struct, "frames")
    frames = matfile.items(listed) if listed is not None else []
    if not frames:
        raise Problem(f"{where} has no frames")
    paths, points, labelled = [], [], []
    for i, frame in enumerate(frames):
        place = matfile.number(frame, "f")
        pose = matfile.numbers(frame, "pose", (2, len(PENN)))
        visible = matfile.numbers(frame, "visible", (len(PENN),))
        if place is None or pose is None or visible is None:
            raise Problem(f"frame {i + 1} of {where} lacks 'f', 'pose' of 2 x 13 or 'visible' of 13 numbers")
        paths.append(root / "frames" / name / f"{int(place):06d}.jpg")
        shown = (visible > 0) & np.isfinite(pose).all(0) & (pose != 0).all(0)
        labelled.append(shown[index])
        points.append(np.where(shown, pose, 0).T[index])
    return PennSequence(
        name=name,
        frames=tuple(paths),
        action=labels[int(action) - 1],
        viewpoint="",
        points=np.array(points, np.float32),
        labelled=np.array(labelled),
        train=train,
    )


def folder(root: Path, order: Order = "names") -> Folder:
    """The folder to pack; Problem if frames/ is missing."""
    if not (root / "frames").is_dir():
        raise Problem(f"the folder {root / 'frames'} does not exist; expected frames/0001/000001.jpg beside {FILE}")
    return penn_folder.folder(root, partial(scan, order=order), partial(_fingerprint, order=order))


def _fingerprint(root: Path, order: Order) -> Iterator[str]:
    stat = (root / FILE).stat()
    yield f"{FILE} {order} {stat.st_size} {stat.st_mtime_ns}"
    yield from penn_folder.fingerprint_lines(root)
