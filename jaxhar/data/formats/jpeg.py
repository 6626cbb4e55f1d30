"""JPEG frames of packed data sets: made of pictures and videos, decoded when an example is made."""

from pathlib import Path

import cv2
import numpy as np

from jaxhar.data.formats import picture
from jaxhar.data.records.record import Skipped
from jaxhar.host import files
from jaxhar.host.errors import Problem

#: OpenCV's flags for reduced sizes; the flag for RGB sets the channels.
_REDUCED = {2: cv2.IMREAD_REDUCED_GRAYSCALE_2, 4: cv2.IMREAD_REDUCED_GRAYSCALE_4, 8: cv2.IMREAD_REDUCED_GRAYSCALE_8}


def decode(data: bytes, name: str, reduction: int = 1) -> np.ndarray:
    """Decode JPEG bytes to RGB uint8 (H, W, 3). EXIF rotation is ignored, because labels are in stored pixels.

    A `reduction` of 2, 4 or 8 decodes an image smaller by that factor (sides rounded up), which is faster. Problem,
    with `name`, if the bytes cannot be decoded.
    """
    flags = _REDUCED.get(reduction, 0) | cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise Problem(f"a frame of {name} cannot be decoded; delete the data cache so that it is packed again")
    return image


def encode(image: np.ndarray, quality: int = 92) -> bytes:
    """BGR uint8 (H, W, 3), as OpenCV draws, to JPEG bytes."""
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def encode_rgb(image: np.ndarray, side: int | None = None) -> tuple[bytes, tuple[int, int], float]:
    """RGB uint8 (H, W, 3) to JPEG bytes, shrunk if its width or height exceeds `side` pixels.

    Returns: the bytes, (width, height), and the factor by which it was shrunk.
    """
    height, width = image.shape[:2]
    shrink = min(1.0, (side or max(width, height)) / max(width, height))
    if shrink < 1:
        width, height = max(1, round(width * shrink)), max(1, round(height * shrink))
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return encode(cv2.cvtColor(image, cv2.COLOR_RGB2BGR)), (width, height), shrink


def read_picture(
    path: Path, side: int | None = None, upright: bool = False, lossless: bool = False
) -> tuple[bytes, tuple[int, int], float]:
    """A picture file of any kind as `encode_rgb` gives it; a JPEG file that needs no change is taken as it is.

    Args:
      side: largest width or height. upright: turn the picture by its EXIF tag, see `picture.read_image`.
      lossless: take a PNG file that needs no change as it is too; `decode` reads it.

    Raises:
      Problem: the file is missing, is not a picture, or is damaged.
    """
    with picture.opened(path) as found:
        plain = (
            found.format in ("JPEG", "MPO", *(("PNG",) if lossless else ()))
            and found.mode in ("RGB", "L")
            and max(found.size) <= (side or 1 << 30)
        )
        if plain and not (upright and found.getexif().get(0x0112, 1) != 1):
            size = found.size
            found.draft(
                "L", (size[0] // 8 or 1, size[1] // 8 or 1)
            )  # decoded small, which finds a file that is cut off
            found.load()
            return files.read(path, "picture"), size, 1.0
        longest = max(found.size)
        if side and longest >= 4 * side:  # decoded at a half to an eighth, which a large JPEG picture can be
            found.draft("RGB", (2 * side, 2 * side))
        found.load()
        image = picture.as_rgb(picture.turned(found) if upright else found)
    data, size, _ = encode_rgb(image, side)
    return data, size, max(size) / longest


def read_jpeg(path: Path) -> tuple[bytes, tuple[int, int]]:
    """A frame of a data set as JPEG bytes in its stored pixels, and its (width, height).

    Raises:
      Problem: the file is missing, is not a picture, or is damaged.
    """
    try:
        data, size, _ = read_picture(path)
    except Problem as problem:
        raise Problem(f"{problem}; restore it or set skip_broken") from problem
    return data, size


def read_frames(
    paths: list[Path], skip_broken: bool = False
) -> tuple[list[bytes], np.ndarray, tuple[int, int], list[Skipped]]:
    """Check and read the pictures of one sequence as JPEG.

    Returns:
      The bytes of the readable files, their indices in `paths`, (width, height), and the files left out.

    Raises:
      Problem: a file is broken or differs in size from those before it, without `skip_broken`.
    """
    frames, keep, skipped = [], [], []
    size: tuple[int, int] | None = None
    for i, path in enumerate(paths):
        try:
            data, found = read_jpeg(path)
            size = size or found
            if found != size:
                raise Problem(f"the frame {path} has {found} pixels, the frames before it have {size}")
        except Problem as problem:
            if not skip_broken:
                raise
            skipped.append(Skipped(str(path), str(problem).removeprefix(f"{path}: ")))
            continue
        frames.append(data)
        keep.append(i)
    return frames, np.array(keep, np.int64), size or (0, 0), skipped
