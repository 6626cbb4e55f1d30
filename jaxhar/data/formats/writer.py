"""Writes pictures as PNG files, and H.264 videos in MP4 files."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from jaxhar.host.files import atomic


def write_png(path: Path, image: np.ndarray) -> None:
    """Write an image (H, W, 3) uint8 as a PNG file, complete or not at all."""
    with atomic(path) as part:
        Image.fromarray(image).save(part, format="png", compress_level=3)


class VideoWriter:
    """Writer of H.264 videos in .mp4 files, with a time for every frame; a context manager.

    The last column or row is repeated if the width or height is odd, because H.264 needs even sizes.
    """

    def __init__(self, path: Path, fps: Fraction, width: int, height: int):
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        # with several threads, x264 writes other bytes for the same frames now and then
        options = {"preset": "veryfast", "crf": "20", "threads": "1"}
        self._stream = self._container.add_stream("libx264", rate=fps, options=options)
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
