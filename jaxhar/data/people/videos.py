"""Generates videos of two persons side by side who do different things, with the true boxes, joints and actions."""

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from tqdm import tqdm

from jaxhar.core import classes
from jaxhar.data.formats.writer import VideoWriter
from jaxhar.data.generate import crowd, film
from jaxhar.data.generate.body import SKELETON
from jaxhar.data.generate.film import FilmCamera, PlannedVideo, Synth

#: Distance of the camera and its height, and of the persons from the middle, in metres.
_FAR, _EYE, _APART = 5.0, 1.2, 0.95
#: Metres that the height of the picture shows at the persons' distance.
_SHOWN = 2.6


def scene(synth: Synth, planned: PlannedVideo, names: Sequence[str] = classes.PENN) -> crowd.Scene:
    """The persons of a video: on the left the one who was planned, on the right another with another of `names`."""
    rng = np.random.default_rng([synth.seed, planned.number, 80])
    frames = int(rng.integers(synth.frames[0], synth.frames[1] + 1))
    others = [action for action in names if action != planned.action]
    first = 0 if planned.train else synth.train_performers
    count = synth.train_performers if planned.train else synth.test_performers
    next_one = first + (planned.performer - first + 1) % count
    cast = ((planned.performer, planned.action, -1), (next_one, str(rng.choice(others)), 1))
    actors = []
    for who, (number, action, side) in enumerate(cast, 1):
        person = film.performer(synth.seed, number)
        one = crowd.actor(who, person, action, frames, 180 + rng.uniform(-35, 35), rng)
        middle = one.performance.joints[..., :2].mean((0, 1))
        place = np.array([side * _APART, _FAR, 0]) - np.append(middle, 0)
        actors.append(crowd.Actor(who, person, action, crowd.moved(one.performance, place)))
    width, height = synth.size
    focal = _FAR * min(height / _SHOWN, width / (2 * _SHOWN * 0.75))
    centre = np.tile([width / 2, height / 2], (frames, 1))
    axes = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], float)
    camera = FilmCamera(np.array([0, 0, _EYE]), axes, np.full(frames, focal), centre)
    return crowd.Scene(tuple(actors), camera, synth.size, synth.clutter, (synth.seed, planned.number))


def write(out: Path, synth: Synth, progress: bool = True) -> None:
    """Generates into the folder `out`: 0001.mp4 ..., and for each 0001.txt and 0001.json.

    The text has the boxes with identities as MOT writes them, for `jaxhar predict --boxes`; the JSON the action of each
    identity, and for each frame the joints of those who are in it, in pixels. A complete folder of the same settings is
    not changed, an incomplete one is written again.

    Raises:
      Problem: `out` holds something else or cannot be written to, or the settings are wrong.
    """
    out = Path(out)
    with film.output_folder(out, synth, "people-videos") as finished:
        if finished:
            return
        for planned in tqdm(film.plan(synth), desc="filming", unit="video", disable=not progress):
            made, name = scene(synth, planned), f"{planned.number:04d}"
            lines, frames = [], []
            with VideoWriter(out / f"{name}.mp4", Fraction(int(crowd.RATE)), *synth.size) as writer:
                for t, shot in enumerate(made.shots()):
                    writer.write(np.ascontiguousarray(shot.image[..., ::-1]), t / crowd.RATE)
                    for one in shot.people:
                        x1, y1, x2, y2 = one.box.tolist()
                        lines.append(f"{t + 1},{one.identity},{x1},{y1},{x2 - x1},{y2 - y1},1\n")
                    frames.append({one.identity: one.joints.round(2).tolist() for one in shot.people})
            truth = {
                "actions": {a.identity: a.action for a in made.actors},
                "joints": SKELETON.joints,
                "frames": frames,
            }
            (out / f"{name}.txt").write_text("".join(lines))
            (out / f"{name}.json").write_text(json.dumps(truth))
