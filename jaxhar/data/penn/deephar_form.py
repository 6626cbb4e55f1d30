"""Penn Action with deephar's annotations.mat in place of labels/: frames/0001/000001.jpg, ... beside it.

The file holds sequences_te and sequences_tr, cells or arrays of structs: idx, the number of the folder; action_id,
from 1, into action_labels; frames, structs of f, the number of the file, w, h, pose (2, 13) in pixels and visible
(13,). joint_labels names the 13 joints in the order in which pose stores them.

Deephar puts the joints into the slots of pa16j from "head" on in stored order, whatever their names. Where the file
stores a left joint first, as Penn Action itself does, their networks have learned left and right exchanged.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxhar.core import classes as actions
from jaxhar.core.skeleton import PA16, PENN
from jaxhar.data.formats import matfile
from jaxhar.data.penn import folder as penn_folder
from jaxhar.data.penn.folder import Sequence
from jaxhar.data.records.record import Folder, Skipped
from jaxhar.host.errors import Problem

FILE = "annotations.mat"
Order = Literal["names", "deephar"]
_SPLITS = {"train": "sequences_tr", "test": "sequences_te"}
#: Where in storage deephar's rule takes each of Penn Action's joints from.
_DEEPHAR_ORDER = np.array([PA16.index(joint) - PA16.index("head") for joint in PENN.joints])


def scan(root: Path, skip_broken: bool = False, order: Order = "names") -> tuple[list[Sequence], list[Skipped]]:
    """All sequences in the order of the file, the training ones first, and those left out.

    Args:
      order: which stored joint is which: by `joint_labels` (Penn Action's own order if the file has none), or by the
        deephar's rule, for networks with their weights.

    Raises:
      Problem: the file is missing, damaged or of another kind; without `skip_broken`, a sequence that does not fit.
    """
    path = root / FILE
    file = matfile.load(path, "penn-deephar")
    index = _DEEPHAR_ORDER if order == "deephar" else stored_order(file, path)
    labels = [str(label) for label in matfile.items(file.get("action_labels", actions.PENN))]
    known = [penn_folder.action_index(label, path) for label in labels]
    sequences: list[Sequence] = []
    skipped: list[Skipped] = []
    taken: set[str] = set()
    for split, key in _SPLITS.items():
        for i, struct in enumerate(matfile.items(file[key])):
            where = f"sequence {i + 1} of {key} in {path}"
            try:
                sequence = _sequence(root, struct, where, known, index, split == "train")
                if sequence.name in taken:
                    raise Problem(f"{where} claims the folder {sequence.name}, which another sequence has")
            except Problem as problem:
                if not skip_broken:
                    raise
                skipped.append(Skipped(where, str(problem)))
                continue
            taken.add(sequence.name)
            sequences.append(sequence)
    return sequences, skipped


def stored_order(file: dict[str, Any], path: Path) -> np.ndarray:
    """(13,) place in storage of each of Penn Action's joints by the file's own names.

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


def _sequence(root: Path, struct: object, where: str, labels: list[int], index: np.ndarray, train: bool) -> Sequence:
    number, action = matfile.number(struct, "idx"), matfile.number(struct, "action_id")
    if number is None or action is None:
        raise Problem(f"{where} has no 'idx' or no 'action_id'")
    if int(action) - 1 not in range(len(labels)):
        raise Problem(f"{where} has action_id {action:g}; the file names {len(labels)} actions")
    name = f"{int(number):04d}"
    if not (root / "frames" / name).is_dir():
        raise Problem(f"the folder {root / 'frames' / name} of {where} does not exist")
    given = matfile.attribute(struct, "frames")
    frames = matfile.items(given) if given is not None else []
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
    return Sequence(
        name=name,
        frames=tuple(paths),
        action=labels[int(action) - 1],
        viewpoint="",
        points=np.array(points, np.float32),
        labelled=np.array(labelled),
        train=train,
    )


def folder(root: Path, order: Order = "names") -> Folder:
    """The folder as what is packed; Problem if frames/ is missing."""
    if not (root / "frames").is_dir():
        raise Problem(f"the folder {root / 'frames'} does not exist; expected frames/0001/000001.jpg beside {FILE}")
    return penn_folder.folder(root, partial(scan, order=order), partial(_fingerprint, order=order))


def _fingerprint(root: Path, order: Order) -> Iterator[str]:
    stat = (root / FILE).stat()
    yield f"{FILE} {order} {stat.st_size} {stat.st_mtime_ns}"
    yield from penn_folder.fingerprint_lines(root)
