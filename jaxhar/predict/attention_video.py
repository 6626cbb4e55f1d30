"""The writer of attention.mp4: the frames of a video, coloured by how much each patch counts for the action."""

import contextlib
from fractions import Fraction
from pathlib import Path

from jaxhar.data.formats.video import Frame
from jaxhar.data.formats.writer import VideoWriter
from jaxhar.host.files import atomic
from jaxhar.predict.frame_result import Attention
from jaxhar.viz import heat


class AttentionVideo:
    """Writes frame by frame; the file begins with the first frame whose attention is known.

    Attributes:
      files: those begun.
    """

    def __init__(self, folder: Path, fps: Fraction):
        self.files: list[Path] = []
        self._path, self._fps = folder / "attention.mp4", fps
        self._writer: VideoWriter | None = None

    def add(self, frame: Frame, attention: Attention, stack: contextlib.ExitStack) -> None:
        """Write one frame; `stack` closes the video and gives it its name."""
        assert frame.image is not None
        if self._writer is None:
            self.files.append(self._path)
            part = stack.enter_context(atomic(self._path))
            self._writer = stack.enter_context(VideoWriter(part, self._fps, *frame.image.shape[1::-1]))
        self._writer.write(heat.over_patches(frame.image, attention.shares, attention.box), frame.time)
