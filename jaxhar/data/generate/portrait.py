"""Generates photos of one person in front of a random background, perhaps with something in front of the person."""

from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from jaxhar.core import classes as actions
from jaxhar.data.generate import film, scenery
from jaxhar.data.generate.body import Performance, with_head_top
from jaxhar.data.generate.figure import FigureView, draw_figure

_FRAMES = 12  # length of the performance of which a photo is one frame


@dataclass(frozen=True)
class Portrait:
    """A generated photo of one person.

    Attributes:
      image: (h, w, 3) BGR uint8.
      joints: (21, 2) pixels of `body.SKELETON`; "head" is the top of the head.
      inside: (21,) bool, whether a joint lies in the photo. hidden: (21,) bool, whether something lies in front of it.
      height: of the person in pixels, standing upright.
    """

    image: np.ndarray
    joints: np.ndarray
    inside: np.ndarray
    hidden: np.ndarray
    height: float


def covered(mask: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """(J,) bool, whether joints (J, 2) in pixels lie under a mask (h, w), 255 inside."""
    x, y = np.floor(joints).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < mask.shape[1]) & (y < mask.shape[0])
    return inside & (mask[np.clip(y, 0, mask.shape[0] - 1), np.clip(x, 0, mask.shape[1] - 1)] > 0)


def take(
    size: tuple[int, int], person: film.Performer, clutter: float, occluded: float, rng: np.random.Generator
) -> Portrait:
    """Generate a photo of (width, height); the same generator gives the same photo.

    Args:
      clutter: 0 to 1, see `film.Synth`.
      occluded: share of photos with something in front of the person.
    """
    width, height = size
    action = str(rng.choice(actions.PENN))
    performance, _ = film.stage(action, person, _FRAMES, rng)
    moment = slice(int(rng.integers(_FRAMES)), None)
    performance = Performance(performance.joints[moment][:1], performance.face[moment][:1])
    camera = film.aim(performance, size, rng)
    image = scenery.background(width, height, rng, clutter)
    style, light = rng.uniform(size=8), rng.uniform(0.7, 1.15)
    view = FigureView.of(
        performance.joints[0], performance.face[0], partial(camera.project, frame=0), camera.focal[0], camera.eye
    )
    things = scenery.props(action, view, style, 0) if rng.uniform() < 0.5 else []
    draw_figure(image, view, person.body, person.clothes, things, light)
    joints, depth = camera.project(with_head_top(performance.joints[0]), 0)
    hidden = np.zeros(len(joints), bool)
    if rng.uniform() < occluded:
        front, mask = scenery.occluder(width, height, rng)
        cv2.copyTo(front, mask, image)
        hidden = covered(mask, joints)
    noise = rng.normal(0, 4 * clutter, image.shape)
    body = person.body
    tall = 1.1 * (body.leg + body.trunk + body.neck + body.head) * camera.focal[0] / depth.mean()
    inside = np.all((joints >= 0) & (joints <= np.array(size) - 1), axis=-1)
    return Portrait(np.clip(image + noise, 0, 255).astype(np.uint8), joints, np.asarray(inside), hidden, float(tall))
