"""A user's own videos or images of actions, in a folder or a CSV file: settings and examples."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jaxhar.core.skeleton import PA16, Skeleton
from jaxhar.data import pipeline, presets, transforms
from jaxhar.data.dataset import DataSet
from jaxhar.data.example import cropped_example
from jaxhar.data.generate.film import Synth
from jaxhar.data.own import folder as own_folder
from jaxhar.data.own import generate as synthetic_own
from jaxhar.data.records.record import Folder


@dataclass(frozen=True)
class Own(DataSet):
    """The data of an experiment on a user's own actions: settings of `DataSet`, and the size of packed pictures.

    Crops are squares around the boxes of the CSV, or around the whole picture. No joint is valid.

    Attributes:
      side: largest width or height in pixels; larger pictures are shrunk.
    """

    augment: transforms.Augment = presets.PENN_CLIPS
    side: int = 640

    title: ClassVar[str] = "own data"
    home: ClassVar[str] = "own"
    layout: ClassVar[Skeleton] = PA16

    def open(self, root: Path) -> Folder:
        return own_folder.folder(root, self.side)

    def generate(self, out: Path, synth: Synth) -> None:
        synthetic_own.write(out, synth)

    def example(
        self, record: dict[str, Any], frames: list[int], draw: transforms.Draw, keep_outside: bool = False
    ) -> pipeline.Example:
        x1, y1, x2, y2 = (float(v) for v in record["box"])
        middle, half = np.array([x1 + x2, y1 + y2]) / 2, draw.scale * max(x2 - x1, y2 - y1) / 2
        return cropped_example(
            record,
            frames,
            draw,
            box=np.concatenate([middle - half, middle + half]),
            norm=np.zeros(len(frames)),
            layout=PA16,
            skeleton=self.skeleton,
            dims=self.dims,
            size=self.image_size,
            keep_outside=keep_outside,
        )
