"""What `jaxhar data check` does: read a whole data set once, count its contents and list its errors."""

import dataclasses
from collections import Counter
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from jaxhar.core.skeleton import Skeleton
from jaxhar.data.dataset import DataSet
from jaxhar.data.records import packing
from jaxhar.data.records import record as records
from jaxhar.data.records.pictures import frames as frames_of
from jaxhar.data.records.reader import as_read
from jaxhar.data.records.record import Record, Skipped
from jaxhar.viz import draw as viz

_THREADS = 4


@dataclasses.dataclass
class Findings:
    """The contents and errors of a data set.

    Attributes:
      counts: numbers by name, e.g. sequences of each split. published: the published numbers, by the same names.
      labelled: number of labelled joints. outside: number of them outside of their frame.
      far: (sequence, number of joints outside), largest numbers first.
      classes: number of sequences of each class, without unlabelled ones.
      bad: files and labels that were left out. notes, doubts: of the `Folder`.
      pictures: middle frames with joints drawn, spread over the set.
    """

    counts: dict[str, int]
    published: dict[str, int]
    labelled: int = 0
    outside: int = 0
    far: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    classes: dict[str, int] = dataclasses.field(default_factory=dict)
    bad: list[Skipped] = dataclasses.field(default_factory=list)
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    pictures: list[np.ndarray] = dataclasses.field(default_factory=list)


def read_all(settings: DataSet, root: Path, pictures: int = 24, progress: bool = True) -> Findings:
    """Read every file of a data set once, without packing it.

    Args:
      pictures: number of pictures to draw.

    Raises:
      Problem: the folder as a whole cannot be read.
    """
    folder = settings.open(root)
    items, bad = folder.scan(True)
    found = Findings({}, dict(folder.published), bad=list(bad), notes=folder.notes, doubts=folder.doubts)
    found.classes = dict.fromkeys(folder.actions, 0)
    chosen = set(np.linspace(0, len(items) - 1, min(pictures, len(items))).round().astype(int).tolist())
    splits: Counter[str] = Counter()
    frames = 0
    names: set[str] = set()
    far = []
    load = partial(records.load, folder.load, folder.root, folder.fields, skip_broken=True)
    read = packing.load_in_threads(load, items, _THREADS)
    bar = tqdm(read, total=len(items), desc=f"reading {folder.title}", disable=not progress)
    for i, (record, skipped) in enumerate(bar):
        found.bad += skipped
        if record is None:
            continue
        splits[settings.split_of(records.entry(record))] += 1
        frames += record.length
        if record.action >= 0:
            found.classes[folder.actions[record.action]] += 1
        outside = _count_joints(record, found)
        if outside:
            far.append((record.name, outside))
        if record.name in names:
            found.bad.append(Skipped(record.name, "two sequences have this name"))
        names.add(record.name)
        if i in chosen and (record.pictures is not None or "skeletons" in record.fields):
            found.pictures.append(_picture(record, settings.layout))
    found.far = sorted(far, key=lambda pair: -pair[1])
    found.counts = {"sequences": sum(splits.values()), **dict(sorted(splits.items())), "frames": frames}
    found.counts |= folder.counts
    return found


def _count_joints(record: Record, found: Findings) -> int:
    """Add a record's labelled joints to the findings; returns how many of them lie outside of their frame."""
    labelled = record.fields.get("labelled")
    if labelled is None:
        return 0
    found.labelled += int(labelled.sum())
    if record.size is None:
        return 0
    xy = record.fields["points"][..., :2]
    outside = int((labelled & ((xy < 0) | (xy > np.array(record.size))).any(-1)).sum())
    found.outside += outside
    return outside


def _picture(record: Record, layout: Skeleton | None, side: int = 240) -> np.ndarray:
    """(H, W, 3) the middle frame with its name and, if labelled, its joints and boxes."""
    middle = record.length // 2
    if record.pictures is None:
        return _named(_skeletons(record.fields["skeletons"][middle], layout, side), record.name)
    (image,) = frames_of(as_read(record), [middle])
    scale = side / max(image.shape[:2])
    shape = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    image = cv2.resize(image, shape, interpolation=cv2.INTER_AREA)
    if layout is not None and "skeletons" in record.fields:
        for points in record.fields["skeletons"][middle].astype(np.float64):
            known = (points != 0).any(-1, keepdims=True)
            image = viz.draw_skeleton(image, np.where(known, points, np.nan) * scale, layout)
    elif layout is not None:
        labelled, points = record.fields["labelled"][middle], record.fields["points"][middle, :, :2]
        image = viz.draw_skeleton(image, np.where(labelled[:, None], points, np.nan) * scale, layout)
    if "boxes" in record.fields:
        for box in record.fields["boxes"][middle][record.fields["boxed"][middle]]:
            image = viz.draw_box(image, box * scale)
    return _named(image, record.name)


def _skeletons(points: np.ndarray, layout: Skeleton | None, side: int) -> np.ndarray:
    """(side, side, 3) the skeletons (M, J, D) of a frame by their first two coordinates, scaled to the picture."""
    image = np.zeros((side, side, 3), np.uint8)
    known = (points != 0).any(-1)
    if layout is None or not known.any():
        return image
    flat = np.where(known[..., None], points[..., :2].astype(np.float64), np.nan)
    if points.shape[-1] == 3:
        flat = flat * [1, -1]  # metres, upwards
    low, high = np.nanmin(flat, (0, 1)), np.nanmax(flat, (0, 1))
    flat = (flat - (low + high) / 2) * (0.8 * side / max((high - low).max(), 1e-6)) + side / 2
    for person in flat:
        image = viz.draw_skeleton(image, person, layout)
    return image


def _named(image: np.ndarray, name: str) -> np.ndarray:
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    pen.text((4, 3), name, (255, 255, 255), ImageFont.load_default(11), stroke_width=2, stroke_fill=(0, 0, 0))
    return np.asarray(picture)
