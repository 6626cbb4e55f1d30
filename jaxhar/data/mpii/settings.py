"""The MPII Human Pose data set, real or generated: settings, examples and evaluation views."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jaxhar.core.skeleton import PA16, Skeleton
from jaxhar.data import centre_crop, pipeline, presets, transforms
from jaxhar.data.dataset import UNSHIFTED, DataSet
from jaxhar.data.example import cropped_example, mirrored_crops
from jaxhar.data.generate.film import Synth
from jaxhar.data.mpii import folder as mpii_folder
from jaxhar.data.mpii import generate as synthetic_mpii
from jaxhar.data.mpii.folder import Person, read
from jaxhar.data.records.reader import as_read
from jaxhar.data.records.record import Folder
from jaxhar.host.errors import Usage

_CROPS = ("deephar", "simple_baselines")

__all__ = ["MPII", "Person", "box", "read", "to_example"]


@dataclass(frozen=True)
class MPII(DataSet):
    """The MPII data of an experiment: settings of `DataSet`, and the selection of persons.

    One record is one person in one photo. Crops follow deephar's rule (`box`); the reference length is the head size.
    Clips are made of `clip_frames` different persons.

    Attributes:
      parts: splits to read: "train"; "valid", used for evaluation; the benchmark's "test", which has no labels.
      separate: leave out persons close to others, as in the single-person protocol.
      shifts: of the crops of the view "multi", each also mirrored, in the units of `Draw.trans`: 20 is a tenth of the
        crop's side. The published test figure is from several crops, which are not published; these are our choice.
        "flip" is the centred crop and its mirror image.
      crop: "deephar", or "simple_baselines" for the rule of `centre_crop`, where positions in the annotation files
        count from 1. Labelled joints outside of a crop are then valid and visible in training, too: the target map has
        the part of their Gaussian that is inside. Set `augment` to `centre_crop.SIMPLE_BASELINES` with it, and
        `separate` to False for all persons. The view "multi" is then that of "flip", and
        "flip_unshifted" averages heat maps of mirror images where they lie, as the original with SHIFT_HEATMAP off.
    """

    augment: transforms.Augment = presets.MPII
    augment_stills: transforms.Augment = presets.MPII
    clip_frames: int | tuple[int, ...] = 1
    clips_per_batch: int = 0
    stills_per_batch: int = 24
    parts: tuple[str, ...] = ("train", "valid")
    separate: bool = True
    shifts: tuple[tuple[float, float], ...] = ((0, 0), (-10, 0), (10, 0), (0, -10), (0, 10))
    crop: str = "deephar"

    title: ClassVar[str] = "MPII"
    home: ClassVar[str] = "MPII"
    layout: ClassVar[Skeleton] = PA16
    splits: ClassVar[tuple[str, ...]] = mpii_folder.SPLITS
    eval_split: ClassVar[str] = "valid"
    stacks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.crop not in _CROPS:
            raise Usage(f"data.crop is {self.crop!r}; there are {' and '.join(_CROPS)}")

    @property
    def keeps_outside(self) -> bool:
        return self.crop == "simple_baselines"

    def open(self, root: Path) -> Folder:
        return mpii_folder.folder(root, self.parts, self.separate)

    def generate(self, out: Path, synth: Synth) -> None:
        synthetic_mpii.write(out, synth)

    def crop_views(self) -> Mapping[str, tuple[transforms.Draw, ...]]:
        centred = mirrored_crops(((0, 0),))
        if self.keeps_outside:
            return {"flip": centred, UNSHIFTED: centred, "multi": centred}
        return {"flip": centred, "multi": mirrored_crops(self.shifts)}

    def example(
        self, record: dict[str, Any], frames: list[int], draw: transforms.Draw, keep_outside: bool = False
    ) -> pipeline.Example:
        if self.keeps_outside:
            return self._centred(record, frames, draw)
        x, y, scale = (float(v) for v in record["person"])
        return cropped_example(
            record,
            frames,
            dataclasses.replace(draw, trans=(0.0, 0.0)),  # the box is shifted already, in units of the person's size
            box=box(np.array([x, y]), scale, draw),
            norm=record["norm"][frames],
            layout=PA16,
            skeleton=self.skeleton,
            dims=self.dims,
            size=self.image_size,
            keep_outside=keep_outside,
        )

    def _centred(self, record: dict[str, Any], frames: list[int], draw: transforms.Draw) -> pipeline.Example:
        assert self.skeleton is not None
        center, scale = centre_crop.prepared(record["person"][:2], record["person"][2])
        example = centre_crop.example(
            record,
            frames,
            draw,
            centers=center[None],
            scales=[float(scale)],
            size=self.image_size,
            layout=PA16,
            skeleton=self.skeleton,
            norm=record["norm"][frames],
            first=1,
            dims=self.dims,
            keep_outside=True,
        )
        return {**example, "visible": example["valid"][..., 0].astype(np.float32)}


def box(center: np.ndarray, scale: float, draw: transforms.Draw | None = None) -> transforms.Box:
    """(4,) square around a person by deephar's rule: side 250 * `scale`, times the draw's scale.

    With s = 1.25 * scale, its centre is `center` moved down by 12 s, because objpos is above the middle of the body,
    and moved by s times the draw's shift.
    """
    draw = draw or transforms.Draw()
    s = 1.25 * scale
    middle = center + s * (np.array([0.0, 12.0]) + draw.trans)
    half = 200.0 * draw.scale * s / 2
    return np.concatenate([middle - half, middle + half])


def to_example(
    person: Person, draw: transforms.Draw | None = None, size: int = 256, keep_outside: bool = False
) -> pipeline.Example:
    """An example of one frame in PA16, read directly from a person's photo.

    Args:
      draw: augmentation; None for evaluation.
      size: side of the crop.
      keep_outside: see `transforms.crop_pose`.

    Returns:
      `jaxhar.core.batch.Batch` entries without the batch axis, T = 1; `sequence` is `person.index`. Photos have no
      `action`.
    """
    record, _ = mpii_folder.load(person)
    assert record is not None
    found = as_read(record, person.index)
    return MPII(image_size=size).example(found, [0], draw or transforms.Draw(), keep_outside)
