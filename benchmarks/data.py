"""The data pipeline alone: clips from JPEG with every augmentation, against the decoding of the same pictures."""

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from benchmarks.common import Measured, Row
from jaxhar.data import presets, records, transforms
from jaxhar.data.penn import Penn
from jaxhar.data.synthetic import Synth

CLIPS, BATCH, LENGTH, THREADS = 24, 4, 16, 2
#: The pictures of Penn Action are about so large.
SIZE = (480, 270)


def clips() -> Measured:
    """Clips a second, 16x256x256x3 float32 in batches of 4, read by two threads."""
    settings = Penn(
        synth=Synth(8, 1, 4, 1, frames=(48, 64), size=SIZE),
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
            for i in set(transforms.clip_frames(len(record["frames"]), steps, LENGTH)):
                records.decode(record["frames"][i], "")

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
    return Measured("clips/s", values)


def rows() -> dict[str, Row]:
    return {"data pipeline, 16x256x256x3 clips of 480x270 JPEG": clips}
