"""Opens what `jaxhar predict` and data sets are given: a video, a picture, or a folder of pictures."""

from collections.abc import Generator, Iterable
from pathlib import Path

from jaxhar.data.formats import picture
from jaxhar.data.formats.animation import Animation
from jaxhar.data.formats.picture import IMAGE_SUFFIXES
from jaxhar.data.formats.video import Frame, Video
from jaxhar.host.errors import Problem


class Images:
    """A source of independent still images.

    Attributes:
      paths: the image files; with `skip_broken`, broken ones are removed when they are read.
      broken: one sentence for each removed image.
    """

    def __init__(self, paths: Iterable[Path], skip_broken: bool = False):
        self.paths = list(paths)
        self.broken: list[str] = []
        self._skip_broken = skip_broken

    @property
    def total(self) -> int:
        return len(self.paths)

    def frames(self, every: int = 1) -> Generator[Frame]:
        """All images, read one at a time. `every` is ignored; videos use it.

        Raises:
          Problem: an image is broken, without `skip_broken`.
        """
        del every
        index = 0
        for path in list(self.paths):
            try:
                image = picture.read_image(path)
            except Problem as problem:
                if not self._skip_broken:
                    raise
                self.broken.append(str(problem))
                self.paths.remove(path)
                continue
            yield Frame(index, 0.0, path, image)
            index += 1


def open_file(path: Path, skip_broken: bool = False) -> Video | Images:
    """A picture or a video, whichever the file holds; its ending says nothing.

    Args:
      skip_broken: read on after damage in a video.

    Raises:
      Problem: it is neither, or no regular file.
    """
    if picture.is_picture(path):
        with picture.opened(path) as found:
            animated = picture.is_animated(found)
        return Animation(path, skip_broken) if animated else Images([path])
    try:
        return Video(path, skip_broken)
    except Problem:
        if path.suffix.lower() in IMAGE_SUFFIXES:
            picture.read_image(path)  # which says what is wrong with a picture
        raise


def open_source(path: Path, skip_broken: bool = False) -> Video | Images:
    """Open a video, a picture, or all pictures of a folder (sorted by name, without subfolders).

    Raises:
      Problem: there is no file or folder `path`, or nothing in it that can be read.
    """
    if not path.is_dir():
        return open_file(path, skip_broken)
    paths = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    if not paths:
        raise Problem(f"{path}: this folder holds no images ({' '.join(IMAGE_SUFFIXES)})")
    return Images(paths, skip_broken)
