"""What a long run asks of the operating system: to be alone in its folder, and to be told before it is ended."""

import contextlib
import ctypes
import fcntl
import os
import platform
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from jaxhar.host.errors import Problem


def lock(workdir: Path) -> TextIO:
    """Keeps a second run out of the folder until the file is closed; the system does so when a process is killed."""
    try:
        file = open(workdir / ".lock", "w")
    except OSError as error:
        raise Problem(f"cannot write in the working directory {workdir}: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise Problem(f"another process is training in {workdir}; stop it, or give another --workdir") from error
    return file


def keep_freed_memory() -> None:
    """Lets the C library keep what a training step frees for the next one, in place of handing it back page by page.

    XLA:CPU takes and frees hundreds of megabytes in every step; asking the system for them again and again was a
    quarter of the processor time. Only glibc has these switches; elsewhere nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(-4, 0)  # M_MMAP_MAX: large blocks come from the heap too
    mallopt(-1, -1)  # M_TRIM_THRESHOLD: the heap never shrinks; a limit is 2 GB at most, steps of clips take more
    mallopt(-8, 1)  # M_ARENA_MAX: one heap, so that threads share what is free


class StopRequest:
    """While open, SIGTERM and the first Ctrl-C only set `requested`; a second Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time; the system frees the lock of a killed one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "w")
    except OSError as error:
        raise Problem(f"the data cache {path.parent} cannot be written ({error.strerror})") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


#: Variables by which launchers tell a process how many of them they started: SLURM's srun, Open MPI, MPICH, torchrun.
COUNTS = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "WORLD_SIZE")


def refuse_several() -> None:
    """Problem if a launcher started several processes of this command: a run is one process with all its devices."""
    for name in COUNTS:
        count = os.environ.get(name, "")
        if count.isdigit() and int(count) > 1:
            raise Problem(
                f"{count} processes of this command were started ({name}), but a run is one process that uses all "
                "devices of its machine; start one, e.g. srun --ntasks=1"
            )
