"""Crops about a person's centre by the rule of Simple Baselines and multi-view fusion, and their augmentation.

A crop has a centre in image pixels and a scale, the side of its square in units of 200 pixels. Pixels are at integers:
the crop's pixel (i, j) is the image at the point that the map takes to (i, j). A joint's crop units are its crop pixels
over (width, height). Only the width of a crop decides how much of the image it shows.

Xiao, Wu and Wei, "Simple Baselines for Human Pose Estimation and Tracking", ECCV'18; Qiu et al., "Cross View Fusion for
3D Human Pose Estimation", ICCV'19.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from jaxhar.core import geometry
from jaxhar.core.skeleton import Skeleton, mapping
from jaxhar.data import pipeline, transforms
from jaxhar.data.records import pictures

#: Pixels of a crop of scale 1.
UNIT = 200.0
#: Share of the training examples that are rotated.
_ROTATED = 0.6


@dataclass(frozen=True)
class Jitter(transforms.Augment):
    """Augmentation by normally distributed factors, in place of the lists `angles` and `scales`.

    Attributes:
      scale: the crop's scale is multiplied by 1 + `scale` z, limited to 1 +- `scale`.
      rotation: degrees; the angle is `rotation` z in 60 % of the examples, limited to twice `rotation`, else 0.
    """

    scale: float = 0.0
    rotation: float = 0.0

    def draw(self, rng: np.random.Generator) -> transforms.Draw:
        drawn = super().draw(rng)
        scale = float(np.clip(1 + self.scale * rng.standard_normal(), 1 - self.scale, 1 + self.scale))
        angle = float(np.clip(self.rotation * rng.standard_normal(), -2 * self.rotation, 2 * self.rotation))
        rotated = rng.uniform() < _ROTATED
        return dataclasses.replace(drawn, scale=scale, angle=angle if rotated else 0.0)


#: Augmentation of Simple Baselines on MPII.
SIMPLE_BASELINES = Jitter(hflip=(False, True), scale=0.25, rotation=30.0)


def crop_matrix(
    centre: Sequence[float] | np.ndarray,
    scale: float | Sequence[float] | np.ndarray,
    rotation: float,
    size: tuple[int, int],
) -> np.ndarray:
    """(2, 3) map of image pixels to crop pixels.

    Args:
      centre: (x, y) in image pixels, in the middle of the crop.
      scale: width of the crop in image pixels over 200; of several numbers the first counts.
      rotation: degrees by which the picture is turned, counter-clockwise as seen on the screen.
      size: (width, height) of the crop.
    """
    width, height = size
    factor = width / (UNIT * float(np.ravel(scale)[0]))
    x, y = (float(value) for value in centre)
    turned = geometry.rotation(rotation) @ geometry.translation(-x, -y)
    return (geometry.translation(width / 2, height / 2) @ geometry.scaling(factor, factor) @ turned)[:2]


def warp(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int], flip: bool = False) -> np.ndarray:
    """The crop (height, width, 3) of an image (H, W, 3), bilinear, black outside of it.

    Args:
      matrix: (2, 3), see `crop_matrix`. size: (width, height).
      flip: mirror by x -> width - x, which is the crop of the mirrored image.
    """
    width, height = size
    found = cv2.warpAffine(image, matrix, (width + flip, height), flags=cv2.INTER_LINEAR)
    return np.ascontiguousarray(found[:, :0:-1]) if flip else found


def prepared(center: np.ndarray, scale: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Centre and scale of a crop from those of MPII's common JSON form, by the rule of Simple Baselines.

    The centre moves down by 15 scales and from pixels that count from 1 to those from 0; the scale grows by a quarter.
    """
    center, scale = np.asarray(center, np.float64), np.asarray(scale, np.float64)
    return center + np.stack([np.zeros_like(scale), 15 * scale], -1) - 1, 1.25 * scale


def example(
    record: dict[str, Any],
    frames: list[int],
    draw: transforms.Draw,
    *,
    centers: np.ndarray,
    scales: np.ndarray | Sequence[float],
    size: int | tuple[int, int],
    layout: Skeleton,
    skeleton: Skeleton,
    norm: np.ndarray,
    first: int = 0,
    dims: int = 2,
    keep_outside: bool = False,
) -> pipeline.Example:
    """An example from frames of a record with an own crop for each frame.

    Args:
      frames: T indices into the record. draw: augmentation of all frames.
      centers: (T, 2) in image pixels from 0, scales: (T,), see `crop_matrix`.
      size: side of the crop, or (height, width).
      layout: joints of the record, skeleton: those of the example.
      norm: (T,) reference length in image pixels.
      first: the pixel from which the record's joints count, 0 or 1.
      keep_outside: whether joints outside of the crop are valid; `visible` says which are inside.

    Returns:
      `jaxhar.core.batch.Batch` entries without the batch axis.
    """
    height, width = (size, size) if isinstance(size, int) else size
    maps = [
        crop_matrix(center, scale * draw.scale, draw.angle, (width, height))
        for center, scale in zip(centers, np.asarray(scales).tolist(), strict=True)
    ]
    images = pictures.frames(record, frames)
    crops = [warp(image, to_crop, (width, height), draw.flip) for image, to_crop in zip(images, maps, strict=True)]
    mirrored = geometry.translation(width, 0) @ geometry.scaling(-1, 1) if draw.flip else np.eye(3)
    to_units = geometry.scaling(1 / width, 1 / height) @ mirrored
    affine = np.stack(
        [to_units @ np.vstack([to_crop, [0, 0, 1]]) @ geometry.translation(-first, -first) for to_crop in maps]
    )
    index = mapping(layout, skeleton)
    known = index >= 0
    labelled = record["labelled"][frames][:, index] & known
    pose = geometry.apply(affine, record["points"][frames][:, index].astype(np.float64))
    hidden = record["hidden"][frames][:, index] & known if "hidden" in record else None
    if draw.flip:
        pose, labelled = pose[:, skeleton.flip], labelled[:, skeleton.flip]
        hidden = None if hidden is None else hidden[:, skeleton.flip]
    inside = labelled & ((pose >= 0) & (pose < 1)).all(-1)
    valid = np.repeat((labelled if keep_outside else inside)[..., None], 2, -1)
    found: pipeline.Example = {
        "frames": np.stack(crops),
        "power": np.tile(np.asarray(draw.power, np.float32), (len(frames), 1)),
        "mask": np.bool_(True),
        "affine": affine.astype(np.float32),
        "sequence": np.int32(record["index"]),
        "flipped": np.bool_(draw.flip),
        "norm": norm.astype(np.float32),
        "pose": np.where(valid, pose, 0).astype(np.float32),
        "visible": inside.astype(np.float32),
        "valid": valid,
    }
    if dims > 2:
        found |= {name: np.pad(found[name], ((0, 0), (0, 0), (0, dims - 2))) for name in ("pose", "valid")}
    return found if hidden is None else {**found, "hidden": hidden}
