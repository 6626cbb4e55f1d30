"""Reads annotation files in COCO's format (Lin et al., ECCV 2014), as COCO, CVAT and Label Studio write them.

- COCO: annotations/person_keypoints_SPLIT*.json or instances_SPLIT*.json, e.g. person_keypoints_train2017.json, and
  pictures in images/SPLIT*/, SPLIT*/, images/ or beside the folder annotations/;
- CVAT, "COCO Keypoints 1.0": annotations/person_keypoints_SUBSET.json, where SUBSET is "default", "Train" and so on,
  and pictures in images/SUBSET/ (older versions: images/);
- Label Studio, "COCO with Images": result.json and images/, which its file names begin with;
- one .json file of any name. Where it lies is taken as the folder; a folder with a single .json file, too.
"""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxhar.data.listing import shown
from jaxhar.host import files
from jaxhar.host.errors import Problem

SPLITS = ("train", "val")
KEYPOINTS, INSTANCES = "person_keypoints", "instances"
#: How the names of splits begin, in lower case.
_BEGINNINGS = {"train": ("train",), "val": ("val", "test")}


@dataclass(frozen=True)
class Picture:
    """A picture of an annotation file.

    Attributes:
      image: its file. name: as in the annotation file. where: for messages.
      annotations: the entries of its annotations, of the wanted categories.
    """

    image: Path
    name: str
    where: str
    annotations: list[dict]


def tables(root: str | Path, kinds: Sequence[str], expected: str) -> dict[str, Path]:
    """The annotation file of every split that a folder has: split -> path.

    A file whose name tells no split is of the split "train".

    Args:
      root: the folder, or an annotation file. kinds: beginnings of the names of annotation files, the best first.
      expected: a sentence on what the folder should hold, for messages.

    Raises:
      Problem: there is no annotation file, or it is not clear which to read.
    """
    root = Path(root).expanduser()
    if not root.exists():
        raise Problem(f"{root} does not exist; {expected}")
    if root.is_file():
        return {_split(root) or SPLITS[0]: root}
    found: dict[str, Path] = {}
    others: list[Path] = []
    named = [path for kind in kinds for path in shown((root / "annotations").glob(f"{kind}_*.json"))]
    for path in sorted(named, key=lambda path: "_test" in path.name.lower()):  # used if there is no "val"
        split = _split(path)
        if split is None:
            others.append(path)
        else:
            found.setdefault(split, path)
    if found:
        return {split: found[split] for split in SPLITS if split in found}
    for place in (root / "annotations", root):
        others = others or (
            [place / "result.json"] if (place / "result.json").is_file() else shown(place.glob("*.json"))
        )
    if len({path.name for path in others}) > 1 and not others[0].stem.startswith(tuple(kinds)):
        raise Problem(f"{root} holds {len(others)} .json files; give the path of the one to read, e.g. {others[0]}")
    if not others:
        raise Problem(f"{root} has no annotation file of COCO; {expected}")
    return {SPLITS[0]: others[0]}


def _split(table: Path) -> str | None:
    """The split of an annotation file by the words of its name, e.g. train2017; None if no word is one."""
    words = re.split(r"[-_. ]", table.stem.lower())
    return next((split for split, names in _BEGINNINGS.items() if any(w.startswith(names) for w in words)), None)


def read(table: Path, choose: Callable[[list[dict]], Collection[Any]]) -> Iterator[Picture | Problem]:
    """The pictures of an annotation file in its order; a Problem in place of one that is wrong.

    Args:
      choose: given the categories, returns the ids of those whose annotations are wanted.

    Raises:
      Problem: the file as a whole is not COCO's, or `choose` says so.
    """
    tree = files.read_json(table, "annotation file")
    parts: list[Any] = [
        tree.get(key) if isinstance(tree, dict) else None for key in ("images", "annotations", "categories")
    ]
    if not all(isinstance(part, list) and all(isinstance(one, dict) for one in part) for part in parts):
        raise Problem(f"{table} is no annotation file of COCO: it has no lists images, annotations and categories")
    pictures, annotations, categories = parts
    wanted = choose(categories)
    known = {one.get("id") for one in pictures}
    by_picture: dict[Any, list[dict]] = {}
    for one in annotations:
        if one.get("category_id") in wanted:
            if one.get("image_id") not in known:
                yield Problem(
                    f"annotation {one.get('id')} of {table} is of picture {one.get('image_id')}, which it lacks"
                )
            by_picture.setdefault(one.get("image_id"), []).append(one)
    place: Path | None = None
    for picture in pictures:
        where = f"picture {picture.get('id')} of {table}"
        name = picture.get("file_name")
        if isinstance(name, str):
            name = name.replace("\\", "/")  # as Label Studio writes it on Windows
        if not isinstance(name, str) or not name or Path(name).is_absolute() or ".." in Path(name).parts:
            yield Problem(f"{where} has the file name {name!r}, which is not a file within its folder")
            continue
        place = place or _place(table, name)
        yield Picture(place / name, name, where, by_picture.get(picture.get("id"), []))


def _place(table: Path, name: str) -> Path:
    """The folder of the pictures: the first of the possible ones that has the picture `name`, or that exists."""
    root = table.parent.parent if table.parent.name == "annotations" else table.parent
    word = table.stem.rpartition("_")[2]  # e.g. train2017
    split = _split(table) or word
    names = (f"images/{word}", word, f"images/{split}", split, "images", ".")
    places = [root / one for one in names if (root / one).is_dir()]
    return next((place for place in places if (place / name).is_file()), places[0])


def box(annotation: dict, where: str) -> tuple[float, float, float, float]:
    """The box x1, y1, x2, y2 of an annotation in pixels; Problem if it has no bbox of four numbers."""
    found: Any = annotation.get("bbox")
    numbers = isinstance(found, list) and len(found) == 4 and all(isinstance(v, int | float) for v in found)
    if not numbers or not np.isfinite(found).all() or min(found[2:]) < 0:
        raise Problem(f"{where}: annotation {annotation.get('id')} has the bbox {found}; expected x, y, width, height")
    x, y, width, height = found
    return x, y, x + width, y + height


def is_ignored(annotation: dict) -> bool:
    """Whether an annotation is a crowd, or marked as neither to learn nor to score."""
    return bool(annotation.get("iscrowd") or annotation.get("ignore"))
