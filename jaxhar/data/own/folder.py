"""Reads a user's own videos and images: DIR/CLASS/*.mp4, *.jpg, *.png, or a CSV file that lists them.

The CSV has a header with the columns file (path relative to the CSV), label, and optionally person, split ("train" or
"test") and a box x1, y1, x2, y2 around the person, in pixels of the picture as players show it: upright, with square
pixels; cells may be empty. A folder may have train/ and test/ above the classes. Without splits, a quarter of the
people is used for testing: of the persons in the CSV, or else of the source videos (`sources`), since frames of one
video are too similar to be in both splits. Images named NAME_0001.jpg, NAME_0002.jpg, ... are from one video NAME.
Joints are not labelled. What is not used is told (`listing`).
"""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from jaxhar.core.skeleton import PA16
from jaxhar.data.formats.jpeg import encode_rgb, read_picture
from jaxhar.data.formats.source import open_file
from jaxhar.data.formats.video import Video
from jaxhar.data.own import listing
from jaxhar.data.own.sources import Item, divided
from jaxhar.data.records.record import FAR, SMALL, Field, Folder, Record, Skipped, joint_fields
from jaxhar.host.errors import Problem

#: Largest number of frames of a video; longer ones must be cut into clips of one action.
_LONGEST = 3000


def folder(root: str | Path, side: int = 640) -> Folder:
    """The folder, or CSV file, to pack.

    Args:
      side: largest width or height in pixels; larger pictures are shrunk.

    Raises:
      Problem: there are no such files, fewer than two classes, or a row of the CSV that cannot be used.
    """
    root = Path(root).expanduser()
    found = listing.read(root)
    classes = tuple(sorted({item.label for item in found.items}))
    try:
        if len(classes) < 2:
            raise Problem(f"{root} has {len(classes)} class ({', '.join(classes)}); at least two classes are needed")
        items, notes, doubts = divided(found.items, root)
    except Problem as problem:
        if not found.broken:
            raise
        raise Problem(
            f"{found.broken[0].reason} ({len(found.broken)} such lines; without them, {problem})"
        ) from problem
    people = {person: n for n, person in enumerate(sorted({item.person for item in items}))}

    def scan(skip_broken: bool) -> tuple[list[Item], list[Skipped]]:
        if found.broken and not skip_broken:
            raise Problem(found.broken[0].reason)
        return items, [*found.left, *found.broken]

    return Folder(
        title="own data",
        slug="own",
        root=root,
        fingerprint=partial(_fingerprint, root, items, side),
        scan=scan,
        load=partial(_load, root if root.is_dir() else root.parent, classes, people, side),
        actions=classes,
        fields=joint_fields(len(PA16)) | {"box": Field((4,))},
        notes=(*found.notes, *notes),
        doubts=(*found.doubts, *doubts),
    )


def _fingerprint(root: Path, items: list[Item], side: int) -> Iterator[str]:
    yield f"{root.resolve()} {side} named by path, with persons"
    for item in items:
        stat = os.stat(item.path)
        yield f"{item.path} {stat.st_size} {stat.st_mtime_ns} {item.label} {item.person} {item.split} {item.box}"


def _load(
    home: Path, classes: tuple[str, ...], people: dict[str, int], side: int, item: Item, skip_broken: bool
) -> tuple[Record | None, list[Skipped]]:
    """The record of one file, named by its path below `home`; its subject is the number of the person."""
    try:
        frames, size, shrink = _read(item.path, side)
        image_box = (0.0, 0.0, float(size[0]), float(size[1]))
        box = image_box if item.box is None else tuple(v * shrink for v in item.box)
        if item.box is not None and min(box[2] - box[0], box[3] - box[1]) < SMALL * shrink:
            width, height = (box[2] - box[0]) / shrink, (box[3] - box[1]) / shrink
            raise Problem(
                f"{item.where} has a box of {width:.3g} x {height:.3g} pixels; it must be in pixels of the picture, "
                f"not in fractions of it, and at least {SMALL} wide and high"
            )
        if box[0] >= size[0] or box[1] >= size[1] or box[2] <= 0 or box[3] <= 0:
            raise Problem(f"{item.where} has a box outside of the picture of {size[0]}x{size[1]} pixels")
        if max(box[2] - box[0], box[3] - box[1]) > FAR * max(size):
            raise Problem(f"{item.where} has a box far larger than the picture of {size[0]}x{size[1]} pixels")
    except Problem as problem:
        if not skip_broken:
            raise
        return None, [Skipped(str(item.path), str(problem).removeprefix(f"{item.path}: "))]
    record = Record(
        name=name_of(home, item),
        split=item.split,
        length=len(frames),
        pictures=frames,
        size=size,
        fields={
            "points": np.zeros((len(frames), len(PA16), 2)),
            "labelled": np.zeros((len(frames), len(PA16)), bool),
            "box": np.array(box),
        },
        action=classes.index(item.label),
        subject=people[item.person],
    )
    return record, []


def name_of(home: Path, item: Item) -> str:
    """Name of the record of a file: its path below `home`, and with a box its line in the CSV."""
    path = item.path.relative_to(home).as_posix() if item.path.is_relative_to(home) else str(item.path)
    return path + ("" if item.box is None else f" {item.where.split(' of ')[0]}")


def _read(path: Path, side: int) -> tuple[list[bytes], tuple[int, int], float]:
    """The frames of a picture or a video as JPEG; their (width, height), and the factor by which they were shrunk."""
    source = open_file(path)
    return _read_video(source, side) if isinstance(source, Video) else _read_image(path, side)


def _read_image(path: Path, side: int) -> tuple[list[bytes], tuple[int, int], float]:
    """One picture as `_read` gives it, turned by its EXIF tag."""
    data, size, shrink = read_picture(path, side, upright=True)
    return [data], size, shrink


def _read_video(video: Video, side: int) -> tuple[list[bytes], tuple[int, int], float]:
    """All frames of a video as `_read` gives them."""
    frames: list[bytes] = []
    size, shrink = (0, 0), 1.0
    for frame in video.frames():
        if len(frames) == _LONGEST:
            raise Problem(
                f"the video {video.path} has more than {_LONGEST} frames; cut it into clips of one action each"
            )
        assert frame.image is not None
        data, size, shrink = encode_rgb(frame.image, side)
        frames.append(data)
    return frames, size, shrink
