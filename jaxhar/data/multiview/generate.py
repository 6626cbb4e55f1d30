"""Generates photos in the layout of multi-view networks: h36m/ with four views of each moment, and mpii/ beside it.

People perform in the middle of one room in front of four fixed cameras with the lenses of the real ones. In most of the
views of a performance something stands in front of a limb, another thing and limb in each view; the label files say
which joints it hides, which the real ones cannot (`joints_hidden`). Between frames lie some steps of the motion.
"""

import json
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from jaxhar.core import classes as actions
from jaxhar.core.camera import Camera
from jaxhar.core.skeleton import H36M17, MPII, mapping
from jaxhar.data.formats.jpeg import encode
from jaxhar.data.generate import film, portrait, room, scenery
from jaxhar.data.generate.body import SKELETON, Performance, turn, with_head_top
from jaxhar.data.generate.figure import FigureView, draw_figure
from jaxhar.data.generate.film import Synth

SUBJECTS = {"train": (1, 5, 6, 7, 8), "validation": (9, 11)}
#: The joints of a performance at the places of Human3.6M's 17.
_PLACES = {"belly": "spine", "neck_base": "thorax", "nose": "neck", "crown": "head"}
TO_H36M = [SKELETON.index(_PLACES.get(name, name)) for name in H36M17.joints]
_TO_MPII = mapping(SKELETON, MPII)
_LIMBS = [SKELETON.index(f"{s}_{part}") for s in "lr" for part in ("elbow", "wrist", "knee", "ankle")]
#: Share of the views with something in front, and its sides in shares of the person's height in pixels.
_OCCLUDED, _SIDES = 0.6, (0.2, 0.45)
#: All subjects have the same cameras: the matrices of a fusion network belong to one rig.
ROOM = 1


@dataclass(frozen=True)
class Take:
    """One performance; `action` is an index in `actions.H36M`, `episode` counts from 1."""

    split: str
    subject: int
    action: int
    episode: int
    performer: int

    def name(self, view: int) -> str:
        """The toolbox's name of one camera's photos, `view` from 0."""
        act = actions.H36M_TOOLBOX.index(actions.H36M[self.action]) + 2
        return f"s_{self.subject:02d}_act_{act:02d}_subact_{self.episode:02d}_ca_{view + 1:02d}"


def plan(synth: Synth) -> list[Take]:
    """All performances; activities alternate, and for each activity the subjects do."""
    takes = []
    for split, count, performers, first in (
        ("train", synth.train_sequences, synth.train_performers, 0),
        ("validation", synth.test_sequences, synth.test_performers, synth.train_performers),
    ):
        for i in range(count):
            time, action = divmod(i, len(actions.H36M))
            person = (time + action) % performers
            subject = SUBJECTS[split][person % len(SUBJECTS[split])]
            takes.append(Take(split, subject, action, 1 + i, first + person))
    return takes


def write(out: Path, synth: Synth, progress: bool = True) -> None:
    """Generate a data set into the folder `out`, made where it does not exist.

    It gets h36m/annot/h36m_train.pkl and h36m_validation.pkl, h36m/images/, mpii/annot/train.json and valid.json, and
    mpii/images/. MPII has a group of four persons for every four groups of Human3.6M, at least two. A complete folder
    of the same settings is not changed, an incomplete one is written again.

    Args:
      synth: `train_sequences` and `test_sequences` are performances, each filmed by four cameras; `frames` are the
        moments of each. Subjects have Human3.6M's numbers, so that several performers may share one.

    Raises:
      Problem: `out` holds something else or cannot be written to, or the settings are wrong.
    """
    out = Path(out)
    with film.output_folder(out, synth, "h36m-multiview") as finished:
        if finished:
            return
        entries: dict[str, list[dict]] = {"train": [], "validation": []}
        cameras = room.cameras(ROOM, synth.size)
        for number, take in enumerate(tqdm(plan(synth), desc="filming", unit="performance", disable=not progress)):
            entries[take.split] += _film(out / "h36m" / "images", synth, take, cameras, 4 * number)
        for folder in ("h36m", "mpii"):
            (out / folder / "annot").mkdir(parents=True, exist_ok=True)
            (out / folder / "images").mkdir(parents=True, exist_ok=True)
        for split, photos in entries.items():
            (out / "h36m" / "annot" / f"h36m_{split}.pkl").write_bytes(pickle.dumps(photos, protocol=2))
            persons = 4 * max(2, len(photos) // 16)
            listed = list(_persons(out / "mpii" / "images", synth, split, persons))
            name = {"train": "train", "validation": "valid"}[split]
            (out / "mpii" / "annot" / f"{name}.json").write_text(json.dumps(listed))


def _film(images: Path, synth: Synth, take: Take, cameras: list[Camera], video: int) -> Iterator[dict[str, object]]:
    """Write the photos of a performance, camera by camera; yields their entries."""
    performance, person = performed(synth, take)
    for view, camera in enumerate(cameras):
        name = take.name(view)
        (images / name).mkdir(parents=True, exist_ok=True)
        photos = shots(synth, take, view, camera, performance, person)
        for number, (photo, hidden) in enumerate(photos):
            path = f"{name}/{name}_{number + 1:06d}.jpg"
            (images / path).write_bytes(encode(photo, film.QUALITY))
            joints = 1000 * with_head_top(performance.joints[number])[TO_H36M]
            yield _entry(take, view, camera, joints, hidden, path, number + 1) | {"video_id": video + view}


def performed(synth: Synth, take: Take) -> tuple[Performance, film.Performer]:
    """The motion of a performance near the middle of the room, in metres, and who performs it."""
    rng = np.random.default_rng([synth.seed, take.performer, take.action, take.episode, 44])
    person = film.performer(synth.seed, take.performer)
    count = int(rng.integers(synth.frames[0], synth.frames[1] + 1))
    performance, _ = film.stage(actions.PENN[take.action], person, count, rng)
    performance = turn(performance, rng.uniform(0, 360))
    place = np.append(rng.uniform(-0.6, 0.6, 2), 0.0)
    return Performance(performance.joints + place, performance.face), person


def shots(
    synth: Synth, take: Take, view: int, camera: Camera, performance: Performance, person: film.Performer
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The photos (h, w, 3) of one camera, and which of the 17 joints are hidden in them."""
    background, light = _scene((synth.seed, view, 45), (synth.size[0], synth.size[1]), synth.clutter)
    rng = np.random.default_rng([synth.seed, take.performer, take.action, take.episode, view, 46])
    pixels = camera.project(1000 * performance.joints)[..., :2]
    front = _front(synth.size, pixels, rng) if rng.uniform() < _OCCLUDED else None

    def project(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        uvd = camera.project(1000 * np.asarray(points))
        return uvd[..., :2], uvd[..., 2] / 1000

    eye = camera.t / 1000
    places = camera.project(1000 * with_head_top(performance.joints))[:, TO_H36M, :2]
    for joints, face, place in zip(performance.joints, performance.face, places, strict=True):
        image = background.copy()
        figure = FigureView.of(joints, face, project, camera.f.mean(), eye)
        draw_figure(image, figure, person.body, person.clothes, [], light)
        hidden = np.zeros(len(place), bool)
        if front is not None:
            cv2.copyTo(*front, image)
            hidden = portrait.covered(front[1], place)
        noise = rng.normal(0, 3 * synth.clutter, image.shape)
        yield np.clip(image + noise, 0, 255).astype(np.uint8), hidden


@lru_cache(maxsize=8)
def _scene(seed: tuple[int, ...], size: tuple[int, int], clutter: float) -> tuple[np.ndarray, float]:
    """What a camera sees of the room, (h, w, 3) uint8, and its light: the same in all performances."""
    rng = np.random.default_rng(seed)
    return scenery.background(*size, rng, clutter), rng.uniform(0.75, 1.1)


def _front(size: tuple[int, int], pixels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Something in front of one limb of a person: an image (h, w, 3) and a mask (h, w), 255 inside; uint8."""
    width, height = size
    mask = np.zeros((height, width), np.uint8)
    x, y = pixels[:, rng.choice(_LIMBS)].mean(0)
    half = rng.uniform(*_SIDES, 2) * np.ptp(pixels[..., 1], axis=1).mean() / 2
    low, high = np.round([x, y] - half).astype(int), np.round([x, y] + half).astype(int)
    cv2.rectangle(mask, low.tolist(), high.tolist(), 255, -1)
    return scenery.background(width, height, rng, 1.0), mask


def _entry(
    take: Take, view: int, camera: Camera, joints: np.ndarray, hidden: np.ndarray, image: str, number: int
) -> dict[str, object]:
    """A photo as the toolbox lists it; joints (17, 3) in world mm."""
    seen = (joints - camera.t) @ camera.R.T
    corners = seen[0] + np.array([[-1000.0, -900.0, 0.0], [1000.0, 1100.0, 0.0]])
    box = (corners[:, :2] / corners[:, 2:] * camera.f + camera.c).ravel()
    numbers = {"R": camera.R, "T": camera.t[:, None], "k": camera.k[:, None], "p": camera.p[:, None]}
    lens = {key: np.array([value]) for key, value in zip(("fx", "fy", "cx", "cy"), [*camera.f, *camera.c], strict=True)}
    return {
        "image": image,
        "joints_2d": camera.project(joints)[:, :2],
        "joints_3d": joints,
        "joints_3d_camera": seen,
        "joints_vis": np.ones((len(joints), 3)),
        "joints_hidden": hidden.astype(np.float64),
        "image_id": number,
        "subject": take.subject,
        "action": int(image.split("_")[3]),
        "subaction": take.episode,
        "camera_id": view,
        "source": "h36m",
        "camera": numbers | lens,
        "center": tuple(((box[:2] + box[2:]) / 2).tolist()),
        "scale": tuple(((box[2:] - box[:2]) / 200).tolist()),
        "box": box,
    }


def _persons(images: Path, synth: Synth, split: str, count: int) -> Iterator[dict[str, object]]:
    """Write photos of one person each; yields their entries of the common JSON, where positions count from 1."""
    first = 0 if split == "train" else synth.train_performers
    performers = synth.train_performers if split == "train" else synth.test_performers
    for number in range(count):
        rng = np.random.default_rng([synth.seed, first, number, 47])
        person = film.performer(synth.seed, first + int(rng.integers(performers)))
        photo = portrait.take(synth.size, person, synth.clutter, 0.3, rng)
        name = f"{number:06d}_{split}.jpg"
        (images / name).write_bytes(encode(photo.image, film.QUALITY))
        joints, inside = photo.joints[_TO_MPII], photo.inside[_TO_MPII]
        scale = photo.height / 200
        middle = (joints.min(0) + joints.max(0)) / 2 + 1
        yield {
            "image": name,
            "center": (middle - [0.0, 15.0 * scale]).tolist(),
            "scale": scale,
            "joints": np.where(inside[:, None], joints + 1, -1.0).tolist(),
            "joints_vis": inside.astype(int).tolist(),
        }
