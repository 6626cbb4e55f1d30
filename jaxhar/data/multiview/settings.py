"""The data of multi-view networks: four views of each moment of Human3.6M, and persons of MPII in groups of four."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jaxhar.core.camera import OPENCV, SIZE
from jaxhar.core.prepared import View
from jaxhar.core.skeleton import H36M17, UNION20, Skeleton, mapping
from jaxhar.core.skeleton import MPII as MPII_JOINTS
from jaxhar.data import centre_crop, pipeline, transforms
from jaxhar.data.dataset import DataSet
from jaxhar.data.generate.film import Synth
from jaxhar.data.multiview import generate as synthetic
from jaxhar.data.multiview import h36m, mpii
from jaxhar.data.records.record import Folder
from jaxhar.host.errors import Usage

#: "h36m": the true lens, whose tangential term has the factor 1. "original": the multi-view original's, with the factor
#: 2 and the mean of both focal lengths.
LENSES = ("h36m", "original")
_FOCAL = slice(12, 14)  # of a camera as a vector


@dataclass(frozen=True)
class _Groups(DataSet):
    """What both sets share: records of four photos, each with an own crop by the rule of `centre_crop`."""

    skeleton: Skeleton = UNION20
    augment: transforms.Augment = centre_crop.Jitter()
    augment_stills: transforms.Augment = centre_crop.Jitter()
    clip_frames: int | tuple[int, ...] = 4
    clips_per_batch: int = 8

    splits: ClassVar[tuple[str, ...]] = h36m.SPLITS
    eval_split: ClassVar[str] = "validation"
    grouped: ClassVar[bool] = True

    def generate(self, out: Path, synth: Synth) -> None:
        synthetic.write(out, synth)

    def views(self) -> Mapping[str, View]:
        return {"single": View("single", "each")}

    def _cropped(
        self, record: dict[str, Any], frames: list[int], draw: transforms.Draw, keep_outside: bool, first: int
    ) -> pipeline.Example:
        assert self.layout is not None
        return centre_crop.example(
            record,
            frames,
            draw,
            centers=record["centers"][frames],
            scales=record["scales"][frames],
            size=self.image_size,
            layout=self.layout,
            skeleton=self.skeleton,
            norm=record["norm"][frames],
            first=first,
            dims=self.dims,
            keep_outside=keep_outside,
        )


@dataclass(frozen=True)
class MultiView(_Groups):
    """Human3.6M in groups of four views of one moment; its settings are those of `DataSet`, and these.

    An example is one group: T = 4 frames in the order of the cameras, with the joints in space as `world`, 0 for joints
    that Human3.6M lacks (they are not valid in any view). `together` is True. The reference length is that of the
    torso. Clips of fewer frames are some of the views.

    Attributes:
      thin: every how many groups of the training and of the validation file are used, as in the original.
      cropped: read the files of cropped photos; False reads those that end in _uncrop.
      lens: see `LENSES`.
    """

    thin: tuple[int, int] = (5, 64)
    cropped: bool = True
    lens: str = "h36m"

    title: ClassVar[str] = "Human3.6M, four views"
    home: ClassVar[str] = "Human3.6M-multiview"
    layout: ClassVar[Skeleton] = H36M17

    def __post_init__(self) -> None:
        if self.lens not in LENSES:
            raise Usage(f"data.lens is {self.lens!r}; there are {' and '.join(LENSES)}")
        if min(self.thin) < 1:
            raise Usage(f"data.thin is {self.thin}; every n-th group is used, so both numbers must be 1 or more")

    def open(self, root: Path) -> Folder:
        return h36m.folder(root, self.thin, self.cropped)

    def example(
        self, record: dict[str, Any], frames: list[int], draw: transforms.Draw, keep_outside: bool = False
    ) -> pipeline.Example:
        found = self._cropped(record, frames, draw, keep_outside, first=0)
        cameras = record["cameras"][frames].copy()
        if self.lens == "original":
            cameras[:, _FOCAL] = cameras[:, _FOCAL].mean(-1, keepdims=True)
            cameras[:, SIZE - 1] = OPENCV
        index = mapping(H36M17, self.skeleton)
        found |= {
            "camera": cameras.astype(np.float32),
            "world": np.where((index >= 0)[:, None], record["world"][index], 0).astype(np.float32),
            "together": np.bool_(True),
        }
        return found | ({"action": np.int32(record["action"])} if record["action"] >= 0 else {})


@dataclass(frozen=True)
class MPIIGroups(_Groups):
    """MPII in groups of four persons, to train a multi-view network on; its settings are those of `DataSet`.

    `together` is False: the four frames are no views of one moment. For batches with those of `MultiView`, it has the
    keys `camera`, `world` and `hidden`, which are 0. The reference length is the head size.
    """

    title: ClassVar[str] = "MPII in groups of four"
    home: ClassVar[str] = "MPII-groups"
    generated_as: ClassVar[str] = MultiView.home
    layout: ClassVar[Skeleton] = MPII_JOINTS

    def open(self, root: Path) -> Folder:
        return mpii.folder(root)

    def example(
        self, record: dict[str, Any], frames: list[int], draw: transforms.Draw, keep_outside: bool = False
    ) -> pipeline.Example:
        found = self._cropped(record, frames, draw, keep_outside, first=1)
        return found | {
            "camera": np.zeros((len(frames), SIZE), np.float32),
            "world": np.zeros((len(self.skeleton), 3), np.float32),
            "hidden": np.zeros(found["visible"].shape, bool),
            "together": np.bool_(False),
        }
