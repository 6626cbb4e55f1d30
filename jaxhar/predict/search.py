"""The search for the person's box in every frame, and runs of a network on crops."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from jaxhar.data import transforms
from jaxhar.data.formats.source import Images
from jaxhar.data.formats.video import Video
from jaxhar.host.errors import Problem, Usage
from jaxhar.predict.boxes import person_box

Box = tuple[float, float, float, float]
#: Frames (B, T, H, W, 3) uint8 -> pose (K, B, T, J, D), perhaps visible (K, B, T, J), maps (K, B, T, h, w, J) and
#: action (K', B, A).
Infer = Callable[[np.ndarray], dict[str, np.ndarray]]


@dataclass(frozen=True)
class SearchFrame:
    """One frame of the search for boxes; box and crop are None in frames whose box is interpolated.

    Attributes:
      time: in seconds. whole: (4,) box of the whole image, in the shape of the crop. crop: (height, width, 3) uint8.
    """

    time: float
    whole: np.ndarray | None
    crop: np.ndarray | None

    @classmethod
    def of(cls, time: float, image: np.ndarray, size: tuple[int, int]) -> "SearchFrame":
        """From an image (H, W, 3), with a crop of `size` (height, width)."""
        shape = image.shape[1::-1]
        whole = transforms.fit_aspect(transforms.centred_bbox(shape), size)
        return cls(time, whole, transforms.crop_image(image, transforms.plan_crop(whole, shape, size)))


def search_frames(source: Video | Images, every: int, bbox: Box | None, size: tuple[int, int]) -> Iterator[SearchFrame]:
    # If a box is given, the first picture is still decoded, to check that the box lies in it.
    for frame in source.frames(every or 10**9):
        if frame.image is None:
            yield SearchFrame(frame.time, None, None)
            continue
        height, width = frame.image.shape[:2]
        if bbox:
            if bbox[0] >= width or bbox[1] >= height or bbox[2] <= 0 or bbox[3] <= 0:
                raise Usage(f"--bbox {words(bbox)} lies outside of {frame.path}, which has {width}x{height} pixels")
            yield SearchFrame(frame.time, None, None)
            continue
        yield SearchFrame.of(frame.time, frame.image, size)


def find_boxes(
    frames: Iterable[SearchFrame],
    infer: Infer,
    shape: tuple[int, int],
    stills: bool = False,
    box_of: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray | None] = person_box,
) -> tuple[list[float], np.ndarray]:
    """The times of all frames, and their boxes (N, 4): predicted, interpolated, or of the whole image.

    Args:
      shape: (B, T) of one run of the network.
      stills: frames are independent images, so boxes are not interpolated.
      box_of: computes a box from joints, see `boxes.person_box`.
    """
    times: list[float] = []
    wholes: list[np.ndarray] = []
    searched: list[int] = []
    found: dict[int, np.ndarray] = {}
    waiting: list[np.ndarray] = []

    def find() -> None:
        seen = run_network(infer, np.stack(waiting), shape, as_clips=False)
        for index, points, scores in zip(searched[-len(waiting) :], seen.pose, seen.confidence, strict=True):
            box = box_of(points, scores, wholes[index])
            if box is not None:
                found[index] = box
        waiting.clear()

    for frame in frames:
        times.append(frame.time)
        wholes.append(frame.whole if frame.whole is not None else wholes[-1] if wholes else np.zeros(4))
        if frame.crop is not None:
            searched.append(len(times) - 1)
            waiting.append(frame.crop)
            if len(waiting) == shape[0] * shape[1]:
                find()
    if waiting:
        find()
    if stills or not found:
        return times, np.array([found.get(i, whole) for i, whole in enumerate(wholes)])
    known = sorted(found)
    each = np.stack([found[i] for i in known])
    return times, np.stack([np.interp(np.arange(len(times)), known, each[:, k]) for k in range(4)], axis=1)


@dataclass(frozen=True)
class Found:
    """The last prediction of a network for N crops or clips.

    Attributes:
      pose: (N, [T,] J, D) in crop units. confidence: (N, [T,] J), NaN if the network predicts none.
      action: (N, A) or None. maps: (N, T, h, w, J) for clips, or None.
    """

    pose: np.ndarray
    confidence: np.ndarray
    action: np.ndarray | None = None
    maps: np.ndarray | None = None


def run_network(infer: Infer, crops: np.ndarray, shape: tuple[int, int], as_clips: bool) -> Found:
    """Run the network on at most B*T crops (N, H, W, 3), or at most B clips (N, T, H, W, 3), uint8.

    The input is padded to the shape (B, T), so that the network is compiled once.

    Raises:
      Problem: the predictions are not finite.
    """
    full = np.zeros((shape[0] * (1 if as_clips else shape[1]), *crops.shape[1:]), np.uint8)
    full[: len(crops)] = crops
    full = full.reshape(*shape, *crops.shape[-3:])
    preds = infer(full)
    pose = preds["pose"][-1]
    visible = preds["visible"][-1] if "visible" in preds else None
    heads = preds.get("action")
    if isinstance(heads, tuple):  # one array for each set of labels
        heads = heads[0]
    action = None if heads is None else heads[-1]
    finite(pose, visible, action)
    confidence = np.full(pose.shape[:-1], np.nan, np.float32) if visible is None else visible
    n = len(crops)
    if not as_clips:
        return Found(pose.reshape(-1, *pose.shape[2:])[:n], confidence.reshape(-1, pose.shape[2])[:n])
    maps = preds["maps"][-1][:n] if "maps" in preds else None
    return Found(pose[:n], confidence[:n], None if action is None else action[:n], maps)


def finite(*predictions: np.ndarray | None) -> None:
    """Problem if predictions are not finite; None is not looked at."""
    if not all(np.isfinite(array).all() for array in predictions if array is not None):
        raise Problem("the network's predictions are not finite; its weights are damaged, or its training diverged")


def words(bbox: Box) -> str:
    """A box as it is given to --bbox."""
    return ",".join(f"{v:g}" for v in bbox)
