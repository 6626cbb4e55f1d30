"""Errors for the user: one sentence each, printed without a traceback."""

import os
import select
import sys
import traceback
from collections.abc import Callable


class Problem(Exception):
    """Something outside the program is wrong. The message says what, in which file, and what to do. Exit code 1."""

    exit_code = 1


class Usage(Problem):
    """The command or the configuration is wrong. Exit code 2."""

    exit_code = 2


def guard(command: Callable[[], int | None], debug: bool = False) -> int:
    """Runs a command and returns its exit code. Errors are printed as one sentence, with `debug` as a traceback."""
    try:
        code = command() or 0
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Problem as problem:
        if debug:
            traceback.print_exc()
        else:
            print(f"error: {problem}", file=sys.stderr)
        return problem.exit_code
    except Exception as error:  # a bug or an unforeseen failure: print a sentence, too
        if isinstance(error, BrokenPipeError) and _reader_has_ended():
            return 141
        if debug:
            traceback.print_exc()
        else:
            reason = " ".join(str(error).split())[:300]
            print(f"error: unexpected {type(error).__name__}: {reason}; --debug shows the traceback", file=sys.stderr)
        return 1


def _reader_has_ended() -> bool:
    """Whether nobody reads the printed output any more, as after `| head`; what is left of it is then dropped."""
    output = select.poll()
    output.register(sys.stdout.fileno(), select.POLLERR | select.POLLHUP)
    ended = bool(output.poll(0))
    if ended:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ended
