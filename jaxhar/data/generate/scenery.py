"""Backgrounds, occluding objects and props for generated videos."""

from collections.abc import Callable

import cv2
import numpy as np

from jaxhar.data.generate.figure import Colour, FigureView, Item, paint_disc, paint_line, paint_polygon, random_colour


def background(width: int, height: int, rng: np.random.Generator, clutter: float = 1.0) -> np.ndarray:
    """(height, width, 3) uint8: a wall and a floor, or a blurred mosaic, with shapes and uneven light.

    `clutter` scales the probability of the mosaic and the number of shapes.
    """
    kind = rng.choice(["room", "mosaic", "gradient"], p=[0.75 - clutter / 4, clutter / 4, 0.25])
    if kind == "room":
        image = _gradient(width, height, rng)
        horizon = int(height * rng.uniform(0.45, 0.85))
        image[horizon:] = _gradient(width, height - horizon, rng)
        for _ in range(rng.integers(0, 4)):
            x = int(rng.integers(width))
            cv2.line(image, (x, 0), (x + int(rng.integers(-20, 20)), horizon), random_colour(rng), 1, cv2.LINE_AA)
    elif kind == "mosaic":
        grey = rng.uniform(50, 200, (int(rng.integers(3, 14)), int(rng.integers(3, 14)), 1))
        cells = np.clip(grey + rng.normal(0, 22, (*grey.shape[:2], 3)), 0, 255).astype(np.uint8)
        image = cv2.resize(cells, (width, height), interpolation=int(rng.choice([cv2.INTER_CUBIC, cv2.INTER_NEAREST])))
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(2, 8))
    else:
        image = _gradient(width, height, rng)
    for _ in range(round(clutter * rng.integers(0, 10))):
        _clutter(image, rng)
    grain = cv2.resize(rng.normal(0, 1, (height // 4, width // 4)).astype(np.float32), (width, height))
    across, down = np.linspace(-1, 1, width), np.linspace(-1, 1, height)[:, None]
    light = rng.uniform(0.7, 1.1) + rng.uniform(-0.25, 0.25) * across + rng.uniform(-0.25, 0.25) * down
    shaded = image * light[..., None] + (rng.uniform(0, 10) * grain)[..., None]
    return np.clip(shaded, 0, 255).astype(np.uint8)


def _gradient(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    corners = np.array([[random_colour(rng), random_colour(rng)], [random_colour(rng), random_colour(rng)]])
    corners = corners.mean((0, 1)) + rng.uniform(0.1, 0.5) * (corners - corners.mean((0, 1)))
    # walls and floors are duller than clothes
    colourful = rng.uniform(0.2, 0.7)
    corners = colourful * corners + (1 - colourful) * corners.mean(-1, keepdims=True)
    return cv2.resize(corners.astype(np.float32), (width, max(1, height))).clip(0, 255).astype(np.uint8)


def _clutter(image: np.ndarray, rng: np.random.Generator) -> None:
    height, width = image.shape[:2]
    x, y = int(rng.integers(width)), int(rng.integers(height))
    w, h = (int(v) for v in rng.integers(4, max(5, height // 3), 2))
    colour = random_colour(rng)
    kind = rng.integers(4)
    if kind == 0:
        cv2.rectangle(image, (x, y), (x + w, y + h), colour, -1)
    elif kind == 1:
        tilt = float(rng.uniform(0, 180))
        cv2.ellipse(image, (x, y), (w // 2 + 1, h // 2 + 1), tilt, 0, 360, colour, -1, cv2.LINE_AA)
    elif kind == 2:  # as thick as a limb
        end = (x + int(rng.integers(-60, 60)), y + int(rng.integers(-60, 60)))
        cv2.line(image, (x, y), end, colour, int(rng.integers(2, 12)), cv2.LINE_AA)
    else:  # a table
        cv2.rectangle(image, (x, y), (x + w, y + 4), colour, -1)
        for leg in (x + 2, x + w - 2):
            cv2.line(image, (leg, y), (leg, y + h), colour, 2, cv2.LINE_AA)


def occluder(width: int, height: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Something in front of the figure: its image (height, width, 3) and mask (height, width), 255 inside; uint8."""
    mask = np.zeros((height, width), np.uint8)
    kind = rng.integers(3)
    x, y = int(rng.uniform(0.2, 0.8) * width), int(rng.uniform(0.3, 0.95) * height)
    if kind == 0:
        cv2.rectangle(mask, (x, 0), (x + int(rng.uniform(0.03, 0.08) * width), height), 255, -1)
    elif kind == 1:
        w, h = int(rng.uniform(0.1, 0.3) * width), int(rng.uniform(0.1, 0.3) * height)
        cv2.rectangle(mask, (x - w // 2, y - h // 2), (x + w // 2, y + h // 2), 255, -1)
    else:
        axes = (int(rng.uniform(0.04, 0.12) * width), int(rng.uniform(0.05, 0.18) * height))
        cv2.ellipse(mask, (x, y), axes, float(rng.uniform(0, 180)), 0, 360, 255, -1)
    image = cv2.GaussianBlur(_gradient(width, height, rng), (0, 0), 3)
    return image, mask


def props(action: str, view: FigureView, style: np.ndarray, time: int) -> list[Item]:
    """The props of an action, as items for `figure.draw_figure`; [] for actions without props.

    Args:
      style: (8,) uniform random numbers for colours and sizes, fixed for a sequence.
      time: frame number, for props that move by themselves.
    """
    maker = _PROPS.get(action)
    return maker(view, style, time) if maker else []


def _stick(view: FigureView, points: list[np.ndarray], thickness: float, colour: Colour, bias: float = 0.0) -> Item:
    pixels, depth = view.project(np.array(points))
    thick = max(1.0, thickness * view.scale)
    return float(depth.mean()) + bias, lambda image: paint_line(image, pixels, thick, colour)


def _ball(view: FigureView, centre: np.ndarray, radius: float, colour: Colour, bias: float = 0.0) -> Item:
    pixels, depth = view.project(centre[None])
    return float(depth[0]) + bias, lambda image: paint_disc(image, pixels[0], radius * view.scale, colour)


def _oval(
    view: FigureView, centre: np.ndarray, a: np.ndarray, b: np.ndarray, colour: Colour, bias: float = 0.0
) -> Item:
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)[:, None]
    pixels, depth = view.project(centre + np.cos(angle) * a + np.sin(angle) * b)
    return float(depth.mean()) + bias, lambda image: paint_polygon(image, pixels, colour)


def _shade(style: np.ndarray, base: tuple[float, float, float]) -> Colour:
    b, g, r = (min(255.0, c * (0.6 + 0.6 * float(style[0]))) for c in base)
    return b, g, r


def _unit(v: np.ndarray) -> np.ndarray:
    return v / max(1e-6, float(np.linalg.norm(v)))


def _along_forearms(view: FigureView) -> np.ndarray:
    """Direction in which a club held in both hands points away from the body."""
    hands = 0.5 * (view["l_hand"] + view["r_hand"])
    elbows = 0.5 * (view["l_elbow"] + view["r_elbow"])
    return _unit(hands - elbows)


def _barbell(view: FigureView, style: np.ndarray, time: int) -> list[Item]:
    left, right = view["l_hand"], view["r_hand"]
    way, middle = _unit(right - left), 0.5 * (left + right)
    half, plate = 0.65, 0.1 + 0.12 * style[1]
    b = np.cross(way, _unit(np.array([way[1], -way[0], 0.3])))
    a = np.cross(way, b)
    items = [_stick(view, [middle - half * way, middle + half * way], 0.03, _shade(style, (150, 150, 150)))]
    for sign in (-1, 1):
        items.append(_oval(view, middle + sign * half * way, plate * a, plate * b, _shade(style, (40, 40, 60))))
    return items


def _bench(view: FigureView, style: np.ndarray, time: int) -> list[Item]:
    head, seat = view["head"], view["pelvis"]
    down = np.array([0, 0, -0.16])
    bed = _stick(view, [head + down, seat + down], 0.09, _shade(style, (60, 50, 120)), 0.3)
    legs = [_stick(view, [p + down, p * [1, 1, 0]], 0.05, _shade(style, (70, 70, 70)), 0.4) for p in (head, seat)]
    return [bed, *legs, *_barbell(view, style, time)]


def _high_bar(view: FigureView, style: np.ndarray, time: int) -> list[Item]:
    left, right = view["l_wrist"], view["r_wrist"]
    way = 0.9 * _unit(right - left)
    return [_stick(view, [left - way, right + way], 0.04, _shade(style, (120, 120, 130)), -0.1)]


def _bat(view: FigureView, style: np.ndarray, time: int) -> list[Item]:
    grip = 0.5 * (view["l_hand"] + view["r_hand"])
    way = _unit(_along_forearms(view) + 0.7 * _unit(view["r_hand"] - view["l_hand"]))
    return [_stick(view, [grip, grip + 0.75 * way], 0.055, _shade(style, (90, 140, 190)))]


def _club(view: FigureView, style: np.ndarray, time: int) -> list[Item]:
    grip = 0.5 * (view["l_hand"] + view["r_hand"])
    tip = grip + 0.85 * _along_forearms(view)
    return [
        _stick(view, [grip, tip], 0.02, _shade(style, (170, 170, 170))),
        _ball(view, tip, 0.04, _shade(style, (60, 60, 60))),
    ]


def _racket(view: FigureView, style: np.ndarray, time: int) -> list[Item]:
    grip, way = view["r_hand"], _unit(view["r_hand"] - view["r_elbow"])
    side = _unit(np.cross(way, [0.2, 0.3, 0.9]))
    head = grip + 0.5 * way
    return [
        _stick(view, [grip, grip + 0.35 * way], 0.03, _shade(style, (40, 40, 40))),
        _oval(view, head, 0.17 * way, 0.13 * side, _shade(style, (120, 200, 120))),
    ]


def _rope(view: FigureView, style: np.ndarray, time: int) -> list[Item]:
    left, right = view["l_hand"], view["r_hand"]
    middle, way = 0.5 * (left + right), 0.5 * (right - left)
    forward = np.array([-way[1], way[0], 0.0]) / max(1e-6, float(np.hypot(way[0], way[1])))
    angle = 2 * np.pi * (style[2] + time * (0.12 + 0.1 * style[3]))
    swing = 1.15 * (np.cos(angle) * forward + np.sin(angle) * np.array([0, 0, 1.0]))
    arc = np.linspace(0, np.pi, 13)
    points = [middle - np.cos(t) * way + np.sin(t) * swing for t in arc]
    return [_stick(view, points, 0.012, _shade(style, (60, 200, 220)), 0.4 * float(np.cos(angle)))]


def _guitar(view: FigureView, style: np.ndarray, time: int) -> list[Item]:
    head = view["l_hand"]
    belly = view["spine"] + 0.12 * (view["r_hip"] - view["l_hip"])
    forward = _unit(np.cross(view["thorax"] - view["spine"], view["r_shoulder"] - view["l_shoulder"]))
    body = belly + 0.18 * forward
    way = _unit(head - body)
    up = _unit(np.cross(forward, way))
    wood = _shade(style, (40, 100, 180))
    return [
        _stick(view, [body, head + 0.1 * way], 0.05, _shade(style, (30, 50, 80))),
        _oval(view, body - 0.12 * way, 0.2 * way, 0.17 * up, wood),
        _oval(view, body + 0.08 * way, 0.14 * way, 0.12 * up, wood),
    ]


def _bowling_ball(view: FigureView, style: np.ndarray, time: int) -> list[Item]:
    return [_ball(view, view["r_hand"] + [0, 0, -0.05], 0.11, _shade(style, (90, 40, 60)))]


def _baseball(view: FigureView, style: np.ndarray, time: int) -> list[Item]:
    return [
        _ball(view, view["r_hand"], 0.045, (235.0, 235.0, 235.0), -0.02),
        _ball(view, view["l_hand"], 0.09, _shade(style, (40, 70, 120)), -0.02),
    ]


_PROPS: dict[str, Callable[[FigureView, np.ndarray, int], list[Item]]] = {
    "baseball_pitch": _baseball,
    "baseball_swing": _bat,
    "bench_press": _bench,
    "bowl": _bowling_ball,
    "clean_and_jerk": _barbell,
    "golf_swing": _club,
    "jump_rope": _rope,
    "pullup": _high_bar,
    "squat": _barbell,
    "strum_guitar": _guitar,
    "tennis_forehand": _racket,
    "tennis_serve": _racket,
}
