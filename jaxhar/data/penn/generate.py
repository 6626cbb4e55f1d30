"""Generates videos in the layout of Penn Action."""

import io
import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from scipy.io import savemat
from tqdm import tqdm

from jaxhar.core import classes, skeleton
from jaxhar.data.formats.jpeg import encode
from jaxhar.data.generate.body import SKELETON
from jaxhar.data.generate.film import (
    PARTIAL,
    QUALITY,
    Footage,
    PlannedVideo,
    Synth,
    output_folder,
    parallel_map,
    plan,
    shoot,
)
from jaxhar.host.errors import Problem

_PENN = skeleton.mapping(SKELETON, skeleton.PENN)


def write(out: Path, synth: Synth, progress: bool = True, names: Sequence[str] = classes.PENN) -> None:
    """Generate a data set of the classes `names` in Penn Action's layout into the folder `out`, made where it does not
    exist.

    It gets frames/0001/000001.jpg ... and labels/0001.mat ..., numbered over both splits, and at the end
    `synthetic.json` with the settings. A complete folder of the same settings is not changed; an incomplete one (after
    a crash) is completed. The same settings give the same bytes.

    Raises:
      Problem: `out` holds something else or cannot be written to, or the settings are wrong.
    """
    if synth.train_sequences + synth.test_sequences > 9999:
        raise Problem("cannot generate more than 9999 videos: Penn Action numbers them with four digits")
    out = Path(out)
    with output_folder(out, synth, None if names == classes.PENN else f"penn, {' '.join(names)}") as finished:
        if finished:
            return
        todo = [s for s in plan(synth, names) if not (out / "labels" / f"{s.number:04d}.mat").exists()]
        with parallel_map(len(todo)) as run:
            done = run(partial(_write_sequence, out, synth), todo)
            for _ in tqdm(done, total=len(todo), desc="generating videos", unit="video", disable=not progress):
                pass
        shutil.rmtree(out / PARTIAL, ignore_errors=True)


def _write_sequence(out: Path, synth: Synth, sequence: PlannedVideo) -> None:
    """Write one video and its labels; the label file is written last and shows that the video is complete."""
    footage, viewpoint = shoot(synth, sequence)
    name = f"{sequence.number:04d}"
    folder = out / PARTIAL / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for t, image in enumerate(footage.frames, 1):
        (folder / f"{t:06d}.jpg").write_bytes(encode(image, QUALITY))
    for part in ("frames", "labels"):
        (out / part).mkdir(exist_ok=True)
    if (out / "frames" / name).exists():  # after a crash between the two renames
        shutil.rmtree(folder)
    else:
        os.replace(folder, out / "frames" / name)
    label = out / PARTIAL / f"{name}.mat"
    label.parent.mkdir(exist_ok=True)
    label.write_bytes(_label(sequence, footage, viewpoint, synth.size))
    os.replace(label, out / "labels" / f"{name}.mat")


def _label(sequence: PlannedVideo, footage: Footage, viewpoint: str, size: tuple[int, int]) -> bytes:
    """The MATLAB label file of one sequence: Penn Action's 13 joints, boxes around the joints in the frame."""
    xy = footage.joints[:, _PENN].astype(float)
    visible = footage.visible[:, _PENN]
    width, height = size
    inside = np.clip(footage.joints, 0, np.array(size) - 1.0)
    pad = 0.05 * np.ptp(footage.joints[..., 1], axis=1, keepdims=True)
    box = np.concatenate([inside.min(1) - pad, inside.max(1) + pad], axis=1)
    fields = {
        "action": sequence.action,
        "pose": viewpoint,
        "x": xy[..., 0],
        "y": xy[..., 1],
        "visibility": visible.astype(np.uint8),
        "train": 1.0 if sequence.train else -1.0,
        "bbox": np.clip(box, 0, [width - 1, height - 1] * 2),
        "dimensions": np.array([height, width, len(xy)], float),
        "nframes": float(len(xy)),
    }
    file = io.BytesIO()
    savemat(file, fields, do_compression=True)
    # the first 116 bytes are free text, where scipy writes the current time
    return b"MATLAB 5.0 MAT-file, written by jaxhar".ljust(116) + file.getvalue()[116:]
