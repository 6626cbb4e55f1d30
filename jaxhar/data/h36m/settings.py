"""The Human3.6M data set, real or generated: settings, examples and evaluation views of single photos."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jaxhar.core.camera import Camera
from jaxhar.core.skeleton import PA17, PA21, Skeleton
from jaxhar.data import pipeline, presets, transforms
from jaxhar.data.dataset import DataSet
from jaxhar.data.example import cropped_example, mirrored_crops
from jaxhar.data.generate.film import Synth
from jaxhar.data.h36m import folder as h36m_folder
from jaxhar.data.h36m import generate as synthetic_h36m
from jaxhar.data.records.record import Folder

_ROOT = PA21.index("pelvis")


@dataclass(frozen=True)
class H36M(DataSet):
    """The Human3.6M data of an experiment; its settings are those of `DataSet`.

    Training photos are those of subjects 1, 5, 6, 7 and 8; test photos are every 64th of 9 and 11. A crop is centred
    at the root, and its size follows from the root's depth. Depths are relative to the root's, in units of 2 m times
    the scale of the crop.

    Attributes:
      shifts: of the crops of the view "multi", each also mirrored, in image pixels. The best figure of CVPR 2018 is
        from five crops, which are not published; these are our choice. "flip" is the centred crop and its mirror image.
    """

    skeleton: Skeleton = PA17
    dims: int = 3
    augment: transforms.Augment = presets.HUMAN36M_CVPR
    augment_stills: transforms.Augment = presets.HUMAN36M_CVPR
    clip_frames: int | tuple[int, ...] = 1
    clips_per_batch: int = 0
    stills_per_batch: int = 24
    shifts: tuple[tuple[float, float], ...] = ((0, 0), (-10, 0), (10, 0), (0, -10), (0, 10))

    title: ClassVar[str] = "Human3.6M"
    home: ClassVar[str] = "Human3.6M"
    layout: ClassVar[Skeleton] = PA21
    stacks: ClassVar[bool] = True

    def open(self, root: Path) -> Folder:
        return h36m_folder.folder(h36m_folder.check_root(root))

    def generate(self, out: Path, synth: Synth) -> None:
        synthetic_h36m.write(out, synth)

    def crop_views(self) -> Mapping[str, tuple[transforms.Draw, ...]]:
        return {"flip": mirrored_crops(((0, 0),)), "multi": mirrored_crops(self.shifts)}

    def example(
        self, record: dict[str, Any], frames: list[int], draw: transforms.Draw, keep_outside: bool = False
    ) -> pipeline.Example:
        points = record["points"][frames]
        root = points[0, _ROOT].astype(np.float64)  # deephar uses the first frame's root for the whole clip
        camera = Camera.from_vector(record["camera"])
        return cropped_example(
            record,
            frames,
            draw,
            box=transforms.root_bbox(root, record["size"].tolist(), camera.f, draw.scale),
            norm=np.zeros(len(frames)),
            layout=PA21,
            skeleton=self.skeleton,
            dims=self.dims,
            size=self.image_size,
            depth=transforms.Depth(np.full(len(frames), root[2]), transforms.DEPTH_RANGE * draw.scale),
            keep_outside=keep_outside,
        )
