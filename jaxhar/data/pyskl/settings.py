"""Skeletons in pictures from a pickle of pyskl or mmaction2: settings, and examples for PoseConv3D."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from jaxhar.core.prepared import View
from jaxhar.core.skeleton import COCO, Skeleton
from jaxhar.data import pipeline, transforms, uniform
from jaxhar.data.dataset import DataSet
from jaxhar.data.generate.film import Synth
from jaxhar.data.pyskl import folder as pyskl_folder
from jaxhar.data.pyskl import generate as synthetic_pyskl
from jaxhar.data.pyskl import views
from jaxhar.data.records.record import Folder


@dataclass(frozen=True)
class PoseDraw(transforms.Draw):
    """The values of one augmentation of skeletons.

    Attributes:
      box: seed of the random box; None for the whole picture, as in evaluation.
      clips: number of clips of evaluation, which are cut to one box together. number: of this clip among them.
    """

    box: int | None = None
    clips: int = 1
    number: int = 0


@dataclass(frozen=True)
class PoseAugment(transforms.Augment):
    """Random boxes and mirror images."""

    hflip: tuple[bool, ...] = (False, True)

    def draw(self, rng: np.random.Generator) -> PoseDraw:
        flip = bool(self.hflip[int(rng.integers(len(self.hflip)))])
        return PoseDraw(flip=flip, box=int(rng.integers(2**31)))

    def fixed(self, flip: bool = False) -> PoseDraw:
        return PoseDraw(flip=flip)


@dataclass(frozen=True)
class Pyskl(DataSet):
    """The skeletons of a pickle: the settings of `DataSet`, and

    Attributes:
      file: name of the pickle in the folder `root`; "" for the only one there.
      division: of the file's splits; NAME_train is for training and NAME_val for evaluation, or train and val for "".
      num_actions: number of classes; None for those of classes.txt beside the file, or as many as the labels tell.
      style: "mm" or "pk", the program whose rules choose frames and crops.
      clips: of a sequence in the view "multi".
      least_box: smallest score of the boxes of persons; of Kinetics-400 alone, whose files have such scores.
      eval_size: height and width of the network's volume in evaluation, in cells; `image_size` is that of training.

    `root` is the pickle, or a folder with it. Points are in units of the volume.
    """

    skeleton: Skeleton | None = COCO
    augment: transforms.Augment = PoseAugment()
    clip_frames: int | tuple[int, ...] = 48
    image_size: int | tuple[int, int] = 56
    eval_size: int | tuple[int, int] = 64
    clips_per_batch: int = 32
    file: str = ""
    division: str = "xsub"
    num_actions: int | None = None
    style: uniform.Style = uniform.Style.MMACTION2
    clips: int = 10
    least_box: float = 0.5

    title: ClassVar[str] = "skeletons"
    home: ClassVar[str] = "pyskl"
    layout: ClassVar[Skeleton] = COCO
    #: Whether the view "multi" has the mirror images, too.
    mirrors: ClassVar[bool] = True

    def open(self, root: Path) -> Folder:
        path = pyskl_folder.find(root / self.file if self.file else root)
        videos = self.videos_of(path)
        return pyskl_folder.folder(
            path, self.num_actions, least_box=self.least_box, videos=videos, joints=len(self.joints)
        )

    @property
    def joints(self) -> Skeleton:
        """The joints of the pickle, `skeleton`."""
        return self.skeleton or self.layout

    def videos_of(self, table: Path) -> Path | None:
        """The folder of the videos of a pickle; None for skeletons alone."""
        del table
        return None

    def generate(self, out: Path, synth: Synth) -> None:
        synthetic_pyskl.write(out, synth)

    def generated(self) -> Self:
        return replace(super().generated(), file="", division="xsub")

    def split_named(self, split: str) -> str:
        """train or test by the names of the file's splits, DIVISION_train and DIVISION_val; "" for neither."""
        prefix = f"{self.division}_" if self.division else ""
        names = {f"{prefix}train": "train", f"{prefix}val": "test"}
        return next((names[name] for name in split.split(",") if name in names), "")

    def views(self, split: str | None = None) -> Mapping[str, View]:
        """ "single": one clip of each sequence. "multi": several clips, each also mirrored if the set `mirrors`."""
        return {"single": View("single", "each"), "multi": View("multi", "clips")}

    def windows(self, view: str, length: int) -> list[tuple[list[int], transforms.Draw]]:
        count = self.clips if view == "multi" else 1
        clips = uniform.fixed_clips(length, self.frames, count, self.style).tolist()
        flips = (False, True) if view == "multi" and self.mirrors else (False,)
        return [
            (frames, PoseDraw(flip=flip, clips=count, number=number))
            for flip in flips
            for number, frames in enumerate(clips)
        ]

    def train_frames(self, length: int, draw: transforms.Draw, rng: np.random.Generator) -> list[int]:
        legacy = np.random.RandomState(int(rng.integers(2**32)))
        return uniform.random_clip(length, self.frames, legacy, self.style).tolist()

    def example(
        self, record: dict[str, Any], frames: list[int], draw: transforms.Draw, keep_outside: bool = False
    ) -> pipeline.Example:
        draw = draw if isinstance(draw, PoseDraw) else PoseDraw(flip=draw.flip)
        chosen = np.array(frames)
        if draw.clips > 1:  # all clips have one box
            every = uniform.fixed_clips(record["length"], self.frames, draw.clips, self.style)
            chosen = np.concatenate([chosen, every.ravel()])
        points, score = record["skeletons"].swapaxes(0, 1), record["score"].swapaxes(0, 1)
        height, width = (int(side) for side in record["shape"])
        joints = views.chosen(points, score, (height, width), chosen)
        if draw.box is not None:
            joints = views.short_side(views.compact(joints))
            box = views.random_box(joints.shape, np.random.default_rng(draw.box))
            joints = views.for_training(joints, box, _pair(self.image_size), draw.flip, self.joints.flip)
        else:
            joints = views.for_evaluation(joints, _pair(self.eval_size), self.style)
        joints = replace(joints, points=joints.points[:, : len(frames)], score=joints.score[:, : len(frames)])
        units = joints.points / np.array(joints.shape[::-1])
        example: pipeline.Example = {
            "points": np.ascontiguousarray(units.swapaxes(0, 1), np.float32),
            "score": np.ascontiguousarray(joints.score.swapaxes(0, 1)),
            "mirrored": np.bool_(draw.flip and draw.box is None),
            "mask": np.bool_(True),
            "sequence": np.int32(record["index"]),
            "action": np.int32(record["action"]),
        }
        return example


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size
