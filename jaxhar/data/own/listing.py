"""Lists a user's own videos and images: DIR/CLASS/FILE, perhaps with train/ and test/ above the classes, or a CSV file.

Whatever is in the folder and not used is listed with the reason.
"""

import csv
import io
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from jaxhar.data.formats.picture import IMAGE_SUFFIXES
from jaxhar.data.listing import HIDDEN, is_hidden, shown
from jaxhar.data.own.sources import Item, key
from jaxhar.data.records.record import Skipped
from jaxhar.host.errors import Problem

#: Endings of files that are taken; what a file is, its content says.
IMAGES = tuple(suffix for suffix in IMAGE_SUFFIXES if suffix != ".gif")
VIDEOS = (
    *(".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".asf", ".flv", ".gif", ".vob"),
    *(".ts", ".mts", ".m2ts", ".3gp", ".3g2", ".ogv", ".mxf", ".mjpeg", ".mjpg", ".dv", ".h264", ".hevc"),
)
_READ = "videos and images are read: " + " ".join((*VIDEOS, *IMAGES))
#: Endings of files that are expected beside videos and images, and lose nothing when they are left out.
_TEXTS = (".txt", ".md", ".csv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".html", ".pdf", ".srt", ".vtt", ".log")
_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
}
_BOX = ("x1", "y1", "x2", "y2")
_EXPECTED = "expected CLASS/*.mp4, *.jpg or *.png, or one .csv file with the columns file and label"


@dataclass
class Listing:
    """What a folder or CSV file holds.

    Attributes:
      items: the files to use.
      broken: rows of the CSV that cannot be used, which is an error unless they may be skipped.
      left: files that are not used. listed: the files in the rows of the CSV.
      notes: sentences on how the folder is read. doubts: sentences on likely mistakes.
    """

    items: list[Item] = field(default_factory=list)
    broken: list[Skipped] = field(default_factory=list)
    left: list[Skipped] = field(default_factory=list)
    listed: set[Path] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)


def read(root: Path) -> Listing:
    """What is in a folder, or in a CSV file.

    Raises:
      Problem: there is no such folder, nothing to use in it, or a CSV file that cannot be used.
    """
    if not root.exists():
        raise Problem(f"{root} does not exist; {_EXPECTED}")
    tables = [root] if root.is_file() else shown(root.glob("*.csv"))
    if len(tables) > 1:
        raise Problem(f"{root} holds {len(tables)} .csv files; give the path of the one to read, e.g. {tables[0]}")
    listing = _of_csv(tables[0]) if tables else _of_folder(root)
    if tables and root.is_dir():
        listing.notes.append(f"{tables[0]} says which files are used")
        files = [path for path in files_below(root) if path.suffix.lower() in VIDEOS + IMAGES]
        others = [path for path in files if path not in listing.listed]
        listing.left += [Skipped(str(path), f"is not in {tables[0].name}", True) for path in others]
    labels = _one_spelling([item.label for item in listing.items], "classes", listing.doubts)
    persons = _one_spelling([item.person for item in listing.items], "persons", listing.doubts)
    listing.items = [
        replace(item, label=label, person=person)
        for item, label, person in zip(listing.items, labels, persons, strict=True)
    ]
    return listing


def files_below(folder: Path) -> Iterator[Path]:
    """All files below a folder that are not hidden."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_hidden(Path(name)))
        yield from shown(Path(place) / name for name in names)


def _of_folder(root: Path) -> Listing:
    listing = Listing()
    splits: dict[str, list[Path]] = defaultdict(list)
    for path in shown(path for path in root.iterdir() if path.is_dir()):
        splits[_FOLDERS.get(path.name.lower(), "")].append(path)
    if "train" in splits and ("test" in splits or "val" in splits):
        if "test" not in splits:
            listing.notes.append(f"{splits['val'][0]} is used for testing, since there is no folder test")
            splits["test"] = splits.pop("val")
        for split in ("train", "test"):
            for folder in splits[split]:
                _add_classes(listing, folder, split)
        for split, words in (
            ("val", "lies in a third split beside train and test"),
            ("", "lies beside train and test"),
        ):
            listing.left += [_left(path, words) for folder in splits[split] for path in files_below(folder)]
        _add_others(listing, root)
    else:
        _add_classes(listing, root, "")
    if not listing.items:
        entries = sorted(e.name + ("/" if e.is_dir() else "") for e in root.iterdir())
        raise Problem(f"{root} holds no such files; {_EXPECTED}, found {', '.join(entries[:5]) or 'nothing in it'}")
    return listing


def _add_classes(listing: Listing, folder: Path, split: str) -> None:
    """Add the folders of classes in a folder."""
    _add_others(listing, folder)
    for place in shown(path for path in folder.iterdir() if path.is_dir()):
        entries = list(place.iterdir())
        if not entries:
            listing.left.append(Skipped(str(place), "this folder of a class holds no file"))
        listing.left += [Skipped(str(path), HIDDEN, True) for path in sorted(entries) if is_hidden(path)]
        for path in shown(entries):
            if path.is_dir():
                listing.left += [
                    _left(p, "lies deeper than CLASS/FILE; move it up, or list it") for p in files_below(path)
                ]
            elif (suffix := path.suffix.lower()) not in VIDEOS + IMAGES:
                listing.left.append(
                    _left(path, f"{f'files ending in {suffix} are' if suffix else 'is'} not read; {_READ}")
                )
            elif not path.is_file():
                listing.left.append(Skipped(str(path), "is no regular file"))
            else:
                still = suffix in IMAGES
                listing.items.append(Item(path, place.name, "", split, None, str(path), still))


def _add_others(listing: Listing, folder: Path) -> None:
    """Add the files and hidden folders that lie beside the folders of classes."""
    for path in sorted(folder.iterdir()):
        if is_hidden(path):
            listing.left.append(Skipped(str(path), HIDDEN, True))
        elif not path.is_dir():
            listing.left.append(_left(path, "lies in no folder of a class"))


def _left(path: Path, reason: str) -> Skipped:
    return Skipped(str(path), reason, path.suffix.lower() in _TEXTS)


def _one_spelling(names: Sequence[str], words: str, doubts: list[str]) -> list[str]:
    """The names with one spelling for those that differ in case, blanks or underscores only; each case is a doubt."""
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for name in names:
        spellings[key(name)][name] += 1
    chosen = {}
    for one, found in spellings.items():
        chosen[one] = min(found, key=lambda name: (name != name.strip(), -found[name], name)).strip()
        if len(found) > 1:
            doubts.append(
                f"the {words} {', '.join(map(repr, sorted(found)))} are taken as one, {chosen[one]!r}, because their "
                "names differ in case or blanks only; give them one name"
            )
    return [chosen[key(name)] for name in names]


def _of_csv(path: Path) -> Listing:
    listing = Listing()
    columns, rows, decimal = _table(path)
    for needed in ("file", "label"):
        if needed not in columns:
            raise Problem(f"{path} has the columns {', '.join(columns) or 'none'}; file and label are needed")
    for number, row in rows:
        where = f"line {number} of {path}"
        listing.listed.add(path.parent / row[columns.index("file")])
        try:
            if len(row) > len(columns):
                raise Problem(
                    f"{where} has {len(row)} cells, but there are {len(columns)} columns; put texts in quotes"
                )
            listing.items.append(_of_row(path, dict(zip(columns, row, strict=False)), where, decimal))
        except Problem as problem:
            listing.broken.append(Skipped(where, str(problem)))
    if not listing.items:
        raise Problem(listing.broken[0].reason if listing.broken else f"{path} has no rows")
    _check_claims(listing.items)
    return listing


def _table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]], str]:
    """The columns, the rows with their line numbers, and the decimal point of a CSV file."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Problem(f"the file {path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise Problem(f"{path} is not a CSV file in UTF-8 ({error})") from error
    first = text.partition("\n")[0].strip("\r")
    # spreadsheets of many languages write semicolons, and commas in numbers
    found = [mark for mark in ",;\t|" if {"file", "label"} <= {name.strip(' "').lower() for name in first.split(mark)}]
    mark = found[0] if found else ","
    try:
        table = csv.reader(io.StringIO(text, newline=""), delimiter=mark, skipinitialspace=True)
        rows = [(table.line_num, [cell.strip() for cell in row]) for row in table]
    except csv.Error as error:
        raise Problem(f"{path} is not a CSV file in UTF-8 ({error})") from error
    columns = [name.lower() for name in rows[0][1]] if rows else []
    double = next((name for name in columns if name and columns.count(name) > 1), None)
    if double is not None:
        raise Problem(f"{path} has two columns {double}; remove one")
    while columns and not columns[-1]:
        columns.pop()
    used = [(number, _trimmed(row, len(columns))) for number, row in rows[1:] if any(row)]
    return columns, used, "." if mark == "," else ","


def _trimmed(row: list[str], length: int) -> list[str]:
    """A row without empty cells after the last column, and with empty ones where it is short."""
    while len(row) > length and not row[-1]:
        row = row[:-1]
    return row + [""] * (length - len(row))


def _of_row(table: Path, row: dict[str, str], where: str, decimal: str) -> Item:
    if not row["file"] or not row["label"]:
        raise Problem(f"{where} has no {'label' if row['file'] else 'file'}")
    path = table.parent / row["file"]
    if not path.is_file():
        raise Problem(f"the file {path} of {where} does not exist")
    if path.suffix.lower() not in IMAGES + VIDEOS:
        raise Problem(f"the file {path} of {where} is neither a video nor an image ({', '.join(VIDEOS + IMAGES)})")
    split = row.get("split", "").lower()
    if split not in ("", "train", "test"):
        raise Problem(f"{where} has the split {split!r}; there are train and test")
    cells = [row.get(name, "").replace(decimal, ".") for name in _BOX]
    box = _box(cells, where) if any(cells) else None
    still = path.suffix.lower() in IMAGES
    return Item(path, row["label"], row.get("person", ""), split, box, where, still)


def _box(cells: Sequence[str], where: str) -> tuple[float, ...]:
    try:
        x1, y1, x2, y2 = (float(value) for value in cells)
    except ValueError:
        raise Problem(f"{where} has the box {', '.join(cells)}; four numbers x1, y1, x2, y2 are needed") from None
    if not np.isfinite((x1, y1, x2, y2)).all() or x1 >= x2 or y1 >= y2:
        raise Problem(f"{where} has a box without an area, {', '.join(cells)}; x1 < x2 and y1 < y2 are needed")
    return x1, y1, x2, y2


def _check_claims(items: Sequence[Item]) -> None:
    """Problem if two rows have the same file without a box each, or in different splits."""
    claims: dict[Path, Item] = {}
    for item in items:
        other = claims.setdefault(item.path, item)
        if other is not item and (item.box is None or other.box is None or item.split != other.split):
            line = other.where.split(" of ")[0]
            raise Problem(
                f"{item.where} and {line} have the same file {item.path.name}; two people in a picture need a box "
                "each and the same split"
            )
