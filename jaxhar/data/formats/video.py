"""Reads and writes pictures and videos as streams of RGB frames; a video is never held in memory as a whole."""

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np
from av.container import InputContainer
from PIL import Image, ImageOps

from jaxhar.host.errors import Problem

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")

#: Tolerance in seconds when frames are selected by time.
_ROUNDING = 1e-4

Item = TypeVar("Item")


@dataclass(frozen=True)
class Frame:
    """One picture of a source.

    Attributes:
      index: position in the source, from 0.
      time: seconds from the first frame; for still images 0.
      path: its file.
      image: (H, W, 3) uint8 RGB, or None if the caller asked not to convert it.
    """

    index: int
    time: float
    path: Path
    image: np.ndarray | None


def read_image(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB from any file that Pillow reads: rotated by its EXIF tag, without alpha, 16 bits scaled.

    Raises:
      Problem: the file is missing, is not an image, or is damaged.
    """
    try:
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(picture)
            if upright.mode.startswith("I"):  # 16 bits per pixel; Pillow's conversion would clip values at 255
                wide = np.asarray(upright)
                upright = Image.fromarray((np.clip(wide, 0, 65535) // 257).astype(np.uint8))
            return np.asarray(upright.convert("RGB"))
    except FileNotFoundError:
        raise Problem(f"{path}: there is no such file") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        # Pillow repeats the path in "cannot identify image file '...'"
        why = "it is not an image or of an unknown kind" if "identify" in str(error) else str(error)
        raise Problem(f"{path}: this image cannot be read: {why}") from error


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

    def frames(self, every: int = 1) -> Iterator[Frame]:
        """All images, read one at a time. `every` is ignored; videos use it.

        Raises:
          Problem: an image is broken, without `skip_broken`.
        """
        del every
        index = 0
        for path in list(self.paths):
            try:
                image = read_image(path)
            except Problem as problem:
                if not self._skip_broken:
                    raise
                self.broken.append(str(problem))
                self.paths.remove(path)
                continue
            yield Frame(index, 0.0, path, image)
            index += 1


class Video:
    """A video file as a source of frames; each call of `frames` reads the file from the start.

    Attributes:
      path: the file.
      fps: average frames per second, a Fraction.
      total: number of frames in the file's header; None if the header has none.
    """

    def __init__(self, path: Path, skip_broken: bool = False):
        self.path = path
        self._skip_broken = skip_broken
        with self._open() as container:
            stream = container.streams.video[0]
            self.fps = Fraction(stream.average_rate or stream.guessed_rate or 25)
            self.total = stream.frames or None
            if self.total is None and container.duration:
                self.total = max(1, round(container.duration / av.time_base * self.fps))

    def _open(self) -> InputContainer:
        try:
            container = av.open(str(self.path))
        except FileNotFoundError:
            raise Problem(f"{self.path}: there is no such file") from None
        except (av.FFmpegError, OSError) as error:
            raise Problem(f"{self.path}: this video cannot be read: {error.strerror or error}") from error
        # FFmpeg reads any text file as a video of terminal art
        if not container.streams.video or container.format.name == "tty":
            container.close()
            raise Problem(f"{self.path}: this file contains no video")
        return container

    def frames(self, every: int = 1) -> Iterator[Frame]:
        """All frames, rotated as the file says. Only every `every`-th one has an `image`; with 0 none has.

        If the size of frames changes within the video, they are scaled to the size of the first one.

        Raises:
          Problem: the file is damaged, without `skip_broken`.
        """
        return self.between(None, None, lambda index: bool(every) and index % every == 0)

    def between(self, start: float | None, end: float | None, wanted: Callable[[int], bool]) -> Iterator[Frame]:
        """As `frames`, for times start <= t < end in seconds; only frames whose index is `wanted` have an image.

        Indices and times count from the first yielded frame. Decoding begins at the key frame before `start`.
        """
        with self._open() as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            assert stream.time_base is not None
            origin = float((stream.start_time or 0) * stream.time_base)
            if start:  # a second early, because a container may seek by the order of decoding
                container.seek(int((origin + max(start - 1, 0)) / stream.time_base), stream=stream)
            index, first, last, size = 0, None, -1.0, None
            for frame in self._decode(container, stream):
                moment = index / float(self.fps) if frame.time is None else frame.time
                if start and moment - origin < start - _ROUNDING:
                    continue
                if end is not None and moment - origin >= end - _ROUNDING:
                    return
                size = size or (frame.width, frame.height)
                first = moment if first is None else first
                # times must rise even with a broken time stamp: the encoder and readers of the JSON rely on it
                last = moment - first if moment - first > last else last + 1 / float(self.fps)
                image = None
                if wanted(index):
                    image = frame.to_ndarray(format="rgb24", width=size[0], height=size[1])
                    image = np.rot90(image, round(getattr(frame, "rotation", 0) / 90))
                yield Frame(index, last, self.path, image)
                index += 1

    def _decode(self, container: InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
        packets = container.demux(stream)
        count = 0
        while True:
            try:
                packet = next(packets, None)
                decoded = packet.decode() if packet is not None else ()
            except (av.FFmpegError, OSError) as error:
                if self._skip_broken and isinstance(error, av.error.InvalidDataError):
                    continue
                why = error.strerror or error
                raise Problem(
                    f"{self.path}: the video is damaged after frame {count}: {why}; --skip-broken skips that part"
                ) from error
            if packet is None:
                return
            for frame in decoded:
                count += 1
                yield frame


def open_source(path: Path, skip_broken: bool = False) -> Video | Images:
    """Open a video, an image, or all images of a folder (sorted by name, without subfolders).

    Raises:
      Problem: there is no file or folder `path`, or nothing in it that can be read.
    """
    if not path.exists():
        raise Problem(f"{path}: there is no such file or folder")
    if path.is_dir():
        paths = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        if not paths:
            raise Problem(f"{path}: this folder holds no images ({' '.join(IMAGE_SUFFIXES)})")
        return Images(paths, skip_broken)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return Images([path], skip_broken=False)
    return Video(path, skip_broken)


class VideoWriter:
    """Writer of H.264 videos in .mp4 files, with a time for every frame; a context manager.

    The last column or row is repeated if the width or height is odd, because H.264 needs even sizes.
    """

    def __init__(self, path: Path, fps: Fraction, width: int, height: int):
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        self._stream = self._container.add_stream("libx264", rate=fps, options={"preset": "veryfast", "crf": "20"})
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        self._base = 1 / (1000 * Fraction(fps))
        self._stream.codec_context.time_base = self._base
        self._last = -1

    def write(self, image: np.ndarray, time: float) -> None:
        """Add a frame, (H, W, 3) uint8, at `time` seconds from the start; times must rise."""
        height, width = image.shape[:2]
        even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        self._last = max(self._last + 1, round(time / self._base))
        frame.pts, frame.time_base = self._last, self._base
        self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._container.mux(self._stream.encode())
        finally:
            self._container.close()


def read_ahead(items: Iterator[Item], depth: int) -> Generator[Item, None, None]:
    """Yield the same items, read by a thread that runs at most `depth` items ahead of the consumer.

    An error in `items` is raised here; closing this generator stops the thread and closes `items`.
    """
    ready: queue.Queue[tuple[bool, Any]] = queue.Queue(depth)
    stop = threading.Event()

    def put(entry: tuple[bool, Any]) -> bool:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(entry, timeout=0.05)
                return True
        return False

    def work() -> None:
        end: BaseException | None = None
        try:
            for item in items:
                if not put((False, item)):
                    break
        except BaseException as error:
            end = error
        finally:
            getattr(items, "close", lambda: None)()
            put((True, end))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            last, item = ready.get()
            if not last:
                yield item
            elif item is None:
                return
            else:
                raise item
    finally:
        stop.set()
        thread.join()
