"""The prediction of one source: first where the persons are, then frame by frame what they do.

A source is read three times as a stream: to find the persons' boxes, to crop and run the network, and for the pictures
of the frames. So only a few frames are in memory; for each frame of the video only its boxes and its time are kept.
"""

import contextlib
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from jaxhar.core.network import clip_length, frame_size
from jaxhar.data import transforms
from jaxhar.data.formats.ahead import read_ahead
from jaxhar.data.formats.source import Images
from jaxhar.data.formats.video import Frame, Video
from jaxhar.host.errors import Problem
from jaxhar.predict import clip_results, persons, poses
from jaxhar.predict.box_files import BoxFile
from jaxhar.predict.boxes import smooth
from jaxhar.predict.clip_reader import uneven
from jaxhar.predict.clip_results import Recognise
from jaxhar.predict.detector import GENERATED, Detector, Own
from jaxhar.predict.frame_result import FrameResult, of_scene
from jaxhar.predict.options import STRIDE, Options
from jaxhar.predict.outputs import NetworkInfo
from jaxhar.predict.persons import BOX_SMOOTHING, BOXES_PER_SECOND, Crops, Stretch
from jaxhar.predict.picture_actions import PictureActions
from jaxhar.predict.progress import Progress, counted
from jaxhar.predict.search import Infer, find_boxes, search_frames
from jaxhar.predict.skeleton_actions import SkeletonActions
from jaxhar.weights.checkpoint import Meta

#: Frame rates that differ by a smaller share are one.
_SAME_RATE = 0.05
#: Frame rates of most videos, and of most training sets.
_USUAL = 20.0, 35.0


@dataclass(frozen=True)
class PredictedFrame:
    """One frame and what was found in it.

    Attributes:
      frame: index, time, path and picture. results: all that were looked at, perhaps with nobody there.
    """

    frame: Frame
    results: list[FrameResult]

    @property
    def index(self) -> int:
        """Position in the source, from 0."""
        return self.frame.index

    @property
    def time(self) -> float:
        """Seconds from the first frame; 0 for still images."""
        return self.frame.time

    @property
    def image(self) -> np.ndarray:
        """The picture, (H, W, 3) uint8 RGB."""
        assert self.frame.image is not None
        return self.frame.image

    @property
    def persons(self) -> list[FrameResult]:
        """The persons who are there: `id`, `pose` (J, D) in pixels, `confidence` (J,), `box`, `action` (A,) or None."""
        return [result for result in self.results if result.person]

    @property
    def scene(self) -> FrameResult | None:
        """All that is seen: its `action` (A,) or None. None where only the actions of persons were looked for."""
        return of_scene(self.results)


@dataclass(frozen=True)
class Task:
    """An open source and a network as a function.

    Attributes:
      name: of the source, for the header of the results.
      network: information about the network. If it has several sets of action labels, the first one is shown.
      maps: indices of the joints whose heat maps are drawn.
      detector: finds the persons. None: one person, in the box of the options or found by the network itself.
      keep: number of persons, see `persons.find`.
      familiar: says which crops look like those of the training; None if that is not known.
      skeletons: names the actions by the joints of the whole video, in place of the pose network.
      rate: frames per second of the training; None if that is not known.
      crops: how the network sees persons with boxes.
      pictures: names the actions by whole pictures; then nobody is looked for.
    """

    source: Video | Images
    name: Path
    infer: Infer
    network: NetworkInfo
    options: Options
    maps: tuple[int, ...] = ()
    detector: Detector | BoxFile | None = None
    keep: int | None = None
    familiar: Recognise | None = None
    skeletons: SkeletonActions | None = None
    rate: float | None = None
    pictures: PictureActions | None = None
    crops: Crops = Crops()

    @property
    def fps(self) -> float | None:
        """Frames per second; None for still images."""
        return float(self.source.fps) if isinstance(self.source, Video) else None

    @cached_property
    def _speechless(self) -> bool:
        """Whether no action can be named, because the network reads clips and the source is no video."""
        return self.fps is None and clip_length(self.network.config) > 1

    @cached_property
    def meta(self) -> Meta:
        """The network with the actions that are named for this source."""
        actions = self.network.actions
        actions = actions[0] if actions and isinstance(actions[0], tuple) else actions
        return Meta(self.network.skeleton, () if self._speechless else actions, self.network.config)

    @property
    def stride(self) -> int:
        """Frames between those of a clip."""
        return self.options.stride or STRIDE

    def step(self, times: Sequence[float]) -> float | None:
        """Seconds between the frames of a clip; None where they are `stride` frames of the video apart.

        That is so at the frame rate of the training, or where this is not known, if the frames come regularly.
        """
        if self.fps is None or clip_length(self.network.config) == 1:
            return None
        rate, even = self.rate or self.fps, not uneven(np.asarray(times), self.fps)
        return None if even and abs(self.fps / rate - 1) < _SAME_RATE else self.stride / rate

    def told(self, times: Sequence[float]) -> tuple[str, ...]:
        """Sentences on what finds the persons, and on the speed at which the network sees the video."""
        if self.pictures is not None:
            return self.pictures.told()
        packaged = isinstance(self.detector, Own) and self.detector.packaged
        return (*((GENERATED,) if packaged else ()), *self._speed(times))

    def _speed(self, times: Sequence[float]) -> tuple[str, ...]:
        step, fps = self.step(times), self.fps
        if not self.meta.actions or self.skeletons or fps is None or clip_length(self.network.config) == 1:
            return ()
        if step is not None:
            why = "its frames come at uneven times"
            if self.rate is not None and abs(fps / self.rate - 1) >= _SAME_RATE:
                why = f"it has {fps:g} frames a second and the training had {self.rate:g}"
            return (f"clips take a frame of the video every {1000 * step:.0f} ms, because {why}",)
        if self.rate is None and not _USUAL[0] <= fps <= _USUAL[1]:
            return (
                f"the frame rate of the training is not known: clips take one in {self.stride} frames of the "
                f"video, which has {fps:g} a second; if motion in the training was faster or slower, --stride sets "
                "another step",
            )
        return ()

    def _run(self) -> tuple[Infer, tuple[int, int]]:
        """The network, and the shape (B, T) of one run of it."""
        length = clip_length(self.network.config) if self.fps else 1
        batch = max(1, min(self.options.batch, self.source.total or self.options.batch) // length)
        return partial(without_action, self.infer) if self._speechless else self.infer, (batch, length)

    def search(self, progress: Progress | None = None) -> tuple[list[float], list[Stretch]]:
        """The times of all frames in seconds, and where the persons are.

        Raises:
          Problem: no picture can be read; boxes of a file do not fit. Usage: the given box lies outside.
        """
        infer, shape = self._run()
        size = frame_size(self.network.config)
        if self.pictures is not None:
            shown = counted(self.source.frames(every=0), progress, "reading the times", self.source.total)
            times = [frame.time for frame in shown]
            stretches: list[Stretch] = []
        elif self.detector is None:
            times, stretches = self._one_person(infer, shape, size, progress)
        else:
            bar = partial(counted, progress=progress, what="finding the persons", total=self.source.total)
            times, stretches = persons.find(self.source, self.detector, infer, shape, size, self.keep, bar, self.crops)
        if not times:
            raise Problem(f"{self.name}: it has no picture that can be read")
        return times, stretches

    def frames(
        self, times: list[float], stretches: list[Stretch], progress: Progress | None = None
    ) -> Generator[PredictedFrame]:
        """The frames in order, with what is found in each. The arguments are what `search` gave.

        Raises:
          Problem: the file has changed since the search.
        """
        if self.pictures is not None:
            yield from self._with_pictures(self.pictures.results(self.source, times), times, 4, progress)
            return
        (infer, (batch, length)), size = self._run(), frame_size(self.network.config)
        windows = clip_results.windows(stretches, length, self.stride, times, self.step(times))
        batches = read_ahead(clip_results.batches(self.source, windows, len(times), batch, size, self.crops.around), 2)
        found = clip_results.results(batches, infer, windows, len(times), self.familiar, bool(self.maps))
        if self.options.filter is not None and self.fps is not None:
            found = self.options.filter(found, times, self.fps)
        if self.skeletons is not None:
            found = self._named(counted(found, progress, "finding the joints", len(times)), self.skeletons)
        yield from self._with_pictures(found, times, 4 * batch * length, progress)

    def _with_pictures(
        self, found: Generator[list[FrameResult]], times: list[float], ahead: int, progress: Progress | None
    ) -> Generator[PredictedFrame]:
        """The results of all frames, of which at most `ahead` are known before their turn, with the frames."""
        done = 0
        with (
            contextlib.closing(read_ahead(found, ahead)) as results,
            contextlib.closing(read_ahead(self.source.frames(), 4)) as frames,
        ):
            for frame, here in zip(counted(frames, progress, "predicting", len(times)), results, strict=False):
                yield PredictedFrame(frame, here)
                done += 1
        if done < len(times):
            raise Problem(f"{self.name}: the file changed while it was read; start again when it is complete")

    def _named(self, found: Iterable[list[FrameResult]], skeletons: SkeletonActions) -> Generator[list[FrameResult]]:
        """The persons of each frame with their actions by their joints, once those of all frames are known."""
        frames = list(found)
        with contextlib.closing(self.source.frames()) as pictures:
            image = next(pictures).image
        assert image is not None and self.fps is not None and self.meta.skeleton is not None
        shape = image.shape[0], image.shape[1]
        skeletons.name(frames, self.meta.skeleton, self.fps, shape, several=self.detector is not None)
        yield from frames

    def _one_person(
        self, infer: Infer, shape: tuple[int, int], size: tuple[int, int], progress: Progress | None
    ) -> tuple[list[float], list[Stretch]]:
        """The times of all frames, and the one person in all of them: in the given box, or found by the network."""
        source, fps, bbox = self.source, self.fps, self.options.bbox
        every = 0 if bbox else max(1, round(fps / BOXES_PER_SECOND)) if fps else 1
        with contextlib.closing(read_ahead(search_frames(source, every, bbox, size), 2 * shape[0] * shape[1])) as crops:
            shown = counted(crops, progress, "finding the person", source.total)
            times, boxes = find_boxes(shown, infer, shape, stills=fps is None)
        if bbox:
            boxes = np.tile(transforms.valid_bbox(np.reshape(bbox, (2, 2)).astype(float), rel=1), (len(times), 1))
        elif fps:
            boxes = smooth(boxes, BOX_SMOOTHING * fps)
        if fps is None:
            return times, [Stretch(poses.PERSON, i, box[None]) for i, box in enumerate(boxes)]
        return times, [Stretch(poses.PERSON, 0, boxes)] if times else []


def without_action(infer: Infer, frames: np.ndarray) -> dict[str, np.ndarray]:
    """The predictions but for the action."""
    return {name: value for name, value in infer(frames).items() if name != "action"}
