"""Random crops, mirror images and RandAugment of clips and pictures, as networks of the MAE family are trained with."""

from dataclasses import dataclass

import numpy as np

from jaxhar.data import clips, transforms
from jaxhar.data.rand_augment import RandAugment
from jaxhar.host.errors import Usage


@dataclass(frozen=True)
class ClipDraw(transforms.Draw):
    """The values of one augmentation of a clip.

    Attributes:
      crop: seed of a random crop and of RandAugment; None for one of three crops along the longer side.
      place: of these three, 0 at its start, 1 in the middle, 2 at its end.
      clip, clips: in evaluation, which one of several clips spread evenly; 0 clips for given frames.
    """

    crop: int | None = None
    place: int = 1
    clip: int = 0
    clips: int = 0


@dataclass(frozen=True)
class ClipAugment(transforms.Augment):
    """Random crops and mirror images, the same for all frames of a clip, and RandAugment.

    Attributes:
      area: bounds of the crop's share of the picture. ratio: bounds of its width divided by its height.
      operations: RandAugment before the crop; None for none.
    """

    hflip: tuple[bool, ...] = (False, True)
    area: tuple[float, float] = (0.5, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    operations: RandAugment | None = None

    def draw(self, rng: np.random.Generator) -> ClipDraw:
        flip = bool(self.hflip[int(rng.integers(len(self.hflip)))])
        return ClipDraw(flip=flip, crop=int(rng.integers(2**31)))

    def fixed(self, flip: bool = False) -> ClipDraw:
        return ClipDraw(flip=flip)

    def check(self, boxes: str) -> None:
        """Usage for operations on pictures whose boxes would stay where they are; `boxes`: the folder, "" for none."""
        if boxes and self.operations is not None:
            raise Usage(
                "data.augment has RandAugment, which turns and moves pictures but not their boxes: set "
                "data.augment.operations=None, or data.box_folder to ''"
            )

    def crop(self, height: int, width: int, rng: np.random.Generator) -> clips.Crop:
        """A random crop of a picture."""
        return clips.random_crop(
            height, width, self.area, self.ratio, rng.uniform, lambda count: int(rng.integers(count))
        )
