"""Skeletons in pictures together with the pictures, for RGBPose-Conv3D: settings and examples."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from jaxhar.core import geometry
from jaxhar.core.prepared import View
from jaxhar.core.skeleton import COCO, Skeleton
from jaxhar.data import pipeline, transforms, uniform
from jaxhar.data.dataset import DataSet
from jaxhar.data.generate.film import Synth
from jaxhar.data.pyskl import folder as pyskl_folder
from jaxhar.data.pyskl import generate_videos, views
from jaxhar.data.pyskl.settings import PoseAugment, PoseDraw, split_named
from jaxhar.data.records import pictures
from jaxhar.data.records.record import Folder

#: Moments of the skeletons for one frame.
RATIO = 4


@dataclass(frozen=True)
class ClipDraw(PoseDraw):
    """The values of one augmentation. `number`: of the clip, among those of evaluation."""

    number: int = 0


@dataclass(frozen=True)
class PysklVideos(DataSet):
    """The skeletons of a pickle with the videos in which they were found: the settings of `DataSet`, and

    Attributes:
      videos: folder of the videos, see `sample_videos`; "" for videos/ beside the pickle.
      file, division, num_actions: as of `Pyskl`.
      clips: of a sequence in the view "multi".

    A clip has `clip_frames` frames, and four times as many moments of the skeletons, both spread evenly over the
    sequence. Points are in units of the crop, a square about all persons.
    """

    skeleton: Skeleton | None = COCO
    augment: transforms.Augment = PoseAugment()
    clip_frames: int | tuple[int, ...] = 8
    image_size: int | tuple[int, int] = 224
    clips_per_batch: int = 6
    videos: str = ""
    file: str = ""
    division: str = "xsub"
    num_actions: int | None = None
    clips: int = 10

    title: ClassVar[str] = "skeletons with videos"
    home: ClassVar[str] = "pyskl-videos"
    layout: ClassVar[Skeleton] = COCO

    def open(self, root: Path) -> Folder:
        path = pyskl_folder.find(root / self.file if self.file else root)
        videos = Path(self.videos).expanduser() if self.videos else path.parent / generate_videos.VIDEOS
        return pyskl_folder.folder(path, self.num_actions, videos=videos)

    def generate(self, out: Path, synth: Synth) -> None:
        generate_videos.write(out, synth)

    def generated(self) -> Self:
        return replace(super().generated(), file="", division="xsub", videos="")

    def split_named(self, split: str) -> str:
        """By the names of the file's splits."""
        return split_named(split, self.division)

    def views(self, split: str | None = None) -> Mapping[str, View]:
        """ "single": one clip of each sequence. "multi": several clips."""
        return {"single": View("single", "each"), "multi": View("multi", "clips")}

    def windows(self, view: str, length: int) -> list[tuple[list[int], transforms.Draw]]:
        count = self.clips if view == "multi" else 1
        clips = uniform.fixed_clips(length, self.frames, count).tolist()
        return [(frames, ClipDraw(clips=count, number=number)) for number, frames in enumerate(clips)]

    def train_frames(self, length: int, draw: transforms.Draw, rng: np.random.Generator) -> list[int]:
        return uniform.random_clip(length, self.frames, np.random.RandomState(int(rng.integers(2**32)))).tolist()

    def example(
        self, record: dict[str, Any], frames: list[int], draw: transforms.Draw, keep_outside: bool = False
    ) -> pipeline.Example:
        draw = draw if isinstance(draw, PoseDraw) else PoseDraw(flip=draw.flip)
        length, count = record["length"], RATIO * len(frames)
        height, width = (int(side) for side in record["shape"])
        points, score = record["skeletons"].swapaxes(0, 1), record["score"].swapaxes(0, 1)
        if draw.box is None:
            every = uniform.fixed_clips(length, count, draw.clips)
            moments, seen = every[draw.number if isinstance(draw, ClipDraw) else 0], every.ravel()
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
