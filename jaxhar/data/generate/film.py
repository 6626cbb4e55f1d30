"""Generates videos of people, to train and test without a published data set.

A person of random build and clothing (`body`, `figure`) performs one of the 15 actions (`motions`) in front of a moving
camera (`film`) and random backgrounds (`scenery`). The `generate.py` of each data set writes such videos in its layout.
"""

import contextlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from jaxhar.core import classes as actions
from jaxhar.data.generate import scenery
from jaxhar.data.generate.body import Body, Performance, mirror, perform, turn, viewpoint_yaw
from jaxhar.data.generate.figure import Clothes, FigureView, draw_figure
from jaxhar.data.generate.handstands import HANDSTANDS
from jaxhar.data.generate.motions import MOTIONS
from jaxhar.host.errors import Problem

#: Increased whenever the pictures or labels of the same `Synth` change.
VERSION = 3
QUALITY = 90  # of JPEG files
_MARKER, _UNFINISHED, PARTIAL = "synthetic.json", "synthetic.unfinished.json", ".partial"


@dataclass(frozen=True)
class Synth:
    """Number and size of generated videos.

    Attributes:
      train_sequences, test_sequences: videos in each split; the 15 actions alternate.
      train_performers, test_performers: people in each split; nobody is in both.
      frames: smallest and largest number of frames of a video.
      size: (width, height) in pixels.
      clutter: 0 to 1, the amount of shapes behind the person, things in front, and noise.
      seed: of all random numbers.
    """

    train_sequences: int
    test_sequences: int
    train_performers: int
    test_performers: int
    frames: tuple[int, int] = (24, 40)
    size: tuple[int, int] = (320, 240)
    clutter: float = 1.0
    seed: int = 0

    def check(self) -> None:
        """Raise `Problem` for wrong numbers."""
        for split in ("train", "test"):
            sequences, performers = getattr(self, f"{split}_sequences"), getattr(self, f"{split}_performers")
            if sequences < 0 or (sequences and performers < 1):
                raise Problem(
                    f"cannot generate {sequences} {split} videos of {performers} performers: "
                    f"both numbers must be positive (or {split}_sequences 0)"
                )
        if not 2 <= self.frames[0] <= self.frames[1]:
            raise Problem(
                f"cannot generate videos of {self.frames} frames: give (fewest, most) with 2 <= fewest <= most"
            )
        if not 0 <= self.clutter <= 1:
            raise Problem(f"cannot generate videos with a clutter of {self.clutter}: give a number from 0 to 1")
        if min(self.size) < 32:
            raise Problem(f"cannot generate videos of {self.size} pixels: width and height must be 32 or more")


@dataclass(frozen=True)
class PlannedVideo:
    """One planned video: its number from 1 over both splits, whether it is for training, action and performer."""

    number: int
    train: bool
    action: str
    performer: int


def plan(synth: Synth, names: Sequence[str] = actions.PENN) -> list[PlannedVideo]:
    """All videos of a data set, training first, with balanced actions; test performers have the higher numbers."""
    sequences: list[PlannedVideo] = []
    for train, count, performers, first in (
        (True, synth.train_sequences, synth.train_performers, 0),
        (False, synth.test_sequences, synth.test_performers, synth.train_performers),
    ):
        for i in range(count):
            turn_, action = divmod(i, len(names))
            performer = first + (turn_ + action) % performers
            sequences.append(PlannedVideo(len(sequences) + 1, train, names[action], performer))
    return sequences


@dataclass(frozen=True)
class Performer:
    """A person: build, clothes, handedness."""

    body: Body
    clothes: Clothes
    left_handed: bool


def performer(seed: int, identity: int) -> Performer:
    """The person with this number, the same in all videos of a seed."""
    rng = np.random.default_rng([seed, identity, 1])
    return Performer(Body.random(rng), Clothes.random(rng), bool(rng.uniform() < 0.12))


def stage(action: str, person: Performer, frames: int, rng: np.random.Generator) -> tuple[Performance, str]:
    """A performance, turned to a random viewpoint of a camera that looks along +y, and the viewpoint's name."""
    motion = MOTIONS.get(action) or HANDSTANDS[action]
    view = str(rng.choice(motion.views))
    performance = perform(motion, person.body, frames, rng)
    if person.left_handed:
        performance = mirror(performance)
    return turn(performance, viewpoint_yaw(view) + rng.uniform(-25, 25)), view


def axes_towards(eye: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Axes (3, 3) right, down, forward of a level camera at `eye` that looks at `target`, both (3,)."""
    forward = target - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])


@dataclass(frozen=True)
class FilmCamera:
    """A pinhole camera that pans and zooms: axes (3, 3) right, down, forward; focal (T,), centre (T, 2) in pixels."""

    eye: np.ndarray
    axes: np.ndarray
    focal: np.ndarray
    centre: np.ndarray

    def project(self, points: np.ndarray, frame: int | slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
        """Points (..., 3) in metres, leading axis T where `frame` is a slice -> pixels (..., 2), depths (...)."""
        seen = (points - self.eye) @ self.axes.T
        shape = (-1,) + (1,) * (points.ndim - 2) if isinstance(frame, slice) else ()
        scale = np.reshape(self.focal[frame], shape) / seen[..., 2]
        centre = self.centre[frame]
        if isinstance(frame, slice):
            centre = centre[:, None]
        return seen[..., :2] * scale[..., None] + centre, seen[..., 2]


def aim(performance: Performance, size: tuple[int, int], rng: np.random.Generator) -> FilmCamera:
    """A camera that keeps most of a performance in the frame; in some videos it is too close and limbs are cut off."""
    joints = performance.joints
    frames = len(joints)
    low, high = joints.min((0, 1)), joints.max((0, 1))
    middle = 0.5 * (low + high)
    distance = rng.uniform(4.0, 8.0)
    tilt = rng.uniform(-3.0, 14.0)
    away = Rotation.from_euler("xy", [-tilt, rng.normal(0, 2.5)], degrees=True).as_matrix()
    axes = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]) @ away.T
    eye = middle - distance * away[:, 1]
    unit = FilmCamera(eye, axes, np.ones(frames), np.zeros((frames, 2)))
    pixels = unit.project(joints)[0]
    margin = 0.12 / distance
    low2, high2 = pixels.min((0, 1)) - margin, pixels.max((0, 1)) + margin
    # the zoom depends on the person's height in one frame, and on the room that a run or jump needs
    tall = np.median(np.ptp(pixels[..., 1], axis=1)) + 2 * margin
    room = np.array(size) / (high2 - low2)
    focal = min(0.95 * room.min(), rng.uniform(0.5, 0.85) * size[1] / tall)
    if rng.uniform() < 0.12:
        focal *= rng.uniform(1.15, 1.4)
    slack = np.abs(np.array(size) - focal * (high2 - low2))
    start = 0.5 * np.array(size) - 0.5 * focal * (low2 + high2) + rng.uniform(-0.4, 0.4, 2) * slack
    time = np.linspace(-0.5, 0.5, frames)
    zoom = np.exp(rng.uniform(-0.15, 0.15) * time)
    sway = np.sin(2 * np.pi * (rng.uniform(0.3, 1.0, 2) * time[:, None] + rng.uniform(size=2)))
    centre = start + rng.uniform(-0.02, 0.02, 2) * size[0] * sway
    half = 0.5 * np.array(size)
    return FilmCamera(eye, axes, focal * zoom, half + (centre - half) * zoom[:, None])


@dataclass(frozen=True)
class Footage:
    """A filmed sequence: joints (T, 21, 2) in pixels, visible (T, 21) bool, and the frames (h, w, 3) BGR uint8."""

    joints: np.ndarray
    visible: np.ndarray
    frames: Iterator[np.ndarray]


def film(
    action: str,
    person: Performer,
    performance: Performance,
    size: tuple[int, int],
    rng: np.random.Generator,
    clutter: float = 1.0,
) -> Footage:
    """Film a performance: positions and visibility of joints, and pictures, which are drawn during iteration.

    A joint is visible if it is inside of the frame and no object hides it; the person's own limbs do not count.
    """
    width, height = size
    camera = aim(performance, size, rng)
    joints = camera.project(performance.joints)[0]
    visible = np.asarray(((joints >= 0) & (joints <= np.array(size) - 1)).all(-1))
    front = scenery.occluder(width, height, rng) if rng.uniform() < 0.2 * clutter else None
    if front is not None:
        column, row = (np.clip(np.round(joints[..., i]), 0, size[i] - 1).astype(int) for i in (0, 1))
        visible &= front[1][row, column] == 0
    return Footage(joints, visible, _paint(action, person, performance, camera, size, front, rng, clutter))


def shoot(synth: Synth, sequence: PlannedVideo) -> tuple[Footage, str]:
    """Film a planned video; returns it with the name of its viewpoint."""
    rng = np.random.default_rng([synth.seed, sequence.number])
    count = int(rng.integers(synth.frames[0], synth.frames[1] + 1))
    person = performer(synth.seed, sequence.performer)
    performance, viewpoint = stage(sequence.action, person, count, rng)
    return film(sequence.action, person, performance, synth.size, rng, synth.clutter), viewpoint


def _paint(
    action: str,
    person: Performer,
    performance: Performance,
    camera: FilmCamera,
    size: tuple[int, int],
    front: tuple[np.ndarray, np.ndarray] | None,
    rng: np.random.Generator,
    clutter: float,
) -> Iterator[np.ndarray]:
    width, height = size
    border = max(4, width // 25)
    canvas = scenery.background(width + 2 * border, height + 2 * border, rng, clutter)
    light = rng.uniform(0.7, 1.15)
    style = rng.uniform(size=8)
    has_props = rng.uniform() < 0.75
    blur = rng.uniform(0.5, 1.1) if rng.uniform() < 0.3 else 0.0
    noise = rng.normal(0, clutter * rng.uniform(0, 6), (height + 16, width + 16, 3)).astype(np.int16)
    for t, (joints, face) in enumerate(zip(performance.joints, performance.face, strict=True)):
        x, y = np.clip(np.round(border - (camera.centre[t] - camera.centre[0])), 0, 2 * border).astype(int)
        image = canvas[y : y + height, x : x + width].copy()
        view = FigureView.of(joints, face, partial(camera.project, frame=t), camera.focal[t], camera.eye)
        things = scenery.props(action, view, style, t) if has_props else []
        draw_figure(image, view, person.body, person.clothes, things, light)
        if front is not None:
            cv2.copyTo(front[0], front[1], image)
        if blur:
            image = cv2.GaussianBlur(image, (0, 0), blur)
        dx, dy = rng.integers(16, size=2)
        yield cv2.add(image, noise[dy : dy + height, dx : dx + width], dtype=cv2.CV_8U)


@contextlib.contextmanager
def parallel_map(jobs: int) -> Iterator[Callable]:
    """A `map` for a number of videos: over processes on all cores if there are enough videos, else in this process."""
    workers = min(os.cpu_count() or 1, jobs // 50)
    if workers < 2:
        yield map
        return
    # Spawned, not forked, because JAX may have threads already.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield partial(pool.map, chunksize=4)


@contextlib.contextmanager
def output_folder(out: Path, synth: Synth, layout: str | None = None) -> Iterator[bool]:
    """A context for writing a data set into `out`: yields True if it is complete already, marks it complete at the end.

    `layout` is a name for the settings file, None for Penn Action.

    Raises:
      Problem: `out` holds something else or cannot be written to, or the settings are wrong.
    """
    synth.check()
    settings = json.loads(json.dumps({"version": VERSION, **({"layout": layout} if layout else {}), **asdict(synth)}))
    try:
        finished = _begin(out, settings)
        yield finished
        if not finished:
            os.replace(out / _UNFINISHED, out / _MARKER)
    except OSError as error:
        raise Problem(f"cannot write generated data to {out}: {error.strerror or error}") from error


def _begin(out: Path, settings: dict) -> bool:
    """True if `out` is complete; otherwise mark it as being written with these settings. Problem if it holds other
    files."""
    for name in (_MARKER, _UNFINISHED):
        marker = out / name
        if not marker.is_file():
            continue
        try:
            found = json.loads(marker.read_text())
        except ValueError as error:
            raise Problem(f"{marker} is damaged: choose another folder or delete this one") from error
        if found != settings:
            raise Problem(
                f"{out} holds videos generated with other settings ({marker.name} lists them): "
                f"choose another folder or delete this one"
            )
        return name == _MARKER
    claim = out / f".{_UNFINISHED}"
    if out.exists() and (not out.is_dir() or any(path != claim for path in out.iterdir())):
        raise Problem(f"{out} is not an empty folder and was not made by this generator: choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    claim.write_text(json.dumps(settings, indent=1))
    os.replace(claim, out / _UNFINISHED)
    return False
