"""Generates performances as four synchronised videos each, with the calibration of the cameras and the true joints.

The room, its cameras and the things in front are those of `generate`, so that a network trained there knows the rig;
the lens is OpenCV's, which calibration files can express.
"""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from tqdm import tqdm

from jaxhar.core.camera import OPENCV
from jaxhar.core.skeleton import H36M17
from jaxhar.data.formats import calibration
from jaxhar.data.formats.writer import VideoWriter
from jaxhar.data.generate import film, room
from jaxhar.data.generate.body import with_head_top
from jaxhar.data.generate.film import Synth
from jaxhar.data.multiview.generate import ROOM, TO_H36M, performed, plan, shots

FPS = 25


def write(out: Path, synth: Synth, progress: bool = True) -> None:
    """Generates into the folder `out`: cameras.json, and for each performance a folder such as train_00 or test_00.

    That has cam1.mp4 to cam4.mp4 and truth.json: joints of Human3.6M in mm for each frame. A complete folder of the
    same settings is not changed, an incomplete one is written again.

    Args:
      synth: `train_sequences` and `test_sequences` are performances; `frames` is their length.

    Raises:
      Problem: `out` holds something else or cannot be written to, or the settings are wrong.
    """
    with film.output_folder(Path(out), synth, "multiview-videos") as finished:
        if finished:
            return
        cameras = [replace(camera, w=OPENCV) for camera in room.cameras(ROOM, synth.size)]
        names = tuple(f"cam{n}" for n in range(1, len(cameras) + 1))
        calibration.write(
            Path(out) / "cameras.json", calibration.Rig(names, tuple(cameras), (synth.size,) * len(names))
        )
        for number, take in enumerate(tqdm(plan(synth), desc="filming", unit="performance", disable=not progress)):
            split, n = ("train", number) if take.split == "train" else ("test", number - synth.train_sequences)
            folder = Path(out) / f"{split}_{n:02d}"
            folder.mkdir(exist_ok=True)
            performance, person = performed(synth, take)
            for view, (name, camera) in enumerate(zip(names, cameras, strict=True)):
                with VideoWriter(folder / f"{name}.mp4", Fraction(FPS), *synth.size) as writer:
                    for time, (photo, _) in enumerate(shots(synth, take, view, camera, performance, person)):
                        writer.write(photo, time / FPS)
            joints = (1000 * with_head_top(performance.joints)[:, TO_H36M]).round(2).tolist()
            truth = {"unit": "mm", "fps": FPS, "joints": list(H36M17.joints), "frames": joints}
            (folder / "truth.json").write_text(json.dumps(truth))
