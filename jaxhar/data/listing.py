"""What readers of folders share: hidden files, the order of numbered files, and how files left out are told."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from jaxhar.data.records.record import Skipped

#: Files and folders of systems and programs that do not begin with a point.
_SYSTEM = ("thumbs.db", "desktop.ini", "ehthumbs.db", "__macosx", "$recycle.bin", "lost+found")
HIDDEN = "hidden files and folders, and those of the system, are not read"
#: Number of files that are named for one reason.
_NAMED = 3


def is_hidden(path: Path) -> bool:
    """Whether a file or folder is no data by its name: .DS_Store, ._clip.mp4, .ipynb_checkpoints, Thumbs.db, ..."""
    return path.name.startswith(".") or path.name.lower() in _SYSTEM


def shown(paths: Iterable[Path]) -> list[Path]:
    """The paths that are not hidden, in the order of `by_number`."""
    return ordered(path for path in paths if not is_hidden(path))


def ordered(paths: Iterable[Path]) -> list[Path]:
    """The paths in the order of `by_number`."""
    return sorted(paths, key=by_number)


def by_number(path: Path) -> tuple[list[str | int], str]:
    """Key that sorts names by the numbers in them: 1, 2, 10 and not 1, 10, 2."""
    parts = re.split(r"(\d+)", path.name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], path.name


def told(skipped: Sequence[Skipped], root: Path) -> list[str]:
    """A line for each reason, with the number of files and the first names."""
    groups: dict[str, list[str]] = {}
    for entry in skipped:
        groups.setdefault(entry.reason, []).append(_below(root, entry.path))
    lines = []
    for reason, names in groups.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        several = f"{len(names)} files, {', '.join(names[:_NAMED])}{more}"
        lines.append(f"{names[0] if len(names) == 1 else several}: {reason}")
    return lines


def _below(root: Path, path: str) -> str:
    return Path(path).relative_to(root).as_posix() if Path(path).is_relative_to(root) else path
