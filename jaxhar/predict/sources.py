"""Which files several arguments of `jaxhar predict` mean, and the folder of results of each."""

import glob
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from jaxhar.data import listing
from jaxhar.data.formats.picture import IMAGE_SUFFIXES
from jaxhar.data.own.listing import VIDEOS
from jaxhar.host.errors import Problem, Usage
from jaxhar.predict.many_videos import share

_VIDEOS = tuple(suffix for suffix in VIDEOS if suffix not in IMAGE_SUFFIXES)


def is_one(arguments: Sequence[Path]) -> bool:
    """Whether this is a single source: a file, or a folder with pictures, whose results need no folder of their own."""
    return len(arguments) == 1 and (not _is_pattern(arguments[0]) and not _is_of_videos(arguments[0]))


def expand(arguments: Sequence[Path], out: Path) -> list[Path]:
    """The sources, each once, in the order of the arguments and of the numbers in their names.

    A file is a source. Of a folder with pictures these are one source, of another one every video is. A pattern with *,
    ?, [...] or ** means the files and folders that fit, hidden ones and files that are no videos or pictures left out.

    Args:
      out: the folder of all results.

    Raises:
      Problem: an argument means nothing. Usage: results would lie among the sources.
    """
    found: list[Path] = []
    for argument in arguments:
        if not _is_pattern(argument):
            found += _of(argument, out)
            continue
        fitting = listing.shown(Path(name) for name in glob.glob(str(argument), recursive=True))
        known = [path for path in fitting if path.is_dir() or path.suffix.lower() in (*_VIDEOS, *IMAGE_SUFFIXES)]
        if any(path.parent.resolve() == out.resolve() for path in known):
            raise Usage(f"--out {out}: results would lie among the files of {argument}; give another folder")
        if "**" in str(argument):  # the files of a folder fit as well
            known = [path for path in known if path.is_file()]
        if not known:
            raise Problem(f"{argument}: no such file or folder, and no video or picture fits this as a pattern")
        found += [source for path in known for source in _of(path, out)]
    unique = {path.resolve(): path for path in reversed(found)}
    return [path for path in found if unique[path.resolve()] is path]


def shard(sources: Sequence[Path], words: str) -> list[Path]:
    """Every N-th source, beginning with the K-th, for "K/N"; Usage for other words."""
    first, step = share(words)
    return list(sources[first - 1 :: step])


def names(sources: Sequence[Path], taken: Iterable[str] = ()) -> list[str]:
    """A name for the results of each source: its own without the ending, or as much more as tells it from the others.

    Args:
      taken: names that are not to be used.
    """
    whole = [path.resolve() for path in sources]
    forms = [
        [path.stem if source.is_file() else path.name for path, source in zip(whole, sources, strict=True)],
        [path.name for path in whole],
        [f"{path.parent.name}_{path.name}" for path in whole],
    ]
    used = {name.lower() for name in taken}
    found = [""] * len(sources)
    for form in forms:
        counts = Counter(name.lower() for name in form)
        for n, name in enumerate(form):
            if not found[n] and counts[name.lower()] == 1 and name.lower() not in used:
                found[n] = name
        used |= {name.lower() for name in found}
    for n, path in enumerate(whole):
        number = 2
        while not found[n]:
            name = f"{path.parent.name}_{path.name}_{number}"
            if name.lower() not in used:
                found[n] = name
                used.add(name.lower())
            number += 1
    return found


def _is_pattern(path: Path) -> bool:
    return glob.has_magic(str(path)) and not path.exists()


def _is_of_videos(path: Path) -> bool:
    """Whether a folder has videos and no pictures."""
    return path.is_dir() and not _has_pictures(path) and bool(_videos(path))


def _has_pictures(folder: Path) -> bool:
    return any(path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() for path in listing.shown(folder.iterdir()))


def _videos(folder: Path) -> list[Path]:
    return [path for path in listing.shown(folder.iterdir()) if path.suffix.lower() in _VIDEOS and path.is_file()]


def _of(path: Path, out: Path) -> list[Path]:
    """The sources of a file or folder."""
    if path.is_dir() and path.resolve() == out.resolve():
        raise Usage(f"--out {out}: results would lie among the sources; give another folder")
    if not path.is_dir() or _has_pictures(path):
        if not path.exists():
            raise Problem(f"{path}: there is no such file or folder")
        return [path]
    videos = _videos(path)
    if not videos:
        raise Problem(f"{path}: this folder holds no videos and no pictures")
    return videos
