"""The memory that several persons take does not grow with the length of the video."""

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from jaxhar import zoo
from jaxhar.core.skeleton import PA16
from jaxhar.data.formats.writer import VideoWriter
from jaxhar.models.reception.network import ReceptionConfig
from jaxhar.predict.persons_test import SIZE, line, mot
from jaxhar.predict.predictor_test import draw
from jaxhar.weights import checkpoint

#: Runs the command and prints the largest memory of the process in KiB.
CHILD = """
import resource, sys
from jaxhar.cli.main import main
assert main(["predict", *sys.argv[1:]]) == 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
#: Two persons who walk to and fro.
UPPER, LOWER = ([*way, *way[::-1]] for way in (line((80, 100), (6, 0), 20), line((400, 280), (-6, 0), 20)))


def film(path: Path, frames: int) -> tuple[Path, Path]:
    """A video of them, and their boxes."""
    pairs = list(zip(UPPER, LOWER, strict=True))
    images = [np.where(draw(b, SIZE) != 110, draw(b, SIZE), draw(a, SIZE)).astype(np.uint8) for a, b in pairs]
    with VideoWriter(path, Fraction(20), *SIZE) as writer:
        for i in range(frames):
            writer.write(images[i % len(images)], i / 20)
    ways = [[way[i % len(way)] for i in range(frames)] for way in (UPPER, LOWER)]
    return path, mot(path.with_suffix(".txt"), *ways)


@pytest.mark.slow
def test_two_thousand_frames_take_the_memory_of_a_hundred(tmp_path):
    settings = ReceptionConfig.tiny(image_size=32, num_blocks=1, width=16)
    checkpoint.save_model(tmp_path / "pose", zoo.create(settings, rngs=nnx.Rngs(0)), PA16, ())

    def peak(frames: int) -> int:
        source, boxes = film(tmp_path / f"{frames}.mp4", frames)
        words = [source, "--weights", tmp_path / "pose", "--persons", "all", "--boxes", boxes]
        call = [sys.executable, "-c", CHILD, *map(str, words), "--out", str(tmp_path / f"out{frames}")]
        place = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled")}
        done = subprocess.run(call, capture_output=True, text=True, env=place)
        assert done.returncode == 0, done.stderr
        return int(done.stdout.split()[-1])

    peak(100)  # compiles, which takes more memory than reading what is compiled
    few, many = peak(100), peak(2000)
    assert many <= 1.1 * few, f"{many / 1024:.0f} MiB for 2,000 frames, {few / 1024:.0f} for 100"
