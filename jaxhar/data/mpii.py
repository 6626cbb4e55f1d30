"""MPII Human Pose: from the persons of a folder (`mpii_folder`) to examples."""

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from jaxhar.data import pipeline, transforms
from jaxhar.data.mpii_folder import Person, read
from jaxhar.errors import Problem
from jaxhar.skeleton import PA16

__all__ = ["Person", "read"]
SKELETON = PA16


def read_photo(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB as stored, without turning by an EXIF tag (labels are in stored pixels).

    Raises:
      Problem: the file is missing, no image, or cut off.
    """
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        why = getattr(error, "strerror", None) or ("no image" if "identify" in str(error) else str(error))
        raise Problem(f"the photo {path} cannot be read ({why}); restore it") from error


def box(person: Person, draw: transforms.Draw | None = None) -> transforms.Box:
    """(4,) square around a person by the authors' rule: side 250 * `person.scale`, times the draw's scale.

    With s = 1.25 * person.scale its centre is `person.center`, moved down by 12 s because objpos lies above the middle
    of the body, and moved by s times the draw's shift.
    """
    draw = draw or transforms.Draw()
    s = 1.25 * person.scale
    centre = person.center + s * (np.array([0.0, 12.0]) + draw.trans)
    half = 200.0 * draw.scale * s / 2
    return np.concatenate([centre - half, centre + half])


def to_example(
    person: Person, draw: transforms.Draw | None = None, size: int = 256, keep_outside: bool = False
) -> pipeline.Example:
    """One person as an example in PA16 of one frame.

    Args:
      draw: augmentation; None for the evaluation values.
      size: side of the crop.
      keep_outside: see `transforms.crop_pose`.

    Returns:
      `jaxhar.batch.Batch` entries without the batch axis, T = 1; `sequence` is `person.index`. Photos have no
      `action`.
    """
    draw = draw or transforms.Draw()
    image = read_photo(person.image)
    # The box has the draw's shift already, in units of the person's size.
    still = dataclasses.replace(draw, trans=(0.0, 0.0))
    crop = transforms.plan_crop(box(person, draw), (image.shape[1], image.shape[0]), size, still)
    pose, visible, valid = transforms.crop_pose(
        crop, person.points[None], person.labelled[None], PA16.flip, keep_outside
    )
    return {
        "frames": transforms.crop_frames([image], crop, draw.power),
        "pose": pose,
        "visible": visible,
        "valid": valid,
        "mask": np.bool_(True),
        "affine": crop.affine.astype(np.float32),
        "norm": np.array([person.head], np.float32),
        "sequence": np.int32(person.index),
        "flipped": np.bool_(draw.flip),
    }
