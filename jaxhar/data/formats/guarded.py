"""Calls functions that decode videos in processes of their own, which are ended when a call takes too long.

A decoder may hang or crash within FFmpeg, where no other thread can stop it.
"""

import atexit
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar, cast

from jaxhar.host import helper
from jaxhar.host.errors import Problem

Result = TypeVar("Result")

#: What a process runs. Its standard output carries answers, so that nothing else may be printed there.
_PROGRAM = "from jaxhar.data.formats.guarded import serve; serve()"
#: How often a process looks whether its parent still runs, in seconds.
_LOOKS = 5.0


class _Process:
    """A process that calls functions, one after another; Problem if it cannot be started."""

    def __init__(self) -> None:
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        started = False
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": paths},
            )
            started = True
            self._answer()  # it is ready; the time of starting is nobody's
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            if started:
                self.end()
            raise Problem(
                f"no process that decodes videos can be started ({error}): is there memory, and may you have more "
                "processes? data.timeout=0 reads without them"
            ) from error

    def _answer(self) -> object:
        assert self._process.stdout is not None
        return pickle.load(self._process.stdout)

    def call(self, function: Callable, arguments: tuple, limit: float) -> object:
        """The result of a function, or its Problem.

        Raises:
          TimeoutError: it took longer than `limit` seconds. ConnectionError: the process ended by itself.
        """
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(limit, end)
        begun = time.monotonic()
        timer.start()
        answer: object = None
        error: Exception | None = None
        try:
            assert self._process.stdin is not None
            pickle.dump((function, arguments), self._process.stdin, protocol=5)
            self._process.stdin.flush()
            answer = self._answer()
        except (EOFError, OSError, pickle.UnpicklingError) as found:
            error = found
        finally:
            timer.cancel()
            timer.join()
        if late.is_set() or time.monotonic() - begun > limit:
            self.end()
            raise TimeoutError
        if error is not None:
            self.end()
            raise ConnectionError from error
        return answer

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


_free: list[_Process] = []


@atexit.register
def _end_all() -> None:
    while _free:
        _free.pop().end()


def call(function: Callable[..., Result], *arguments: object, where: object, limit: float) -> Result:
    """The result of `function(*arguments)`, called in another process; 0 as the limit calls it here, without one.

    Args:
      function: of a module; its arguments and results go through a pipe. where: the file, for messages.
      limit: seconds.

    Raises:
      Problem: as of the function; it takes longer than the limit, or the process crashes: its process is ended.
    """
    if not limit:
        return function(*arguments)
    try:
        process = _free.pop()
    except IndexError:
        process = _Process()
    try:
        result = process.call(function, arguments, limit)
    except TimeoutError:
        raise Problem(f"{where}: decoding takes longer than {limit:g} s; leave it out, or raise data.timeout") from None
    except ConnectionError:
        raise Problem(f"{where}: the process that decodes this file crashed; leave it out") from None
    _free.append(process)
    if isinstance(result, Problem):
        raise result
    if isinstance(result, RuntimeError):
        raise Problem(f"{where}: this file cannot be read: {result}")
    return cast(Result, result)


def serve() -> None:
    """Answer the calls of the process that started this one, until that ends."""
    calls, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    helper.outlive_signals()
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOKS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    answer: object = None
    while True:
        pickle.dump(answer, answers, protocol=5)
        answers.flush()
        try:
            function, arguments = pickle.load(calls)
        except EOFError:
            return
        try:
            answer = function(*arguments)
        except Exception as error:
            answer = error if isinstance(error, Problem) else RuntimeError(f"{type(error).__name__}: {error}")
