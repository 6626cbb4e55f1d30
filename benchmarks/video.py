"""Speed of `jaxhar predict` on a video, and the network's share of the wall time."""

import tempfile
import time
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.common import Measured, Row
from jaxhar import infer, zoo
from jaxhar.data.formats.source import open_source
from jaxhar.data.formats.writer import VideoWriter
from jaxhar.data.generate import film as synthetic
from jaxhar.predict import summary as results
from jaxhar.predict.options import Options
from jaxhar.predict.task import Task

FRAMES = 96


def write(path: Path, frames: int, size: tuple[int, int] = (640, 480)) -> Path:
    """Write a generated video with 25 frames per second."""
    plan = synthetic.Synth(1, 1, 1, 1, frames=(frames, frames), size=size)
    footage, _ = synthetic.shoot(plan, synthetic.plan(plan)[0])
    with VideoWriter(path, Fraction(25), *size) as writer:
        for i, image in enumerate(footage.frames):
            writer.write(image[..., ::-1], i / 25)
    return path


def predict_video(name: str) -> Measured:
    """Three runs. The network's calls are also timed in a separate run, as a share of the total wall time."""
    config, entry = zoo.config(name), zoo.entry(name)
    model = zoo.create(config)
    meta = SimpleNamespace(skeleton=entry.skeleton, actions=entry.actions, config=config)
    given: list[np.ndarray] = []
    inside = [0.0]

    def timed(frames: np.ndarray) -> Any:
        given.append(frames)
        start = time.perf_counter()
        preds = infer(model, frames)
        inside[0] += time.perf_counter() - start
        return preds

    values: dict[str, list[float]] = {"frames a second": [], "network, alone": [], "network, as it runs": []}
    with tempfile.TemporaryDirectory() as folder:
        source = write(Path(folder) / "video.mp4", FRAMES)
        for n in range(4):
            given.clear()
            inside[0] = 0.0
            out = Path(folder) / str(n)
            opened = open_source(source)
            summary = results.write(Task(opened, source, timed, meta, Options()), out)
            start = time.perf_counter()
            for frames in given:
                infer(model, frames)
            alone = time.perf_counter() - start
            if n:  # the first run compiles
                values["frames a second"].append(summary.frames / summary.seconds)
                values["network, alone"].append(100 * alone / summary.seconds)
                values["network, as it runs"].append(100 * inside[0] / summary.seconds)
    return Measured("1/s, % of wall time", values)


def rows() -> dict[str, Row]:
    names = ("reception-mpii", "reception-penn")
    return {f"{name}, predict, {FRAMES} frames of 640x480": partial(predict_video, name) for name in names}
