"""The Penn Action data set, real or generated: settings and examples."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from jaxhar.core.skeleton import PENN, Skeleton
from jaxhar.data import pipeline, presets, transforms
from jaxhar.data.dataset import DataSet, PreparedSet
from jaxhar.data.example import cropped_example, torso
from jaxhar.data.formats import box_json
from jaxhar.data.generate.film import Synth
from jaxhar.data.penn import deephar_form as deephar_form
from jaxhar.data.penn import folder as penn_folder
from jaxhar.data.penn import generate as penn_generate
from jaxhar.data.records.record import Folder


@dataclass(frozen=True)
class Penn(DataSet):
    """The Penn Action data of an experiment: settings of `DataSet`, and of deephar's files.

    Crops are centred at the labelled joints; the reference length is the torso (left shoulder to right hip).

    Attributes:
      boxes: JSON file of predicted boxes for evaluation (see `box_json`). A clip without a box is cropped to the square
        around the whole image.
      joint_order: of annotations.mat, see `deephar_form.scan`; "authors" is an alias of "deephar".
    """

    augment: transforms.Augment = presets.PENN_CLIPS
    augment_stills: transforms.Augment = presets.PENN_STILLS
    boxes: str | None = None
    joint_order: Literal["names", "deephar", "authors"] = "names"

    title: ClassVar[str] = "Penn Action"
    home: ClassVar[str] = "Penn_Action"
    layout: ClassVar[Skeleton] = PENN

    def __post_init__(self) -> None:
        if self.joint_order == "authors":
            object.__setattr__(self, "joint_order", "deephar")

    def open(self, root: Path) -> Folder:
        if (root / deephar_form.FILE).is_file() and not (root / "labels").is_dir():
            return deephar_form.folder(root, "names" if self.joint_order == "names" else "deephar")
        return penn_folder.folder(penn_folder.check_root(root))

    def generate(self, out: Path, synth: Synth) -> None:
        penn_generate.write(out, synth)

    def notes(self) -> tuple[str, ...]:
        boxes = "the labels" if self.boxes is None else f"{self.boxes}; clips without a box use the whole image"
        order = ("Joints are assigned in stored order, as in deephar.",) if self.joint_order == "deephar" else ()
        return (f"Boxes are from {boxes}.", *order)

    def prepare(self, workdir: Path) -> PreparedSet:
        """As `DataSet.prepare`; also Problem if `boxes` cannot be used."""
        prepared = super().prepare(workdir)
        if self.boxes:
            box_json.check(self.boxes, self.skip_broken, prepared.index)
        return prepared

    def example(
        self, record: dict[str, Any], frames: list[int], draw: transforms.Draw, keep_outside: bool = False
    ) -> pipeline.Example:
        points, labelled = record["points"][frames], record["labelled"][frames]
        size = record["size"].tolist()
        if self.boxes and "split" in record:
            step = self.augment.fixed_subsampling
            box = box_json.of_record(self.boxes, record, frames, step, draw.scale, draw.flip)
        else:
            box = transforms.gt_bbox(points, labelled, size, draw.scale)
        return cropped_example(
            record,
            frames,
            draw,
            box=box,
            norm=torso(points, labelled, PENN),
            layout=PENN,
            skeleton=self.skeleton,
            dims=self.dims,
            size=self.image_size,
            keep_outside=keep_outside,
        )
