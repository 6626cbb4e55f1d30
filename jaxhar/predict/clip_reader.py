"""Clips of whole pictures from a video: which frames belong to a clip, and the crops of these frames.

The frames are those of mae_st's clips (`jaxhar.data.clips`), so that a network sees motion as in its training. A video
is read once, as a stream; only the crops of clips that are not complete are in memory.
"""

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np

from jaxhar.core.batch import to_image
from jaxhar.data import clips, picture_crop, transforms
from jaxhar.data.cover import raster
from jaxhar.data.formats.source import Images
from jaxhar.data.formats.video import Video
from jaxhar.host.errors import Problem, Usage
from jaxhar.predict.box_files import BoxFile
from jaxhar.predict.search import Box, words

#: Gaps between frames that differ by as much from the mean, as a share of it, are uneven.
_UNEVEN = 0.5


@dataclass(frozen=True)
class Sampling:
    """Which frames of a video clips are made of.

    Attributes:
      frames: T of a clip. span: what a clip spans, in frames of the video. fps: of the video.
    """

    frames: int
    span: float
    fps: float

    def sliding(self, times: np.ndarray, every: float) -> list[np.ndarray]:
        """Clips (T,) that begin `every` frames after each other, from the first to the last frame; see `at`."""
        free = max(_length(times, self.fps) - self.span, 0)
        count = math.ceil(free / every - 1e-6)
        return [self.at(times, start) for start in [*(every * np.arange(count)).tolist(), free]]

    def spread(self, times: np.ndarray, count: int) -> list[np.ndarray]:
        """`count` clips from the start to the end, as in mae_st's tests."""
        length = math.floor(_length(times, self.fps))
        return [self.at(times, clips.fixed_start(length, self.span, clip, count)) for clip in range(count)]

    def at(self, times: np.ndarray, start: float) -> np.ndarray:
        """Numbers (T,) of a clip's frames, rising, perhaps repeated; where frames come unevenly, by their times.

        Args:
          times: (n,) of all frames, in seconds. start: of the clip, in frames of the video's mean rate.
        """
        if not uneven(times, self.fps):
            return clips.frames_of(len(times), start, self.span, self.frames)
        moments = start + np.linspace(0, self.span - 1, self.frames)
        return np.searchsorted(times, moments / self.fps + 1e-6, "right") - 1


@dataclass(frozen=True)
class Clips:
    """Some clips of a video, of V crops each.

    Attributes:
      numbers: N of the clips. places: (V, 4) x1, y1, x2, y2 of the crops in pixels.
      frames: (N, V, T, H, W, 3) uint8. cover: (N, V, T, H, W) float32, the share of every pixel inside of boxes.
    """

    numbers: list[int]
    places: np.ndarray
    frames: np.ndarray
    cover: np.ndarray | None


@dataclass(frozen=True)
class _Crop:
    """One crop of the frames: its place x1, y1, x2, y2 in pixels, and what cuts it.

    Attributes:
      cut: a frame (H, W, 3) -> the crop. cover: boxes (N, 4) -> the share of the crop's pixels inside of them.
    """

    place: np.ndarray
    cut: Callable[[np.ndarray], np.ndarray]
    cover: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Reader:
    """How clips are cut from a video.

    Attributes:
      size: (height, width) of the crops. batch: clips that are given together.
      three: whether the crops are three along the longer side of the picture, not the one in its middle.
      bbox: look at the square about this box instead, widened to the form of the crops. boxes: of persons, for the
        cover.
      share: of networks of pictures: the crop in the middle is that of their evaluation, of this share of the shorter
        side, see `picture_crop`; None for the largest one.
    """

    size: tuple[int, int]
    batch: int
    three: bool = False
    bbox: Box | None = None
    boxes: BoxFile | None = None
    share: float | None = None

    def read(self, source: Video | Images, windows: Sequence[np.ndarray]) -> Generator[Clips]:
        """The clips, by their first frames; of pictures those of one frame.

        Args:
          windows: the frames (T,) of each, in the order of the first ones; all span the same number of frames.

        Raises:
          Problem: the video has fewer frames, or a box does not fit. Usage: the given box lies outside.
        """
        wanted = set(np.concatenate(windows).tolist())
        waiting: list[tuple[int, np.ndarray, np.ndarray | None]] = []
        coming, done = 0, 0
        crops: list[_Crop] = []
        stills = isinstance(source, Images)
        shown = source.frames() if isinstance(source, Images) else source.between(None, None, wanted.__contains__)
        for frame in shown:
            if frame.image is None:
                continue
            size = frame.image.shape[1], frame.image.shape[0]
            if stills or not crops:
                crops = self._crops(size)
            while coming < len(windows) and windows[coming][0] <= frame.index:
                shape = (len(crops), len(windows[coming]), *self.size)
                cover = None if self.boxes is None else np.zeros(shape, np.float32)
                waiting.append((coming, np.zeros((*shape, 3), np.uint8), cover))
                coming += 1
            seen = np.stack([crop.cut(frame.image) for crop in crops])
            inside = None
            if self.boxes is not None:
                boxes = self.boxes.at(frame)[0]
                inside = np.stack([crop.cover(boxes) for crop in crops])
            for number, frames, cover in waiting:
                here = np.flatnonzero(windows[number] == frame.index)
                frames[:, here] = seen[:, None]
                if cover is not None and inside is not None:
                    cover[:, here] = inside[:, None]
            complete = [number for number, _, _ in waiting if windows[number][-1] <= frame.index]
            while len(complete) >= self.batch or (complete and complete[-1] == len(windows) - 1):
                taken, complete = complete[: self.batch], complete[self.batch :]
                yield _together(taken, waiting, crops)
                waiting = [one for one in waiting if one[0] not in taken]
                done += len(taken)
        if done < len(windows):
            raise Problem("the source changed while it was read; start again when it is complete")

    def _crops(self, size: tuple[int, int]) -> list[_Crop]:
        """The crops of a picture of (width, height)."""
        if self.share is not None and self.bbox is None:
            return [_middle(size, self.size, self.share)]
        return [_square(box, size, self.size) for box in self._places(size)]

    def _places(self, size: tuple[int, int]) -> list[np.ndarray]:
        """Boxes x1, y1, x2, y2 of the crops in a picture of (width, height)."""
        width, height = size
        if self.bbox is not None:
            x1, y1, x2, y2 = self.bbox
            if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
                raise Usage(f"--bbox {words(self.bbox)} lies outside of the video, which has {width}x{height} pixels")
            square = transforms.valid_bbox(np.reshape(self.bbox, (2, 2)).astype(float), rel=1)
            return [transforms.fit_aspect(square, self.size)]
        largest = min(height / self.size[0], width / self.size[1]) * np.array(self.size[::-1])
        corners = [np.ceil((np.array(size) - largest) * which / 2) for which in ((0, 1, 2) if self.three else (1,))]
        return [np.concatenate([corner, corner + largest]) for corner in corners]


def _square(box: np.ndarray, size: tuple[int, int], shape: tuple[int, int]) -> _Crop:
    """The crop of a box in a picture of `size` (width, height), scaled to `shape` (height, width)."""
    plan = transforms.plan_crop(box, size, shape)

    def cover(boxes: np.ndarray) -> np.ndarray:
        drawn = 255 * raster(boxes, size[::-1])[..., None].repeat(3, 2)
        return transforms.crop_image(drawn, plan)[..., 0] / np.float32(255)

    place = to_image(plan.affine, np.array([[0.0, 0.0], [1.0, 1.0]])).ravel()
    return _Crop(place, lambda image: transforms.crop_image(image, plan), cover)


def _middle(size: tuple[int, int], shape: tuple[int, int], share: float) -> _Crop:
    """The crop of the evaluation of networks of pictures; arguments as of `_square`."""
    box = picture_crop.middle(*size, shape, share)
    return _Crop(
        np.array(box),
        lambda image: picture_crop.scaled(image, box, shape),
        lambda boxes: picture_crop.cover(boxes, box, size[::-1], shape),
    )


def _together(taken: list[int], waiting: list[tuple[int, np.ndarray, np.ndarray | None]], crops: list[_Crop]) -> Clips:
    chosen = [one for one in waiting if one[0] in taken]
    covers = [cover for _, _, cover in chosen if cover is not None]
    frames = np.stack([frames for _, frames, _ in chosen])
    return Clips(taken, np.stack([crop.place for crop in crops]), frames, np.stack(covers) if covers else None)


def uneven(times: np.ndarray, fps: float) -> bool:
    """Whether the frames of a video come at uneven times."""
    gaps = np.diff(times) * fps
    return bool(len(gaps)) and bool(np.abs(gaps - 1).max() >= _UNEVEN)


def _length(times: np.ndarray, fps: float) -> float:
    """Of a video, in frames of its mean rate."""
    return float(times[-1] * fps + 1) if uneven(times, fps) else len(times)
