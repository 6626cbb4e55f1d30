"""Writing a file so that its name always stands for a whole one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxhar.errors import Problem


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; the file gets its own name when the block ends without an error.

    Raises:
      Problem: `path` is a folder, or cannot be written.
    """
    if path.is_dir():
        raise Problem(f"{path} is a folder; give the name of a file to write")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise Problem(f"cannot write {path}: {error.strerror or error}") from error
