"""Boxes, crops, augmentation and clip sampling by the rules of deephar's networks.

All frames of a clip have the same random augmentation. A crop is a window (centre, width, height) of the image, rotated
about its centre, resized to a square and perhaps mirrored. For points, this is one affine map from image pixels to crop
units (0 is the crop's left or top edge, 1 its right or bottom edge).
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from jaxhar.core import geometry

#: A box is x1, y1, x2, y2 in image pixels.
Box = np.ndarray


@dataclass(frozen=True)
class Draw:
    """The values of one augmentation; the defaults are those of evaluation."""

    angle: float = 0.0  # degrees, counter-clockwise on the screen
    scale: float = 1.0  # of the box
    trans: tuple[float, float] = (0.0, 0.0)  # image pixels, times scale
    flip: bool = False
    power: tuple[float, float, float] = (1.0, 1.0, 1.0)  # of R, G, B in [0, 1]
    subsampling: int = 1  # frames between two frames of a clip
    #: Centre x, y in crop units; width, height in pixels of the crop.
    occluder: tuple[float, float, int, int] | None = None
    around: float | None = None  # what is seen around the person's box, as a share of its longer side; None: all


@dataclass(frozen=True)
class Augment:
    """Settings of augmentation: lists of values that are drawn uniformly and independently.

    Attributes:
      angles: degrees. scales: factors of the box. trans_x, trans_y: shifts of the box in image pixels.
      hflip: whether mirrored. channel_power: exponents, drawn for each colour channel.
      subsampling: steps between the frames of a training clip.
      fixed_subsampling: the step of evaluation clips. fixed_scale: the factor of their boxes.
      occluder: sides, in pixels of the crop, of a black rectangle anywhere in it; empty for none.
    """

    angles: tuple[float, ...] = (0.0,)
    scales: tuple[float, ...] = (1.0,)
    trans_x: tuple[float, ...] = (0.0,)
    trans_y: tuple[float, ...] = (0.0,)
    hflip: tuple[bool, ...] = (False,)
    channel_power: tuple[float, ...] = (1.0,)
    subsampling: tuple[int, ...] = (1,)
    fixed_subsampling: int = 1
    fixed_scale: float = 1.0
    occluder: tuple[int, ...] = ()

    def draw(self, rng: np.random.Generator) -> Draw:
        """Draw random values for training."""

        def pick(values: tuple) -> float:
            return values[int(rng.integers(len(values)))]

        return Draw(
            angle=pick(self.angles),
            scale=pick(self.scales),
            trans=(pick(self.trans_x), pick(self.trans_y)),
            flip=bool(pick(self.hflip)),
            power=(pick(self.channel_power), pick(self.channel_power), pick(self.channel_power)),
            subsampling=int(pick(self.subsampling)),
            occluder=(rng.uniform(), rng.uniform(), int(pick(self.occluder)), int(pick(self.occluder)))
            if self.occluder
            else None,
        )

    def fixed(self, flip: bool = False) -> Draw:
        """The values for evaluation."""
        return Draw(scale=self.fixed_scale, flip=flip, subsampling=self.fixed_subsampling)


NONE = Augment()

MIN_SIDE = 32  # smallest side of a window, in pixels
_LARGEST = 10_000  # largest side in pixels of a crop before resizing; larger ones result from wrong labels


def valid_bbox(points: np.ndarray, rel: float = 1.5) -> Box:
    """(4,) square box around points (N, 2), N > 0: `rel` times their larger extent, around their middle."""
    low, high = points.min(axis=0), points.max(axis=0)
    centre, half = (low + high) / 2, rel * (high - low).max() / 2
    return np.concatenate([centre - half, centre + half])


def gt_bbox(points: np.ndarray, labelled: np.ndarray, size: tuple[int, int], scale: float = 1.0) -> Box:
    """(4,) box of a clip from its labels: the union of the boxes of its first, middle and last frame.

    Args:
      points: (T, J, 2) image pixels. labelled: (T, J) bool. size: (width, height) of the image.
      scale: of each frame's box, around that box's centre.

    The union need not be square. The box of a frame without labelled joints is the whole image.
    """
    n = len(points)
    boxes = []
    for t in {0, int(n / 2 + 0.5), n - 1} if n > 1 else {0}:
        usable = points[t][labelled[t]]
        boxes.append(valid_bbox(usable, 1.5 * scale) if len(usable) else np.array([0.0, 0.0, *size]))
    stacked = np.stack(boxes)
    return np.concatenate([stacked[:, :2].min(axis=0), stacked[:, 2:].max(axis=0)])


def root_bbox(root: np.ndarray, size: tuple[int, int], focal: np.ndarray, scale: float = 1.0) -> Box:
    """(4,) square box around a person whose root is known in 3-D, by deephar's rule for Human3.6M.

    Args:
      root: (3,) image pixels and depth in mm. size: (width, height) of the image. focal: (2,) in pixels.
      scale: of the side, which is 2.25 * max(width fx, height fy) / depth.

    Deephar also adds `scale` to the centre's y. Width and height in the formula stand for one metre, because the photos
    are 1000 pixels wide; for smaller copies of the photos the same formula is used.
    """
    metre = np.array(size) * max(1.0, 1000 / min(size))
    side = 2.25 * scale * float(np.max(metre * focal)) / root[2]
    centre = np.array([root[0], root[1] + scale])
    return np.concatenate([centre - side / 2, centre + side / 2])


def centred_bbox(size: tuple[int, int], scale: float = 1.0) -> Box:
    """(4,) square of side scale * max(width, height) around the image's centre, for images without a known box."""
    centre, half = np.array(size) / 2.0, scale * max(size) / 2.0
    return np.concatenate([centre - half, centre + half])


def fit_aspect(box: Box, size: tuple[int, int]) -> Box:
    """A box enlarged about its centre to the aspect ratio of a crop (height, width); unchanged for a square crop."""
    height, width = size
    if height == width:
        return box
    centre, window = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    half = np.maximum(window, window[::-1] * np.array([width / height, height / width])) / 2
    return np.concatenate([centre - half, centre + half])


def crop_person(
    image: np.ndarray, box: Sequence[float] | None = None, size: int | tuple[int, int] = 256
) -> tuple[np.ndarray, np.ndarray]:
    """The crop of a person that networks read, as `jaxhar predict` and evaluation cut it; also `jaxhar.crop`.

    Args:
      image: (H, W, 3) uint8 RGB.
      box: x1, y1, x2, y2 of the person in pixels, with some margin; the crop is the square around it, or the smallest
        box of the shape of the crop. None takes the whole image. What lies outside of the image is black.
      size: side of the crop in pixels, or (height, width); 256 for ReceptionNet and SPNet.

    Returns:
      the crop (height, width, 3) uint8, and affine (3, 3): image pixels -> units of the crop, in which networks
      predict; `jaxhar.to_image(affine, pose)` is the way back to pixels.

    Raises:
      ValueError: the image is not (H, W, 3) uint8, or the box is not a box.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(f"the image must be (H, W, 3) uint8, not {image.shape} {image.dtype}")
    size = (size, size) if isinstance(size, int) else size
    shape = image.shape[1::-1]
    if box is None:
        corners = centred_bbox(shape)
    else:
        corners = np.asarray(box, float)
        if corners.shape != (4,) or not np.isfinite(corners).all() or (corners[2:] <= corners[:2]).any():
            raise ValueError(f"the box must be x1, y1, x2, y2 with x1 < x2 and y1 < y2, not {box}")
        corners = valid_bbox(corners.reshape(2, 2), rel=1)
    plan = plan_crop(fit_aspect(corners, size), shape, size)
    return crop_image(image, plan), plan.affine


@dataclass(frozen=True)
class Crop:
    """The geometry of a crop.

    Attributes:
      cut: (3, 3) image pixels -> pixels of the crop before it is resized.
      cut_size: (width, height) of the crop before it is resized.
      turned: whether `cut` rotates.
      size: (height, width) of the finished crop.
      flip: whether the finished crop is mirrored.
      affine: (3, 3) image pixels -> crop units, mirroring included.
      window: what `seen_window` gives, the part of the image that is seen; the rest is black. None: all of it.
    """

    cut: np.ndarray
    cut_size: tuple[int, int]
    turned: bool
    size: tuple[int, int]
    flip: bool
    affine: np.ndarray
    window: Box | None = None

    @property
    def reduction(self) -> int:
        """Factor 1, 2, 4 or 8 by which the image may be shrunk before a rotated crop without loss of resolution."""
        (width, height), (rows, columns) = self.cut_size, self.size
        scale = min(width / columns, height / rows)
        return max(factor for factor in (1, 2, 4, 8) if factor == 1 or self.turned and factor <= scale)


def plan_crop(box: Box, image_size: tuple[int, int], size: int | tuple[int, int], draw: Draw | None = None) -> Crop:
    """Compute the crop for a box in an image of `image_size` (width, height); `size` is its side, or (height, width).

    The draw's scale only multiplies its shift; the caller has scaled the box already. A box with a side under 32 pixels
    becomes 32x32. Corners are truncated toward zero to whole pixels, so the crop may differ from the box by a pixel.
    """
    draw = draw or Draw()
    box = np.asarray(box, np.float64)
    centre, window = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    if window.min() < MIN_SIDE:
        window = np.array([MIN_SIDE, MIN_SIDE], np.float64)
    centre = centre + draw.scale * np.asarray(draw.trans, np.float64)
    cut = np.eye(3)
    if draw.angle:
        cut = geometry.translation(*centre) @ geometry.rotation(draw.angle) @ geometry.translation(*-centre)
        w, h = image_size
        corners = geometry.apply(cut, np.array([[0, 0], [w, 0], [0, h], [w, h]], np.float64))
        # The origin of the rotated, expanded image; the truncation below is relative to it.
        cut = geometry.translation(*-corners.min(axis=0)) @ cut
    middle = geometry.apply(cut, centre[None])[0]
    x1, y1 = np.trunc(middle - window / 2).astype(int).tolist()
    x2, y2 = np.trunc(middle + window / 2).astype(int).tolist()
    cut = geometry.translation(-x1, -y1) @ cut
    affine = geometry.scaling(1 / (x2 - x1), 1 / (y2 - y1)) @ cut
    if draw.flip:
        affine = geometry.translation(1, 0) @ geometry.scaling(-1, 1) @ affine
    size = (size, size) if isinstance(size, int) else size
    return Crop(cut, (x2 - x1, y2 - y1), bool(draw.angle), size, draw.flip, affine)


def seen_window(box: Box, around: float | None, image_size: tuple[int, int]) -> Box | None:
    """The part of an image of `image_size` (width, height) that is seen around a person's box, see `Draw.around`.

    Returns:
      (4,) whole pixels, at least one of the image; None for all of it.
    """
    if around is None:
        return None
    far, size = around * (box[2:] - box[:2]).max(), np.array(image_size)
    low = np.clip(np.round(box[:2] - far), 0, size - 1)
    return np.concatenate([low, np.clip(np.round(box[2:] + far), low + 1, size)])


def crop_image(image: np.ndarray, crop: Crop, reduction: int = 1) -> np.ndarray:
    """Crop one image to (height, width, 3), see `crop_images`."""
    out = np.empty((1, *crop.size, 3), np.uint8)
    crop_images([image], crop, out, reduction=reduction)
    return out[0]


def crop_images(
    images: Iterable[np.ndarray],
    crop: Crop,
    out: np.ndarray,
    occluder: tuple[float, float, int, int] | None = None,
    reduction: int = 1,
) -> None:
    """Crop T RGB images (H, W, 3) into `out` (T, height, width, 3), all uint8.

    Pixels outside of an image and of the crop's window, and under an `occluder` (see `Draw`), are black. Images are
    read from an iterator one by one, so that a decoded image is still in the processor's cache when it is cropped.

    A crop without rotation, as in every evaluation, is resized with PIL's antialiased bilinear filter, as in deephar;
    for enlarging, OpenCV is used, which differs by at most one grey level and takes a seventh of the time. A rotated
    crop is rotated and resized by one bilinear map, in a fifth of the time of separate steps; on photos it differs from
    these by 0.6 to 1.5 grey levels on average. Its images may be smaller by `reduction`, see `Crop.reduction`.
    """
    part: tuple[slice, ...] = ()
    if crop.window is not None:
        x1, y1 = np.floor(crop.window[:2] / reduction).astype(int).tolist()
        x2, y2 = np.ceil(crop.window[2:] / reduction).astype(int).tolist()
        part = slice(y1, y2), slice(x1, x2)
        crop = dataclasses.replace(crop, cut=crop.cut @ geometry.translation(x1 * reduction, y1 * reduction))
    cut = _turned(crop, reduction) if crop.turned or max(crop.cut_size) > _LARGEST else _straight(crop)
    for image, target in zip(images, out, strict=True):
        found = cut(image[part])
        if crop.flip:
            cv2.flip(found, 1, dst=target)
        else:
            target[:] = found
    if occluder:
        x, y, width, height = occluder
        rows, columns = crop.size
        left, top = int(x * columns - width / 2), int(y * rows - height / 2)
        out[:, max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)] = 0


def _turned(crop: Crop, reduction: int) -> Callable[[np.ndarray], np.ndarray]:
    (w, h), (rows, columns) = crop.cut_size, crop.size
    shrink = geometry.scaling(columns / w, rows / h) @ crop.cut @ geometry.scaling(reduction, reduction)
    # Pixel centres are at integers in cv2, and at half integers in our affine maps.
    centres = (geometry.translation(-0.5, -0.5) @ shrink @ geometry.translation(0.5, 0.5))[:2]

    def cut(image: np.ndarray) -> np.ndarray:
        # OpenCV is twice as fast on four channels as on three.
        four = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)
        found = cv2.warpAffine(four, centres, (columns, rows), flags=cv2.INTER_LINEAR)
        return cv2.cvtColor(found, cv2.COLOR_RGBA2RGB)

    return cut


def _straight(crop: Crop) -> Callable[[np.ndarray], np.ndarray]:
    w, h = crop.cut_size
    x1, y1 = (-crop.cut[:2, 2]).round().astype(int).tolist()
    rows, columns = crop.size

    def cut(image: np.ndarray) -> np.ndarray:
        window = _slice(image, x1, y1, w, h)
        if w <= columns and h <= rows:
            return cv2.resize(window, (columns, rows))
        return np.asarray(Image.fromarray(window).resize((columns, rows), Image.Resampling.BILINEAR))

    return cut


def _slice(image: np.ndarray, x1: int, y1: int, w: int, h: int) -> np.ndarray:
    """image[y1:y1+h, x1:x1+w], contiguous, with black outside of the image."""
    rows, columns = image.shape[:2]
    top, left = max(y1, 0), max(x1, 0)
    bottom, right = min(y1 + h, rows), min(x1 + w, columns)
    inside = image[top:bottom, left:right]
    if inside.shape[:2] == (h, w):
        return np.ascontiguousarray(inside)
    out = np.zeros((h, w, *image.shape[2:]), np.uint8)
    if bottom > top and right > left:
        out[top - y1 : bottom - y1, left - x1 : right - x1] = inside
    return out


#: Millimetres between depth 0 and 1 for a crop of scale 1.
DEPTH_RANGE = 2000.0


@dataclass(frozen=True)
class Depth:
    """Origin and unit of the depths in a crop: the root's depth is 0.5, and `mm = root + range * (z - 0.5)`.

    Attributes:
      root: (T,) depth of the root joint from the camera in mm. range: mm from depth 0 to 1.
    """

    root: np.ndarray
    range: float = DEPTH_RANGE


def crop_pose(
    crop: Crop,
    points: np.ndarray,
    labelled: np.ndarray,
    partner: np.ndarray,
    keep_outside: bool = False,
    depth: Depth | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Convert labels to the crop: pose (T, J, D) float32 in crop units, visible (T, J) float32, valid (T, J, D) bool.

    D is 3 with `depth`, else 2.

    Args:
      points: (T, J, 2) image pixels, or (T, J, 3) with the depth from the camera in mm. labelled: (T, J) bool.
      partner: the skeleton's flip permutation.
      keep_outside: keep labelled joints outside of the crop valid, to score them. The default is deephar's rule: they
        are not valid. A joint is inside if 0 < x < 1 and 0 < y < 1. If only its depth is outside of 0 to 1, x and y are
        valid.
      depth: to convert the third coordinate.

    Coordinates that are not valid are 0.
    """
    pose = geometry.apply(crop.affine, points[..., :2])
    if crop.flip:
        pose, labelled = pose[:, partner], labelled[:, partner]
    inside = labelled & ((pose > 0) & (pose < 1)).all(axis=-1)
    chosen = labelled if keep_outside else inside
    valid = np.repeat(chosen[..., None], 2, axis=-1)
    if depth is not None:
        z = (points[..., 2] - depth.root[:, None]) / depth.range + 0.5
        z = z[:, partner] if crop.flip else z
        near = chosen if keep_outside else chosen & (z > 0) & (z < 1)
        pose, valid = np.concatenate([pose, z[..., None]], -1), np.concatenate([valid, near[..., None]], -1)
    return np.where(valid, pose, 0).astype(np.float32), inside.astype(np.float32), valid


def clip_frames(num_frames: int, subsampling: int, clip: int, rng: np.random.Generator | None = None) -> list[int]:
    """Frame indices of one clip of `clip` frames: in the middle, or at a random position with a generator.

    In a sequence that is too short the step is smaller; with fewer than `clip` frames, frames are repeated.
    """
    stretch = 1.0
    while num_frames * stretch < clip:
        stretch *= 1.5
    n = num_frames * stretch
    step = min(subsampling, int(n / clip))
    slack = n - (step * (clip - 1) + 1)
    start = int(slack / 2) if rng is None else int(rng.integers(int(slack) + 1))
    return [int((start + step * t) / stretch) for t in range(clip)]


def multi_clips(num_frames: int, subsampling: int, clip: int) -> list[list[int]]:
    """Frame indices of all evaluation clips of a sequence, which overlap by half.

    A sequence too short for one gives its middle clip (deephar counts such sequences as recognised).
    """
    clips, start = [], 0
    while start + clip * subsampling <= num_frames:
        clips.append([start + subsampling * t for t in range(clip)])
        start += max(1, clip // 2 + (subsampling - 1))
    return clips or [clip_frames(num_frames, subsampling, clip)]
