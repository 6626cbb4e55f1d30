"""Persistent compilation cache: programs that XLA compiled are reused by later processes.

JAX's own cache writes files in place. After a kill or on a full disk it keeps an incomplete program, warns about it in
every later process and never replaces it. Here files are written atomically and verified by a checksum.
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

#: Maximum size in bytes; the least recently used files are removed first.
LIMIT = 2 << 30
_DIGEST = hashlib.sha256


def enable(folder: Path | None = None) -> None:
    """Turns the cache on; programs that took a second or more to compile are stored.

    A cache that the user configured (JAX_COMPILATION_CACHE_DIR) is left as it is; JAX_ENABLE_COMPILATION_CACHE=false
    disables caching. If the folder cannot be written, nothing is cached.

    Args:
      folder: None for "compiled" in the cache folder, which $JAXHAR_CACHE sets.
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
    compilation_cache.reset_cache()  # JAX chooses its cache once, at the first compilation
    config.update("jax_compilation_cache_dir", str(folder))


class Programs(CacheInterface):
    """One file for each program, safe for concurrent processes: written atomically, verified when read."""

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
    """Removes the least recently used files until the rest fits the limit."""
    found = []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process may have removed it
            found.append((path.stat().st_mtime, path.stat().st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= limit:
            return
        path.unlink(missing_ok=True)
        total -= size


def _processor() -> str:
    """Name of the processor type, because several machines with a shared home folder need different machine code."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    kind = sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
    return f"{platform.machine()}-{_DIGEST(repr((kind, platform.processor())).encode()).hexdigest()[:8]}"
