"""Look into Person, real or generated: settings and examples, by the rules of single-person-pose-estimation."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from jaxhar.core import geometry
from jaxhar.core.skeleton import MPII, Skeleton
from jaxhar.data import pipeline, transforms
from jaxhar.data.dataset import UNSHIFTED, DataSet
from jaxhar.data.example import labels_of, mirrored_crops
from jaxhar.data.generate.film import Synth
from jaxhar.data.lip import folder as lip_folder
from jaxhar.data.lip import generate as synthetic_lip
from jaxhar.data.records import pictures
from jaxhar.data.records.record import Folder


@dataclass(frozen=True)
class LIP(DataSet):
    """The LIP data of an experiment; its settings are those of `DataSet`.

    A picture is the crop of one person already. The whole picture is resized to the size of the network, without
    keeping its aspect ratio and without augmentation. The reference length is the head size: LIP has no head boxes, so
    it is 0.75 of the distance from upper neck to head top, as the boxes of MPII give it. The original has no flip test;
    the views "flip" and "flip_unshifted" are as those of MPII.
    """

    skeleton: Skeleton | None = MPII
    clip_frames: int | tuple[int, ...] = 1
    clips_per_batch: int = 0
    stills_per_batch: int = 32

    title: ClassVar[str] = "LIP"
    home: ClassVar[str] = "LIP"
    layout: ClassVar[Skeleton] = MPII
    splits: ClassVar[tuple[str, ...]] = lip_folder.SPLITS
    eval_split: ClassVar[str] = "val"
    stacks: ClassVar[bool] = True

    def open(self, root: Path) -> Folder:
        return lip_folder.folder(root)

    def generate(self, out: Path, synth: Synth) -> None:
        synthetic_lip.write(out, synth)

    def crop_views(self) -> Mapping[str, tuple[transforms.Draw, ...]]:
        centred = mirrored_crops(((0, 0),))
        return {"flip": centred, UNSHIFTED: centred}

    @property
    def keeps_outside(self) -> bool:
        return True

    def example(
        self, record: dict[str, Any], frames: list[int], draw: transforms.Draw, keep_outside: bool = False
    ) -> pipeline.Example:
        height, width = (self.image_size,) * 2 if isinstance(self.image_size, int) else self.image_size
        images = [_resized(image, (width, height), draw.flip) for image in pictures.frames(record, frames)]
        columns, rows = (int(n) for n in record["size"])
        affine = geometry.scaling(1 / columns, 1 / rows)
        if draw.flip:
            affine = geometry.translation(1, 0) @ geometry.scaling(-1, 1) @ affine
        crop = transforms.Crop(np.eye(3), (columns, rows), False, (height, width), draw.flip, affine)
        example: pipeline.Example = {
            "frames": np.stack(images),
            "mask": np.bool_(True),
            "affine": np.tile(affine.astype(np.float32), (len(frames), 1, 1)),
            "norm": record["norm"][frames].astype(np.float32),
            "sequence": np.int32(record["index"]),
            "flipped": np.bool_(draw.flip),
        }
        assert self.skeleton is not None
        # The original clamps joints outside of the picture to its border, in training too.
        return example | labels_of(record, frames, crop, MPII, self.skeleton, self.dims, None, keep_outside=True)


def _resized(image: np.ndarray, size: tuple[int, int], flip: bool) -> np.ndarray:
    """A picture resized to (width, height) by PIL's bilinear filter, mirrored with `flip`."""
    found = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    return found[:, ::-1] if flip else found
