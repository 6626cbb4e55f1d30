"""Draws skeletons, boxes and action panels on uint8 RGB images. Each function returns a new image."""

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxhar.core.skeleton import Skeleton

Colour = tuple[int, int, int]

RIGHT: Colour = (255, 140, 26)
LEFT: Colour = (41, 171, 255)
CENTRE: Colour = (108, 224, 92)
OUTLINE: Colour = (16, 16, 16)
#: Curves of the action panel, the most probable class first.
CURVES: tuple[Colour, ...] = ((255, 214, 64), (105, 210, 255), (255, 140, 180))

_SHIFT = 4  # cv2's coordinates are integers in units of 1/2^shift pixels


def draw_skeleton(
    image: np.ndarray,
    pose: np.ndarray,
    skeleton: Skeleton,
    confidence: np.ndarray | None = None,
    min_confidence: float = 0.1,
    limbs: Sequence[tuple[int, int]] | None = None,
) -> np.ndarray:
    """Draw limbs coloured by the person's side; their opacity is the lower confidence of their two joints.

    Args:
      image: (H, W, 3) uint8 RGB.
      pose: (J, 2) joints in image pixels (x, y); joints with NaN are not drawn.
      skeleton: the layout of `pose`.
      confidence: (J,) in [0, 1]; 1 everywhere if None.
      min_confidence: joints below it are not drawn.
      limbs: pairs of indices of joints; None: those of the skeleton.
    """
    pose = np.asarray(pose, float)[:, :2]
    sure = np.ones(len(pose)) if confidence is None else np.nan_to_num(np.asarray(confidence, float))
    shown = np.isfinite(pose).all(-1) & (sure >= min_confidence)
    out = np.ascontiguousarray(image).copy()
    if not shown.any():
        return out
    extent = float(np.ptp(pose[shown], axis=0).max())
    longest = max(image.shape[:2])
    thick = float(np.clip(extent / 45, longest / 400, longest / 90))
    alpha = np.clip(0.25 + 0.75 * sure, 0, 1)
    for a, b in skeleton.limbs if limbs is None else limbs:
        if shown[a] and shown[b]:
            colour = side(skeleton.joints[b], skeleton.joints[a])
            _blend_line(out, pose[a], pose[b], colour, thick, min(alpha[a], alpha[b]))
    for j in np.flatnonzero(shown):
        _blend_dot(out, pose[j], side(skeleton.joints[j]), 0.9 * thick, alpha[j])
    return out


def draw_joints(
    image: np.ndarray, points: np.ndarray, limbs: Sequence[tuple[int, int]], colour: Colour, head: int | None = None
) -> np.ndarray:
    """Draw joints in one colour, with dots of radius 3, limbs of 3 pixels and a ring of radius 15 at the joint `head`.

    In images of fewer than 256 pixels along the longer side they are smaller in proportion.

    Args:
      points: (J, 2) in image pixels; joints with NaN are not drawn. limbs: pairs of joints.
    """
    out = np.ascontiguousarray(image).copy()
    scale = min(1.0, max(image.shape[:2]) / 256)
    thick = max(1, round(3 * scale))
    shown = np.isfinite(points).all(-1) & (np.abs(points) < 1e5).all(-1)
    for a, b in limbs:
        if shown[a] and shown[b]:
            cv2.line(out, _fixed(points[a]), _fixed(points[b]), colour, thick, cv2.LINE_AA, _SHIFT)
    for j in np.flatnonzero(shown):
        for radius, line in ((3, cv2.FILLED), *(((15, thick),) if j == head else ())):
            cv2.circle(out, _fixed(points[j]), round(radius * scale * 2**_SHIFT), colour, line, cv2.LINE_AA, _SHIFT)
    return out


def draw_crosses(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Draw a small white cross at each of the points (N, 2) in image pixels; points with NaN are not drawn."""
    out = np.ascontiguousarray(image).copy()
    arm = max(3, max(image.shape[:2]) // 200)
    for point in points[np.isfinite(points).all(-1) & (np.abs(points) < 1e5).all(-1)]:
        for thick, colour in ((3, OUTLINE), (1, (255, 255, 255))):
            for way in ((arm, arm), (arm, -arm)):
                ends = _fixed(point - way), _fixed(point + way)
                cv2.line(out, *ends, colour, thick, cv2.LINE_AA, _SHIFT)
    return out


def draw_box(image: np.ndarray, box: Sequence[float], colour: Colour = (235, 235, 235)) -> np.ndarray:
    """Draw the outline of a box (x1, y1, x2, y2) in pixels, light with a dark edge, visible on any background."""
    out = np.ascontiguousarray(image).copy()
    width = max(1, round(max(image.shape[:2]) / 640))
    limit = 8 * max(image.shape[:2])  # cv2 overflows on boxes far outside
    x1, y1, x2, y2 = (int(v) for v in np.clip(np.round(box), -limit, limit))
    cv2.rectangle(out, (x1, y1), (x2, y2), OUTLINE, 3 * width, cv2.LINE_AA)
    cv2.rectangle(out, (x1, y1), (x2, y2), colour, width, cv2.LINE_AA)
    return out


def draw_action(
    image: np.ndarray,
    label: str,
    probability: float,
    history: np.ndarray | None = None,
) -> np.ndarray:
    """Draw a panel in the upper left corner: action, a bar with its probability, curves over the last frames.

    Args:
      image: (H, W, 3) uint8 RGB.
      label: the action's name; underscores are shown as spaces.
      probability: in [0, 1].
      history: (N, A) probabilities of all classes, oldest frame first; the three classes that are most probable in the
        last frame are drawn. None: no curves.
    """
    height, width = image.shape[:2]
    text = max(11, round(min(height, width) / 22))
    pad = text // 2
    curves = history is not None
    wide, high = _panel_size(text, curves)
    if wide + 2 * pad > width or high + 2 * pad > height:
        wide, high = min(wide, width), min(_panel_size(text, False)[1], height)
        history, pad = None, 0
    # dark and half transparent, so that white text is legible on any background
    out = np.ascontiguousarray(image).copy()
    corner = out[pad : pad + high, pad : pad + wide]
    panel = Image.fromarray((corner * 0.3).astype(np.uint8))
    _write_action(panel, text, label, probability, history)
    corner[:] = np.asarray(panel)
    return out


def draw_action_below(
    image: np.ndarray, label: str | None, probability: float | None, history: np.ndarray | None = None
) -> np.ndarray:
    """As `draw_action`, with the panel in a dark strip that is added below the image, (H + h, W, 3).

    Args:
      label, probability: None leaves the strip empty. history: h depends on whether it is given.
    """
    width = image.shape[1]
    text = max(11, round(width / 22))
    panel = Image.new("RGB", (width, _panel_size(text, history is not None)[1]), OUTLINE)
    if label is not None and probability is not None:
        _write_action(panel, text, label, probability, history)
    return np.concatenate([image, np.asarray(panel)])


def _panel_size(text: int, curves: bool) -> tuple[int, int]:
    """(width, height) of the panel for an action, in a font of `text` pixels."""
    return 13 * text, round(2.9 * text) + (3 * text if curves else 0)


def _write_action(panel: Image.Image, text: int, label: str, probability: float, history: np.ndarray | None) -> None:
    """Write an action, its bar and its curves onto a panel."""
    pen, (wide, high) = ImageDraw.Draw(panel), panel.size
    left, right = round(0.6 * text), wide - round(0.6 * text)
    _write(pen, (left, 0.35 * text), label.replace("_", " "), text, right - left - 3 * text)
    pen.text((right, 0.35 * text), f"{probability:.0%}", fill=(255, 255, 255), font=_font(text), anchor="ra")
    top = round(1.95 * text)
    bar = max(2, round(0.4 * text))
    pen.rectangle((left, top, max(left, right), top + bar), fill=(90, 90, 90))
    end = left + round(max(0, right - left) * float(np.clip(probability, 0, 1)))
    pen.rectangle((left, top, end, top + bar), fill=CURVES[0])
    if history is not None:
        _draw_curves(pen, np.asarray(history, float), (left, top + bar + 0.6 * text, right, high - 0.5 * text), text)


def draw_words(image: np.ndarray, words: str) -> np.ndarray:
    """Write a line on a dark strip along the upper edge of an image (H, W, 3) uint8 RGB."""
    height, width = image.shape[:2]
    text = max(11, round(min(height, width) / 22))
    out = np.ascontiguousarray(image).copy()
    strip = Image.fromarray((out[: 2 * text] * 0.3).astype(np.uint8))
    _write(ImageDraw.Draw(strip), (text // 2, 0.35 * text), words, text, width - text)
    out[: 2 * text] = np.asarray(strip)
    return out


def draw_label(image: np.ndarray, box: Sequence[float], words: str) -> np.ndarray:
    """Write a line on a dark strip at the upper left corner of a box (x1, y1, x2, y2), inside of the image."""
    height, width = image.shape[:2]
    text = max(10, round(min(height, width) / 30))
    wide, high = min(width, round(_font(text).getlength(words)) + text), min(height, round(1.6 * text))
    x = int(np.clip(box[0], 0, width - wide))
    y = int(np.clip(box[1], 0, height - high))
    out = np.ascontiguousarray(image).copy()
    strip = Image.fromarray((out[y : y + high, x : x + wide] * 0.3).astype(np.uint8))
    _write(ImageDraw.Draw(strip), (text // 2, 0.2 * text), words, text, wide - text)
    out[y : y + high, x : x + wide] = np.asarray(strip)
    return out


def contact_sheet(images: Sequence[np.ndarray], columns: int, gap: int = 4) -> np.ndarray:
    """Images side by side in rows of `columns`, centred in cells of the largest height and width, dark between them.

    Raises:
      ValueError: there are no images, or `columns` is below 1.
    """
    if not images or columns < 1:
        raise ValueError("a contact sheet needs at least one image and one column")
    high, wide = (max(i.shape[k] for i in images) for k in (0, 1))
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    sheet = np.full((rows * (high + gap) + gap, columns * (wide + gap) + gap, 3), 24, np.uint8)
    for n, image in enumerate(images):
        h, w = image.shape[:2]
        y = gap + (n // columns) * (high + gap) + (high - h) // 2
        x = gap + (n % columns) * (wide + gap) + (wide - w) // 2
        sheet[y : y + h, x : x + w] = image
    return sheet


def side(*joints: str) -> Colour:
    """The colour of a joint or limb by the side that its names tell."""
    for joint in joints:
        if joint[:2] in ("r_", "l_"):
            return RIGHT if joint[0] == "r" else LEFT
    return CENTRE


def _blend(out: np.ndarray, low: np.ndarray, high: np.ndarray, alpha: float, paint) -> None:
    """Paint on a copy of the part of `out` between two corners and blend it by alpha."""
    x0, y0 = np.maximum(np.floor(low), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(high) + 1, (out.shape[1], out.shape[0])).astype(int)
    if x0 >= x1 or y0 >= y1:
        return
    part = out[y0:y1, x0:x1]
    layer = part.copy()
    paint(layer, np.array((x0, y0)))
    part[:] = cv2.addWeighted(layer, alpha, part, 1 - alpha, 0)


def _fixed(point: np.ndarray) -> tuple[int, int]:
    # pixel centres are at half integers in this project, and at integers in cv2
    x, y = np.clip(np.round((point - 0.5) * 2**_SHIFT), -(2**24), 2**24)
    return int(x), int(y)


def _blend_line(out: np.ndarray, a: np.ndarray, b: np.ndarray, colour: Colour, thick: float, alpha: float) -> None:
    def paint(layer: np.ndarray, origin: np.ndarray) -> None:
        ends = _fixed(a - origin), _fixed(b - origin)
        cv2.line(layer, *ends, OUTLINE, max(2, round(1.5 * thick)), cv2.LINE_AA, _SHIFT)
        cv2.line(layer, *ends, colour, max(1, round(thick)), cv2.LINE_AA, _SHIFT)

    margin = 2 * thick + 2
    _blend(out, np.minimum(a, b) - margin, np.maximum(a, b) + margin, alpha, paint)


def _blend_dot(out: np.ndarray, centre: np.ndarray, colour: Colour, radius: float, alpha: float) -> None:
    def paint(layer: np.ndarray, origin: np.ndarray) -> None:
        for r, c in ((radius + 1, OUTLINE), (radius, colour)):
            cv2.circle(layer, _fixed(centre - origin), round(r * 2**_SHIFT), c, cv2.FILLED, cv2.LINE_AA, _SHIFT)

    _blend(out, centre - radius - 3, centre + radius + 3, alpha, paint)


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def _write(pen: ImageDraw.ImageDraw, at: tuple[float, float], words: str, size: int, room: float) -> None:
    """Write text no wider than `room` pixels, in a smaller font if necessary."""
    while size > 7 and pen.textlength(words, font=_font(size)) > room:
        size -= 1
    pen.text(at, words, fill=(255, 255, 255), font=_font(size))


def _draw_curves(pen: ImageDraw.ImageDraw, history: np.ndarray, area: tuple[float, ...], text: int) -> None:
    left, top, right, bottom = area
    pen.line((left, bottom, right, bottom), fill=(150, 150, 150))
    pen.line((left, top, right, top), fill=(80, 80, 80))
    x = np.linspace(left, right, len(history))
    leaders = np.argsort(-history[-1], kind="stable")[: len(CURVES)]
    for place in range(len(leaders) - 1, -1, -1):  # the most probable one last, on top
        y = bottom - (bottom - top) * np.clip(history[:, leaders[place]], 0, 1)
        width = max(1, text // 8) + (place == 0)
        pen.line([(float(u), float(v)) for u, v in zip(x, y, strict=True)], fill=CURVES[place], width=width)
