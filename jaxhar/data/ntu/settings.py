"""The NTU RGB+D data set, real or generated: settings, examples with depths, and evaluation splits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jaxhar.core.skeleton import NTU as LAYOUT
from jaxhar.core.skeleton import PA20, Skeleton
from jaxhar.data import pipeline, presets, transforms
from jaxhar.data.dataset import DataSet, PreparedSet
from jaxhar.data.example import cropped_example, torso
from jaxhar.data.formats import box_json
from jaxhar.data.generate.film import Synth
from jaxhar.data.ntu import folder as ntu_folder
from jaxhar.data.ntu import generate as synthetic_ntu
from jaxhar.data.ntu.folder import Division
from jaxhar.data.records.record import Folder, IndexEntry

_PELVIS = LAYOUT.index("pelvis")


@dataclass(frozen=True)
class NTU(DataSet):
    """The NTU RGB+D data of an experiment: the settings of `DataSet`, and

    Attributes:
      num_actions: 60, or 120 with those of NTU RGB+D 120.
      division: into training and test.
      keep_every: step between packed frames; deephar's TPAMI'20 networks use every second frame.
      frame_side: largest width or height in pixels; larger videos are shrunk when packed.
      boxes: JSON file of predicted boxes for evaluation (see `box_json`), numbered by packed frames. A clip without a
        box is cropped to the square around the whole image.

    Crops are centred at the labelled joints. Depth is relative to the mean depth of the pelvis over a clip, in units of
    2000 mm times the scale of the crop. The reference length is the torso, from left shoulder to right hip.
    """

    skeleton: Skeleton = PA20
    dims: int = 3
    augment: transforms.Augment = presets.NTU_CLIPS
    augment_stills: transforms.Augment = presets.NTU_STILLS
    clip_frames: int | tuple[int, ...] = 20
    num_actions: int = 60
    division: Division = Division.CROSS_SUBJECT
    keep_every: int = 1
    frame_side: int = 960
    boxes: str | None = None

    title: ClassVar[str] = "NTU RGB+D"
    home: ClassVar[str] = "nturgb+d"
    layout: ClassVar[Skeleton] = LAYOUT

    def open(self, root: Path) -> Folder:
        return ntu_folder.folder(ntu_folder.check_root(root), self.num_actions, self.keep_every, self.frame_side)

    def generate(self, out: Path, synth: Synth) -> None:
        synthetic_ntu.write(out, synth)

    def notes(self) -> tuple[str, ...]:
        return () if self.boxes is None else (f"Boxes are from {self.boxes}; clips without a box use the whole image.",)

    def prepare(self, workdir: Path) -> PreparedSet:
        """As `DataSet.prepare`; also Problem if `boxes` cannot be used."""
        prepared = super().prepare(workdir)
        if self.boxes:
            box_json.check(self.boxes, self.skip_broken, prepared.index)
        return prepared

    def split_of(self, entry: IndexEntry) -> str:
        """By person, camera or setup."""
        return ntu_folder.side(entry["name"], self.division)

    def groups(self) -> Mapping[str, Callable[[IndexEntry], object]]:
        return {**super().groups(), "setup": lambda entry: ntu_folder.number(entry["name"], "S")}

    def example(
        self, record: dict[str, Any], frames: list[int], draw: transforms.Draw, keep_outside: bool = False
    ) -> pipeline.Example:
        points, labelled = record["points"][frames], record["labelled"][frames]
        root = root_depth(points, labelled)
        if self.boxes and "split" in record:
            step = self.augment.fixed_subsampling
            box = box_json.of_record(self.boxes, record, frames, step, draw.scale, draw.flip)
        else:
            box = transforms.gt_bbox(points[..., :2], labelled, record["size"].tolist(), draw.scale)
        return cropped_example(
            record,
            frames,
            draw,
            box=box,
            norm=torso(points, labelled, LAYOUT),
            layout=LAYOUT,
            skeleton=self.skeleton,
            dims=self.dims,
            size=self.image_size,
            depth=transforms.Depth(np.full(len(frames), root), transforms.DEPTH_RANGE * draw.scale),
            keep_outside=keep_outside,
        )


def root_depth(points: np.ndarray, labelled: np.ndarray) -> float:
    """Mean depth of the pelvis over a clip in mm; of all joints if it is never labelled; 0 without labels.

    Args:
      points: (T, 25, 3), depth last. labelled: (T, 25) bool.
    """
    pelvis = labelled[:, _PELVIS]
    depths = points[:, _PELVIS, 2][pelvis] if pelvis.any() else points[..., 2][labelled]
    return float(depths.mean()) if depths.size else 0.0
