"""The results for one person: in a frame, in a clip, over the whole source."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from jaxhar.predict import poses
from jaxhar.predict.boxes import anyone
from jaxhar.predict.map_pictures import FrameMaps

#: Stands in place of an identity for all persons together.
SCENE = 0


@dataclass(frozen=True)
class Clip:
    """The action of one clip: frames (T,), rising indices, perhaps repeated; action (A,) probabilities."""

    frames: np.ndarray
    action: np.ndarray


@dataclass(frozen=True)
class Attention:
    """How much each patch of a crop counts: box (4,) x1, y1, x2, y2 of the crop in pixels, shares (h, w) in [0, 1]."""

    box: np.ndarray
    shares: np.ndarray


@dataclass
class FrameResult:
    """The predictions for one frame.

    Attributes:
      index: of the frame in its source.
      box: (4,) x1, y1, x2, y2 of the crop of the pose, image pixels.
      pose: (J, D) image pixels; a third coordinate is in the network's units.
      confidence: (J,), NaN if the network predicts none; null in the files.
      action: (A,) probabilities over all clips that contain this moment; None for pose networks, and where no clip
        with a person contains it.
      clips: the clips with a person that begin with this frame.
      unfamiliar: whether the crop looks unlike those of the network's training; None if that is not known.
      maps: the network's heat maps of this frame, where they are asked for.
      outline: (4,) x1, y1, x2, y2 of the person itself, image pixels, as detected or given; None if that is not known.
      id: identity of the person; `SCENE` for all of them together, who have an action, but no joints.
      votes: logarithms of the probabilities of clips whose mean is not yet taken; of networks that see whole pictures
        the probabilities themselves.
      attention: of a network that sees whole pictures, where it is asked for.
    """

    index: int
    box: np.ndarray
    pose: np.ndarray
    confidence: np.ndarray
    action: np.ndarray | None = None
    clips: list[Clip] = field(default_factory=list)
    unfamiliar: bool | None = None
    maps: FrameMaps | None = None
    outline: np.ndarray | None = None
    id: int = poses.PERSON
    votes: list[np.ndarray] = field(default_factory=list)
    attention: Attention | None = None

    @property
    def person(self) -> bool:
        """Whether somebody is there."""
        return len(self.confidence) > 0 and bool(anyone(self.confidence))


@dataclass
class PersonResult:
    """A person over the whole source.

    Attributes:
      first, last: frames in which the person was found. frames, unfamiliar: how many these are, and how many of them
        look unlike the network's training.
      action: (A,) probabilities over all clips, their normalised geometric mean. None for pose networks, without clips,
        and if most frames look unfamiliar.
      plain: the mean is the arithmetic one, as of networks that see whole pictures.
    """

    first: int
    last: int
    frames: int = 0
    unfamiliar: int = 0
    _logs: np.ndarray | float = 0.0
    _clips: int = 0
    plain: bool = False

    @property
    def action(self) -> np.ndarray | None:
        strange = 2 * self.unfamiliar > self.frames
        if strange or not self._clips:
            return None
        mean = np.asarray(self._logs) / self._clips
        return mean if self.plain else normalised(mean)

    def add_clip(self, action: np.ndarray) -> None:
        """Adds the probabilities (A,) of a clip."""
        self._logs = self._logs + (action if self.plain else np.log(np.maximum(action, 1e-12)))
        self._clips += 1


@dataclass
class Tally:
    """The persons over the whole source, frame by frame.

    Attributes:
      persons: by identity; of several still pictures none, because their persons are numbered in each.
      scene: all persons together; None if no action was looked for, and of several still pictures.
      empty, unfamiliar: numbers of frames without a person, and of those with a person who looks unfamiliar.
      most: number of persons in the frame with the most.
    """

    persons: dict[int, PersonResult] = field(default_factory=dict)
    empty: int = 0
    unfamiliar: int = 0
    scene: PersonResult | None = None
    most: int = 0

    def add(self, index: int, results: Sequence[FrameResult]) -> None:
        """Add a frame; `results` may have people who are not there."""
        there = [result for result in results if result.person]
        self.empty += not there
        self.most = max(self.most, len(there))
        self.unfamiliar += any(result.unfamiliar for result in there)
        for result in there:
            person = self.persons.setdefault(result.id, PersonResult(index, index))
            person.last = index
            person.frames += 1
            person.unfamiliar += bool(result.unfamiliar)
        for result in results:
            if result.id == SCENE:
                self.scene = self.scene or PersonResult(index, index, plain=not len(result.confidence))
                self.scene.last = index
                self.scene.frames += 1
                for clip in result.clips:
                    self.scene.add_clip(clip.action / clip.action.sum())
                continue
            for clip in result.clips:
                one = self.persons.setdefault(result.id, PersonResult(result.index, result.index))
                one.add_clip(clip.action / clip.action.sum())

    def found(self, stills: bool) -> int:
        """The number of persons; of several pictures, the most in one of them."""
        return self.most if stills else sum(person.frames > 0 for person in self.persons.values())

    def main(self) -> int | None:
        """The identity of the person who is there for longest."""
        return max(self.persons, key=lambda who: self.persons[who].frames, default=None)


def scene(index: int, joints: int) -> FrameResult:
    """All persons of a frame together, whose action is not known yet."""
    return FrameResult(index, np.zeros(4), np.full((joints, 2), np.nan), np.zeros(joints), id=SCENE)


def of_scene(results: Sequence[FrameResult]) -> FrameResult | None:
    """The scene among the results of a frame."""
    return next((result for result in results if result.id == SCENE), None)


def acting(results: Sequence[FrameResult]) -> list[FrameResult]:
    """Who may have an action: the persons who are there, and the scene."""
    return [result for result in results if result.person or result.id == SCENE]


def named(action: np.ndarray | None, names: Sequence[str]) -> tuple[str | None, float | None]:
    """The most probable of the actions (A,), and its probability; None for None."""
    return (None, None) if action is None else (names[int(action.argmax())], float(action.max()))


def normalised(logs: np.ndarray) -> np.ndarray:
    """Probabilities (A,) from log-probabilities that do not sum to one."""
    weights = np.exp(logs - logs.max())
    return weights / weights.sum()
