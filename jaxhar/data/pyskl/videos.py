"""Skeletons in pictures together with the pictures, for RGBPose-Conv3D: settings and examples."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from jaxhar.core import geometry
from jaxhar.core.skeleton import COCO
from jaxhar.data import pipeline, transforms, uniform
from jaxhar.data.generate.film import Synth
from jaxhar.data.pyskl import generate_videos, views
from jaxhar.data.pyskl.settings import PoseDraw, Pyskl
from jaxhar.data.records import pictures

#: Moments of the skeletons for one frame.
RATIO = 4


@dataclass(frozen=True)
class PysklVideos(Pyskl):
    """The skeletons of a pickle with the videos in which they were found: the settings of `Pyskl`, and

    Attributes:
      videos: folder of the videos, see `sample_videos`; "" for videos/ beside the pickle.

    A clip has `clip_frames` frames, and four times as many moments of the skeletons, both spread evenly over the
    sequence. Points are in units of the crop, a square about all persons.
    """

    clip_frames: int | tuple[int, ...] = 8
    image_size: int | tuple[int, int] = 224
    clips_per_batch: int = 6
    videos: str = ""

    title: ClassVar[str] = "skeletons with videos"
    home: ClassVar[str] = "pyskl-videos"
    mirrors: ClassVar[bool] = False

    def videos_of(self, table: Path) -> Path:
        return Path(self.videos).expanduser() if self.videos else table.parent / generate_videos.VIDEOS

    def generate(self, out: Path, synth: Synth) -> None:
        generate_videos.write(out, synth)

    def generated(self) -> Self:
        return replace(super().generated(), videos="")

    def example(
        self, record: dict[str, Any], frames: list[int], draw: transforms.Draw, keep_outside: bool = False
    ) -> pipeline.Example:
        draw = draw if isinstance(draw, PoseDraw) else PoseDraw(flip=draw.flip)
        length, count = record["length"], RATIO * len(frames)
        height, width = (int(side) for side in record["shape"])
        points, score = record["skeletons"].swapaxes(0, 1), record["score"].swapaxes(0, 1)
        if draw.box is None:
            every = uniform.fixed_clips(length, count, draw.clips)
            moments, seen = every[draw.number], every.ravel()
        else:
            moments = seen = uniform.random_clip(length, count, np.random.RandomState(draw.box))
        box = views.person_box(views.chosen(points, score, (height, width), seen)) or (0, 0, width, height)
        if draw.box is not None:
            x, y = box[:2]
            left, top, right, bottom = views.random_box((box[3] - y, box[2] - x), np.random.default_rng(draw.box))
            box = (x + left, y + top, x + right, y + bottom)
        crop = transforms.plan_crop(np.array(box), (width, height), self.image_size, transforms.Draw(flip=draw.flip))
        cut = np.empty((len(frames), *crop.size, 3), np.uint8)
        transforms.crop_images(pictures.frames(record, frames), crop, cut)
        joints = views.chosen(points, score, (height, width), moments)
        units = geometry.apply(crop.affine, joints.points)
        units, known = np.where(joints.score[..., None] > 0, units, 0), joints.score
        if draw.flip:
            units, known = units[..., COCO.flip, :], known[..., COCO.flip]
        return {
            "frames": cut,
            "points": np.ascontiguousarray(units.swapaxes(0, 1), np.float32),
            "score": np.ascontiguousarray(known.swapaxes(0, 1)),
            "affine": np.tile(crop.affine.astype(np.float32), (len(frames), 1, 1)),
            "flipped": np.bool_(draw.flip),
            "mask": np.bool_(True),
            "sequence": np.int32(record["index"]),
            "action": np.int32(record["action"]),
        }
