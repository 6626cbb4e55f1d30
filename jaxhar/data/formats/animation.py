"""Reads animated pictures (GIF, PNG, WebP, AVIF) as videos."""

import itertools
from collections.abc import Callable, Generator, Iterator
from fractions import Fraction
from functools import cached_property, partial

import numpy as np
from PIL import Image, ImageSequence

from jaxhar.data.formats import picture
from jaxhar.data.formats.video import REMEDY, Video
from jaxhar.host.errors import Problem

#: Players show frames without a time, or with one too short to be meant, for this many seconds.
_SHORTEST, _USUAL = 0.02, 0.1


class Animation(Video):
    """An animated picture as a source of frames, each as long as the file says; see `Video`."""

    def _check(self) -> None:
        with picture.opened(self.path):
            pass

    @cached_property
    def _survey(self) -> tuple[Fraction, int]:
        seconds: list[float] = []
        for _ in self._loaded(seconds):
            pass
        return (len(seconds) / Fraction(sum(seconds)).limit_denominator(1000)).limit_denominator(1001), len(seconds)

    def _loaded(self, seconds: list[float]) -> Iterator[Image.Image]:
        """The picture at every frame; the duration of each is added to `seconds` before it is given."""
        try:
            with picture.opened(self.path) as opened:
                # a PNG file may begin with a still picture for programs that show no animations
                first = int(opened.info.get("default_image", False))
                for frame in itertools.islice(ImageSequence.Iterator(opened), first, None):
                    frame.load()
                    seconds.append(_seconds(frame.info.get("duration")))
                    yield frame
        except Problem as problem:
            if not seconds:
                raise
            told = f"{problem}: the animation is damaged after frame {len(seconds)}"
            if not self.skip_broken:
                raise Problem(f"{told}; {REMEDY}") from problem
            self.broken = [told]

    def _pictures(self, start: float | None) -> Generator[tuple[float, Callable[[], np.ndarray]]]:
        del start
        seconds: list[float] = []
        for opened in self._loaded(seconds):
            yield sum(seconds[:-1]), partial(picture.as_rgb, opened)


def _seconds(milliseconds: object) -> float:
    given = float(milliseconds) / 1000 if isinstance(milliseconds, int | float) else 0.0
    return given if given >= _SHORTEST else _USUAL
