"""From the joints of an annotation to those of a heat-map volume, by the rules of pyskl and mmaction2.

Points are (M, T, J, 2) as (x, y) in pixels of an image of `shape` (height, width); 0 stands for a missing coordinate.
"""

from dataclasses import dataclass, replace

import numpy as np

from jaxhar.data.uniform import Style

#: The box of a person is enlarged by this factor; a smaller side than this many pixels is left alone.
_PADDING, _LEAST = 1.25, 10
#: Shorter side of the image before a crop, in pixels.
SHORT_SIDE = 64
#: Of random crops: share of the area, ratio of the sides, number of candidates.
_AREA, _RATIO, _TRIES = (0.56, 1.0), (3 / 4, 4 / 3), 10


@dataclass(frozen=True)
class Joints:
    """Joints in an image.

    Attributes:
      points: (M, T, J, 2). score: (M, T, J). shape: (height, width) of the image.
    """

    points: np.ndarray
    score: np.ndarray
    shape: tuple[int, int]


def chosen(points: np.ndarray, score: np.ndarray, shape: tuple[int, int], frames: np.ndarray) -> Joints:
    """The joints of some frames as float32; those that are not finite are missing."""
    points = points[:, frames].astype(np.float32)
    return Joints(np.where(np.isfinite(points), points, 0), score[:, frames].astype(np.float32), shape)


def person_box(joints: Joints) -> tuple[int, int, int, int] | None:
    """A square (left, top, right, bottom) about all joints, perhaps beyond the image; None if they are close."""
    known = [joints.points[..., axis][joints.points[..., axis] != 0] for axis in (0, 1)]
    if not all(one.size for one in known):
        return None
    (low_x, high_x), (low_y, high_y) = ((one.min(), one.max()) for one in known)
    if high_x - low_x < _LEAST or high_y - low_y < _LEAST:
        return None
    x, y = (low_x + high_x) / 2, (low_y + high_y) / 2
    half_width, half_height = (high_x - low_x) / 2 * _PADDING, (high_y - low_y) / 2 * _PADDING
    half_height = max(half_width, half_height)
    half_width = max(half_height, half_width)
    return int(x - half_width), int(y - half_height), int(x + half_width), int(y + half_height)


def compact(joints: Joints) -> Joints:
    """The image cut to `person_box`, where there is one."""
    box = person_box(joints)
    if box is None:
        return joints
    left, top, right, bottom = box
    corner = np.array([left, top], joints.points.dtype)
    points = np.where(joints.points != 0, joints.points - corner, 0)
    return replace(joints, points=points, shape=(bottom - top, right - left))


def resized(joints: Joints, height: int, width: int) -> Joints:
    """The image scaled to a size."""
    factor = np.array([width / joints.shape[1], height / joints.shape[0]], np.float32)
    return replace(joints, points=joints.points * factor, shape=(height, width))


def short_side(joints: Joints, side: int = SHORT_SIDE) -> Joints:
    """The image scaled so that its shorter side has `side` pixels."""
    factor = side / min(joints.shape)
    height, width = (int(one * factor + 0.5) for one in joints.shape)
    return resized(joints, height, width)


def cropped(joints: Joints, box: tuple[int, int, int, int]) -> Joints:
    """A box (left, top, right, bottom) of the image. Missing joints are moved, too: only their scores tell them."""
    left, top, right, bottom = box
    points = joints.points - np.array([left, top], np.float64)
    return replace(joints, points=points, shape=(bottom - top, right - left))


def centred(joints: Joints, height: int, width: int) -> Joints:
    """The middle of the image."""
    left, top = (joints.shape[1] - width) // 2, (joints.shape[0] - height) // 2
    return cropped(joints, (left, top, left + width, top + height))


def mirrored(joints: Joints, partners: np.ndarray) -> Joints:
    """The mirror image; `partners`: for every joint that of the other side."""
    points = joints.points.copy()
    points[..., 0] = np.where(points[..., 0] != 0, joints.shape[1] - points[..., 0], 0)
    return replace(joints, points=points[..., partners, :], score=joints.score[..., partners])


def random_box(shape: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A random box (left, top, right, bottom) of an image of `shape`: the first of ten candidates that fits."""
    height, width = shape
    ratios = np.exp(rng.uniform(np.log(_RATIO[0]), np.log(_RATIO[1]), _TRIES))
    areas = rng.uniform(_AREA[0], _AREA[1], _TRIES) * height * width
    for w, h in zip(np.sqrt(areas * ratios).round(), np.sqrt(areas / ratios).round(), strict=True):
        if w <= width and h <= height:
            left, top = int(rng.integers(width - int(w) + 1)), int(rng.integers(height - int(h) + 1))
            return left, top, left + int(w), top + int(h)
    side = min(shape)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def for_training(
    joints: Joints, box: tuple[int, int, int, int], size: tuple[int, int], flip: bool, partners: np.ndarray
) -> Joints:
    """Cropped to `box`, scaled to `size`, perhaps mirrored; `joints` are compacted and have a short side of 64."""
    found = resized(cropped(joints, box), *size)
    return mirrored(found, partners) if flip else found


def for_evaluation(joints: Joints, size: tuple[int, int], style: Style = Style.MMACTION2) -> Joints:
    """Compacted and scaled to `size`: by pyskl each axis by itself; by mmaction2 the shorter side, then the middle."""
    joints = compact(joints)
    if Style(style) is Style.PYSKL:
        return resized(joints, *size)
    return centred(short_side(joints, min(size)), *size)
