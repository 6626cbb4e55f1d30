"""JPEG frames: checked when a data set is packed, decoded when an example is made."""

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

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
    """BGR uint8 (H, W, 3), as OpenCV reads videos, to JPEG bytes."""
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def read_jpeg(path: Path) -> tuple[bytes, tuple[int, int]]:
    """The bytes of a JPEG file and its (width, height); decodes it once. Problem if it is not JPEG or is truncated."""
    data = files.read(path, "frame")
    try:
        with Image.open(io.BytesIO(data)) as image:
            kind, size = image.format, image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        kind, size = None, (0, 0)
    if kind != "JPEG":
        raise Problem(f"the frame {path} is not a JPEG image; restore it or set skip_broken")
    # OpenCV fills a truncated image with grey without an error, but a complete one ends with this marker.
    if b"\xff\xd9" not in data[-1024:]:
        raise Problem(f"the frame {path} is cut off; restore it or set skip_broken")
    if cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8) is None:
        raise Problem(f"the frame {path} cannot be decoded; restore it or set skip_broken")
    return data, size


def read_frames(
    paths: list[Path], skip_broken: bool = False
) -> tuple[list[bytes], np.ndarray, tuple[int, int], list[Skipped]]:
    """Check and read the JPEG files of one sequence.

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
            skipped.append(Skipped(str(path), str(problem)))
            continue
        frames.append(data)
        keep.append(i)
    return frames, np.array(keep, np.int64), size or (0, 0), skipped
