"""Scenes of one or two moving persons, for generated skeletons: 12 of the motions, and 3 of two persons."""

from dataclasses import dataclass

import numpy as np

from jaxhar.core import classes
from jaxhar.data.generate.body import Performance, mirror, perform, turn
from jaxhar.data.generate.film import Synth, performer
from jaxhar.data.generate.motions import MOTIONS

#: Actions of two persons: the distance between them falls, grows, or stays.
TOGETHER = ("walk_towards", "walk_apart", "exercise_together")
ACTIONS = (*classes.PENN[:12], *TOGETHER)
#: Distances between two persons in metres at the first and at the last frame.
_DISTANCES = {"walk_towards": (2.4, 0.8), "walk_apart": (0.8, 2.4), "exercise_together": (1.2, 1.2)}
#: Performers of the training split and of the other one, as NTU RGB+D numbers them.
_TRAIN = (1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38)
_TEST = tuple(number for number in range(1, 41) if number not in _TRAIN)


@dataclass(frozen=True)
class Take:
    """One scene, numbered as in file names: setup, camera, performer, replication, action (from 1)."""

    setup: int
    camera: int
    subject: int
    replication: int
    action: int

    @property
    def name(self) -> str:
        """Such as S001C001P001R001A001."""
        numbers = self.setup, self.camera, self.subject, self.replication, self.action
        return "".join(f"{letter}{number:03d}" for letter, number in zip("SCPRA", numbers, strict=True))

    @property
    def trains(self) -> bool:
        """Whether it belongs to the training split."""
        return self.subject in _TRAIN


def plan(synth: Synth) -> list[Take]:
    """All scenes, those of training first; actions alternate, and for each action the performers do."""
    synth.check()
    takes = []
    for count, people, subjects in (
        (synth.train_sequences, synth.train_performers, _TRAIN),
        (synth.test_sequences, synth.test_performers, _TEST),
    ):
        people = min(people, len(subjects))
        for i in range(count):
            time, action = divmod(i, len(ACTIONS))
            again, camera = divmod(time // people, 3)
            setup, replication = divmod(again, 2)
            takes.append(Take(setup + 1, camera + 1, subjects[(time + action) % people], replication + 1, action + 1))
    return takes


def play(synth: Synth, take: Take) -> list[Performance]:
    """The performances of the persons of a scene, about the origin."""
    rng = np.random.default_rng([synth.seed, take.setup, take.camera, take.subject, take.replication, take.action, 70])
    frames = int(rng.integers(synth.frames[0], synth.frames[1] + 1))
    action = ACTIONS[take.action - 1]
    facing = rng.uniform(-60, 60)
    if action not in TOGETHER:
        return [_one(synth, take.subject, action, frames, facing, rng)]
    other = 41 + (take.subject + take.setup) % 20
    motion = "jumping_jacks" if action == "exercise_together" else str(rng.choice(["strum_guitar", "jump_rope"]))
    first, last = _DISTANCES[action]
    distance = np.linspace(first, last, frames) + rng.uniform(-0.1, 0.1)
    pair = []
    for side, subject in ((-1, take.subject), (1, other)):
        person = _one(synth, subject, motion, frames, facing - 90 * side, rng)
        direction = np.array([np.cos(np.deg2rad(facing)), np.sin(np.deg2rad(facing)), 0])
        shift = 0.5 * side * distance[:, None] * direction
        pair.append(Performance(person.joints + shift[:, None], person.face))
    return pair


def _one(synth: Synth, subject: int, action: str, frames: int, facing: float, rng: np.random.Generator) -> Performance:
    person = performer(synth.seed, subject)
    performance = perform(MOTIONS[action], person.body, frames, rng)
    performance = turn(mirror(performance) if person.left_handed else performance, 180 + facing)
    middle = performance.joints[..., :2].mean((0, 1))
    return Performance(performance.joints - np.append(middle, 0), performance.face)
