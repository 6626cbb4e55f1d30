"""Reading a file or saying why not; writing one so that its name always stands for a whole one; having many open."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from platformdirs import user_cache_dir

from jaxhar.host.errors import Problem


def read(path: Path, what: str) -> bytes:
    """All of a file; Problem, which calls it `what`, if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Problem(f"the {what} {path} cannot be read ({error.strerror})") from error


def read_json(path: Path, what: str) -> Any:
    """What a JSON file holds; Problem as of `read`, and if it is none."""
    try:
        return json.loads(read(path, what).decode())
    except ValueError as error:
        raise Problem(f"the {what} {path} is not JSON ({error}); restore it") from error


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; the file gets its own name when the block ends well, else it is removed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """As `atomic`, for one who has nothing of his own to say about failures; makes the folder of `path`.

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
    """Writes a file that stands, whole, also after a power cut; Problem as of `replacing`."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def cannot_write(path: Path, error: OSError) -> Problem:
    """What to raise, with advice."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    advice = "make room on the disk" if full else "check the path and the permissions"
    return Problem(f"cannot write {path}: {error.strerror or error}; {advice} and start again")


def allow_many_open() -> None:
    """Let the process have as many files open as the system allows it, up to 65536; it starts with 1024 on many."""
    import resource  # of Unix alone

    most, (now, limit) = 1 << 16, resource.getrlimit(resource.RLIMIT_NOFILE)
    if now != resource.RLIM_INFINITY and now < most:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (most if limit == resource.RLIM_INFINITY else min(most, limit), limit)
        )


def cache_folder() -> Path:
    """Where files are kept: $JAXHAR_CACHE, else the user's cache folder (~/.cache/jaxhar on Linux)."""
    return Path(os.environ.get("JAXHAR_CACHE") or user_cache_dir("jaxhar"))
