"""Random access to packed records."""

import contextlib
import errno
import functools
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxhar.data.records import index as packed_index
from jaxhar.data.records.record import Pictures, Record, VideoClip
from jaxhar.host.errors import Problem

_CACHED = 4096  # number of records whose labels are kept in memory


class Records:
    """Some packed records by number. Each is a dict of the attributes of a `Record` (without `split`) and its fields.

    Its "pictures" are as in `Record`; JPEG pictures are a sequence that reads each one on access.
    """

    def __init__(self, folder: Path, numbers: Sequence[int] | np.ndarray):
        from jaxhar.data.records import shards  # needs tensorflow-datasets, which is not needed to predict images

        self._folder, self._numbers = folder, np.asarray(numbers, np.int64)
        self._entries = packed_index.read(folder)["sequences"]
        stored = int(self._entries.column("stored").sum(dtype=np.int64))
        with self._damage():
            self._labels, self._pictures = shards.sources(folder)
            if len(self._pictures) != stored:
                raise ValueError(f"{stored} pictures should be there, {len(self._pictures)} are")
        self._read = functools.lru_cache(_CACHED)(self._checked)

    def __reduce__(self) -> tuple:
        return Records, (self._folder, self._numbers)  # a worker process opens the files again

    def __len__(self) -> int:
        return len(self._numbers)

    def _checked(self, number: int) -> dict[str, Any]:
        record = self._labels[number]
        if record["size"] is None:  # array_record returns this for a truncated file
            raise ValueError("a record is empty")
        entry = self._entries[number]
        if _mark(record["name"], record) != _mark(entry["name"].encode(), entry):
            raise ValueError(f"the record {record['name'].decode(errors='replace')} is not the one of the index")
        return record

    def __getitem__(self, index: int) -> dict[str, object]:
        number = int(self._numbers[index])
        with self._damage():
            record = self._read(number)
            video = json.loads(record["video"]) if record["video"] else None
        pictures: Pictures = None if video is None else VideoClip(**video)
        first, stored = (int(self._entries.column(name)[number]) for name in ("first", "stored"))
        if stored:
            pictures = _Stored(self._picture, range(first, first + stored))
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
        except Exception as error:  # array_record, protobuf and TFDS raise many types
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            if os.strerror(errno.EMFILE) in str(error):
                raise Problem(
                    f"reading the packed records in {self._folder} needs more open files than this process may have; "
                    "raise the limit, e.g. by ulimit -Hn 65536"
                ) from error
            raise packed_index.damaged(self._folder, reason) from error


def _mark(name: bytes, entry: Mapping[str, Any]) -> int:
    """A number by which a record is told from others."""
    return zlib.crc32(
        f"{[int(entry[key]) for key in ('length', 'action', 'subject', 'view')]}".encode(), zlib.crc32(name)
    )


@dataclass(frozen=True)
class _Stored(Sequence[bytes]):
    read: Callable[[int], bytes]
    numbers: range

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: Any) -> Any:
        return self.read(self.numbers[index])


def as_read(record: Record, index: int = 0) -> dict[str, object]:
    """A record that is not packed, as a dict like those of `Records`."""
    return {
        **{key: getattr(record, key) for key in ("length", "pictures", "action", "subject", "view")},
        **record.fields,
        "name": record.name.encode(),
        "size": np.array(record.size or (0, 0), np.int32),
        "index": index,
    }
