"""Speed of the data pipeline without a network: augmented clips from JPEG, compared with decoding only."""

import functools
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from benchmarks.common import Measured, Row, in_new_process
from jaxhar.data import presets, transforms
from jaxhar.data.formats import jpeg
from jaxhar.data.generate.film import Synth
from jaxhar.data.penn.settings import Penn

CLIPS, BATCH, LENGTH, THREADS = 64, 4, 16, 2
#: Sizes of the pictures of Penn Action, webcams and MPII.
SIZES = ((480, 270), (640, 480), (1280, 720))


def clips(width: int, height: int) -> Measured:
    """Clips per second, 16x256x256x3 in batches of 4, read by two threads of a process configured as in launch.py."""
    return Measured("clips/s", in_new_process("reading", width, height))


def reading(size: tuple[int, int]) -> dict[str, list[float]]:
    """Clips per second of decoding only and of the full pipeline, in alternating order."""
    settings = Penn(
        # Grain's shuffling is slow for few records: 2 ms per record for 8, 0.3 ms for 64.
        synth=Synth(64, 1, 16, 1, frames=(48, 64), size=size),
        clip_frames=LENGTH,
        image_size=256,
        clips_per_batch=BATCH,
        augment=presets.PENN_CLIPS,
        threads=THREADS,
        prefetch=THREADS,
    )
    values: dict[str, list[float]] = {"decoding alone": [], "clips with augmentation": []}
    with tempfile.TemporaryDirectory() as folder:
        prepared = settings.prepare(Path(folder))
        kept = prepared.records("train")
        cv2.setNumThreads(1)
        rng = np.random.default_rng(0)

        def decode(number: int) -> None:
            record = kept[number % len(kept)]
            steps = int(rng.integers(1, 4))
            for i in set(transforms.clip_frames(len(record["pictures"]), steps, LENGTH)):
                jpeg.decode(record["pictures"][i], "")

        for seed in range(5):
            with ThreadPoolExecutor(THREADS) as pool:
                start = time.perf_counter()
                list(pool.map(decode, range(CLIPS)))
                values["decoding alone"].append(CLIPS / (time.perf_counter() - start))
            stream = prepared.train_stream(seed)
            next(stream)  # starts the threads
            start = time.perf_counter()
            for _ in range(CLIPS // BATCH):
                next(stream)
            values["clips with augmentation"].append(CLIPS / (time.perf_counter() - start))
            stream.close()
            time.sleep(0.5)
    return values


def rows() -> dict[str, Row]:
    return {
        f"data pipeline, 16x256x256x3 clips of {width}x{height} JPEG": functools.partial(clips, width, height)
        for width, height in SIZES
    }
