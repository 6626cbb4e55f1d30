"""The skeletons of NTU RGB+D without videos: settings, and examples for transformers over joints."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy.spatial.transform import Rotation

from jaxhar.core.prepared import View
from jaxhar.core.skeleton import NTU as LAYOUT
from jaxhar.core.skeleton import Skeleton
from jaxhar.data import pipeline, transforms, uniform
from jaxhar.data.dataset import DataSet
from jaxhar.data.generate.film import Synth
from jaxhar.data.ntu import generate_skeletons, skeleton_folder
from jaxhar.data.ntu.folder import Division, side
from jaxhar.data.ntu.skeleton_folder import Preparation
from jaxhar.data.records.record import Folder, IndexEntry


@dataclass(frozen=True)
class TurnDraw(transforms.Draw):
    """The values of one augmentation: `turn`, degrees about the three axes; `scale`, the factor of the size."""

    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Turns(transforms.Augment):
    """Random rotations up to `degrees` about each axis, and random sizes.

    Attributes:
      sizes: smallest and largest factor.
    """

    degrees: float = 17.0
    sizes: tuple[float, float] = (0.9, 1.1)

    def draw(self, rng: np.random.Generator) -> TurnDraw:
        x, y, z = rng.uniform(-self.degrees, self.degrees, 3).tolist()
        return TurnDraw(scale=float(rng.uniform(*self.sizes)), turn=(x, y, z))

    def fixed(self, flip: bool = False) -> TurnDraw:
        return TurnDraw()


@dataclass(frozen=True)
class NTUSkeleton(DataSet):
    """The skeletons of NTU RGB+D: the settings of `DataSet`, and

    Attributes:
      num_actions: 60, or 120 with those of NTU RGB+D 120.
      division: into training and test.
      preparation: which bodies are used, and how they are turned.
      clips: of a sequence in the view "multi".

    A clip has one frame of each of `clip_frames` equal parts of the sequence: a random one in training, the middle one
    in evaluation. Points are in metres.
    """

    skeleton: Skeleton | None = LAYOUT
    dims: int = 3
    augment: transforms.Augment = Turns()
    clip_frames: int | tuple[int, ...] = 32
    clips_per_batch: int = 64
    num_actions: int = 60
    division: Division = Division.CROSS_SUBJECT
    preparation: Preparation = Preparation.PYSKL
    clips: int = 5

    title: ClassVar[str] = "NTU RGB+D skeletons"
    home: ClassVar[str] = "nturgb+d"
    layout: ClassVar[Skeleton] = LAYOUT

    def open(self, root: Path) -> Folder:
        return skeleton_folder.folder(root, self.num_actions, Preparation(self.preparation))

    def generate(self, out: Path, synth: Synth) -> None:
        generate_skeletons.write(out, synth)

    def split_of(self, entry: IndexEntry) -> str:
        """By person, camera or setup."""
        return side(entry["name"], self.division)

    def views(self, split: str | None = None) -> Mapping[str, View]:
        """ "single": one clip of each sequence. "multi": several, whose frames lie between each other."""
        return {"single": View("single", "each"), "multi": View("multi", "clips")}

    def windows(self, view: str, length: int) -> list[tuple[list[int], transforms.Draw]]:
        count = self.clips if view == "multi" else 1
        places = [np.full(self.frames, (i + 0.5) / count) for i in range(count)]
        return [(uniform.segments(length, self.frames, place).tolist(), TurnDraw()) for place in places]

    def train_frames(self, length: int, draw: transforms.Draw, rng: np.random.Generator) -> list[int]:
        return uniform.segments(length, self.frames, rng.random(self.frames)).tolist()

    def example(
        self, record: dict[str, Any], frames: list[int], draw: transforms.Draw, keep_outside: bool = False
    ) -> pipeline.Example:
        points = record["skeletons"][frames].astype(np.float32)
        if isinstance(draw, TurnDraw) and (any(draw.turn) or draw.scale != 1):
            matrix = draw.scale * Rotation.from_euler("xyz", draw.turn, degrees=True).as_matrix()
            points = (points @ matrix.T).astype(np.float32)  # a missing joint stays at 0
        return {
            "points": np.ascontiguousarray(points),
            "mask": np.bool_(True),
            "sequence": np.int32(record["index"]),
            "action": np.int32(record["action"]),
        }
