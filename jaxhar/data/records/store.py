"""Finds the packed records of a folder in the cache, and packs them if they are missing."""

import hashlib
import shutil
import sys
from pathlib import Path

from jaxhar.data import listing
from jaxhar.data.records import index as packed_index
from jaxhar.data.records import packing
from jaxhar.data.records.record import Folder, PackOptions, Skipped
from jaxhar.data.records.sequences import Index
from jaxhar.host.errors import Problem
from jaxhar.host.process import locked

_FORM = 6  # increased whenever the packed form changes


_LISTED = 20  # largest number of lines on files left out


#: Pack in threads of this process.
_DEFAULT = PackOptions()


def packed(folder: Folder, cache: Path, skip_broken: bool = False) -> tuple[Path, Index]:
    """The folder under `cache` with the packed records, and their index; packs them first if they are missing.

    Notes and doubts of the folder, and files left out, are listed on stderr. Problem as in `pack`, or because packed
    records are damaged.
    """
    path = pack(folder, cache, skip_broken)
    index = packed_index.read(path)
    for sentence in (*folder.notes, *folder.doubts):
        print(sentence, file=sys.stderr)
    if index["skipped"]:
        print(f"left out {len(index['skipped'])} unusable files of {folder.root}:", file=sys.stderr)
        lines = listing.told([Skipped(name, reason) for name, reason in index["skipped"]], folder.root)
        for line in lines[:_LISTED]:
            print(f"  {line}", file=sys.stderr)
        if len(lines) > _LISTED:
            print(f"  and more, all in {path / packed_index.FILE}", file=sys.stderr)
    return path, index


def pack(folder: Folder, cache: Path, skip_broken: bool = False, options: PackOptions = _DEFAULT) -> Path:
    """Pack the records of a folder under `cache` if they are missing; returns their folder.

    One process packs, others wait. After a crash, complete parts stay in a folder "*.parts", and the next call uses
    them; incomplete files are never used.

    Raises:
      Problem: a damaged file (named) without `skip_broken`, nothing usable in the folder, the disk is full.
    """
    digest, shared = hashlib.sha256(f"{_FORM} {skip_broken}\n".encode()), hashlib.sha256(f"{_FORM}\n".encode())
    for line in folder.fingerprint():
        digest.update(f"{line}\n".encode())
        shared.update(f"{line}\n".encode())
    path = cache / f"{folder.slug}-{digest.hexdigest()[:16]}"
    # parts without broken files are the same with and without skip_broken
    work = cache / f"{folder.slug}-{shared.hexdigest()[:16]}.parts"
    if not (path / packed_index.FILE).exists():
        with locked(work.with_suffix(".lock")):
            if not (path / packed_index.FILE).exists():
                _pack(folder, path, work, skip_broken, options)
    return path


def _pack(folder: Folder, path: Path, work: Path, skip_broken: bool, options: PackOptions) -> None:
    others = [str(other) for other in path.parent.glob(f"{folder.slug}-*.parts") if other != work]
    if others:
        print(
            f"incomplete records of other files or settings, delete them if unused: {', '.join(others)}",
            file=sys.stderr,
        )
    for leftover in (path, path.with_suffix(".tmp")):  # without an index, from an older version
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        packing.pack(folder, path, work, skip_broken, options)
    except OSError as error:
        raise Problem(f"packing {folder.root} into {path} failed: {error.strerror or error}") from error
