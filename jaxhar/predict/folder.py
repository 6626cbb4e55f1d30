"""Opens what is predicted; which files of a folder of images are, and why the others are left out."""

from collections import Counter
from pathlib import Path

from jaxhar.data import listing
from jaxhar.data.formats.source import Images, open_source
from jaxhar.data.formats.video import Video
from jaxhar.data.own.listing import VIDEOS
from jaxhar.data.records.record import Skipped
from jaxhar.host.errors import Problem


def opened(path: Path, skip_broken: bool) -> tuple[Video | Images, tuple[str, ...]]:
    """A source to predict, and sentences on what of a folder is read.

    A damaged video is read as far as it can be, and its `broken` says what is missing.

    Raises:
      Problem: it cannot be read.
    """
    source = open_source(path, skip_broken)
    if isinstance(source, Video):
        source.skip_broken = True
        return source, ()
    return source, take_images(source, path) if path.is_dir() else ()


def take_images(images: Images, folder: Path) -> tuple[str, ...]:
    """Remove hidden files from the images of a folder, and sort them by number: 1, 2, 10.

    Returns: a line on the images by ending, and one for each reason why files are left out.

    Raises:
      Problem: no image is left.
    """
    images.paths = listing.shown(images.paths)
    others = [path for path in listing.ordered(folder.iterdir()) if path not in images.paths]
    left = listing.told([Skipped(str(path), _reason(path)) for path in others], folder)
    if not images.paths:
        raise Problem(f"{folder}: this folder holds no images; {'; '.join(left)}")
    kinds = Counter(path.suffix.lower() for path in images.paths)
    taken = ", ".join(f"{count} {suffix}" for suffix, count in sorted(kinds.items()))
    return (f"images in {folder}: {taken}", *(f"left out: {line}" for line in left))


def _reason(path: Path) -> str:
    if listing.is_hidden(path):
        return listing.HIDDEN
    if path.is_dir():
        return "folders in the folder are not read; give them one by one"
    if path.suffix.lower() in VIDEOS:
        return "videos beside images are not read; give them one by one, or as a pattern"
    return f"files ending in {path.suffix.lower()} are not read" if path.suffix else "is no image by its name"
