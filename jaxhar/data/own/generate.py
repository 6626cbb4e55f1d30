"""Generates videos as a folder of a user's own data: CLASS/0001.mp4 ... and videos.csv with performers and boxes."""

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from jaxhar.core import classes as actions
from jaxhar.data.generate import film as synthetic
from jaxhar.data.generate.film import Synth
from jaxhar.host.errors import Problem

CSV = "videos.csv"


def write(out: Path, synth: Synth, progress: bool = True, names: Sequence[str] = actions.PENN) -> None:
    """Generate a data set of the classes `names` into the folder `out`, made where it does not exist.

    A complete folder of the same settings is not changed, an incomplete one is written again.

    Raises:
      Problem: `out` holds something else or cannot be written to, or the settings are wrong.
    """
    out = Path(out)
    layout = "own" if names == actions.PENN else f"own, {' '.join(names)}"
    with synthetic.output_folder(out, synth, layout) as finished:
        if finished:
            return
        rows = []
        for sequence in tqdm(
            synthetic.plan(synth, names), desc="generating videos", unit="video", disable=not progress
        ):
            footage, _ = synthetic.shoot(synth, sequence)
            file = Path(sequence.action) / f"{sequence.number:04d}.mp4"
            (out / sequence.action).mkdir(exist_ok=True)
            writer = cv2.VideoWriter(str(out / file), cv2.VideoWriter.fourcc(*"mp4v"), 25, synth.size)
            if not writer.isOpened():
                raise Problem(f"OpenCV cannot write the video {out / file}; it lacks an MPEG-4 encoder")
            for image in footage.frames:
                writer.write(image)
            writer.release()
            low, high = footage.joints.min((0, 1)), footage.joints.max((0, 1))
            margin = 0.15 * (high - low).max()
            box = np.round([*(low - margin), *(high + margin)], 1).tolist()
            split = "train" if sequence.train else "test"
            rows.append([file.as_posix(), sequence.action, f"p{sequence.performer:03d}", split, *box])
        part = out / f".{CSV}"
        with open(part, "w", newline="", encoding="utf-8") as table:
            csv.writer(table).writerows([["file", "label", "person", "split", "x1", "y1", "x2", "y2"], *rows])
        shutil.move(part, out / CSV)
