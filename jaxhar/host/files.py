"""Atomic file writes, reads with readable errors, and the limit of open files."""

import errno
import hashlib
import json
import os
import socket
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

from platformdirs import user_cache_dir

from jaxhar.host.errors import Problem


def read(path: Path, what: str) -> bytes:
    """The content of a file; Problem if it cannot be read. `what` describes the file in the message."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Problem(f"the {what} {path} cannot be read ({error.strerror})") from error


def read_json(path: Path, what: str) -> Any:
    """The content of a JSON file; Problem if it cannot be read or is not JSON."""
    try:
        return json.loads(read(path, what))  # in UTF-8 or UTF-16, with or without a mark at the beginning
    except (ValueError, RecursionError) as error:  # the second: brackets in brackets without end
        raise Problem(f"the {what} {path} is not JSON ({error}); restore it") from error


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path to write to; renamed to `path` if the block succeeds, else removed.

    No two processes have the same one, also on machines that share a disk and number their processes alike.
    """
    machine = zlib.crc32(socket.gethostname().encode())
    temporary = path.with_name(f".{path.name}.{machine:08x}-{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def open_text(stack: ExitStack, path: Path) -> TextIO:
    """A text file to write to, which becomes `path` when the stack unwinds without an error."""
    return stack.enter_context(open(stack.enter_context(atomic(path)), "w", newline="", encoding="utf-8"))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """As `atomic`, creates the folder of `path`, and turns OSError into Problem.

    Raises:
      Problem: `path` is a folder, or cannot be written.
    """
    if path.is_dir():
        raise Problem(f"{path} is a folder; give the name of a file to write")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as temporary:
            yield temporary
    except OSError as error:
        raise cannot_write(path, error) from error


def write(path: Path, content: bytes) -> None:
    """Writes a file atomically and flushes it to the disk; Problem as in `replacing`."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def make_folder(path: Path) -> None:
    """Makes a folder and those above it; Problem if that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> Problem:
    """The Problem for a failed write, with advice."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    advice = "make room on the disk" if full else "check the path and the permissions"
    return Problem(f"cannot write {path}: {error.strerror or error}; {advice} and start again")


def allow_many_open() -> None:
    """Raises the limit of open files to the maximum that the system allows, at most 65536."""
    import resource  # Unix only

    wanted, (now, limit) = 1 << 16, resource.getrlimit(resource.RLIMIT_NOFILE)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if limit == resource.RLIM_INFINITY else min(wanted, limit), limit)
        )


def digest(path: Path, algorithm: str) -> str:
    """The checksum of a file, "md5" or "sha256", in hexadecimal; Problem if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except OSError as error:
        raise Problem(f"{path} cannot be read: {error.strerror}") from error


def cache_folder() -> Path:
    """The cache folder: $JAXHAR_CACHE, else the user's cache folder (~/.cache/jaxhar on Linux)."""
    return Path(os.environ.get("JAXHAR_CACHE") or user_cache_dir("jaxhar"))
