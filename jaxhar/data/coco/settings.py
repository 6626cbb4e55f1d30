"""Joints of persons in COCO's format, real, one's own or generated: settings and examples."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from jaxhar.core.skeleton import BODY, COCO, Skeleton, mapping
from jaxhar.data import pipeline, presets, transforms
from jaxhar.data.coco import folder as coco_folder
from jaxhar.data.dataset import UNSHIFTED, DataSet
from jaxhar.data.example import cropped_example, torso
from jaxhar.data.formats import coco_json
from jaxhar.data.generate import coco_scenes
from jaxhar.data.generate.film import Synth
from jaxhar.data.records.record import Folder


@dataclass(frozen=True)
class Surroundings(transforms.Augment):
    """Augmentation that hides what lies around a person's box, so that others beside it do not confuse the network.

    Attributes:
      around: how much is seen around the box, as a share of its longer side; the rest of the crop is black. None: all.
      fixed_around: the same in evaluation, and in the prediction of persons with known boxes.
    """

    around: tuple[float | None, ...] = (None,)
    fixed_around: float | None = None

    def __post_init__(self) -> None:
        shares = [share for share in (*self.around, self.fixed_around) if share is not None]
        if not self.around or not all(0 <= share < math.inf for share in shares):
            raise ValueError(
                "around and fixed_around are shares from 0 on of a side, or None; around needs one at least"
            )

    def draw(self, rng: np.random.Generator) -> transforms.Draw:
        drawn = super().draw(rng)
        return replace(drawn, around=self.around[int(rng.integers(len(self.around)))])

    def fixed(self, flip: bool = False) -> transforms.Draw:
        return replace(super().fixed(flip), around=self.fixed_around)


@dataclass(frozen=True)
class Coco(DataSet):
    """The COCO keypoints of an experiment: settings of `DataSet`, the crops and the reference length.

    One record is one person in one picture. The crop is the square around the person's box, `margin` times as large, or
    the smallest box of the network's shape around that.

    Attributes:
      margin: side of the crop over the longer side of the person's box.
      reference: the reference length of PCK: "torso", from left shoulder to right hip; persons without both are not
        counted. "box", the longer side of the person's box.
    """

    skeleton: Skeleton | None = COCO
    augment: transforms.Augment = presets.MPII
    augment_stills: transforms.Augment = presets.MPII
    clip_frames: int | tuple[int, ...] = 1
    clips_per_batch: int = 0
    stills_per_batch: int = 32
    margin: float = 1.25
    reference: Literal["torso", "box"] = "torso"

    title: ClassVar[str] = "COCO keypoints"
    home: ClassVar[str] = "COCO"
    layout: ClassVar[Skeleton] = BODY
    splits: ClassVar[tuple[str, ...]] = coco_json.SPLITS
    eval_split: ClassVar[str] = "val"
    stacks: ClassVar[bool] = True

    def open(self, root: Path) -> Folder:
        return coco_folder.folder(root)

    def generate(self, out: Path, synth: Synth) -> None:
        coco_scenes.write(out, synth)

    def crop_views(self) -> Mapping[str, tuple[transforms.Draw, ...]]:
        centred = self.augment.fixed(), self.augment.fixed(flip=True)
        return {"flip": centred, UNSHIFTED: centred}

    def example(
        self, record: dict[str, Any], frames: list[int], draw: transforms.Draw, keep_outside: bool = False
    ) -> pipeline.Example:
        low, high = record["box"][:2].astype(np.float64), record["box"][2:].astype(np.float64)
        middle, side = (low + high) / 2, float((high - low).max())
        half = self.margin * draw.scale * side / 2
        size = self.image_size if isinstance(self.image_size, tuple) else (self.image_size, self.image_size)
        points, labelled = record["points"][frames], record["labelled"][frames]
        example = cropped_example(
            record,
            frames,
            draw,
            box=transforms.fit_aspect(np.concatenate([middle - half, middle + half]), size),
            norm=torso(points, labelled, BODY) if self.reference == "torso" else np.full(len(frames), side),
            layout=BODY,
            skeleton=self.skeleton,
            dims=self.dims,
            size=self.image_size,
            person=np.concatenate([low, high]),
            keep_outside=keep_outside,
        )
        example["area"] = record["area"][frames].astype(np.float32)
        if self.skeleton is not None:
            index = mapping(BODY, self.skeleton)
            hidden = record["hidden"][frames][:, index] & (index >= 0)
            example["hidden"] = hidden[:, self.skeleton.flip] if draw.flip else hidden
        return example
