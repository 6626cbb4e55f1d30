"""Reads the list of classes beside a data set: their names, one a line."""

from pathlib import Path

from jaxhar.host import files

FILE = "classes.txt"
#: Labels that are numbers are smaller.
MOST = 100_000


def read(path: Path) -> tuple[str, ...]:
    """The names without empty lines; Problem if the file cannot be read."""
    text = files.read(path, "list of classes").decode("utf-8", "replace")
    return tuple(line.strip() for line in text.splitlines() if line.strip())
