"""Random access to packed records."""

import contextlib
import errno
import functools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxhar.data.records.record import Index, Pictures, Record, VideoClip
from jaxhar.host.errors import Problem

_CACHED = 4096  # labels of so many records are read once


class Records:
    """Some packed records by number, each a dict of what is in a `Record` (without `split`), its fields by name.

    Its "pictures" are as in `Record`; JPEG ones are a sequence that reads each when it is asked for.
    """

    def __init__(self, folder: Path, numbers: list[int]):
        from jaxhar.data.records import shards  # needs tensorflow-datasets, which looking at a picture does not

        self._folder, self._numbers = folder, numbers
        with self._damage():
            index: Index = json.loads((folder / "index.json").read_text())
            self._first = np.cumsum([0, *(entry["stored"] for entry in index["sequences"])])
            labels, self._pictures = shards.sources(folder)
            if len(self._pictures) != self._first[-1]:
                raise ValueError(f"{self._first[-1]} pictures should be there, {len(self._pictures)} are")
        self._read = functools.lru_cache(_CACHED)(labels.__getitem__)

    def __reduce__(self) -> tuple:
        return Records, (self._folder, self._numbers)  # a worker process opens the files again

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> dict[str, object]:
        number = self._numbers[index]
        with self._damage():
            record = self._read(number)
            if record["size"] is None:  # what array_record gives of a file that was cut off
                raise ValueError("a record is empty")
            video = json.loads(record["video"]) if record["video"] else None
        pictures: Pictures = None if video is None else VideoClip(**video)
        if self._first[number] < self._first[number + 1]:
            pictures = _Stored(self._picture, range(self._first[number], self._first[number + 1]))
        rest = {key: value for key, value in record.items() if key != "video"}
        return {**rest, "length": int(record["length"]), "pictures": pictures, "index": index}

    def _picture(self, number: int) -> bytes:
        with self._damage():
            if not (data := self._pictures[number]):
                raise ValueError("a picture is empty")
            return data

    @contextlib.contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of array_record, of protobuf, of TFDS
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            if os.strerror(errno.EMFILE) in str(error):
                raise Problem(
                    f"reading the packed records in {self._folder} takes more open files than this process may have; "
                    "raise its limit, as by ulimit -Hn 65536"
                ) from error
            raise Problem(
                f"the packed records in {self._folder} are damaged ({reason}); delete that folder, to pack them again"
            ) from error


@dataclass(frozen=True)
class _Stored(Sequence[bytes]):
    read: Callable[[int], bytes]
    numbers: range

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: Any) -> Any:
        return self.read(self.numbers[index])


def as_read(record: Record, index: int = 0) -> dict[str, object]:
    """A record that was not packed in the form in which `Records` gives it."""
    return {
        **{key: getattr(record, key) for key in ("length", "pictures", "action", "subject", "view")},
        **record.fields,
        "name": record.name.encode(),
        "size": np.array(record.size or (0, 0), np.int32),
        "index": index,
    }
