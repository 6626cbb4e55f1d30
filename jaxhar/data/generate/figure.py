"""Draws a person with clothes and props by OpenCV. Colours are BGR, coordinates are pixels.

Shapes are drawn thick and antialiased, from far to near. Left and right limbs look alike, as in reality; only the face,
the print on the chest and the direction of the feet show which side is which.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from jaxhar.data.generate.body import SKELETON, Body

_J = {name: i for i, name in enumerate(SKELETON.joints)}
_SHIFT = 4  # fractional bits of OpenCV's fixed-point coordinates
Colour = tuple[float, float, float]

_SKINS = ((180, 205, 240), (140, 180, 225), (110, 150, 200), (70, 105, 155), (45, 70, 110))
_HAIRS = ((20, 20, 25), (30, 50, 80), (60, 110, 160), (120, 190, 220), (160, 160, 165))

#: Limbs as (from, to, radius at each end in metres, garment).
_LIMBS = (
    ("hip", "knee", 0.088, 0.062, "thigh"),
    ("knee", "ankle", 0.060, 0.042, "shank"),
    ("ankle", "foot", 0.045, 0.032, "shoe"),
    ("shoulder", "elbow", 0.056, 0.044, "sleeve"),
    ("elbow", "wrist", 0.044, 0.034, "forearm"),
    ("wrist", "hand", 0.040, 0.036, "skin"),
)


@dataclass(frozen=True)
class Clothes:
    """Colours of a performer's clothes, skin and hair, by part; `print_kind` is the pattern on the chest."""

    colours: dict[str, Colour]
    print_kind: str
    print_colour: Colour

    @staticmethod
    def random(rng: np.random.Generator) -> "Clothes":
        """Random skin, hair, shirt with long or short sleeves, trousers or shorts, shoes."""
        skin, hair = _SKINS[rng.integers(len(_SKINS))], _HAIRS[rng.integers(len(_HAIRS))]
        shirt, trousers, shoe, accent = (random_colour(rng) for _ in range(4))
        return Clothes(
            colours={
                "skin": skin,
                "hair": hair,
                "shirt": shirt,
                "sleeve": shirt if rng.uniform() < 0.85 else skin,
                "forearm": shirt if rng.uniform() < 0.35 else skin,
                "thigh": trousers,
                "shank": trousers if rng.uniform() < 0.6 else skin,
                "shoe": shoe,
            },
            print_kind=str(rng.choice(["patch", "stripes", "disc"])),
            print_colour=accent,
        )


def random_colour(rng: np.random.Generator) -> Colour:
    hsv = np.array([[[rng.integers(180), rng.integers(30, 240), rng.integers(50, 250)]]], np.uint8)
    b, g, r = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0].tolist()
    return b, g, r


def tone(colour: Colour, factor: float) -> Colour:
    b, g, r = (min(255.0, max(0.0, c * factor)) for c in colour)
    return b, g, r


def fixed(points: np.ndarray) -> np.ndarray:
    return np.round(np.asarray(points) * (1 << _SHIFT)).astype(np.int32)


def paint_polygon(image: np.ndarray, points: np.ndarray, colour: Colour) -> None:
    cv2.fillConvexPoly(image, cv2.convexHull(fixed(points)), colour, cv2.LINE_AA, _SHIFT)


def paint_disc(image: np.ndarray, centre: np.ndarray, radius: float, colour: Colour) -> None:
    x, y = fixed(centre).tolist()
    cv2.circle(image, (x, y), max(8, round(radius * (1 << _SHIFT))), colour, -1, cv2.LINE_AA, _SHIFT)


def paint_line(image: np.ndarray, points: np.ndarray, thickness: float, colour: Colour) -> None:
    cv2.polylines(image, [fixed(points)], False, colour, max(1, round(thickness)), cv2.LINE_AA, _SHIFT)


_CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 12, False)), np.sin(np.linspace(0, 2 * np.pi, 12, False))], -1)


def paint_capsule(image: np.ndarray, a: np.ndarray, b: np.ndarray, ra: float, rb: float, colour: Colour) -> None:
    """A tapered limb with round ends and a darker rim, which separates crossing limbs."""
    rim = 0.8
    outline = np.concatenate([a + (ra + rim) * _CIRCLE, b + (rb + rim) * _CIRCLE])
    paint_polygon(image, outline, tone(colour, 0.55))
    paint_polygon(image, np.concatenate([a + ra * _CIRCLE, b + rb * _CIRCLE]), colour)


@dataclass(frozen=True)
class FigureView:
    """A body in one frame, and the projection into the image.

    Attributes:
      joints: (21, 3) in metres (`body.SKELETON`).
      face: (3,) direction of the face.
      project: points in metres (N, 3) -> pixels (N, 2) and depths in metres (N,).
      scale: pixels per metre at the body.
      eye: (3,) position of the camera in metres.
    """

    joints: np.ndarray
    face: np.ndarray
    project: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    scale: float
    eye: np.ndarray

    @staticmethod
    def of(joints: np.ndarray, face: np.ndarray, project: Callable, focal: float, eye: np.ndarray) -> "FigureView":
        """From a camera with focal length `focal` in pixels."""
        return FigureView(joints, face, project, float(focal / np.linalg.norm(joints.mean(0) - eye)), eye)

    def __getitem__(self, joint: str) -> np.ndarray:
        """(3,) a joint by name."""
        return self.joints[_J[joint]]


Item = tuple[float, Callable[[np.ndarray], None]]  # depth, and a function that paints into an image


def draw_figure(
    image: np.ndarray, view: FigureView, body: Body, clothes: Clothes, props: list[Item], light: float
) -> None:
    """Paint the figure and its props into `image` (h, w, 3) uint8, far to near; `light` scales its colours."""
    dress = {part: tone(colour, light) for part, colour in clothes.colours.items()}
    pixels, depth = view.project(view.joints)
    items = list(props)
    nearest = depth.min()
    for side in "lr":
        for a, b, ra, rb, part in _LIMBS:
            i, j = _J[f"{side}_{a}"], _J[f"{side}_{b}"]
            middle = 0.5 * (depth[i] + depth[j])
            # the farther limb is a little darker; there is no other shading
            colour = tone(dress[part], 1.0 - 0.25 * min(1.0, middle - nearest))
            thick = body.girth * view.scale
            items.append((middle, partial(_limb, pixels[i], pixels[j], ra * thick, rb * thick, colour)))
    items.append(_torso(view, body, clothes, dress, light))
    items.append(_head(view, body, dress))
    for _, paint in sorted(items, key=lambda item: -item[0]):
        paint(image)


def _limb(a: np.ndarray, b: np.ndarray, ra: float, rb: float, colour: Colour, image: np.ndarray) -> None:
    paint_capsule(image, a, b, ra, rb, colour)


def _axes(view: FigureView) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right, forward and up of the chest, from the joints."""
    right = view["r_shoulder"] - view["l_shoulder"]
    right = right / np.linalg.norm(right)
    up = view["thorax"] - view["spine"]
    forward = np.cross(up / np.linalg.norm(up), right)
    forward = forward / np.linalg.norm(forward)
    return right, forward, np.cross(right, forward)


def _torso(view: FigureView, body: Body, clothes: Clothes, dress: dict[str, Colour], light: float) -> Item:
    right, forward, up = _axes(view)
    thick = 0.1 * body.girth
    hips = view["r_hip"] - view["l_hip"]
    hips = hips / np.linalg.norm(hips)
    belly = np.cross(view["spine"] - view["pelvis"], hips)
    belly = belly / np.linalg.norm(belly)
    top = [view[s] + k * thick * forward + 0.02 * up for s in ("l_shoulder", "r_shoulder") for k in (-0.8, 0.8)]
    neck = [view["thorax"] + 0.3 * body.neck * up + k * 0.5 * thick * forward for k in (-1, 1)]
    wide = body.hip + 0.05 * body.girth
    waist = [view["spine"] + s * wide * hips + k * 0.9 * thick * belly for s in (-1, 1) for k in (-1, 1)]
    seat = [view["pelvis"] + s * wide * hips + k * thick * belly for s in (-1, 1) for k in (-1, 1)]
    # the print is on the front of the chest only
    half = 0.55 * body.shoulder
    front = view["thorax"] + thick * forward - 0.28 * body.trunk * up
    patch = [front + x * half * right + y * 0.16 * body.trunk * up for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    stripe = [front + x * half * right + y * 0.03 * body.trunk * up for x, y in ((-1, 2), (1, 2), (1, 4), (-1, 4))]
    stripe += [front + x * half * right + y * 0.03 * body.trunk * up for x, y in ((-1, -3), (1, -3), (1, -1), (-1, -1))]
    disc = [front + half * (c * right + s * up) for c, s in _CIRCLE]
    groups = [top + waist, waist + seat, [view["l_hip"], view["r_hip"]], neck + [view["neck"]], patch, stripe, disc]
    counts = np.cumsum([len(g) for g in groups])[:-1]
    pixels, depth = view.project(np.array(sum(groups, [])))
    chest, belt, hip, throat, patch_, stripe_, disc_ = np.split(pixels, counts)
    facing = float(forward @ (view.eye - front)) > 0
    accent = tone(clothes.print_colour, light)

    def paint(image: np.ndarray) -> None:
        thigh = 0.08 * body.girth * view.scale
        paint_polygon(image, belt, dress["thigh"])
        paint_capsule(image, hip[0], hip[1], thigh, thigh, dress["thigh"])
        paint_capsule(image, throat[2], throat[:2].mean(0), 0.05 * view.scale, 0.06 * view.scale, dress["skin"])
        centre = chest.mean(0)
        paint_polygon(image, centre + (chest - centre) * (1 + 1.0 / (0.2 * view.scale)), tone(dress["shirt"], 0.55))
        paint_polygon(image, chest, dress["shirt"])
        if facing and clothes.print_kind == "patch":
            paint_polygon(image, patch_, accent)
        elif facing and clothes.print_kind == "stripes":
            paint_polygon(image, stripe_[:4], accent)
            paint_polygon(image, stripe_[4:], accent)
        elif facing:
            paint_polygon(image, disc_, accent)

    return float(depth[: counts[1]].mean()), paint


def _head(view: FigureView, body: Body, dress: dict[str, Colour]) -> Item:
    forward = view.face
    up = view["head"] - view["neck"]
    up = up - (up @ forward) * forward
    up = up / np.linalg.norm(up)
    right = np.cross(forward, up)
    centre, radius = view["head"], 1.25 * body.head
    # the face is a cap of the sphere in front, a little below the middle
    axis = forward - 0.25 * up
    axis = axis / np.linalg.norm(axis)
    side = np.cross(axis, right)
    cap = np.concatenate([[axis]] + [np.cos(a) * axis + np.sin(a) * (_CIRCLE @ [right, side]) for a in (0.6, 1.1)])
    eyes = np.array([0.85 * forward + x * 0.36 * right + 0.2 * up for x in (-1, 1)])
    nose = np.array([1.18 * forward - 0.15 * up])
    mouth = np.array([0.85 * forward + x * 0.25 * right - 0.5 * up for x in (-1, 1)])
    points = np.concatenate([cap, eyes, nose, mouth])
    seen = points @ (view.eye - centre) > 0
    pixels, depth = view.project(np.concatenate([[centre], centre + radius * points]))
    middle, points2 = pixels[0], pixels[1:]
    n = len(cap)

    def paint(image: np.ndarray) -> None:
        size = radius * view.scale
        paint_disc(image, middle, size + 0.8, tone(dress["hair"], 0.6))
        paint_disc(image, middle, size, dress["hair"])
        if seen[:n].sum() >= 3:
            paint_polygon(image, points2[:n][seen[:n]], dress["skin"])
        dark = tone(dress["skin"], 0.35)
        for k in (n, n + 1):
            if seen[k]:
                paint_disc(image, points2[k], max(0.8, 0.13 * size), dark)
        if seen[n + 2]:
            paint_disc(image, points2[n + 2], max(0.7, 0.16 * size), tone(dress["skin"], 0.8))
        if seen[n + 3] and seen[n + 4]:
            paint_line(image, points2[n + 3 : n + 5], 0.12 * size, dark)

    return float(depth[0]), paint
