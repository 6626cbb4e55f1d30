"""Penn Action, generated or real: from the published folder to training and evaluation batches."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from jaxhar.data import penn_folder, pipeline, records, sequences, synthetic, transforms
from jaxhar.skeleton import PENN


@dataclass(frozen=True)
class Penn(sequences.DataSet):
    """The Penn Action data of an experiment; its settings are those of `DataSet`.

    Crops lie around the labelled joints, the reference length is the torso (left shoulder to right hip).
    """

    augment: transforms.Augment = transforms.PENN_CLIPS
    augment_stills: transforms.Augment = transforms.PENN_STILLS

    title: ClassVar[str] = "Penn Action"
    home: ClassVar[str] = "Penn_Action"

    def open(self, root: Path) -> records.Folder:
        return penn_folder.folder(penn_folder.check_root(root))

    def generate(self, out: Path, synth: synthetic.Synth) -> None:
        synthetic.write_penn(out, synth)

    def example(
        self, record: dict, frames: list[int], draw: transforms.Draw, keep_outside: bool = False
    ) -> pipeline.Example:
        points, labelled = record["points"][frames], record["labelled"][frames]
        return sequences.to_example(
            record,
            frames,
            draw,
            box=transforms.gt_bbox(points, labelled, record["size"].tolist(), draw.scale),
            norm=sequences.torso(points, labelled, PENN),
            layout=PENN,
            skeleton=self.skeleton,
            dims=self.dims,
            size=self.image_size,
            keep_outside=keep_outside,
        )
