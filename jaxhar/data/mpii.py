"""MPII Human Pose in the common JSON form: one list of persons, the photos in images/ beside it.

Andriluka, Pishchulin, Gehler and Schiele, "2D Human Pose Estimation", CVPR 2014. An entry has: image, a file name;
joints, 16 pairs (x, y) in image pixels, and joints_vis, 16 times 0 or 1, in MPII's joint order; center, a rough
position of the person; scale, the person's height over 200 pixels. A joint that was not annotated is [-1, -1] with
joints_vis 0. All numbers are used as the file gives them.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxhar.data import pipeline, transforms
from jaxhar.errors import Problem
from jaxhar.skeleton import MPII, PA16, mapping

SKELETON = PA16
_TO_PA16 = mapping(MPII, PA16)
_HEAD, _NECK = PA16.index("head"), PA16.index("neck")
_SENTINEL = -1e6  # some files mark a missing joint with -1e9


@dataclass(frozen=True)
class Person:
    """One annotated person.

    Attributes:
      image: path of the photo.
      index: position in the annotation file.
      points: (16, 2) float32 image pixels in PA16 order, 0 where not labelled.
      labelled: (16,) bool.
      center: (2,) image pixels: the file's `center`, objpos in most copies of MPII.
      scale: height of the person over 200 pixels.
    """

    image: Path
    index: int
    points: np.ndarray
    labelled: np.ndarray
    center: np.ndarray
    scale: float


def read(root: str | Path) -> list[Person]:
    """All persons, in the order of the file.

    Args:
      root: a folder with one .json file and images/, or the .json file itself.

    Raises:
      Problem: not such a folder; or an entry, named by file and index, that lacks a field, has another number of
        joints, values that are no numbers, a scale that is not positive, or a photo that does not exist.
    """
    path = _annotations(Path(root).expanduser())
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Problem(f"the annotation file {path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise Problem(f"the annotation file {path} is not JSON ({error}); restore it") from error
    if not isinstance(entries, list) or not entries:
        raise Problem(f"the annotation file {path} holds no list of persons; expected MPII in the common JSON form")
    return [_person(entry, i, path) for i, entry in enumerate(entries)]


def _annotations(root: Path) -> Path:
    expected = "expected a folder with one .json annotation file and images/ beside it"
    if not root.exists():
        raise Problem(f"{root} does not exist; {expected}")
    if root.is_file():
        path = root
    else:
        found = sorted(root.glob("*.json"))
        if not found:
            entries = sorted(e.name for e in root.iterdir())
            raise Problem(f"{root} holds no .json file; {expected}, found {', '.join(entries[:5]) or 'nothing in it'}")
        if len(found) > 1:
            raise Problem(f"{root} holds {len(found)} .json files; give the path of the one to read, e.g. {found[0]}")
        path = found[0]
    if not (path.parent / "images").is_dir():
        raise Problem(f"the folder {path.parent / 'images'} does not exist; {expected}")
    return path


def _person(entry: Any, index: int, path: Path) -> Person:
    where = f"person {index} of {path}"
    if not isinstance(entry, dict):
        raise Problem(f"{where} is not an object with image, joints, joints_vis, center and scale")
    joints = _numbers(entry, "joints", (len(MPII), 2), where)
    shown = _numbers(entry, "joints_vis", (len(MPII),), where) > 0
    center = _numbers(entry, "center", (2,), where)
    scale = float(_numbers(entry, "scale", (), where))
    if not np.isfinite(center).all() or not 0 < scale < np.inf:
        raise Problem(f"{where} has center {center.tolist()} and scale {scale:g}; the scale must be positive")
    absent = (joints == -1).all(-1) | (joints < _SENTINEL).any(-1)
    labelled = shown & ~absent
    if not np.isfinite(joints[labelled]).all():
        raise Problem(f"{where} has a joint at NaN or infinity that joints_vis calls annotated; repair the file")
    name = entry.get("image")
    if not isinstance(name, str) or not name:
        raise Problem(f"{where} has no file name in 'image'")
    image = path.parent / "images" / name
    if not image.is_file():
        raise Problem(f"the photo {image} of {where} does not exist")
    points = np.where(labelled[:, None], joints, 0)[_TO_PA16].astype(np.float32)
    return Person(image, index, points, labelled[_TO_PA16], center, scale)


def _numbers(entry: dict, name: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    if name not in entry:
        hint = "; test entries carry no annotation" if name == "joints" else ""
        raise Problem(f"{where} has no {name!r}{hint}")
    try:
        values = np.array(entry[name], np.float64)
    except (ValueError, TypeError) as error:
        raise Problem(f"{name!r} of {where} is not made of numbers, or its rows differ in length") from error
    if values.shape != shape:
        raise Problem(f"{name!r} of {where} has shape {values.shape}, expected {shape}")
    return values


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


def head_size(person: Person) -> float:
    """Reference length of PCKh in image pixels; 0 where head top or upper neck is not labelled.

    The official one is 0.6 times the diagonal of the head box, which the common JSON lacks. But MPII put those two
    joints 0.8 diagonals apart, at the middle of the box, so it is 0.75 times their distance.
    """
    if not (person.labelled[_HEAD] and person.labelled[_NECK]):
        return 0.0
    return 0.75 * float(np.linalg.norm(person.points[_HEAD] - person.points[_NECK]))


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
        "norm": np.array([head_size(person)], np.float32),
        "sequence": np.int32(person.index),
        "flipped": np.bool_(draw.flip),
    }
