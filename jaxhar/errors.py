"""The two errors a user is meant to see: one sentence each, printed without a traceback."""


class Problem(Exception):
    """Something outside the program is wrong: the sentence says what, in which file, and what to do. Exit code 1."""

    exit_code = 1


class Usage(Problem):
    """The command or the configuration asks for something that does not exist. Exit code 2."""

    exit_code = 2
