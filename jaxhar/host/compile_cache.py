"""What XLA compiled once is read back by later processes, from a folder of the cache.

JAX's own store writes a file in place: another process, or a later one after a kill or on a full disk, meets half a
program, says so in a warning each time, and never replaces it. Here every file is whole and checked.
"""

import contextlib
import hashlib
import os
import platform
from pathlib import Path
from typing import Any

import jax
from jax._src import compilation_cache
from jax._src.compilation_cache_interface import CacheInterface

from jaxhar.host import files
from jaxhar.host.files import cache_folder

#: Bytes kept; beyond it, what was not used for longest goes.
LIMIT = 2 << 30
_DIGEST = hashlib.sha256


def keep(folder: Path | None = None) -> None:
    """Keep what this process compiles, if it took a second or more, and take what earlier ones compiled.

    A cache that the user gave to JAX (JAX_COMPILATION_CACHE_DIR) stays as it is; JAX_ENABLE_COMPILATION_CACHE=false
    switches any off. Where the folder cannot be written, programs are compiled as ever.

    Args:
      folder: None for "compiled" in the cache folder, which $JAXHAR_CACHE moves.
    """
    config: Any = jax.config
    if config.jax_compilation_cache_dir or not config.jax_enable_compilation_cache:
        return
    if folder is None:
        folder = cache_folder() / "compiled"
    folder = folder / _processor()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _shrink(folder, LIMIT)
    except OSError:
        return
    if not os.access(folder, os.W_OK):
        return
    # Private to JAX: setup.cfg allows the versions in which it is so, the test beside this file looks at it.
    compilation_cache.get_file_cache = lambda path: (Programs(Path(path)), path)
    compilation_cache.reset_cache()  # JAX looks for a cache once, at the first compilation
    config.update("jax_compilation_cache_dir", str(folder))


class Programs(CacheInterface):
    """A file for each program, safe between processes: written under another name, and checked when read."""

    def __init__(self, folder: Path):
        self._path = folder

    def get(self, key: str) -> bytes | None:
        path = self._path / key
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        size = _DIGEST().digest_size
        return data[size:] if _DIGEST(data[size:]).digest() == data[:size] else None

    def put(self, key: str, value: bytes) -> None:
        with contextlib.suppress(OSError), files.atomic(self._path / key) as part:
            part.write_bytes(_DIGEST(value).digest() + value)


def _shrink(folder: Path, limit: int) -> None:
    """Remove the files used longest ago until the rest is within the limit."""
    found = []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process removes, too
            found.append((path.stat().st_mtime, path.stat().st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= limit:
            return
        path.unlink(missing_ok=True)
        total -= size


def _processor() -> str:
    """Names the kind of processor: machine code of one is not for another that shares the home folder."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    kind = sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
    return f"{platform.machine()}-{_DIGEST(repr((kind, platform.processor())).encode()).hexdigest()[:8]}"
