"""Pictures with the boxes of all persons, real or generated: settings and examples for a person detector."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jaxhar.core import geometry
from jaxhar.core.skeleton import Skeleton
from jaxhar.data import pipeline, transforms
from jaxhar.data.dataset import DataSet
from jaxhar.data.formats import coco_json
from jaxhar.data.generate import coco_scenes
from jaxhar.data.generate.film import Synth
from jaxhar.data.people import folder as people_folder
from jaxhar.data.records import pictures
from jaxhar.data.records.record import Folder

#: Share of a person's box that must lie within a crop for the person to be found; below it the box is ignored.
_WITHIN = 0.3
#: Smallest side, in pixels of the crop, of a person to be found.
_LEAST = 3.0


@dataclass(frozen=True)
class Zoom(transforms.Augment):
    """Augmentation by continuous zoom and shift of the window, in place of the lists `scales`, `trans_x` and `trans_y`.

    Attributes:
      zoom: smallest and largest side of the window over the picture's longer side; uniform in its logarithm.
      shift: largest shift of the window in each axis, as a share of the picture's longer side.
      erase: largest side of a rectangle of one colour in half of the examples, as a share of the crop; 0 for none.
    """

    zoom: tuple[float, float] = (1.0, 1.0)
    shift: float = 0.0
    erase: float = 0.0

    def draw(self, rng: np.random.Generator) -> transforms.Draw:
        drawn = super().draw(rng)
        scale = float(np.exp(rng.uniform(*np.log(self.zoom))))
        shift = rng.uniform(-self.shift, self.shift, 2).tolist()
        red, green, blue = drawn.power
        power = red, green * red, blue * red
        occluder = None
        if self.erase and rng.uniform() < 0.5:
            x, y, width, height = rng.uniform(size=4).tolist()
            occluder = x, y, int(1000 * self.erase * width), int(1000 * self.erase * height)
        return dataclasses.replace(drawn, scale=scale, trans=(shift[0], shift[1]), power=power, occluder=occluder)


#: For training: windows of half of the picture to more than all of it, mirrored, other colours, something in front.
AUGMENT = Zoom(
    hflip=(False, True),
    angles=(0.0, 0.0, 0.0, 0.0, -6.0, 6.0),
    channel_power=(0.75, 0.9, 1.0, 1.0, 1.1, 1.3),
    zoom=(0.6, 1.1),
    shift=0.15,
    erase=0.2,
)


@dataclass(frozen=True)
class People(DataSet):
    """The pictures of an experiment; its settings are those of `DataSet`.

    An example is the whole picture, fitted into the network's size, black beside it. In training the window is larger
    or smaller and moved, see `Zoom`. Boxes are cut at the edges of the crop; a person of whom less than 30 % of the
    box, or only a few pixels, are left is ignored: neither learned nor scored.
    """

    skeleton: Skeleton | None = None
    augment: transforms.Augment = AUGMENT
    augment_stills: transforms.Augment = AUGMENT
    clip_frames: int | tuple[int, ...] = 1
    clips_per_batch: int = 0
    stills_per_batch: int = 16

    title: ClassVar[str] = "People"
    home: ClassVar[str] = "People"
    splits: ClassVar[tuple[str, ...]] = coco_json.SPLITS
    eval_split: ClassVar[str] = "val"
    stacks: ClassVar[bool] = True

    def open(self, root: Path) -> Folder:
        return people_folder.folder(root)

    def generate(self, out: Path, synth: Synth) -> None:
        coco_scenes.write(out, synth)

    def example(
        self, record: dict[str, Any], frames: list[int], draw: transforms.Draw, keep_outside: bool = False
    ) -> pipeline.Example:
        size = int(record["size"][0]), int(record["size"][1])
        shift = draw.trans[0] * max(size), draw.trans[1] * max(size)
        # plan_crop multiplies the shift by the scale
        placed = dataclasses.replace(draw, scale=1.0, trans=shift)
        crop = transforms.plan_crop(
            transforms.fit_aspect(transforms.centred_bbox(size, draw.scale), _pair(self.image_size)),
            size,
            self.image_size,
            placed,
        )
        images = np.empty((len(frames), *crop.size, 3), np.uint8)
        reduction = crop.reduction if pictures.reducible(record) else 1
        transforms.crop_images(pictures.frames(record, frames, reduction), crop, images, reduction=reduction)
        if draw.occluder is not None:
            _erase(images, draw.occluder)
        boxes, boxed, ignored = cropped_boxes(crop, *(record[key][frames] for key in ("boxes", "boxed", "ignored")))
        return {
            "frames": images,
            "power": np.tile(np.asarray(draw.power, np.float32), (len(frames), 1)),
            "mask": np.bool_(True),
            "affine": np.tile(crop.affine.astype(np.float32), (len(frames), 1, 1)),
            "sequence": np.int32(record["index"]),
            "flipped": np.bool_(draw.flip),
            "boxes": boxes,
            "boxed": boxed,
            "ignored": ignored,
        }


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _erase(images: np.ndarray, rectangle: tuple[float, float, int, int]) -> None:
    """Paint a rectangle in the mean colour of the images (T, H, W, 3): x, y in crop units, sides in thousandths."""
    rows, columns = images.shape[1:3]
    x, y, width, height = rectangle
    left, top = int((x - width / 2000) * columns), int((y - height / 2000) * rows)
    window = images[:, max(top, 0) : top + height * rows // 1000, max(left, 0) : left + width * columns // 1000]
    window[...] = images.mean((0, 1, 2)).astype(np.uint8)


def cropped_boxes(
    crop: transforms.Crop, boxes: np.ndarray, boxed: np.ndarray, ignored: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes in units of a crop, cut at its edges.

    Args:
      boxes: (T, M, 4) image pixels. boxed, ignored: (T, M) bool.

    Returns:
      boxes (T, M, 4) float32, boxed and ignored (T, M) bool. A turned box becomes the upright box around it, shrunk a
      little since persons are no rectangles.
    """
    x1, y1, x2, y2 = np.moveaxis(boxes.astype(np.float64), -1, 0)
    if crop.turned:  # middles of the sides, between the corners of the box and those of an ellipse in it
        xm, ym = (x1 + x2) / 2, (y1 + y2) / 2
        corners = np.stack(
            [np.stack([xm, y1], -1), np.stack([xm, y2], -1), np.stack([x1, ym], -1), np.stack([x2, ym], -1)], -2
        )
    else:
        corners = np.stack([np.stack([x1, y1], -1), np.stack([x2, y2], -1)], -2)
    points = geometry.apply(crop.affine, corners)  # (T, M, 2 or 4, 2)
    low, high = points.min(-2), points.max(-2)
    cut_low, cut_high = np.clip(low, 0, 1), np.clip(high, 0, 1)
    whole, left = np.maximum(high - low, 1e-9), cut_high - cut_low
    there = boxed | ignored
    pixels = left * np.array(crop.size[::-1])
    clear = (left.prod(-1) >= _WITHIN * whole.prod(-1)) & (pixels.min(-1) >= _LEAST)
    some = there & (left.min(-1) > 0)
    found = np.where(some[..., None], np.concatenate([cut_low, cut_high], -1), 0)
    return found.astype(np.float32), boxed & clear & some, some & (ignored | ~clear)
