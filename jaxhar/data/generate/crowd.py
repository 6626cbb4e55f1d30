"""Generates films of several persons, who overlap, differ in distance, and walk into the picture and out of it.

Every person has a box, joints and an identity in every frame.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from jaxhar.core import classes
from jaxhar.data.generate import scenery
from jaxhar.data.generate.body import Performance, mirror, perform, turn
from jaxhar.data.generate.everyday import EVERYDAY, SPEED
from jaxhar.data.generate.figure import Clothes, FigureView, draw_figure, paint_capsule, paint_disc, random_colour
from jaxhar.data.generate.film import FilmCamera, Performer
from jaxhar.data.generate.motions import MOTIONS

#: Frames per second of a film.
RATE = 25.0
#: Share of the persons that do one of Penn Action's 15 actions; the others do something of `EVERYDAY`.
_SPORT = 0.25
#: Pixels of a person below which it is not in the picture.
_LEAST = 16
#: Metres from the camera that persons keep.
_NEAREST = 0.8
#: A white figure, whose pixels on black are those of the person.
_WHITE = Clothes(
    dict.fromkeys(("skin", "hair", "shirt", "sleeve", "forearm", "thigh", "shank", "shoe"), (255.0, 255.0, 255.0)),
    "patch",
    (255.0, 255.0, 255.0),
)


@dataclass(frozen=True)
class Actor:
    """A person of a scene.

    Attributes:
      identity: number of the person. action: name of the motion.
      performance: in metres of the scene, T frames.
    """

    identity: int
    person: Performer
    action: str
    performance: Performance


@dataclass(frozen=True)
class Seen:
    """A person in one frame.

    Attributes:
      identity: of the `Actor`.
      box: (4,) x1, y1, x2, y2 around the part within the frame, in pixels, whether or not something is in front of it.
      joints: (21, 2) pixels of `body.SKELETON`. inside: (21,) bool, within the frame. hidden: (21,) bool, behind
        something.
      share: of the part within the frame that nothing is in front of.
      within: share of the whole person that is within the frame, by its joints.
    """

    identity: int
    box: np.ndarray
    joints: np.ndarray
    inside: np.ndarray
    hidden: np.ndarray
    share: float
    within: float


@dataclass(frozen=True)
class Shot:
    """One frame: image (h, w, 3) BGR uint8, and the persons of whom something is within the frame, in fixed order."""

    image: np.ndarray
    people: tuple[Seen, ...]


@dataclass(frozen=True)
class Scene:
    """Several persons, the camera and the surroundings.

    Attributes:
      actors: the persons. camera: of T frames. size: (width, height) in pixels.
      clutter: 0 to 1, see `film.Synth`. seed: of background, light and noise.
    """

    actors: tuple[Actor, ...]
    camera: FilmCamera
    size: tuple[int, int]
    clutter: float
    seed: tuple[int, ...]

    def shots(self, frames: Iterable[int] | None = None) -> Iterator[Shot]:
        """The frames, or those with these numbers, drawn one by one; a frame differs only in noise if drawn alone."""
        rng = np.random.default_rng(self.seed)
        width, height = self.size
        background = _surroundings(self.size, rng, self.clutter)
        front = scenery.occluder(width, height, rng) if rng.uniform() < 0.3 * self.clutter else None
        looks = [_Look.random(rng, self.clutter) for _ in self.actors]
        blur = rng.uniform(0.4, 1.2) if rng.uniform() < 0.4 else 0.0
        noise = rng.normal(0, self.clutter * rng.uniform(0, 8), (height + 16, width + 16, 3)).astype(np.int16)
        for t in range(len(self.camera.focal)) if frames is None else frames:
            image = background.copy()
            shown: dict[int, np.ndarray] = {}
            whole: dict[int, np.ndarray] = {}
            for k in self._far_to_near(t):
                actor, view = self.actors[k], self._view(k, t)
                whole[k] = _silhouette(view, actor, self.size)
                shown = {j: mask & ~whole[k] for j, mask in shown.items()} | {k: whole[k]}
                looks[k].draw(image, view, actor, t, whole[k])
            if front is not None:
                cv2.copyTo(front[0], front[1], image)
                shown = {j: mask & (front[1] == 0) for j, mask in shown.items()}
            if blur:
                image = cv2.GaussianBlur(image, (0, 0), blur)
            dx, dy = rng.integers(16, size=2)
            image = cv2.add(image, noise[dy : dy + height, dx : dx + width], dtype=cv2.CV_8U)
            seen = (self._seen(k, t, whole[k], shown[k]) for k in sorted(whole))
            yield Shot(image, tuple(one for one in seen if one is not None))

    def _far_to_near(self, frame: int) -> list[int]:
        depths = [self.camera.project(actor.performance.joints[frame], frame)[1].mean() for actor in self.actors]
        return np.argsort(depths)[::-1].tolist()

    def _view(self, number: int, frame: int) -> FigureView:
        performance = self.actors[number].performance
        project = partial(self.camera.project, frame=frame)
        joints, face = performance.joints[frame], performance.face[frame]
        return FigureView.of(joints, face, project, self.camera.focal[frame], self.camera.eye)

    def _seen(self, number: int, frame: int, whole: np.ndarray, shown: np.ndarray) -> Seen | None:
        """What is within the frame of a person with the mask `whole`, of which `shown` is not covered; or None."""
        rows, columns = np.flatnonzero(whole.any(1)), np.flatnonzero(whole.any(0))
        if not len(rows) or whole.sum() < _LEAST:
            return None
        joints = self.camera.project(self.actors[number].performance.joints[frame], frame)[0]
        inside = np.asarray(((joints >= 0) & (joints <= np.array(self.size) - 1)).all(-1))
        column, row = (np.clip(np.round(joints[:, i]), 0, self.size[i] - 1).astype(int) for i in (0, 1))
        hidden = inside & whole[row, column] & ~shown[row, column]
        return Seen(
            identity=self.actors[number].identity,
            box=np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64),
            joints=joints,
            inside=inside,
            hidden=hidden,
            share=float(shown.sum() / whole.sum()),
            within=float(inside.mean()),
        )


@dataclass(frozen=True)
class _Look:
    """How a person is drawn: light, texture of the clothes, and whether with props of the given style."""

    light: float
    texture: np.ndarray
    props: bool
    style: np.ndarray

    @staticmethod
    def random(rng: np.random.Generator, clutter: float) -> "_Look":
        cells = int(rng.integers(4, 24)), int(rng.integers(4, 24))
        kind = rng.uniform()
        if kind < 0.4:  # stripes across or along
            cells = (cells[0], 1) if kind < 0.2 else (1, cells[1])
        pattern = rng.normal(0, clutter * rng.uniform(0.02, 0.25), cells).astype(np.float32)
        texture = 1 + cv2.resize(pattern, (128, 128), interpolation=cv2.INTER_LINEAR)
        return _Look(rng.uniform(0.55, 1.2), texture, bool(rng.uniform() < 0.5), rng.uniform(size=8))

    def draw(self, image: np.ndarray, view: FigureView, actor: Actor, frame: int, mask: np.ndarray) -> None:
        """Draw a person with the given mask into `image`."""
        things = scenery.props(actor.action, view, self.style, frame) if self.props else []
        draw_figure(image, view, actor.person.body, actor.person.clothes, things, self.light)
        rows, columns = np.nonzero(mask)
        if not len(rows):
            return
        # the texture is as large as the person, and moves with it
        side = 128 / max(1.0, 1.2 * view.scale)
        x, y = (columns - columns.min()) * side, (rows - rows.min()) * side
        factor = self.texture[y.astype(int) % 128, x.astype(int) % 128]
        image[rows, columns] = np.clip(image[rows, columns] * factor[:, None], 0, 255).astype(np.uint8)


def _silhouette(view: FigureView, actor: Actor, size: tuple[int, int]) -> np.ndarray:
    """(h, w) bool, the pixels of a person, wherever other things are."""
    image = np.zeros((size[1], size[0]), np.uint8)
    draw_figure(image, view, actor.person.body, _WHITE, [], 1.0)
    return image > 100  # the rims are darker than the limbs, at 140; half covered pixels do not count


def _surroundings(size: tuple[int, int], rng: np.random.Generator, clutter: float) -> np.ndarray:
    """(h, w, 3) uint8: a background with things as high and wide as persons or their limbs."""
    width, height = size
    image = scenery.background(width, height, rng, clutter)
    for _ in range(round(clutter * rng.integers(0, 9))):
        x, y = rng.uniform(0, width), rng.uniform(0.1, 1.0) * height
        tall, thick = rng.uniform(0.05, 0.6) * height, rng.uniform(0.01, 0.07) * height
        lean = rng.normal(0, 0.25) * tall
        colour = random_colour(rng)
        paint_capsule(
            image, np.array([x, y]), np.array([x + lean, y - tall]), thick, thick * rng.uniform(0.5, 1.5), colour
        )
        if rng.uniform() < 0.3:
            paint_disc(image, np.array([x + lean, y - tall - thick]), 1.5 * thick, random_colour(rng))
    if rng.uniform() < 0.5 * clutter:  # leaves, gravel, bricks
        cells = int(rng.integers(8, height // 2)), int(rng.integers(8, width // 2))
        grain = cv2.resize(
            rng.normal(0, rng.uniform(5, 35), cells).astype(np.float32), size, interpolation=cv2.INTER_LINEAR
        )
        top = int(rng.uniform(0, 0.8) * height)
        image[top:] = np.clip(image[top:] + grain[top:, :, None], 0, 255).astype(np.uint8)
    return image


def actor(identity: int, person: Performer, action: str, frames: int, yaw: float, rng: np.random.Generator) -> Actor:
    """A person that does something at the origin, or passes it in the middle of the film.

    Args:
      action: one of `EVERYDAY`, or of Penn Action.
      yaw: degrees by which the person is turned to the left from looking along +y, away from the camera.
    """
    motion = EVERYDAY.get(action) or MOTIONS[action]
    performance = perform(motion, person.body, frames, rng)
    if person.left_handed:
        performance = mirror(performance)
    performance = turn(performance, yaw)
    way = np.array([-np.sin(np.deg2rad(yaw)), np.cos(np.deg2rad(yaw)), 0.0])
    passed = SPEED.get(action, 0.0) / RATE * (np.arange(frames) - (frames - 1) / 2)
    return Actor(identity, person, action, moved(performance, passed[:, None] * way))


def moved(performance: Performance, by: np.ndarray) -> Performance:
    """A performance at another place: `by` (3,), or (T, 3) for each frame, in metres."""
    return Performance(
        performance.joints + np.broadcast_to(by, (len(performance.joints), 3))[:, None], performance.face
    )


def random_scene(
    size: tuple[int, int],
    count: int,
    frames: int,
    performer: Callable[[int], Performer],
    rng: np.random.Generator,
    clutter: float = 1.0,
) -> Scene:
    """A scene of `count` persons at random places, some in front of others or at the edge of the picture.

    Args:
      size: (width, height) in pixels. frames: T.
      performer: number from 0 -> person.
    """
    width, height = size
    near = rng.uniform(2.0, 9.0)
    tall = height * np.exp(rng.uniform(np.log(0.2), np.log(1.5)))  # of the nearest person, in pixels
    focal = tall * near / 1.7
    tilt = np.deg2rad(rng.uniform(-4, 22))
    base = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], float)
    away = Rotation.from_euler("xy", [-tilt, rng.normal(0, np.deg2rad(3))]).as_matrix()
    eye = np.array([0.0, 0.0, rng.uniform(0.8, 2.5)])
    plain = FilmCamera(eye, base @ away.T, np.full(frames, focal), np.zeros((frames, 2)))
    waist = plain.project(np.array([0.0, near, 0.9]), 0)[0]
    middle = rng.uniform(0.35, 0.65) * height if tall < height else height * rng.uniform(0.3, 0.8)
    centre = np.array([width * rng.uniform(0.4, 0.6), middle - waist[1]])
    camera = FilmCamera(eye, plain.axes, plain.focal, np.tile(centre, (frames, 1)))
    actors: list[Actor] = []
    place = np.zeros(3)
    for k in range(count):
        if k and rng.uniform() < 0.35:  # beside or behind the one before
            place = place + [rng.uniform(-0.6, 0.6), rng.uniform(-0.2, 1.2), 0]
        else:
            depth = near * (1.0 if k == 0 else rng.uniform(1.0, 2.6))
            place = np.array([(rng.uniform(-0.06, 1.06) * width - centre[0]) * depth / focal, depth, 0])
        sport = rng.uniform() < _SPORT
        action = str(rng.choice(classes.PENN if sport else tuple(EVERYDAY)))
        sideways = action in SPEED and rng.uniform() < 0.6
        yaw = rng.choice([-90, 90]) + rng.normal(0, 15) if sideways else rng.uniform(-180, 180)
        one = actor(k, performer(k), action, frames, yaw, rng)
        performance = moved(one.performance, place)
        if camera.project(performance.joints)[1].min() < _NEAREST:
            still = one.performance.joints.mean(1, keepdims=True) * [1, 1, 0]
            performance = moved(Performance(one.performance.joints - still, one.performance.face), place)
            performance = moved(performance, np.array([0, max(0.0, _NEAREST + 1 - place[1]), 0]))
        actors.append(Actor(k, one.person, action, performance))
    seed = tuple(int(n) for n in rng.integers(2**31, size=2))
    return Scene(tuple(actors), camera, size, clutter, seed)


def empty(scene: Scene) -> Scene:
    """The same scene without anybody."""
    return replace(scene, actors=())
