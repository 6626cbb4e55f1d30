"""Options of a prediction, from the command line or from Python, and what is wrong with them."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from jaxhar.host.errors import Usage
from jaxhar.predict import persons
from jaxhar.predict.box_files import BoxFile, is_box
from jaxhar.predict.detector import Detector
from jaxhar.predict.poses import FARTHEST
from jaxhar.predict.search import Box, words
from jaxhar.predict.smoothing import Smoothing

#: Default step between the frames of a clip of a pose network: that of the published Penn Action figures.
STRIDE = 2


def check_box(box: Box | None) -> None:
    """Usage if a given box is none, or lies within a pixel."""
    if box is not None and not is_box(box):
        raise Usage(
            f"--bbox {words(box)} is not a box: give x1,y1,x2,y2 in pixels with x1 < x2 and y1 < y2, up to "
            f"{FARTHEST:.0f}"
        )
    if box is not None and min(box) >= 0 and max(box) <= 1:
        raise Usage(f"--bbox {words(box)} lies within one pixel: give pixels, not fractions of the picture")


@dataclass(frozen=True)
class Options:
    """How sources are predicted.

    Attributes:
      bbox: the person's box x1, y1, x2, y2 in pixels; the network reads the square around it. If None, the network
        finds the box.
      batch: frames in one run of the network (rounded down to full clips, at least one).
      stride: step between the frames of a clip, smaller if the video is too short. None: of pose networks `STRIDE`; of
        networks that see whole pictures that of their training, or of mae_st.
      skip_broken: continue after a broken image of a folder. A damaged video is always read as far as it can be.
      boxes: file of the persons' boxes, see `box_files.BoxFile`.
      detector: "own", weights of the family "people", or an ONNX file, see `persons.detector_of`.
      persons: "largest", "all" or a number, see `persons.chosen`.
      smooth: filter of the joints over time, see `smoothing.Smoothing.parse`; None for none.
      every: seconds from clip to clip of networks that see whole pictures; None: half of a clip.
      views: number of clips and crops of each in such a test, "10x3", in place of sliding clips.
      attention: with such networks, also say how much each patch counts.

    Raises:
      Usage: a wrong box or number, or options that do not go together.
    """

    bbox: Box | None = None
    batch: int = 16
    stride: int | None = None
    skip_broken: bool = False
    boxes: Path | str | None = None
    detector: Path | str | None = None
    persons: str | int | None = None
    smooth: str | None = None
    every: float | None = None
    views: str | None = None
    attention: bool = False

    def __post_init__(self) -> None:
        if self.batch < 1 or self.stride is not None and self.stride < 1:
            raise Usage("--batch and --stride must be 1 or more")
        check_box(self.bbox)
        if self.every is not None and not (np.isfinite(self.every) and self.every > 0):
            raise Usage(f"--every must be a number of seconds above 0, not {self.every}")
        if self.clip_views is not None and (self.every is not None or self.attention):
            raise Usage("--views takes clips of its own; leave --every and --attention out")
        _ = self.filter

    @cached_property
    def filter(self) -> Smoothing | None:
        """What smooths the joints; Usage for words that mean none."""
        return None if self.smooth is None else Smoothing.parse(self.smooth)

    @cached_property
    def clip_views(self) -> tuple[int, int] | None:
        """Number of clips, and of crops of each; Usage for words that mean none."""
        if self.views is None:
            return None
        count, _, crops = self.views.partition("x")
        if not (count.isdecimal() and int(count) > 0 and crops in ("1", "3")):
            raise Usage(f"--views {self.views!r} is not a number of clips and one or three crops of each, e.g. 10x3")
        return int(count), int(crops)

    @cached_property
    def finder(self) -> tuple[Detector | BoxFile | None, int | None]:
        """What finds the persons and how many are kept, see `persons.chosen`.

        Raises:
          Usage: options that do not go together. Problem: a file of boxes or a detector cannot be read.
        """
        boxes = None if self.boxes is None else Path(self.boxes)
        detector = None if self.detector is None else str(self.detector)
        finder, keep = persons.chosen(boxes, detector, None if self.persons is None else str(self.persons))
        if finder and self.bbox:
            raise Usage(
                "--bbox is the box of one person; it does not go with --boxes, --detector and several --persons"
            )
        return finder, keep

    def written(self) -> dict[str, object]:
        """The options as poses.json has them."""
        values = dataclasses.asdict(self)
        named = {name: None if values[name] is None else str(values[name]) for name in ("boxes", "detector", "persons")}
        kept = {name: values[name] for name in ("bbox", "batch", "stride", "skip_broken")}
        further = {name: values[name] for name in ("every", "views", "attention") if values[name]}
        return {**named, **kept, **further} | ({} if self.filter is None else {"smooth": str(self.filter)})
