"""Generates pictures as ImageNet has them: train/CLASS/*.JPEG, val/CLASS/*.JPEG, and boxes/CLASS.pkl."""

import itertools
import pickle
from pathlib import Path

import numpy as np

from jaxhar.data.formats.jpeg import encode
from jaxhar.data.generate import film
from jaxhar.data.generate.film import Synth
from jaxhar.host import files


def write(out: Path, synth: Synth) -> None:
    """Generate a data set into the folder `out`, see `film.output_folder`: the middle frames of videos."""
    out = Path(out)
    with film.output_folder(out, synth, "imagenet") as finished:
        if finished:
            return
        boxes: dict[str, dict[str, np.ndarray]] = {}
        for video in film.plan(synth):
            footage, _ = film.shoot(synth, video)
            middle = len(footage.joints) // 2
            image = next(itertools.islice(footage.frames, middle, None))
            name, split = f"{video.action}_{video.number}.JPEG", "train" if video.train else "val"
            files.write(out / split / video.action / name, encode(image, film.QUALITY))
            low, high = footage.joints[middle].min(0), footage.joints[middle].max(0)
            corners = np.clip([low, high], 0, synth.size).ravel()
            place = f"{split}/{video.action}" if split == "val" else video.action
            boxes.setdefault(place, {})[name] = np.array([[*corners, 1.0]], np.float32)
        for place, content in boxes.items():
            files.write(out / "boxes" / f"{place}.pkl", pickle.dumps(content, protocol=4))
