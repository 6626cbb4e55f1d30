"""The predictions for a whole source in memory: arrays for each person, drawings, and the files of the command."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from jaxhar.core.skeleton import Skeleton
from jaxhar.data.formats.source import Images
from jaxhar.data.formats.video import Frame, Video
from jaxhar.host.errors import Problem
from jaxhar.predict import coco, tables
from jaxhar.predict.folder import opened
from jaxhar.predict.frame_result import SCENE, FrameResult, Tally, acting, named
from jaxhar.predict.outputs import Outputs, check_formats, name_in_coco
from jaxhar.predict.overlay import Overlay
from jaxhar.predict.progress import Progress, counted
from jaxhar.predict.segments import Runs, Segment
from jaxhar.weights.checkpoint import Meta


@dataclass(frozen=True)
class Person:
    """One person over all T frames; NaN where it is not there.

    Attributes:
      id: identity. In still pictures persons are numbered in each, from the best score.
      joints: (T, J, D) x and y in pixels, depth in units of the network. confidence: (T, J), NaN too if the network
        predicts none. boxes: (T, 4) x1, y1, x2, y2 in pixels.
      actions: (T, A) probabilities of the classes in each frame; A is 0 for a network without actions.
      unfamiliar: (T,) whether it looks unlike what the network was trained on.
      action, probability: over all clips; None without actions, and for several pictures.
    """

    id: int
    joints: np.ndarray
    confidence: np.ndarray
    boxes: np.ndarray
    actions: np.ndarray
    unfamiliar: np.ndarray
    action: str | None
    probability: float | None


@dataclass(frozen=True)
class Seen:
    """A frame without its picture, (width, height) of the picture, and the results as `Outputs.add` takes them."""

    frame: Frame
    size: tuple[int, int]
    results: list[FrameResult]

    @property
    def there(self) -> list[FrameResult]:
        """The persons who are there."""
        return [result for result in self.results if result.person]


@dataclass(frozen=True)
class Result:
    """What `jaxhar predict` finds in a source.

    Attributes:
      source: the file or folder. meta: joints, names of the actions and settings of the network.
      frames: what was found, frame by frame. several: whether persons were followed by their identity.
      made_by: see `poses.made_by`. skip_broken: of the options.
      notes: sentences on what the weights do not know, and on what of a folder was read.
      broken: sentences on what of the source could not be read.
    """

    source: Path
    meta: Meta
    frames: list[Seen]
    several: bool
    made_by: dict[str, object]
    skip_broken: bool
    notes: tuple[str, ...]
    broken: tuple[str, ...]

    @property
    def skeleton(self) -> Skeleton:
        """The joints by name, in the order of all arrays, and the limbs between them."""
        return self.meta.joints("prediction")

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the actions; () for none."""
        return self.meta.actions

    @cached_property
    def times(self) -> np.ndarray:
        """(T,) seconds from the first frame; 0 for still images."""
        return np.array([seen.frame.time for seen in self.frames])

    @cached_property
    def _tally(self) -> Tally:
        tally = Tally()
        for seen in self.frames:
            tally.add(seen.frame.index, seen.results)
        return tally

    @cached_property
    def _stills(self) -> bool:
        return isinstance(self._opened(), Images)

    @property
    def _sees_pictures(self) -> bool:
        """Whether nobody was looked for, and the only action is that of whole pictures, `SCENE`."""
        return not len(self.skeleton)

    def _opened(self) -> Video | Images:
        return opened(self.source, self.skip_broken)[0]

    @cached_property
    def persons(self) -> tuple[Person, ...]:
        """The persons, by identity."""
        return tuple(self._person(who) for who in sorted(self._tally.persons))

    @property
    def person(self) -> Person:
        """The person who is there for longest, one of NaN if there is nobody; or what the whole picture shows."""
        who = self._tally.main()
        return next((one for one in self.persons if one.id == who), self._person(SCENE))

    @property
    def joints(self) -> np.ndarray:
        """(T, J, D) joints of `person` in pixels."""
        return self.person.joints

    @property
    def confidence(self) -> np.ndarray:
        """(T, J) confidence of the joints of `person`."""
        return self.person.confidence

    @property
    def actions(self) -> np.ndarray:
        """(T, A) probabilities of the classes for `person`."""
        return self.person.actions

    @property
    def action(self) -> str | None:
        """What `person` does, over all clips."""
        return self.person.action

    @property
    def probability(self) -> float | None:
        """Of `action`."""
        return self.person.probability

    @property
    def scene(self) -> tuple[str | None, float | None]:
        """What all persons do together over all windows, and its probability; None if that was not looked for."""
        together = self._tally.scene
        return named(None if together is None else together.action, self.classes)

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """From when to when each person (0: the scene) does what, as in segments.csv; () for still images."""
        runs, found = Runs(), list[Segment]()
        if self._stills:
            return ()
        for seen in self.frames:
            found += runs.add(seen.frame.index, seen.frame.time, acting(seen.results))
        return (*found, *runs.finish())

    def save(
        self, folder: Path | str, formats: Sequence[str] = (), progress: Progress | None = None
    ) -> tuple[Path, ...]:
        """Write the files that `jaxhar predict` writes, reading the source again for the pictures; gives their paths.

        Args:
          formats: further files, as for `--format`.

        Raises:
          Problem: the source has changed, or the folder cannot be written.
        """
        source = self._opened()
        check_formats(formats, source, self.source)
        with Outputs(
            Path(folder), source, self.source, self.meta, formats, self.made_by, several=self.several
        ) as outputs:
            outputs.begin(self.times.tolist())
            frames = counted(source.frames(), progress, "writing", len(self.frames))
            done = 0
            for frame, seen in zip(frames, self.frames, strict=False):
                outputs.add(frame, seen.results)
                done += 1
            if done < len(self.frames):
                raise Problem(f"{self.source}: the file has changed since it was predicted; predict it again")
            outputs.finish()
        return outputs.files

    def draw(self, index: int) -> np.ndarray:
        """A frame with skeletons and action, as in the overlay: (H, W, 3) uint8.

        Raises:
          IndexError: there is no such frame. Problem: the source has changed.
        """
        wanted = range(len(self.frames))[index]
        source = self._opened()
        fps = float(source.fps) if isinstance(source, Video) else None
        overlay = Overlay(self.skeleton, self.classes, self.several, fps)
        for seen in self.frames[:wanted]:
            overlay.remember(acting(seen.results))
        for frame in source.frames(max(1, wanted)):
            if frame.index == wanted and frame.image is not None:
                return overlay.draw(frame.image, acting(self.frames[wanted].results))
        raise Problem(f"{self.frames[wanted].frame.path}: it has changed and has no frame {wanted} any more")

    def to_coco(self) -> dict[str, object]:
        """The content of coco.json: images, annotations and categories."""
        name = [(name_in_coco(seen.frame, not self._stills), seen) for seen in self.frames]
        return coco.document(
            [coco.detection(file, seen.size, result) for file, seen in name for result in seen.there], self.skeleton
        )

    def to_table(self) -> dict[str, list]:
        """The columns of trajectories.csv, not rounded, a row for each joint of each person in each frame.

        `pandas.DataFrame` takes them as they are. z is NaN for joints in two dimensions.
        """
        rows = [row for seen in self.frames for row in tables.trajectories(self.skeleton, seen.frame, seen.there)]
        return {name: [row[n] for row in rows] for n, name in enumerate(tables.TRAJECTORIES)}

    def _person(self, who: int) -> Person:
        count, joints = len(self.frames), len(self.skeleton)
        axes = next((result.pose.shape[-1] for seen in self.frames for result in seen.results), 2)
        pose, confidence = np.full((count, joints, axes), np.nan), np.full((count, joints), np.nan)
        boxes, actions = np.full((count, 4), np.nan), np.full((count, len(self.classes)), np.nan)
        unfamiliar = np.zeros(count, bool)
        for t, seen in enumerate(self.frames):
            for result in acting(seen.results) if self._sees_pictures else seen.there:
                if result.id == who:
                    pose[t], confidence[t], boxes[t] = result.pose, result.confidence, result.box
                    unfamiliar[t] = bool(result.unfamiliar)
                    if result.action is not None:
                        actions[t] = result.action
        one_scene = not self._stills or count == 1
        total = self._tally.scene if self._sees_pictures else self._tally.persons.get(who)
        action, probability = named(total.action if total and one_scene else None, self.classes)
        return Person(who, pose, confidence, boxes, actions, unfamiliar, action, probability)
