"""Kinetics: videos by lists of paths and classes, with boxes of persons beside them; settings, and clips of them."""

import functools
import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import cv2
import numpy as np

from jaxhar.core.prepared import View
from jaxhar.core.skeleton import Skeleton
from jaxhar.data import clips, left_out, pipeline, transforms, unreadable
from jaxhar.data.clip_augment import ClipAugment, ClipDraw
from jaxhar.data.cover import cover
from jaxhar.data.dataset import DataSet
from jaxhar.data.formats import guarded, numbered, video_boxes
from jaxhar.data.generate.film import Synth
from jaxhar.data.kinetics import folder as kinetics_folder
from jaxhar.data.kinetics import generate as synthetic_kinetics
from jaxhar.data.kinetics import lists
from jaxhar.data.rand_augment import RandAugment
from jaxhar.data.records.record import Folder, IndexEntry, VideoClip
from jaxhar.host.errors import Problem, Usage

#: Of pretraining, of fine-tuning, and of linear probes and the masked classifier (mae_st, dmae_st).
PRETRAIN = ClipAugment()
FINETUNE = ClipAugment(area=(0.08, 1.0), operations=RandAugment())
PROBE = ClipAugment(area=(0.08, 1.0))

#: Seconds that a timeout may have.
_LONGEST = 86_400


@dataclass(frozen=True)
class Kinetics(DataSet):
    """Clips of videos: the settings of `DataSet`, and

    Attributes:
      augment: of training: PRETRAIN, FINETUNE or PROBE, or transforms.NONE for the middle of the picture.
      rate: frames from one frame of a clip to the next, in a video of 30 per second (`frame_rate`); in others as much
        time passes.
      repeat: clips of each video in a training batch, which are read together; `clips_per_batch` counts them all, so
        that it is a multiple of it.
      side: videos are read with this shorter side for training; for evaluation with `image_size`.
      box_folder: folder of the boxes of persons, below `root` or absolute, which examples have as `cover`; "" for none.
      clips, places: of the view "multi", clips spread over a video, and crops of each along the longer side, 1 or 3.
      timeout: seconds that reading a video may take; then its process is ended and the clip is broken. 0 reads without
        a limit, in this process.
      thorough: decode all frames of all videos before training, as `jaxhar data check` does; else damage within a video
        is found when a clip needs it.
      fraction: of the training videos that are used, drawn with `fraction_seed`, the same in all processes and epochs.

    With `skip_broken`, a clip that cannot be read is replaced by another one in training, masked in evaluation, counted
    and listed at the end. Scaled pictures are rounded to 8 bits, where the originals go on with fractions.
    """

    skeleton: Skeleton | None = None
    augment: transforms.Augment = PRETRAIN
    clip_frames: int | tuple[int, ...] = 16
    image_size: int | tuple[int, int] = 224
    frame_rate: float | None = float(clips.NOMINAL_FPS)
    rate: float = 4.0
    repeat: int = 1
    side: int = 256
    box_folder: str = ""
    clips: int = 10
    places: int = 3
    timeout: float = 60.0
    thorough: bool = False
    fraction: float = 1.0
    fraction_seed: int = 0

    title: ClassVar[str] = "Kinetics"
    home: ClassVar[str] = "kinetics"
    hint: ClassVar[str] = f"; {lists.HINT}"
    splits: ClassVar[tuple[str, ...]] = lists.SPLITS
    eval_split: ClassVar[str] = "val"

    def __post_init__(self) -> None:
        numbers = 0 < self.rate < np.inf and 0 <= self.timeout <= _LONGEST
        if not numbers or self.repeat < 1 or self.side < 1:
            raise Usage(
                f"data.rate must be above 0, data.repeat and data.side at least 1, data.timeout from 0 to {_LONGEST:,}"
            )
        if isinstance(self.augment, ClipAugment):
            self.augment.check(self.box_folder)
        if not 0 < self.fraction <= 1:
            raise Usage(f"data.fraction is {self.fraction}; it must be above 0 and at most 1")
        if self.clips < 1 or self.places not in (1, 3):
            raise Usage(f"data.clips is {self.clips} and data.places {self.places}; give at least 1, and 1 or 3")

    def open(self, root: Path) -> Folder:
        return kinetics_folder.folder(root, self.box_folder, self.timeout, self.thorough)

    def generate(self, out: Path, synth: Synth) -> None:
        synthetic_kinetics.write(out, synth)

    @property
    def clips_of_each(self) -> int:
        return self.repeat

    def generated(self) -> Self:
        return replace(super().generated(), fraction=1.0)

    def split_of(self, entry: IndexEntry) -> str:
        """The split of a record; "left out" for training videos beyond `fraction`."""
        if entry["split"] != "train" or self.fraction >= 1:
            return entry["split"]
        drawn = hashlib.sha256(f"{self.fraction_seed} {entry['name']}".encode()).digest()[:8]
        return "train" if int.from_bytes(drawn) < self.fraction * 2**64 else "left out"

    def views(self, split: str | None = None) -> Mapping[str, View]:
        """ "single": the clip in the middle of each video, its middle crop. "multi": several clips and crops."""
        return {"single": View("single", "each"), "multi": View("multi", "clips")}

    def windows(self, view: str, length: int) -> list[tuple[list[int], transforms.Draw]]:
        """As `DataSet.windows`; the frames are those of a video with 30 frames per second, `example` knows its rate."""
        count, places = (self.clips, self.places) if view == "multi" else (1, 1)
        draws = [
            ClipDraw(place=place if places == 3 else 1, clip=clip, clips=count)
            for clip in range(count)
            for place in range(places)
        ]
        return [(self._fixed(length, clips.NOMINAL_FPS, draw).tolist(), draw) for draw in draws]

    def train_frames(self, length: int, draw: transforms.Draw, rng: np.random.Generator) -> list[int]:
        return self._random(length, clips.NOMINAL_FPS, rng).tolist()

    def train_clips(self, record: dict[str, Any], rng: np.random.Generator) -> list[pipeline.Example]:
        draws = [self.augment.draw(rng) for _ in range(self.repeat)]
        numbers = [self._random(record["length"], float(record["fps"][0]), rng) for _ in draws]
        pictures = self._read(record, np.unique(numbers), self.side)
        return [self._cropped(record, pictures, one, draw) for one, draw in zip(numbers, draws, strict=True)]

    def example(
        self, record: dict[str, Any], frames: list[int], draw: transforms.Draw, keep_outside: bool = False
    ) -> pipeline.Example:
        draw = draw if isinstance(draw, ClipDraw) else ClipDraw(flip=draw.flip)
        if not draw.clips:
            chosen = np.array(frames)
            side = self.side if draw.crop is not None else min(self._size)
            return self._cropped(record, self._read(record, np.unique(chosen), side), chosen, draw)
        length, fps = record["length"], float(record["fps"][0])
        every = [self._fixed(length, fps, ClipDraw(clip=clip, clips=draw.clips)) for clip in range(draw.clips)]
        try:
            return self._cropped(record, self._shared(record, np.unique(every)), every[draw.clip], draw)
        except unreadable.Unreadable as problem:
            if not self.skip_broken:
                raise
            left_out.of_evaluation(str(problem), (record["split"], record["index"], draw))
            return self._blank(record)

    @property
    def _size(self) -> tuple[int, int]:
        """(height, width) of the crops."""
        size = (self.image_size,) * 2 if isinstance(self.image_size, int) else self.image_size
        if size[0] != size[1]:
            raise Usage(f"data.image_size is {self.image_size}; clips of Kinetics are square")
        return size

    def _random(self, length: int, fps: float, rng: np.random.Generator) -> np.ndarray:
        span = clips.span(self.frames, self.rate, fps)
        start = clips.random_start(length, span, rng.random(), rounded=bool(self.box_folder))
        return clips.frames_of(length, start, span, self.frames)

    def _fixed(self, length: int, fps: float, draw: ClipDraw) -> np.ndarray:
        span = clips.span(self.frames, self.rate, fps)
        start = clips.fixed_start(length, span, draw.clip, draw.clips, rounded=bool(self.box_folder))
        return clips.frames_of(length, start, span, self.frames)

    def _read(self, record: dict[str, Any], numbers: np.ndarray, side: int) -> "_Pictures":
        """Some frames of a video, by rising numbers, and the cover of those. Unreadable if there is a Problem."""
        video: VideoClip = record["pictures"]
        path, size = Path(video.path), (int(record["size"][0]), int(record["size"][1]))
        try:
            arguments = (path, numbers.tolist(), record["times"], side, video.start, video.end)
            frames = guarded.call(numbered.read, *arguments, where=path, limit=self.timeout)
            if not self.box_folder or video.boxes is None:
                return _Pictures(numbers, frames, None)
            boxes, shape = video_boxes.read(Path(video.boxes), record["length"], size)
        except Problem as problem:
            raise unreadable.Unreadable(str(problem)) from problem
        return _Pictures(numbers, frames, cover([boxes[number] for number in numbers], shape, frames.shape[1:3]))

    def _shared(self, record: dict[str, Any], numbers: np.ndarray) -> "_Pictures":
        """As `_read`, of all clips of a video for evaluation; the clips of the last videos share one reading."""
        side, video = min(self._size), record["pictures"]
        key = (video, record["length"], side, numbers.tobytes(), self.box_folder)
        return _last(key).get(lambda: self._read(record, numbers, side))

    def _cropped(
        self, record: dict[str, Any], pictures: "_Pictures", numbers: np.ndarray, draw: transforms.Draw
    ) -> pipeline.Example:
        """The example of some frames of those that were read."""
        draw = draw if isinstance(draw, ClipDraw) else ClipDraw(flip=draw.flip)
        index = np.searchsorted(pictures.numbers, numbers)
        whole = np.array_equal(index, np.arange(len(pictures.frames)))  # then nothing is copied
        frames = pictures.frames if whole else pictures.frames[index]
        height, width = frames.shape[1:3]
        if draw.crop is None:
            side = min(height, width)
            crop = clips.Crop(*clips.place(height, width, side, draw.place), side, side)
        else:
            rng = np.random.default_rng(draw.crop)
            augment = self.augment if isinstance(self.augment, ClipAugment) else PRETRAIN
            if augment.operations is not None:
                frames = augment.operations(frames, rng)
            crop = augment.crop(height, width, rng)
        example = self._labels(record)
        example["frames"] = _resized(frames, crop, self._size, draw.flip)
        if pictures.cover is not None:
            example["cover"] = _resized(pictures.cover[index], crop, self._size, draw.flip)
        affine = np.diag([width / crop.width / record["size"][0], height / crop.height / record["size"][1], 1.0])
        affine[:2, 2] = -crop.left / crop.width, -crop.top / crop.height
        if draw.flip:
            affine[0] = [0, 0, 1] - affine[0]
        example |= {"affine": np.tile(affine.astype(np.float32), (len(numbers), 1, 1)), "flipped": np.bool_(draw.flip)}
        return example

    def _labels(self, record: dict[str, Any]) -> pipeline.Example:
        found = {"mask": np.bool_(True), "sequence": np.int32(record["index"])}
        return found | ({"action": np.int32(record["action"])} if record["action"] >= 0 else {})

    def _blank(self, record: dict[str, Any]) -> pipeline.Example:
        """An example without a picture, which is masked."""
        time, size = self.frames, self._size
        example = self._labels(record) | {
            "mask": np.bool_(False),
            "frames": np.zeros((time, *size, 3), np.uint8),
            "affine": np.zeros((time, 3, 3), np.float32),
            "flipped": np.bool_(False),
        }
        return example | ({"cover": np.zeros((time, *size), np.float32)} if self.box_folder else {})


@dataclass(frozen=True)
class _Pictures:
    """Frames (N, H, W, 3) uint8 of a video by their rising numbers (N,), and their cover (N, H, W)."""

    numbers: np.ndarray
    frames: np.ndarray
    cover: np.ndarray | None


class _Once:
    """The result of a reading, or its error, made once for all threads that ask for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._result: _Pictures | unreadable.Unreadable | None = None

    def get(self, make: Callable[[], _Pictures]) -> _Pictures:
        """The result of `make`."""
        with self._lock:
            if self._result is None:
                try:
                    self._result = make()
                except unreadable.Unreadable as problem:
                    self._result = problem
        if isinstance(self._result, Exception):
            raise self._result
        return self._result


@functools.lru_cache(maxsize=3)
def _last(key: object) -> _Once:
    """One for each of the last keys."""
    del key
    return _Once()


def _resized(frames: np.ndarray, crop: clips.Crop, size: tuple[int, int], flip: bool) -> np.ndarray:
    """The crop of frames (N, H, W, ...) in another size, perhaps mirrored; bilinear, in the same type."""
    part = clips.cut(frames, crop)
    out = np.empty((len(part), *size, *part.shape[3:]), part.dtype)
    for one, picture in zip(out, part, strict=True):
        scaled = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_LINEAR)
        one[...] = scaled[:, ::-1] if flip else scaled
    return out
