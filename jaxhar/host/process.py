"""Process utilities: working directory lock, signals that stop a run, memory settings."""

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

from jaxhar.host import cluster
from jaxhar.host.errors import Problem


def lock(workdir: Path) -> TextIO:
    """Locks a working directory until the file is closed or the process ends; Problem if it is locked."""
    try:
        file = open(workdir / ".lock", "w")
    except OSError as error:
        raise Problem(f"cannot write in the working directory {workdir}: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise Problem(f"another process is training in {workdir}; stop it, or give another --workdir") from error
    except OSError as error:
        file.close()
        raise _no_locks(workdir, error) from error
    return file


def keep_freed_memory() -> None:
    """Makes malloc keep freed memory for the next training step instead of returning it to the system.

    XLA:CPU allocates and frees hundreds of megabytes in every step; requesting them from the system each time took a
    quarter of the processor time. Only glibc has these settings; elsewhere this does nothing.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(-4, 0)  # M_MMAP_MAX: large blocks come from the heap, too
    mallopt(-1, -1)  # M_TRIM_THRESHOLD: never shrink the heap; a limit would be at most 2 GB, too little for clips
    mallopt(-8, 1)  # M_ARENA_MAX: one heap, so that threads share free memory


class StopRequest:
    """Context in which SIGTERM, SIGUSR1 and the first Ctrl-C ask to stop; a second Ctrl-C interrupts at once.

    Of several processes, all stop at the same step when one is asked.
    """

    def __init__(self) -> None:
        self._requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            numbers = [signal.SIGINT, signal.SIGUSR1]
            if cluster.count() == 1:  # of several, JAX has its own handler of SIGTERM
                numbers.append(signal.SIGTERM)
            self._before = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def after(self, step: int) -> bool:
        """Whether to stop after this step; to be called at every step."""
        return cluster.stop_agreed(step) if cluster.count() > 1 else self._requested

    def _note(self, number: int, frame: object) -> None:
        if self._requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self._requested and cluster.count() > 1:
            os.kill(os.getpid(), signal.SIGTERM)
        self._requested = True


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Context that only one process at a time can enter; the lock of a killed process is released by the system."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "w")
    except OSError as error:
        raise Problem(f"the folder {path.parent} cannot be written ({error.strerror})") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            raise _no_locks(path.parent, error) from error
        yield


def _no_locks(folder: Path, error: OSError) -> Problem:
    return Problem(
        f"{folder} is on a file system that cannot lock files ({error.strerror}), so that two processes could write "
        "the same; use another one, or have it mounted with locks (of Lustre the option flock)"
    )
