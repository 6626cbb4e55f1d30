"""Writes and reads the index of a packed set, with checksums of itself and of every file of the set.

It is index.json, which is read, and the files of `jaxhar.data.records.sequences`, which are mapped. `read` compares
their checksums, and of every other file the size and the beginning, which takes milliseconds and notices files that are
missing, cut or exchanged. Damage further on is noticed by array_record when a record is read; `verify`, which
`jaxhar data prepare` calls, reads every byte.
"""

import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from jaxhar.data.records import sequences
from jaxhar.data.records.sequences import Index
from jaxhar.host import files
from jaxhar.host.errors import Problem

FILE = "index.json"
_CHECKSUM = "crc32"
#: Bytes at the beginning of a file that `read` compares.
_HEAD = 4096


def checksum(path: Path) -> str:
    """Size of a file, CRC-32 of its beginning, and CRC-32 of all of it, as "SIZE-HEAD-ALL"."""
    with open(path, "rb") as file:
        head = check = zlib.crc32(first := file.read(_HEAD))
        total = len(first)
        while block := file.read(1 << 20):
            total, check = total + len(block), zlib.crc32(block, check)
    return f"{total}-{head:08x}-{check:08x}"


def _beginning(path: Path) -> str:
    """The first two parts of `checksum`."""
    with open(path, "rb") as file:
        return f"{path.stat().st_size}-{zlib.crc32(file.read(_HEAD)):08x}"


def write(folder: Path, index: Index, known: Mapping[Path, str]) -> None:
    """Write the index of a complete set; checksums of files that are not in `known` are computed."""
    sequences.write(folder, index["sequences"])
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    checksums = {path.relative_to(folder).as_posix(): known.get(path) or checksum(path) for path in paths}
    told = {
        "actions": index["actions"],
        "skipped": index["skipped"],
        "splits": index["sequences"].splits,
        "files": checksums,
    }
    content = {_CHECKSUM: zlib.crc32(json.dumps(told).encode()), **told}
    files.write(folder / FILE, json.dumps(content).encode())


def read(folder: Path) -> Index:
    """The index of a set; Problem if it or a file of the set is damaged or missing."""
    return _read(folder, _beginning)


def verify(folder: Path) -> None:
    """Compare every byte of a set with its checksums; Problem as in `read`."""
    _read(folder, checksum)


def _read(folder: Path, of_file: Callable[[Path], str]) -> Index:
    try:
        index = json.loads((folder / FILE).read_bytes())
        told = index.pop(_CHECKSUM)
        if zlib.crc32(json.dumps(index).encode()) != told:
            raise ValueError(f"the checksum of {FILE} differs")
        for name, expected in index["files"].items():
            found = (checksum if name in (sequences.SEQUENCES, sequences.NAMES) else of_file)(folder / name)
            if not expected.startswith(found):
                raise ValueError(f"the checksum of {name} differs")
        entries = sequences.read(folder, index["splits"])
    except OSError as error:
        raise damaged(folder, f"{error.filename}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(
            folder, f"{type(error).__name__} {error}" if isinstance(error, KeyError) else str(error)
        ) from error
    return {"actions": index["actions"], "sequences": entries, "skipped": index["skipped"]}


def damaged(folder: Path, reason: str) -> Problem:
    """The Problem of a packed set that cannot be used."""
    return Problem(f"the packed records in {folder} are damaged ({reason}); delete that folder, to pack them again")
