"""Generates videos as Kinetics has them: lists in annotations/, H.264 videos in train/ and val/, pickles in boxes/."""

import csv
import io
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from jaxhar.data.formats import box_pickle
from jaxhar.data.formats.writer import VideoWriter
from jaxhar.data.generate import film
from jaxhar.data.generate.film import PlannedVideo, Synth
from jaxhar.host import files

BOXES = "boxes"
#: Frames per second.
_FPS = 25


def write(out: Path, synth: Synth, progress: bool = True) -> None:
    """Generate a data set into the folder `out`, see `film.output_folder`; the test videos are those of val."""
    out = Path(out)
    with film.output_folder(out, synth, "kinetics") as finished:
        if finished:
            return
        videos = film.plan(synth)
        with film.parallel_map(len(videos)) as run:
            done = run(partial(_write_video, out, synth), videos)
            lengths = [*tqdm(done, total=len(videos), desc="generating videos", unit="video", disable=not progress)]
        for split in ("train", "val"):
            text = io.StringIO()
            table = csv.writer(text, lineterminator="\n")
            table.writerow(["label", "youtube_id", "time_start", "time_end", "split", "is_cc"])
            for video, seconds in zip(videos, lengths, strict=True):
                if _split(video) == split:
                    table.writerow([video.action, _id(video), 0, seconds, split, 0])
            files.write(out / "annotations" / f"{split}.csv", text.getvalue().encode())


def _split(video: PlannedVideo) -> str:
    return "train" if video.train else "val"


def _id(video: PlannedVideo) -> str:
    return f"synth{video.number:06d}"


def _write_video(out: Path, synth: Synth, video: PlannedVideo) -> int:
    """Write a video that is not there yet, and its boxes; returns its seconds, rounded up."""
    footage, _ = film.shoot(synth, video)
    seconds = -(-len(footage.joints) // _FPS)
    name, split = f"{_id(video)}_{0:06d}_{seconds:06d}", _split(video)
    path, boxes = out / split / f"{name}.mp4", out / BOXES / split / video.action / f"{name}.pkl"
    if boxes.exists():
        return seconds
    for place in (path, boxes):
        place.parent.mkdir(parents=True, exist_ok=True)
    width, height = synth.size
    with files.atomic(path) as part, VideoWriter(part, Fraction(_FPS), width, height) as writer:
        for t, image in enumerate(footage.frames):
            writer.write(np.ascontiguousarray(image[..., ::-1]), t / _FPS)
    box_pickle.write(boxes, [_box(joints, synth.size) for joints in footage.joints])
    return seconds


def _box(joints: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(1, 5) the box of a person in pixels of `box_pickle`; (0, 5) if nothing of the person is in the picture."""
    low, high = joints.min(0), joints.max(0)
    margin = 0.1 * (high - low).max()
    corners = np.clip([low - margin, high + margin], 0, size)
    if (corners[1] <= corners[0]).any():
        return np.zeros((0, 5))
    scaled = corners * np.array(box_pickle.side_of(*size)) / size
    return np.array([[*scaled.ravel(), 1.0]])
