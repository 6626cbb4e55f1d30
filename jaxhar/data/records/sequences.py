"""The entries of the index of a packed set, mapped from two files rather than read: a million take little memory.

SEQUENCES has a row of numbers for each record, NAMES the names of all in UTF-8, one after the other.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypedDict, cast, overload

import numpy as np

from jaxhar.data.records.record import IndexEntry
from jaxhar.host import files

SEQUENCES, NAMES = "sequences.npy", "names.npy"
_NUMBERS = ("length", "action", "subject", "view", "stored")
#: `first`: number of the first JPEG picture. `name`: end of the name in NAMES. `split`: number in `Sequences.splits`.
_ROW = np.dtype([("first", "<i8"), ("name", "<i8"), ("split", "<i4"), *((name, "<i4") for name in _NUMBERS)])


class Sequences(Sequence[IndexEntry]):
    """Index entries of all, or some, records of a packed set; each is made when it is asked for.

    Attributes:
      table: (N,) rows of all records. names: (bytes,) uint8 of all. splits: names of the splits.
      numbers: (n,) of the records in this list, in its order; None for all.
    """

    def __init__(
        self, table: np.ndarray, names: np.ndarray, splits: Sequence[str], numbers: np.ndarray | None = None
    ) -> None:
        self.table, self.names, self.splits, self.numbers = table, names, tuple(splits), numbers

    def __len__(self) -> int:
        return len(self.table if self.numbers is None else self.numbers)

    @overload
    def __getitem__(self, index: int) -> IndexEntry: ...

    @overload
    def __getitem__(self, index: slice) -> list[IndexEntry]: ...

    def __getitem__(self, index: int | slice) -> IndexEntry | list[IndexEntry]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        number = int(index) % len(self) if self.numbers is None else int(self.numbers[index])
        row = self.table[number]
        begin = int(self.table["name"][number - 1]) if number else 0
        name = bytes(self.names[begin : int(row["name"])]).decode()
        numbers = {key: int(row[key]) for key in _NUMBERS}
        return cast(IndexEntry, {"name": name, "split": self.splits[row["split"]], **numbers})

    def __iter__(self) -> Iterator[IndexEntry]:
        return (self[i] for i in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequences) and list(self) == list(other)

    def column(self, name: str) -> np.ndarray:
        """(n,) length, action, subject, view, stored or first of every entry."""
        return self.table[name] if self.numbers is None else self.table[name][self.numbers]

    def of_splits(self, names: Iterable[str]) -> np.ndarray:
        """Positions in this list of the records with these splits."""
        wanted = set(names)
        codes = [code for code, split in enumerate(self.splits) if split in wanted]
        return np.flatnonzero(np.isin(self.column("split"), codes))

    def taken(self, positions: Sequence[int] | np.ndarray) -> "Sequences":
        """The list of the entries at some positions of this one."""
        positions = np.asarray(positions, np.int64)
        return Sequences(
            self.table, self.names, self.splits, positions if self.numbers is None else self.numbers[positions]
        )


class Index(TypedDict):
    """The index of a packed set: class names, an entry per record in order, and [path, reason] of files left out,
    without those whose absence is expected.
    """

    actions: list[str]
    sequences: Sequences
    skipped: list[list[str]]


def of(parts: Iterable[Iterable[IndexEntry]]) -> Sequences:
    """The entries of the parts of a set, one part after the other."""
    rows: list[np.ndarray] = []
    names, splits, first = bytearray(), dict[str, int](), 0
    for entries in parts:
        found = []
        for entry in entries:
            names += entry["name"].encode()
            code = splits.setdefault(entry["split"], len(splits))
            numbers = (entry[key] for key in _NUMBERS)  # type: ignore[literal-required]
            found.append((first, len(names), code, *numbers))
            first += entry["stored"]
        rows.append(np.array(found, _ROW))
    table = np.concatenate(rows) if rows else np.empty(0, _ROW)
    return Sequences(table, np.frombuffer(bytes(names), np.uint8), tuple(splits))


def write(folder: Path, sequences: Sequences) -> None:
    """Write the two files of a set."""
    for name, array in ((SEQUENCES, sequences.table), (NAMES, sequences.names)):
        with files.atomic(folder / name) as new, open(new, "wb") as file:
            np.save(file, array, allow_pickle=False)


def read(folder: Path, splits: Sequence[str]) -> Sequences:
    """Map the two files of a set; ValueError or OSError if they are damaged or missing."""
    table, names = (np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in (SEQUENCES, NAMES))
    if table.dtype != _ROW or names.dtype != np.uint8 or (len(table) and table["name"][-1] != len(names)):
        raise ValueError(f"{SEQUENCES} and {NAMES} do not belong together")
    return Sequences(table, names, splits)


class Items(Sequence):
    """The examples of a view, made when they are asked for: number of the record, its length, number of the window."""

    def __init__(self, lengths: np.ndarray, windows: Callable[[int], int]):
        different, of_record = np.unique(lengths, return_inverse=True)
        counts = np.array([windows(int(length)) for length in different], np.int64)[of_record]
        self._lengths, self._ends = lengths, np.cumsum(counts)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> tuple[int, int, int]:  # type: ignore[override]
        record = int(np.searchsorted(self._ends, index, side="right"))
        begin = int(self._ends[record - 1]) if record else 0
        return record, int(self._lengths[record]), index - begin
