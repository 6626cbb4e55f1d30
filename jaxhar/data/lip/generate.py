"""Generates person crops in LIP's form: train/ and val/, each with annotations.csv and img/."""

from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from jaxhar.core import classes as actions
from jaxhar.core import skeleton
from jaxhar.data.formats.jpeg import encode
from jaxhar.data.generate import film as synthetic
from jaxhar.data.generate import scenery
from jaxhar.data.generate.body import SKELETON, Performance, with_head_top
from jaxhar.data.generate.figure import FigureView, draw_figure
from jaxhar.data.generate.film import Synth

_JOINTS = skeleton.mapping(SKELETON, skeleton.MPII)
_FRAMES = 12  # length of the performance of which a picture is one frame
_MISSING = 0.05  # share of joints that are not annotated


def take(synth: Synth, number: int, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One person: picture (h, w, 3) BGR uint8, joints (16, 2) in its pixels, and (16,) bool, which are annotated."""
    rng = np.random.default_rng([synth.seed, number, 0 if split == "train" else 1, 50])
    training = split == "train"
    first, performers = (0, synth.train_performers) if training else (synth.train_performers, synth.test_performers)
    person = synthetic.performer(synth.seed, first + int(rng.integers(performers)))
    act = str(rng.choice(actions.PENN))
    performance, _ = synthetic.stage(act, person, _FRAMES, rng)
    moment = int(rng.integers(_FRAMES))
    one = Performance(performance.joints[moment : moment + 1], performance.face[moment : moment + 1])
    camera = synthetic.aim(one, synth.size, rng)
    image = scenery.background(*synth.size, rng, synth.clutter)
    view = FigureView.of(one.joints[0], one.face[0], partial(camera.project, frame=0), camera.focal[0], camera.eye)
    draw_figure(image, view, person.body, person.clothes, [], rng.uniform(0.7, 1.15))
    joints = camera.project(with_head_top(one.joints[0]), 0)[0][_JOINTS]
    low, high = joints.min(0), joints.max(0)
    margin = rng.uniform(0.05, 0.25, (2, 2)) * (high - low).max()
    x1, y1 = np.maximum(low - margin[0], 0).astype(int)
    x2, y2 = np.minimum(high + margin[1], synth.size).astype(int)
    noise = rng.normal(0, 4 * synth.clutter, image.shape)
    image = np.clip(image + noise, 0, 255).astype(np.uint8)[y1:y2, x1:x2]
    points = np.round(joints - [x1, y1])
    inside = ((points >= 0) & (points < [x2 - x1, y2 - y1])).all(-1)
    return image, points, inside & (rng.random(16) >= _MISSING)


def write(out: Path, synth: Synth, progress: bool = True) -> None:
    """Generate a data set into the folder `out`, made where it does not exist.

    A complete folder of the same settings is not changed, an incomplete one is written again.

    Raises:
      Problem: `out` holds something else or cannot be written to, or the settings are wrong.
    """
    with synthetic.output_folder(Path(out), synth, "lip") as finished:
        if finished:
            return
        for split, count in (("train", synth.train_sequences), ("val", synth.test_sequences)):
            images = Path(out) / split / "img"
            images.mkdir(parents=True, exist_ok=True)
            rows = []
            for number in tqdm(range(count), desc=f"drawing {split}", unit="picture", disable=not progress):
                image, points, labelled = take(synth, number, split)
                name = f"{number:06d}_0.jpg"
                (images / name).write_bytes(encode(image, synthetic.QUALITY))
                fields = [
                    f"{x:.0f},{y:.0f},0" if known else "nan,nan,nan"
                    for (x, y), known in zip(points, labelled, strict=True)
                ]
                rows.append(",".join([name, *fields]))
            (Path(out) / split / "annotations.csv").write_text("\n".join(rows))
