"""ImageNet: pictures in folders of classes, with boxes beside them; settings, and examples for image networks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jaxhar.core.skeleton import Skeleton
from jaxhar.data import clips, picture_crop, pipeline, transforms
from jaxhar.data.clip_augment import ClipAugment, ClipDraw
from jaxhar.data.dataset import DataSet
from jaxhar.data.generate.film import Synth
from jaxhar.data.imagenet import folder as imagenet_folder
from jaxhar.data.imagenet import generate as synthetic_imagenet
from jaxhar.data.rand_augment import RandAugment
from jaxhar.data.records import pictures
from jaxhar.data.records.record import Folder
from jaxhar.host.errors import Usage

#: Of pretraining, and of fine-tuning (mae, dmae_st).
PRETRAIN = ClipAugment(area=(0.2, 1.0))
FINETUNE = ClipAugment(area=(0.08, 1.0), operations=RandAugment(magnitude=9.0))


@dataclass(frozen=True)
class ImageNet(DataSet):
    """Pictures as clips of one frame: the settings of `DataSet`, and

    Attributes:
      augment: of training: PRETRAIN or FINETUNE, or transforms.NONE for the middle of the picture.
      share: side of the crop in evaluation, in units of the picture's shorter side.
      box_folder: folder of the boxes, below `root` or absolute, which examples have as `cover`; "" for none.

    Crops are scaled by bicubic interpolation. RandAugment comes after the crop.
    """

    skeleton: Skeleton | None = None
    augment: transforms.Augment = PRETRAIN
    clip_frames: int | tuple[int, ...] = 1
    image_size: int | tuple[int, int] = 224
    clips_per_batch: int = 64
    share: float = picture_crop.SHARE
    box_folder: str = ""

    title: ClassVar[str] = "ImageNet"
    home: ClassVar[str] = "imagenet"
    splits: ClassVar[tuple[str, ...]] = imagenet_folder.SPLITS
    eval_split: ClassVar[str] = "val"

    def __post_init__(self) -> None:
        if isinstance(self.augment, ClipAugment):
            self.augment.check(self.box_folder)
        if not 0 < self.share <= 1:
            raise Usage(f"data.share is {self.share}; it must be above 0 and at most 1")

    def open(self, root: Path) -> Folder:
        return imagenet_folder.folder(root, self.box_folder)

    def generate(self, out: Path, synth: Synth) -> None:
        synthetic_imagenet.write(out, synth)

    def example(
        self, record: dict[str, Any], frames: list[int], draw: transforms.Draw, keep_outside: bool = False
    ) -> pipeline.Example:
        size = (self.image_size,) * 2 if isinstance(self.image_size, int) else self.image_size
        width, height = (int(side) for side in record["size"])
        seed = draw.crop if isinstance(draw, ClipDraw) else None
        augment = self.augment if isinstance(self.augment, ClipAugment) else PRETRAIN
        rng = np.random.default_rng(seed)
        if seed is None:
            box = picture_crop.middle(width, height, size, self.share)
        else:
            box = _of_crop(augment.crop(height, width, rng))
        images = np.stack([picture_crop.scaled(image, box, size) for image in pictures.frames(record, frames)])
        images = images[:, :, ::-1] if draw.flip else images
        if seed is not None and augment.operations is not None:
            images = augment.operations(images, rng)
        left, top, right, bottom = box
        affine = np.array(
            [[1 / (right - left), 0, -left / (right - left)], [0, 1 / (bottom - top), -top / (bottom - top)]]
        )
        if draw.flip:
            affine[0] = [0, 0, 1] - affine[0]
        affine = np.concatenate([affine, [[0, 0, 1]]])
        example: pipeline.Example = {
            "frames": np.ascontiguousarray(images),
            "mask": np.bool_(True),
            "affine": np.tile(affine.astype(np.float32), (len(frames), 1, 1)),
            "sequence": np.int32(record["index"]),
            "flipped": np.bool_(draw.flip),
            "action": np.int32(record["action"]),
        }
        if self.box_folder and "covered" in record:
            covers = [picture_crop.cover(record["covered"][frame], box, (height, width), size) for frame in frames]
            example["cover"] = np.ascontiguousarray(np.stack(covers)[:, :, :: -1 if draw.flip else 1])
        return example


def _of_crop(crop: clips.Crop) -> picture_crop.Box:
    return crop.left, crop.top, crop.left + crop.width, crop.top + crop.height
