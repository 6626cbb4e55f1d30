"""Reads a user's own videos and images: DIR/CLASS/*.mp4, *.jpg, *.png, or a CSV file that lists them.

The CSV has a header with the columns file (path relative to the CSV), label, and optionally person, split ("train" or
"test") and a box x1, y1, x2, y2 in pixels around the person; cells may be empty. A folder may have train/ and test/
above the classes. Without splits, a quarter of the people is used for testing: of the persons in the CSV, or else of
the source videos, since frames of one video are too similar to be in both splits. Images named NAME_0001.jpg,
NAME_0002.jpg, ... are from one video NAME. Joints are not labelled.
"""

import csv
import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from jaxhar.core.skeleton import PA16
from jaxhar.data.formats.jpeg import encode_rgb, read_picture
from jaxhar.data.formats.source import open_file
from jaxhar.data.formats.video import Video
from jaxhar.data.records.record import FAR, Field, Folder, Record, Skipped, joint_fields
from jaxhar.host.errors import Problem

SPLITS = ("train", "test")
IMAGES = (".jpg", ".jpeg", ".png")
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")
_BOX = ("x1", "y1", "x2", "y2")
_EXPECTED = "expected CLASS/*.mp4, *.jpg or *.png, or one .csv file with the columns file and label"
#: One in this many people is used for testing.
_SHARE = 4
#: Largest number of frames of a video; longer ones must be cut into clips of one action.
_LONGEST = 3000


@dataclass(frozen=True)
class Item:
    """One video or image of one person.

    Attributes:
      path: the file. label: name of its class. person: name of the person or source video.
      split: "train", "test", or "" if not given. box: (4,) pixels, or None for the whole image.
      where: its place, for messages.
    """

    path: Path
    label: str
    person: str
    split: str
    box: tuple[float, ...] | None
    where: str


def folder(root: str | Path, side: int = 640) -> Folder:
    """The folder, or CSV file, to pack.

    Args:
      side: largest width or height in pixels; larger pictures are shrunk.

    Raises:
      Problem: there are no such files, fewer than two classes, or a row of the CSV that cannot be used.
    """
    root = Path(root).expanduser()
    items, broken = _items(root)
    classes = tuple(sorted({item.label for item in items}))
    if len(classes) < 2:
        raise Problem(f"{root} has {len(classes)} class ({', '.join(classes)}); at least two classes are needed")
    items = _divided(items, root)
    people = {person: n for n, person in enumerate(sorted({item.person for item in items}))}

    def scan(skip_broken: bool) -> tuple[list[Item], list[Skipped]]:
        if broken and not skip_broken:
            raise Problem(broken[0].reason)
        return items, broken

    return Folder(
        title="own data",
        slug="own",
        root=root,
        fingerprint=partial(_fingerprint, root, items, side),
        scan=scan,
        load=partial(_load, root if root.is_dir() else root.parent, classes, people, side),
        actions=classes,
        fields=joint_fields(len(PA16)) | {"box": Field((4,))},
    )


def _items(root: Path) -> tuple[list[Item], list[Skipped]]:
    if not root.exists():
        raise Problem(f"{root} does not exist; {_EXPECTED}")
    if root.is_file():
        return _from_csv(root)
    tables = sorted(root.glob("*.csv"))
    if len(tables) > 1:
        raise Problem(f"{root} holds {len(tables)} .csv files; give the path of the one to read, e.g. {tables[0]}")
    if tables:
        return _from_csv(tables[0])
    divided = all((root / split).is_dir() for split in SPLITS)
    items = []
    for split in SPLITS if divided else ("",):
        for path in sorted((root / split).glob("*/*")):
            if path.suffix.lower() in IMAGES + VIDEOS:
                label = path.parent.name
                # videos of the same name in two classes are different; images of one video may be in several classes
                person = f"{label}/{path.stem}" if path.suffix.lower() in VIDEOS else _source(path)
                items.append(Item(path, label, person, split, None, str(path)))
    if not items:
        entries = sorted(e.name + ("/" if e.is_dir() else "") for e in root.iterdir())
        raise Problem(f"{root} holds no such files; {_EXPECTED}, found {', '.join(entries[:5]) or 'nothing in it'}")
    return items, []


def _source(path: Path) -> str:
    """The source video of a file: its name, for images without the frame number."""
    if path.suffix.lower() in VIDEOS:
        return path.stem
    return re.sub(r"[-_. ]\d+$", "", path.stem) or path.stem


def _from_csv(path: Path) -> tuple[list[Item], list[Skipped]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = [name.strip().lower() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            rows = [{k: (v or "").strip() for k, v in row.items() if isinstance(k, str)} for row in reader]
    except OSError as error:
        raise Problem(f"the file {path} cannot be read ({error.strerror})") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise Problem(f"{path} is not a CSV file in UTF-8 ({error})") from error
    for needed in ("file", "label"):
        if needed not in columns:
            raise Problem(f"{path} has the columns {', '.join(columns) or 'none'}; file and label are needed")
    items, broken = [], []
    for number, row in enumerate(rows, 2):
        try:
            items.append(_of_row(path, row, f"line {number} of {path}"))
        except Problem as problem:
            broken.append(Skipped(f"line {number} of {path}", str(problem)))
    if not items:
        raise Problem(broken[0].reason if broken else f"{path} has no rows")
    claims: dict[Path, Item] = {}
    for item in items:
        other = claims.setdefault(item.path, item)
        if other is not item and (item.box is None or other.box is None or item.split != other.split):
            line = other.where.split(" of ")[0]
            raise Problem(
                f"{item.where} and {line} have the same file {item.path.name}; two people in a picture need a box "
                "each and the same split"
            )
    return items, broken


def _of_row(table: Path, row: dict[str, str], where: str) -> Item:
    if not row["file"] or not row["label"]:
        raise Problem(f"{where} has no {'label' if row['file'] else 'file'}")
    path = table.parent / row["file"]
    if not path.is_file():
        raise Problem(f"the file {path} of {where} does not exist")
    if path.suffix.lower() not in IMAGES + VIDEOS:
        raise Problem(f"the file {path} of {where} is neither a video nor an image ({', '.join(VIDEOS + IMAGES)})")
    split = row.get("split", "").lower()
    if split not in ("", *SPLITS):
        raise Problem(f"{where} has the split {split!r}; there are train and test")
    cells = [row.get(name, "") for name in _BOX]
    box = None
    if any(cells):
        try:
            box = tuple(float(value) for value in cells)
        except ValueError:
            raise Problem(f"{where} has the box {', '.join(cells)}; four numbers x1, y1, x2, y2 are needed") from None
        if not np.isfinite(box).all() or box[0] >= box[2] or box[1] >= box[3]:
            raise Problem(f"{where} has a box without an area, {', '.join(cells)}; x1 < x2 and y1 < y2 are needed")
    return Item(path, row["label"], row.get("person") or _source(path), split, box, where)


def _divided(items: list[Item], root: Path) -> list[Item]:
    """The items with a split each. Without given splits, people of every class are chosen for testing, always the same.

    Raises:
      Problem: a person is in both given splits, or there is nobody for testing.
    """
    splits: dict[str, str] = {}
    for item in items:
        if item.split and splits.setdefault(item.person, item.split) != item.split:
            other = splits[item.person]
            raise Problem(f"{item.where} puts {item.person} into {item.split}, another line puts it into {other}")
    seen: dict[str, set[str]] = defaultdict(set)
    for item in items:
        seen[item.label].add(item.person)
    for label in sorted(seen):
        persons = sorted(seen[label], key=lambda person: hashlib.sha256(person.encode()).digest())
        undecided = [person for person in persons if person not in splits]
        tests = sum(splits.get(person) == "test" for person in persons)
        wanted = max(1, round(len(persons) / _SHARE)) if len(persons) > 1 else 0
        for i, person in enumerate(undecided):
            splits[person] = "test" if i < wanted - tests else "train"
    if "test" not in splits.values():
        raise Problem(
            f"nobody in {root} can be used for testing: every class has one person or source video, as "
            f"{items[0].person}; name the person of each file in a CSV file, or give splits"
        )
    return [Item(i.path, i.label, i.person, i.split or splits[i.person], i.box, i.where) for i in items]


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
        if box[0] >= size[0] or box[1] >= size[1] or box[2] <= 0 or box[3] <= 0:
            raise Problem(f"{item.where} has a box outside of the picture of {size[0]}x{size[1]} pixels")
        if max(box[2] - box[0], box[3] - box[1]) > FAR * max(size):
            raise Problem(f"{item.where} has a box far larger than the picture of {size[0]}x{size[1]} pixels")
    except Problem as problem:
        if not skip_broken:
            raise
        return None, [Skipped(str(item.path), str(problem).removeprefix(f"{item.path}: "))]
    record = Record(
        name=_below(home, item.path) + ("" if item.box is None else f" {item.where.split(' of ')[0]}"),
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


def _below(home: Path, path: Path) -> str:
    return path.relative_to(home).as_posix() if path.is_relative_to(home) else str(path)


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
