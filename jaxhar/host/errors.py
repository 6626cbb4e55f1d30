"""The two errors a user is meant to see: one sentence each, printed without a traceback."""

import sys
import traceback
from collections.abc import Callable


class Problem(Exception):
    """Something outside the program is wrong: the sentence says what, in which file, and what to do. Exit code 1."""

    exit_code = 1


class Usage(Problem):
    """The command or the configuration asks for something that does not exist. Exit code 2."""

    exit_code = 2


def guard(command: Callable[[], int | None], debug: bool = False) -> int:
    """Run a command and return its exit code; an error becomes one sentence on stderr, with `debug` a traceback."""
    try:
        return command() or 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Problem as problem:
        if debug:
            traceback.print_exc()
        else:
            print(f"error: {problem}", file=sys.stderr)
        return problem.exit_code
    except Exception as error:  # a bug, or a failure that no one foresaw: the user still gets a sentence
        if debug:
            traceback.print_exc()
        else:
            reason = " ".join(str(error).split())[:300]
            print(f"error: unexpected {type(error).__name__}: {reason}; --debug shows where", file=sys.stderr)
        return 1
