"""Opens still pictures of every kind that Pillow reads, and HEIC, as RGB arrays."""

import contextlib
import importlib
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from jaxhar.data.formats import content
from jaxhar.host.errors import Problem

#: Endings by which pictures are found in a folder; what a file is, its content says.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif"),
    *(".avif", ".heic", ".heif", ".hif", ".jp2", ".mpo"),
)
#: Largest number of pixels: phones take 200 million.
MOST_PIXELS = 250_000_000
#: Pillow's names of the formats that are read. Others need outside programs (EPS) or have no clear mark (TGA).
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000", "HEIF")
#: Formats whose further pictures are the frames of an animation; those of MPO and TIFF are other views and pages.
_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
#: Tags of TIFF files: kind of the first picture, 1 for a preview; version of a raw photo in Adobe's form.
_SUBFILE, _DNG = 254, 50706
#: What Pillow raises for damaged files.
_DAMAGE = (
    *(OSError, ValueError, SyntaxError, LookupError, TypeError, EOFError, MemoryError, RuntimeError, ArithmeticError),
    struct.error,
)
#: Pillow's own limit holds for the whole process, so only one thread at a time may lift it.
_LIMIT = threading.Lock()


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """An open picture, whose pixels are not decoded yet.

    Raises:
      Problem: the file is missing, is no picture, is too large, or is damaged: also for errors inside of the block.
    """
    if content.is_heic(content.read_head(path)):
        _register_heic(path)
    try:
        with _identified(path) as picture:
            pixels = picture.width * picture.height
            if pixels > MOST_PIXELS:
                raise Problem(
                    f"{path}: this picture has {picture.width} x {picture.height} pixels; at most "
                    f"{MOST_PIXELS / 1e6:.0f} million are read, so shrink it first"
                )
            if isinstance(picture, TiffImageFile) and (picture.tag_v2.get(_SUBFILE, 0) & 1 or _DNG in picture.tag_v2):
                raise Problem(
                    f"{path}: this is a raw photo of a camera, of which only the preview is a picture; convert it"
                )
            yield picture
    except UnidentifiedImageError:
        raise Problem(f"{path}: this image cannot be read: it is no picture, or of an unknown kind") from None
    except _DAMAGE as error:
        words = " ".join(str(error).split()) or type(error).__name__
        why = "it is cut off" if "truncated" in words.lower() else words
        raise Problem(f"{path}: this image cannot be read: {why}") from error


def _identified(path: Path) -> Image.Image:
    with _LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            Image.init()
            return Image.open(path, formats=[name for name in _FORMATS if name in Image.OPEN])
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _register_heic(path: Path) -> None:
    try:
        importlib.import_module("pillow_heif").register_heif_opener(thumbnails=False)
    except ImportError:
        raise Problem(
            f"{path}: this is a HEIC picture; read it with pip install 'jaxhar[heif]', or convert it to JPEG"
        ) from None


def is_picture(path: Path) -> bool:
    """Whether a file is a picture, still or animated, by its content.

    Raises:
      Problem: it cannot be opened as a file, or is HEIC and pillow-heif is missing.
    """
    if content.is_heic(content.read_head(path)):
        _register_heic(path)
    if path.suffix.lower() in content.JPEG_STREAMS:
        return False
    try:
        with _identified(path):
            return True
    except _DAMAGE:
        return False


def is_animated(picture: Image.Image) -> bool:
    """Whether an open picture is an animation of several frames."""
    return picture.format in _ANIMATED and picture.is_animated  # type: ignore[attr-defined]


def as_rgb(picture: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an open picture: without alpha, 16 bits of grey scaled to 8."""
    if picture.mode.startswith("I"):  # 16 bits per pixel; Pillow's conversion would clip values at 255
        wide = np.asarray(picture)
        picture = Image.fromarray((np.clip(wide, 0, 65535) // 257).astype(np.uint8))
    if picture.mode == "F":
        raise ValueError("its pixels are floating-point numbers of an unknown range; convert it to 8 bits")
    if picture.mode in ("RGBa", "La"):  # multiplied by their alpha
        picture = picture.convert("RGBA" if picture.mode == "RGBa" else "LA")
    return np.asarray(picture.convert("RGB"))


def turned(picture: Image.Image) -> Image.Image:
    """A decoded picture, turned and mirrored as its EXIF tag says; an EXIF block that cannot be read says nothing."""
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # Pillow raises many types for damaged EXIF blocks
        return picture


def read_image(path: Path, upright: bool = True) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a picture file, the first frame of an animation: see `as_rgb`.

    Args:
      upright: turn it by its EXIF tag. Labels of data sets are in stored pixels, without it.

    Raises:
      Problem: the file is missing, is not an image, or is damaged.
    """
    with opened(path) as picture:
        picture.load()
        return as_rgb(turned(picture) if upright else picture)


def size(path: Path) -> tuple[int, int]:
    """(width, height) of the stored pixels of a picture file; Problem as in `opened`."""
    with opened(path) as picture:
        return picture.size
