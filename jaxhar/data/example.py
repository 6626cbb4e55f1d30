"""Makes an example from frames of a record: pictures cropped to a box, joints in units of the crop, labels."""

from dataclasses import replace
from typing import Any

import numpy as np

from jaxhar.core.skeleton import Skeleton, mapping
from jaxhar.data import pipeline, transforms
from jaxhar.data.records import pictures


def cropped_example(
    record: dict[str, Any],
    frames: list[int],
    draw: transforms.Draw,
    *,
    box: transforms.Box,
    size: int | tuple[int, int],
    person: transforms.Box | None = None,
    norm: np.ndarray | None = None,
    layout: Skeleton | None = None,
    skeleton: Skeleton | None = None,
    dims: int = 2,
    depth: transforms.Depth | None = None,
    keep_outside: bool = False,
) -> pipeline.Example:
    """Make an example from some frames of a record, cropped to a box.

    Args:
      frames: T indices into the record. draw: augmentation of all frames.
      box: in pixels of the frames, see `transforms.plan_crop`. size: side of the crop, or (height, width).
      person: the person's own box, around which `draw.around` counts; None where it is not known.
      norm: (T,) reference length in pixels, 0 if unknown; None without joints.
      layout: joints of the record.
      skeleton, dims: joints and coordinates of the example; those that the record lacks are not valid. `skeleton` is
        None for examples without joints.
      depth: origin and scale of depths; needed for a record with depths if dims is 3.
      keep_outside: see `transforms.crop_pose`.

    Returns:
      `jaxhar.core.batch.Batch` entries without the batch axis.
    """
    image_size = (int(record["size"][0]), int(record["size"][1]))
    crop = transforms.plan_crop(box, image_size, size, draw)
    if person is not None:
        crop = replace(crop, window=transforms.seen_window(person, draw.around, image_size))
    length, reduction = len(frames), crop.reduction if pictures.reducible(record) else 1
    cropped = np.empty((length, *crop.size, 3), np.uint8)
    transforms.crop_images(pictures.frames(record, frames, reduction), crop, cropped, draw.occluder, reduction)
    example: pipeline.Example = {
        "frames": cropped,
        "power": np.tile(np.asarray(draw.power, np.float32), (length, 1)),
        "mask": np.bool_(True),
        "affine": np.tile(crop.affine.astype(np.float32), (length, 1, 1)),
        "sequence": np.int32(record["index"]),
        "flipped": np.bool_(draw.flip),
    }
    if norm is not None:
        example["norm"] = norm.astype(np.float32)
    if layout is not None and skeleton is not None:
        example |= labels_of(record, frames, crop, layout, skeleton, dims, depth, keep_outside)
    if "camera" in record:
        example["camera"] = np.tile(record["camera"].astype(np.float32), (length, 1))
    if record["action"] >= 0:
        example["action"] = np.int32(record["action"])
    return example


def labels_of(
    record: dict[str, Any],
    frames: list[int],
    crop: transforms.Crop,
    layout: Skeleton,
    skeleton: Skeleton,
    dims: int,
    depth: transforms.Depth | None,
    keep_outside: bool,
) -> pipeline.Example:
    """The labels of an example in units of a crop: pose, visible, valid, and depth and depth_range if there are depths.

    Arguments as of `cropped_example`.
    """
    points, labelled = record["points"][frames], record["labelled"][frames]
    index = mapping(layout, skeleton)
    deep = dims == 3 and points.shape[-1] == 3
    pose, visible, valid = transforms.crop_pose(
        crop,
        np.where((index >= 0)[:, None], points[:, index], 0),
        labelled[:, index] & (index >= 0),
        skeleton.flip,
        keep_outside,
        depth if deep else None,
    )
    if pose.shape[-1] < dims:
        pose, valid = (np.pad(a, ((0, 0), (0, 0), (0, dims - a.shape[-1]))) for a in (pose, valid))
    found: pipeline.Example = {"pose": pose, "visible": visible, "valid": valid}
    if deep and depth is not None:
        found |= {"depth": depth.root.astype(np.float32), "depth_range": np.float32(depth.range)}
    return found


def mirrored_crops(shifts: tuple[tuple[float, float], ...]) -> tuple[transforms.Draw, ...]:
    """Evaluation crops with these shifts (`Draw.trans`), each followed by its mirror image."""
    return tuple(transforms.Draw(trans=shift, flip=flip) for shift in shifts for flip in (False, True))


def torso(points: np.ndarray, labelled: np.ndarray, layout: Skeleton) -> np.ndarray:
    """(T,) distance from left shoulder to right hip in pixels, 0 where one is not labelled; points (T, J, 2 or 3)."""
    shoulder, hip = layout.index("l_shoulder"), layout.index("r_hip")
    length = np.linalg.norm(points[:, shoulder, :2] - points[:, hip, :2], axis=-1)
    return np.where(labelled[:, shoulder] & labelled[:, hip], length, 0)
