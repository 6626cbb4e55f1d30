"""Generates videos in the layout of Penn Action with deephar's annotations.mat instead of labels/."""

import shutil
from pathlib import Path

import numpy as np

from jaxhar.core import classes as actions
from jaxhar.core.skeleton import PENN
from jaxhar.data.formats import picture
from jaxhar.data.formats.matfile import mat_bytes
from jaxhar.data.generate.film import Synth
from jaxhar.data.penn import deephar_form as deephar_form
from jaxhar.data.penn import folder as penn_folder
from jaxhar.data.penn import generate as penn_generate


def write(out: Path, synth: Synth, progress: bool = True) -> None:
    """Generate a data set: frames/ as in `penn.generate.write`, and annotations.mat from its labels/.

    Raises:
      Problem: as in `penn.generate.write`.
    """
    out = Path(out)
    penn_generate.write(out, synth, progress)
    if (out / "labels").is_dir():
        (out / deephar_form.FILE).write_bytes(annotations(out))
        shutil.rmtree(out / "labels")


def annotations(root: Path, joints: tuple[str, ...] = PENN.joints) -> bytes:
    """Deephar's file for a folder with labels/, with joints stored in the order of `joints`."""
    found, _ = penn_folder.scan(root)
    order = [PENN.index(joint) for joint in joints]
    file: dict[str, object] = {
        "action_labels": np.array(actions.PENN, object)[None],
        "joint_labels": np.array(joints, object)[None],
    }
    for key, train in (("sequences_tr", True), ("sequences_te", False)):
        part = [sequence for sequence in found if sequence.train == train]
        cells = np.empty((1, len(part)), object)
        for i, sequence in enumerate(part):
            width, height = picture.size(sequence.frames[0])
            frames = np.empty((1, len(sequence.frames)), object)
            for t in range(len(sequence.frames)):
                frames[0, t] = {
                    "f": t + 1,
                    "w": width,
                    "h": height,
                    "pose": sequence.points[t, order].T.astype(float),
                    "visible": sequence.labelled[t, order].astype(np.uint8)[:, None],
                }
            cells[0, i] = {"idx": int(sequence.name), "action_id": sequence.action + 1, "frames": frames}
        file[key] = cells
    return mat_bytes(file)
