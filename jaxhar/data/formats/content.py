"""What a file holds by its first bytes, whatever its ending says; anything but a regular file is refused."""

import os
import stat
from pathlib import Path

from jaxhar.host.errors import Problem

#: Endings of JPEG pictures one after another, without a container: the first one alone looks like a picture.
JPEG_STREAMS = (".mjpeg", ".mjpg")
#: Brands of the ISO container that hold still pictures in HEVC.
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2"}


def regular(path: Path) -> Path:
    """`path`, if it is a regular file; a pipe, a device or a socket would be waited for without end.

    Raises:
      Problem: it is something else, or there is no such file.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise Problem(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise Problem(f"{path}: this file cannot be read: {error}") from error
    if stat.S_ISDIR(mode):
        raise Problem(f"{path} is a folder, not a picture or a video")
    if not stat.S_ISREG(mode):
        raise Problem(f"{path} is a pipe, a device or a socket; only regular files are read, so save it as one first")
    return path


def is_heic(head: bytes) -> bool:
    """Whether a file with these first bytes is a HEIC picture; AVIF has brands of its own."""
    end = min(len(head), int.from_bytes(head[:4]))
    brands = {head[8:12]} | {head[i : i + 4] for i in range(16, end, 4)}
    return head[4:8] == b"ftyp" and head[8:12] in _HEIC and not brands & {b"avif", b"avis"}


def read_head(path: Path, length: int = 64) -> bytes:
    """The first bytes of a regular file; Problem if it cannot be read."""
    try:
        with open(regular(path), "rb") as file:
            return file.read(length)
    except OSError as error:
        raise Problem(f"{path}: this file cannot be read: {error.strerror}") from error
