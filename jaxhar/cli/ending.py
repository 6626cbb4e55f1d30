"""What commands say at their end: which files were written, and what could not be read."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path


def written(files: Sequence[Path], named: int = 4) -> str:
    """The first files by name, and how many more there are."""
    more = len(files) - named
    return ", ".join(map(str, files[:named])) + (f" and {more} more" if more > 0 else "")


def tell_broken(broken: Iterable[object]) -> None:
    """Print each source, or sentence on it, of which not all could be read."""
    for what in broken:
        print(f"not all could be read: {what}", file=sys.stderr)
