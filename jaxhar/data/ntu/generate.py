"""Generates videos in NTU RGB+D's layout (.skeleton text and _rgb.avi) and in deephar's .npy form.

A person performs in front of three fixed Kinects, 45 degrees apart, once (R001) turned to the left camera and once
(R002) to the right one. The 15 motions replace the actions A001 to A015. In some videos there is a bystander, who is
tracked too. Labels are in pixels of 1920 x 1080 as in the real data, whatever the size of the videos.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from jaxhar.core import classes as actions
from jaxhar.core.skeleton import NTU
from jaxhar.data.formats.jpeg import encode
from jaxhar.data.generate import film as synthetic
from jaxhar.data.generate import scenery
from jaxhar.data.generate.body import SKELETON, Performance, mirror, perform, turn
from jaxhar.data.generate.figure import FigureView, draw_figure
from jaxhar.data.generate.film import Performer, Synth
from jaxhar.data.generate.motions import MOTIONS
from jaxhar.data.ntu import folder as ntu_folder
from jaxhar.host.errors import Problem

VIEWS = (1, 2, 3)
AUTHORS = "authors"
_FPS = 30
_FOCAL = 1068 / 1080  # focal length of the colour camera, in heights of its picture
BODY_ID = 72057594037931100
_TEST_SUBJECTS = tuple(i for i in range(1, 41) if i not in ntu_folder.TRAIN_SUBJECTS)


@dataclass(frozen=True)
class NTUTake:
    """One performance, with setup, subject, replication and action as numbered in file names."""

    setup: int
    subject: int
    replication: int
    action: int
    performer: int

    def name(self, view: int) -> str:
        """Name of one camera's files."""
        numbers = zip("SCPRA", (self.setup, view, self.subject, self.replication, self.action), strict=True)
        return "".join(f"{letter}{number:03d}" for letter, number in numbers)


@dataclass(frozen=True)
class Kinect:
    """A fixed camera: eye (3,) position in metres, axes (3, 3) right, down, forward; size (width, height)."""

    eye: np.ndarray
    axes: np.ndarray
    size: tuple[int, int]

    def seen(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) in camera coordinates: metres to the right, down and forward."""
        return (np.asarray(points) - self.eye) @ self.axes.T

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (..., 3) in metres to pixels (..., 2) of the picture and depths (...) in metres."""
        seen = self.seen(points)
        focal = _FOCAL * self.size[1]
        return focal * seen[..., :2] / seen[..., 2:] + 0.5 * np.array(self.size), seen[..., 2]


def plan(synth: Synth) -> list[NTUTake]:
    """All performances, training subjects first; actions alternate, and for each action the subjects do."""
    takes = []
    motions = len(actions.PENN)
    for count, performers, subjects, first in (
        (synth.train_sequences, synth.train_performers, ntu_folder.TRAIN_SUBJECTS[:20], 0),
        (synth.test_sequences, synth.test_performers, _TEST_SUBJECTS, 20),
    ):
        people = min(performers, len(subjects))
        if count > 17 * 2 * people * motions:
            raise Problem(f"cannot generate {count} performances of {people} subjects: 17 setups have no more names")
        for i in range(count):
            time, action = divmod(i, motions)
            person = (time + action) % people
            setup, replication = divmod(time // people, 2)
            takes.append(NTUTake(setup + 1, subjects[person], replication + 1, action + 1, first + person))
    return takes


def kinects(setup: int, size: tuple[int, int]) -> list[Kinect]:
    """The three cameras of a setup, for videos of (width, height)."""
    rng = np.random.default_rng([setup, 60])
    distance, height = rng.uniform(3.2, 4.2), rng.uniform(1.0, 1.6)
    found = []
    for angle in np.deg2rad([-135, -90, -45]):
        eye = np.array([distance * np.cos(angle), distance * np.sin(angle), height])
        found.append(Kinect(eye, synthetic.axes_towards(eye, np.array([0, 0, 1.05])), size))
    return found


def all_joints(joints: np.ndarray) -> np.ndarray:
    """The Kinect's 25 joints (T, 25, 3) from a performance's (T, 21, 3), in metres."""
    of = {name: joints[:, i] for i, name in enumerate(SKELETON.joints)}
    for side in "lr":
        wrist, hand = of[f"{side}_wrist"], of[f"{side}_hand"]
        of[f"{side}_tip"], of[f"{side}_thumb"] = hand + 0.6 * (hand - wrist), wrist + 0.6 * (hand - wrist)
    return np.stack([of[name] for name in NTU.joints], axis=1)


@dataclass(frozen=True)
class _Actor:
    """A person in front of the cameras, with the Kinect's id for the body."""

    person: Performer
    performance: Performance
    identity: int


def _moved(performance: Performance, shift: np.ndarray) -> Performance:
    return Performance(performance.joints + shift, performance.face)


def _cast(synth: Synth, take: NTUTake) -> list[_Actor]:
    """The people in front of the cameras in the order of tracking: the performer, sometimes a bystander."""
    rng = np.random.default_rng([synth.seed, take.setup, take.subject, take.replication, take.action, 60])
    count = int(rng.integers(synth.frames[0], synth.frames[1] + 1))
    person = synthetic.performer(synth.seed, take.performer)
    performance = perform(MOTIONS[actions.PENN[take.action - 1]], person.body, count, rng)
    if person.left_handed:
        performance = mirror(performance)
    facing = 180 + (-45 if take.replication == 1 else 45) + rng.uniform(-15, 15)
    performance = turn(performance, facing)
    middle = performance.joints[..., :2].mean((0, 1))  # also if the person moves
    performance = _moved(performance, np.append(rng.uniform(-0.2, 0.2, 2) - middle, 0.0))
    cast = [_Actor(person, performance, BODY_ID + 1)]
    if rng.uniform() < 1 / 3:
        other = synthetic.performer(synth.seed, 1000 + take.setup)
        still = perform(MOTIONS["jumping_jacks"], other.body, 12, rng)
        still = Performance(still.joints[:1].repeat(count, 0), still.face[:1].repeat(count, 0))
        still = _moved(turn(still, 180), np.array([rng.choice([-1.0, 1.0]) * 0.9, 0.8, 0.0]))
        cast.insert(int(rng.integers(2)), _Actor(other, still, BODY_ID))
    return cast


def skeleton_text(persons: list[tuple[int, Performance]], camera: Kinect) -> str:
    """A .skeleton file of persons with their ids."""
    count = len(persons[0][1].joints)
    lines = [str(count)]
    bodies = []
    for identity, performance in persons:
        joints = all_joints(performance.joints)
        pixels, _ = camera.project(joints)
        inside = np.asarray(((pixels >= 0) & (pixels < camera.size)).all(-1))
        seen = camera.seen(joints) * [1, -1, 1]  # the Kinect's y points up
        colour = pixels * (np.array(ntu_folder.COLOUR) / camera.size)
        depth = 366 * seen[..., :2] * [1, -1] / seen[..., 2:] + [256, 212]
        bodies.append((identity, seen, depth, colour, inside))
    for t in range(count):
        lines.append(str(len(bodies)))
        for identity, seen, depth, colour, inside in bodies:
            lines += [f"{identity} 0 1 1 1 1 0 0 0 2", str(len(NTU))]
            for j in range(len(NTU)):
                numbers = (*seen[t, j], *depth[t, j], *colour[t, j], 0, 0, 0, 1)
                lines.append(" ".join(f"{n:.7g}" for n in numbers) + f" {2 if inside[t, j] else 1}")
    return "\r\n".join(lines) + "\r\n"


def _table(actor: _Actor, camera: Kinect) -> np.ndarray:
    """Deephar's label array (frames, 151) of one body."""
    joints = all_joints(actor.performance.joints)
    pixels, depth = camera.project(joints)
    colour = pixels * (np.array(ntu_folder.COLOUR) / camera.size)
    seen = camera.seen(joints) * [1, -1, 1]
    count = len(joints)
    parts = (np.arange(1, count + 1)[:, None], seen.reshape(count, 75), colour[..., 0], colour[..., 1], 1000 * depth)
    return np.concatenate(parts, axis=1).astype(np.float32)


def _paint(synth: Synth, take: NTUTake, view: int, camera: Kinect, cast: list[_Actor]) -> Iterator[np.ndarray]:
    """The pictures of one camera, BGR uint8."""
    room = np.random.default_rng([synth.seed, take.setup, view, 61])
    background = scenery.background(*synth.size, room, synth.clutter)
    light = room.uniform(0.75, 1.1)
    grain = np.random.default_rng([synth.seed, take.setup, take.subject, take.action, view, 62])
    noise = grain.normal(0, 3 * synth.clutter, (synth.size[1] + 16, synth.size[0] + 16, 3)).astype(np.int16)
    far_first = sorted(cast, key=lambda actor: -camera.project(actor.performance.joints.mean(1))[1].mean())
    for t in range(len(cast[0].performance.joints)):
        image = background.copy()
        for actor in far_first:
            joints, face = actor.performance.joints[t], actor.performance.face[t]
            seen = FigureView.of(joints, face, camera.project, _FOCAL * synth.size[1], camera.eye)
            draw_figure(image, seen, actor.person.body, actor.person.clothes, [], light)
        dx, dy = grain.integers(16, size=2)
        yield cv2.add(image, noise[dy : dy + synth.size[1], dx : dx + synth.size[0]], dtype=cv2.CV_8U)


def write(out: Path, synth: Synth, progress: bool = True) -> None:
    """Generate a data set in both forms into the folder `out`, made where it does not exist.

    It gets nturgb+d_skeletons/NAME.skeleton and nturgb+d_rgb/NAME_rgb.avi; the same in deephar's form,
    authors/nturgb+d_numpy/NAME.npy and authors/images-small/NAME/00001.jpg ... of half the size; and at the end
    `synthetic.json` with the settings. A complete folder of the same settings is not changed, an incomplete one is
    completed.

    Args:
      synth: `train_sequences` and `test_sequences` are performances, each filmed by three cameras, of at most 20 and 20
        performers.

    Raises:
      Problem: `out` holds something else or cannot be written to, or the settings are wrong.
    """
    out = Path(out)
    with synthetic.output_folder(out, synth, "ntu") as finished:
        if finished:
            return
        todo = [take for take in plan(synth) if not _labels(out, take.name(VIEWS[-1])).exists()]
        with synthetic.parallel_map(len(VIEWS) * len(todo)) as run:
            done = run(partial(_write_take, out, synth), todo)
            for _ in tqdm(done, total=len(todo), desc="filming", unit="performance", disable=not progress):
                pass


def _labels(out: Path, name: str) -> Path:
    return out / "nturgb+d_skeletons" / f"{name}.skeleton"


def _write_take(out: Path, synth: Synth, take: NTUTake) -> None:
    """Write the files of one performance; the labels of the last camera are written last."""
    cast = _cast(synth, take)
    main = next(actor for actor in cast if actor.identity != BODY_ID)
    for view, camera in zip(VIEWS, kinects(take.setup, synth.size), strict=True):
        name = take.name(view)
        labels, video = _labels(out, name), out / "nturgb+d_rgb" / f"{name}_rgb.avi"
        table = out / AUTHORS / "nturgb+d_numpy" / f"{name}.npy"
        pictures = out / AUTHORS / "images-small" / name
        shutil.rmtree(pictures, ignore_errors=True)
        for path in (labels, video, table, pictures / "00001.jpg"):
            path.parent.mkdir(parents=True, exist_ok=True)
        writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), _FPS, synth.size)
        try:
            for t, image in enumerate(_paint(synth, take, view, camera, cast), 1):
                writer.write(image)
                half = cv2.resize(image, (synth.size[0] // 2, synth.size[1] // 2), interpolation=cv2.INTER_AREA)
                (pictures / f"{t:05d}.jpg").write_bytes(encode(half))
        finally:
            writer.release()
        np.save(table, _table(main, camera))
        unfinished = labels.with_suffix(".partial")
        unfinished.write_text(
            skeleton_text([(actor.identity, actor.performance) for actor in cast], camera), newline=""
        )
        os.replace(unfinished, labels)
