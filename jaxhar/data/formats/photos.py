"""The photos of a data set by name, in a folder images/ or in an archive images.zip; nothing is extracted."""

import io
import os
import threading
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from jaxhar.data.formats import jpeg, picture
from jaxhar.host.errors import Problem

#: Archives that are open in this thread, by path and time of change.
_open = threading.local()
_FOLDER = "images"


@dataclass(frozen=True)
class Photos:
    """Where photos are: a folder, or a .zip archive whose members are named images/...; see `find`."""

    place: Path

    @property
    def zipped(self) -> bool:
        """Whether the photos are in an archive."""
        return self.place.suffix == ".zip"

    def read(self, name: str, where: str) -> tuple[bytes, tuple[int, int]]:
        """The bytes of a photo, JPEG or PNG, and its (width, height).

        Args:
          name: path below images/. where: what names the photo, for messages.

        Raises:
          Problem: there is no such photo, it is damaged, or its name leads out of the folder.
        """
        check(name, where)
        if not self.zipped:
            path = self.place / name
            if not path.is_file():
                raise Problem(f"the photo {path} of {where} does not exist; restore it or set skip_broken")
            try:
                return jpeg.read_picture(path, lossless=True)[:2]
            except Problem as problem:
                raise Problem(f"{problem}; restore it or set skip_broken") from problem
        member = f"{_FOLDER}/{name}"
        try:
            data = _archive(self.place).read(member)
        except KeyError:
            raise Problem(f"{self.place} has no {member}, which {where} names; restore it or set skip_broken") from None
        except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, NotImplementedError, EOFError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise Problem(f"{member} in {self.place} cannot be read ({reason}); restore the archive") from error
        return _from_bytes(data, f"{member} in {self.place}")

    def fingerprint(self) -> Iterator[str]:
        """Text lines that change with the photos: of a folder, its own subfolders with their times of change."""
        if self.zipped:
            stat = self.place.stat()
            yield f"{self.place.resolve()} {stat.st_size} {stat.st_mtime_ns}"
            return
        yield str(self.place.resolve())
        with os.scandir(self.place) as entries:
            for entry in sorted(entries, key=lambda found: found.name):
                stat = entry.stat()
                yield f"{entry.name} {stat.st_size} {stat.st_mtime_ns}"


def check(name: str, where: str) -> None:
    """Problem for a name that is no path below the folder of photos."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise Problem(f"{where} names the photo {name!r}, which is not a path below images/; repair it")


def find(root: Path) -> Photos:
    """The photos of a data set in `root`/images, or else in `root`/images.zip.

    Raises:
      Problem: there is neither, the archive is damaged, or a member's name leads out of it.
    """
    folder, archive = root / _FOLDER, root / f"{_FOLDER}.zip"
    if folder.is_dir():
        return Photos(folder)
    if not archive.is_file():
        raise Problem(f"{root} has neither a folder images/ nor an archive images.zip")
    for member in _archive(archive).namelist():
        check(member, str(archive))
    return Photos(archive)


def _from_bytes(data: bytes, where: str) -> tuple[bytes, tuple[int, int]]:
    """The bytes of a JPEG or PNG picture and its (width, height); Problem, with `where`, if it is none or damaged."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as found:
            found.load()
            if found.mode in ("RGB", "L"):
                return data, found.size
            image = picture.as_rgb(found)
    except Exception as error:  # Pillow raises many types for damaged pictures
        raise Problem(f"{where} is not a whole JPEG or PNG picture ({error}); restore it") from error
    return jpeg.encode_rgb(image)[:2]


def _archive(path: Path) -> zipfile.ZipFile:
    key = path, path.stat().st_mtime_ns
    if getattr(_open, "key", None) != key:
        try:
            _open.archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise Problem(f"the archive {path} is damaged or incomplete ({error}); restore it") from error
        _open.key = key
    archive: zipfile.ZipFile = _open.archive
    return archive
