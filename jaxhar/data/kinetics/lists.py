"""Reads the lists of Kinetics: which videos belong to which split and class.

A split has the file train.csv, val.csv or test.csv in lists/, in annotations/ or in the folder itself, in one of these
forms; labels with commas stand in quotes:

- the official one, with a header of label, youtube_id, time_start, time_end and more: the video is
  ID_START_END.mp4, with six digits for each time, anywhere below SPLIT_288px/, SPLIT/ or videos/SPLIT/; or else ID.mp4,
  of which the part from time_start to time_end is used;
- a header of path and label, and perhaps start and end in seconds;
- no header: path and label, or path, start, end and label, separated by commas, or by blanks as in SlowFast.

Paths are absolute, or below the folder. Labels are names, or numbers from 0; classes.txt beside the list gives the
names of numbers, one a line.
"""

import csv
import io
import math
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from jaxhar.data.formats import class_names
from jaxhar.data.listing import is_hidden
from jaxhar.data.records.record import Skipped
from jaxhar.host import files
from jaxhar.host.errors import Problem

SPLITS = ("train", "val", "test")
_PLACES = ("lists", "annotations", "")
_ENDINGS = (".mp4", ".mkv", ".webm", ".avi", ".mov")
_PATH = ("path", "file", "video", "filename")
_BLANKS = re.compile(r"(?P<path>.+?)(?: (?P<start>[\d.]+) (?P<end>[\d.]+))? (?P<label>\S+)$")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)
#: How to get the data.
HINT = (
    "docs/data.md describes it, `jaxhar data synth --layout kinetics` makes a small one, and experiments :demo make "
    "their own"
)
_EXPECTED = f"expected are train.csv and val.csv in it, in lists/ or in annotations/; {HINT}"


@dataclass(frozen=True)
class Listed:
    """A video of a list.

    Attributes:
      split, label: as in the list; the label is "" if there is none.
      path: the file. start, end: the part of it in seconds, None for all. name: unique, below the class.
    """

    split: str
    label: str
    path: Path
    name: str
    start: float | None = None
    end: float | None = None


@dataclass
class Lists:
    """The videos of all lists.

    Attributes:
      tables: the files that were read, by split. videos: what they list. missing: what cannot be used.
    """

    tables: dict[str, Path]
    videos: list[Listed] = field(default_factory=list)
    missing: list[Skipped] = field(default_factory=list)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes: sorted once for all splits; those of classes.txt if labels are numbers.

        Raises:
          Problem: classes.txt has too few names, or a label is a number, but not of a class.
        """
        labels = {video.label for video in self.videos} - {""}
        numbers = any(map(str.isdecimal, labels)) and all(map(_NUMBER.fullmatch, labels))
        if labels and not numbers:
            return tuple(sorted(labels))
        digits = len(str(class_names.MOST))
        fit = {one for one in labels if one.isdecimal() and len(one) <= digits and int(one) < class_names.MOST}
        if wrong := min(labels - fit, default=""):
            raise Problem(
                f"labels that are numbers must be those of classes, from 0 and below {class_names.MOST:,}, unlike "
                f"{wrong[:20]} in {', '.join(map(str, self.tables.values()))}; correct it"
            )
        count = max(map(int, labels), default=-1) + 1
        for path in {table.with_name(class_names.FILE): None for table in self.tables.values()}:
            if path.is_file():
                names = class_names.read(path)
                if len(names) < count:
                    raise Problem(f"{path} has {len(names)} names, but the lists have the label {count - 1}")
                return names
        return tuple(map(str, range(count)))

    def number(self, label: str) -> int:
        """The number of a label's class, -1 for no label."""
        if not label:
            return -1
        return int(label) if label.isdecimal() and label not in self._numbers else self._numbers[label]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.classes)}


def read(root: Path) -> Lists:
    """The lists of a folder.

    Raises:
      Problem: there is no such folder or no list, or a list names no video, or has quotes that do not close.
    """
    if not root.is_dir():
        raise Problem(f"{root} is no folder of Kinetics; {_EXPECTED}")
    tables: dict[str, Path] = {}
    for split in SPLITS:
        for place in _PLACES:
            if (path := root / place / f"{split}.csv").is_file():
                tables.setdefault(split, path)
    if not tables:
        raise Problem(f"{root} has no list of videos; {_EXPECTED}")
    lists = Lists(tables)
    for split, table in tables.items():
        counts: Counter[tuple[str, str]] = Counter()
        for video in _videos(root, split, table, lists.missing):
            own = video.name
            while counts[video.label, video.name]:  # of several videos of a name
                counts[video.label, own] += 1
                video = replace(video, name=f"{own} {counts[video.label, own]}")
            counts[video.label, video.name] = 1
            lists.videos.append(video)
    if not lists.videos:
        reason = f"; {lists.missing[0].path}: {lists.missing[0].reason}" if lists.missing else ""
        raise Problem(f"the lists of {root} name no video that is there{reason}")
    return lists


def _videos(root: Path, split: str, table: Path, missing: list[Skipped]) -> Iterator[Listed]:
    text = files.read(table, "list of videos").decode("utf-8-sig", "replace")
    places = [root / f"{split}_288px", root / split, root / "videos" / split]
    found: dict[str, Path] | None = None
    try:
        rows = list(_rows(text))
    except csv.Error as error:
        raise Problem(
            f"{table} is no list of videos: {error}; a label with commas stands in a pair of quotes"
        ) from error
    for number, row in rows:
        where = f"line {number} of {table}"
        try:
            label = row["label"].strip()
            start, end = (float(row[key]) if row.get(key, "").strip() else None for key in ("start", "end"))
            if not 0 <= (start or 0.0) < (math.inf if end is None else end) or end == math.inf:
                raise ValueError
            given = row["id"] if "id" in row else row["path"]
            if not given.strip():
                raise ValueError
        except (KeyError, ValueError):
            missing.append(Skipped(where, "the line has no path or youtube_id, or times that are no times"))
            continue
        if "id" in row and start is not None and end is not None:
            found = _below(places) if found is None else found
            name = f"{given}_{int(start):06d}_{int(end):06d}"
            if name in found:
                yield Listed(split, label, found[name], name)
            elif given in found:
                yield Listed(split, label, found[given], name, start, end)
            else:
                missing.append(Skipped(name, f"the video is in no folder of {split}, though {table.name} lists it"))
            continue
        path = next((one for base in (root, *places) if os.path.isfile(one := base / given.strip())), None)
        if path is None:
            missing.append(Skipped(given, f"the video is not there, though {table.name} lists it"))
            continue
        times = "" if start is None else f"_{int(start):06d}" + ("" if end is None else f"_{int(end):06d}")
        yield Listed(split, label, path, path.stem + times, start, end)


def _rows(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The number of every line with its columns: id or path, label, start, end."""
    lines = [line.rstrip("\n") for line in io.StringIO(text, newline=None)]
    first = next((line for line in lines if line.strip()), "")
    header = [name.strip().lower() for name in next(csv.reader([first]), [])]
    if "youtube_id" in header or (set(header) & set(_PATH) and "label" in header):
        names = {"youtube_id": "id", "time_start": "start", "time_end": "end", **dict.fromkeys(_PATH, "path")}
        columns = [names.get(name, name) for name in header]
        for number, row in _table(lines):
            if number > 1:
                yield number, {"label": "", **dict(zip(columns, row, strict=False))}
    elif len(header) in (2, 4) and Path(header[0]).suffix in _ENDINGS:
        for number, row in _table(lines):
            yield (
                number,
                dict(zip(("path", "start", "end", "label") if len(row) == 4 else ("path", "label"), row, strict=False)),
            )
    else:
        for number, line in enumerate(lines, 1):
            match = _BLANKS.match(line.strip())
            if match:
                yield number, {key: value or "" for key, value in match.groupdict().items()}
            elif line.strip():
                yield number, {}


def _table(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines, strict=True)
    for row in reader:
        if any(cell.strip() for cell in row):
            yield reader.line_num, row


def _below(places: list[Path]) -> dict[str, Path]:
    """The videos below some folders by their names without endings; the first folder counts."""
    found: dict[str, Path] = {}
    for place in places:
        for folder, folders, names in os.walk(place):
            folders[:] = sorted(name for name in folders if not is_hidden(Path(name)))
            for name in sorted(names):
                if name.lower().endswith(_ENDINGS) and not name.startswith("."):
                    found.setdefault(Path(name).stem, Path(folder) / name)
    return found
