"""Generates photos in MPII's layouts: the official .mat, the common JSON and deephar's annotations.mat.

A photo has one to three people, apart from each other or close together. Two photos come from one "video": the same
people in the same place a moment later. The test split has a tenth as many videos as the training split, at least one;
its joints are not written.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from jaxhar.core import classes as actions
from jaxhar.core import skeleton
from jaxhar.data.formats.jpeg import encode
from jaxhar.data.formats.matfile import cells, mat_bytes, structs
from jaxhar.data.generate import film as synthetic
from jaxhar.data.generate import scenery
from jaxhar.data.generate.body import SKELETON, Performance, with_head_top
from jaxhar.data.generate.figure import FigureView, draw_figure
from jaxhar.data.generate.film import Synth

OFFICIAL, AUTHORS = "mpii_human_pose_v1_u12_1.mat", "annotations.mat"
_MPII = skeleton.mapping(SKELETON, skeleton.MPII)
_NECK, _HEAD = skeleton.MPII.index("neck"), skeleton.MPII.index("head")
_PER_VIDEO = 2
_FRAMES = 12  # length of the performance of which a photo is one frame


@dataclass(frozen=True)
class Figure:
    """One person of a photo, in MPII's 16 joints.

    Attributes:
      joints: (16, 2) pixels, which count from 1 here and below, as in the real files.
      labelled: (16,) bool, inside the photo. visible: (16,) bool.
      head: (4,) box x1, y1, x2, y2. objpos: (2,) position. scale: height over 200 pixels.
      separate: whether the person stands apart from others.
    """

    joints: np.ndarray
    labelled: np.ndarray
    visible: np.ndarray
    head: np.ndarray
    objpos: np.ndarray
    scale: float
    separate: bool


@dataclass(frozen=True)
class Photo:
    """A generated photo: file name, its video (from 1), split, people; `image` is (h, w, 3) BGR uint8."""

    name: str
    video: int
    split: str
    people: tuple[Figure, ...]
    image: np.ndarray | None = None


def plan(synth: Synth) -> list[tuple[int, str]]:
    """(number from 1, split) of every photo: train, valid, test."""
    test = max(1, synth.train_sequences // 10)
    counts = {"train": synth.train_sequences, "valid": synth.test_sequences, "test": test}
    splits = [split for split, count in counts.items() for _ in range(count)]
    return [(i + 1, split) for i, split in enumerate(splits)]


def take(synth: Synth, number: int, split: str) -> Photo:
    """Generate one photo; the same settings and number give the same photo."""
    video, moment = divmod(number - 1, _PER_VIDEO)
    rng = np.random.default_rng([synth.seed, video, 2])  # the same for both photos of a video
    count = 1 + int(rng.choice(3, p=[0.6, 0.3, 0.1]))
    apart = count == 1 or bool(rng.uniform() < 0.5)
    first, performers = (0, synth.train_performers) if split == "train" else (synth.train_performers, 8)
    people, performances, acts = [], [], []
    for place in range(count):
        act = str(rng.choice(actions.PENN))
        person = synthetic.performer(synth.seed, first + int(rng.integers(performers)))
        performance, _ = synthetic.stage(act, person, _FRAMES, rng)
        gap = rng.uniform(2.0, 2.6) if apart else rng.uniform(0.6, 1.0)
        shift = np.array([gap * place, rng.uniform(-0.5, 0.5), 0.0])
        frame = slice(moment * 6 + 3, moment * 6 + 4)
        people.append(person)
        acts.append(act)
        performances.append(Performance(performance.joints[frame] + shift, performance.face[frame]))
    together = Performance(np.concatenate([p.joints for p in performances], axis=1), performances[0].face)
    camera = synthetic.aim(together, synth.size, rng)
    image = _paint(acts, people, performances, camera, synth, rng)
    figures = tuple(
        _figure(person, performance, camera, synth.size, apart)
        for person, performance in zip(people, performances, strict=True)
    )
    return Photo(f"{number:09d}.jpg", video + 1, split, figures, image)


def _paint(
    acts: Sequence[str],
    people: Sequence[synthetic.Performer],
    performances: Sequence[Performance],
    camera: synthetic.FilmCamera,
    synth: Synth,
    rng: np.random.Generator,
) -> np.ndarray:
    width, height = synth.size
    image = scenery.background(width, height, rng, synth.clutter)
    light, style = rng.uniform(0.7, 1.15), rng.uniform(size=8)
    far_first = sorted(range(len(people)), key=lambda i: -performances[i].joints[..., 1].mean())
    for i in far_first:
        joints, face = performances[i].joints[0], performances[i].face[0]
        view = FigureView.of(joints, face, partial(camera.project, frame=0), camera.focal[0], camera.eye)
        things = scenery.props(acts[i], view, style, 0) if len(people) == 1 else []
        draw_figure(image, view, people[i].body, people[i].clothes, things, light)
    noise = rng.normal(0, 4 * synth.clutter, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def _figure(
    person: synthetic.Performer,
    performance: Performance,
    camera: synthetic.FilmCamera,
    size: tuple[int, int],
    separate: bool,
) -> Figure:
    pixels, depth = camera.project(with_head_top(performance.joints[0]), 0)
    joints = pixels[_MPII]
    inside = ((joints >= 0) & (joints <= np.array(size) - 1)).all(-1)
    # In MPII, neck and head top follow from the annotated head box: 0.8 diagonals apart, around its middle.
    middle, half = joints[[_NECK, _HEAD]].mean(0), np.linalg.norm(joints[_HEAD] - joints[_NECK]) / 0.8 / np.sqrt(8)
    body = person.body
    tall = 1.1 * (body.leg + body.trunk + body.neck + body.head) * camera.focal[0] / depth.mean()
    scale = float(tall / 200)
    objpos = 0.5 * (joints.min(0) + joints.max(0)) - [0.0, 15.0 * scale]
    head = np.concatenate([middle - half, middle + half])
    return Figure(joints + 1, inside, inside, head + 1, objpos + 1, scale, separate)


def write(out: Path, synth: Synth, progress: bool = True) -> None:
    """Generate photos and all three annotation forms into the folder `out`, made where it does not exist.

    It gets images/000000001.jpg ..., mpii_human_pose_v1_u12_1.mat, annot/train.json, annot/valid.json,
    annot/test.json, and deephar's authors/annotations.mat (in a separate folder, because a folder may have only one
    form); at the end `synthetic.json` with the settings. A complete folder of the same settings is not changed, an
    incomplete one is completed.

    Args:
      synth: `train_sequences` and `test_sequences` are the photos of the training and the validation split.

    Raises:
      Problem: `out` holds something else or cannot be written to, or the settings are wrong.
    """
    with synthetic.output_folder(Path(out), synth, "mpii") as finished:
        if finished:
            return
        (out / "images").mkdir(exist_ok=True)
        photos = []
        for number, split in tqdm(plan(synth), desc="generating photos", unit="photo", disable=not progress):
            photo = take(synth, number, split)
            assert photo.image is not None
            (out / "images" / photo.name).write_bytes(encode(photo.image, synthetic.QUALITY))
            photos.append(photo)
        (out / OFFICIAL).write_bytes(official(photos))
        for folder in ("annot", "authors"):
            shutil.rmtree(out / folder, ignore_errors=True)
            (out / folder).mkdir()
        for split in ("train", "valid", "test"):
            persons = common(photos, split)
            if persons:
                (out / "annot" / f"{split}.json").write_text(json.dumps(persons))
        (out / "authors" / AUTHORS).write_bytes(deephar(photos))


def official(photos: Sequence[Photo]) -> bytes:
    """The official file: struct RELEASE; joints of test photos are left out."""
    fields = ("x1", "y1", "x2", "y2", "annopoints", "scale", "objpos")
    annolist = []
    for photo in photos:
        rects = []
        for person in photo.people:
            rect: dict[str, object] = dict(zip(fields[:4], person.head.tolist(), strict=True))
            rect |= {"scale": person.scale, "objpos": {"x": float(person.objpos[0]), "y": float(person.objpos[1])}}
            if photo.split != "test":
                points = [
                    {"x": float(x), "y": float(y), "id": j, "is_visible": str(int(person.visible[j]))}
                    for j, (x, y) in enumerate(person.joints)
                    if person.labelled[j]
                ]
                if points:
                    rect["annopoints"] = {"point": structs(points, ("x", "y", "id", "is_visible"))}
            rects.append(rect)
        annolist.append({"image": {"name": photo.name}, "annorect": structs(rects, fields), "vididx": photo.video})
    single = [np.array([[r + 1] for r, p in enumerate(photo.people) if p.separate]) for photo in photos]
    release = {
        "annolist": structs(annolist, ("image", "annorect", "vididx")),
        "img_train": np.array([[int(photo.split != "test") for photo in photos]], np.uint8),
        "version": "12",
        "single_person": cells(single),
    }
    return mat_bytes({"RELEASE": release})


def common(photos: Sequence[Photo], split: str) -> list[dict[str, object]]:
    """The persons of a split in the common JSON form."""
    return [
        {
            "image": photo.name,
            "center": person.objpos.tolist(),
            "scale": person.scale,
            "joints": np.where(person.labelled[:, None] & (split != "test"), person.joints, -1.0).tolist(),
            "joints_vis": [int(v and split != "test") for v in person.labelled],
        }
        for photo in photos
        if photo.split == split
        for person in photo.people
        if person.labelled.any()
    ]


def deephar(photos: Sequence[Photo]) -> bytes:
    """Deephar's file: annot_tr and annot_val, three rows each, which list the separate persons."""
    tables = {}
    for key, split in (("annot_tr", "train"), ("annot_val", "valid")):
        chosen = [p for p in photos if p.split == split and any(f.separate and f.labelled.any() for f in p.people)]
        table = np.empty((3, len(chosen)), object)
        for i, photo in enumerate(chosen):
            table[0, i] = np.array([[r + 1] for r, f in enumerate(photo.people) if f.separate and f.labelled.any()])
            table[1, i] = photo.name
            table[2, i] = cells(
                [
                    {
                        "head": person.head[None],
                        "objpos": person.objpos[None],
                        "scale": person.scale,
                        "pose": np.where(person.labelled[:, None], person.joints, np.nan).T,
                    }
                    for person in photo.people
                ]
            )
        tables[key] = table
    return mat_bytes(tables)
