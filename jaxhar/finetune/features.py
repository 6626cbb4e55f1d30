"""Features of a frozen trunk: computed once per clip, stored on disk, read as training batches.

The trunk is the part of a network that sees the frames. While it is frozen, its features of a clip are the same in
every epoch and fold. They are computed once for each clip and each of a few augmented copies; only the heads are
trained. Batch norms in the trunk use their running statistics.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from tqdm import tqdm

from jaxhar import inference, zoo
from jaxhar.core.batch import Batch, Preds
from jaxhar.core.network import NetworkConfig, frame_size
from jaxhar.core.prepared import RecordSource, View
from jaxhar.data import dataset as sequences
from jaxhar.data import pipeline, transforms
from jaxhar.host import files
from jaxhar.host.errors import Problem
from jaxhar.inference import Structure
from jaxhar.predict import boxes as tracking

Array = jax.Array


class Separable(Protocol):
    """A network in two parts: a trunk that reads the frames, and action heads that read the trunk's features."""

    config: NetworkConfig

    def pose_forward(self, batch: Batch) -> tuple[Preds, object]:
        """Runs the trunk: its predictions, and features (B, T, J) or (B, T, J, C) for `action_forward`."""

    def action_forward(self, features: object) -> Array:
        """Runs the heads: logits (K', B, A)."""


def trunk_name(config: NetworkConfig) -> str:
    """Path of the trunk inside an action network; Problem if the network is of a family without one."""
    name = zoo.family(config).trunk
    if not name or config.pose_shape is None:
        raise Problem(
            f"networks of the family {zoo.family(config).name} have no separate pose network to train action heads "
            "on; finetune takes weights of the reception and spnet networks"
        )
    return name


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a trunk's features are packed into one array (B, T, J, C).

    Attributes:
      tree: structure of the features that `pose_forward` returns.
      channels: of each of its arrays; None for an array without a channel axis.
    """

    tree: jax.tree_util.PyTreeDef
    channels: tuple[int | None, ...]

    @classmethod
    def of(cls, features: object) -> "Layout":
        """The layout of a tree of arrays (B, T, J) and (B, T, J, C), or of their shapes."""
        arrays, tree = jax.tree.flatten(features)
        return cls(tree, tuple(None if len(a.shape) == 3 else a.shape[3] for a in arrays))

    @staticmethod
    def pack(features: object) -> Array:
        """The arrays concatenated along the channels, as float32."""
        arrays = [a[..., None] if a.ndim == 3 else a for a in jax.tree.leaves(features)]
        return jnp.concatenate([a.astype(jnp.float32) for a in arrays], axis=-1)

    def unpack(self, packed: Array) -> object:
        """The tree of features from a packed array; channels behind the features are ignored."""
        arrays, start = [], 0
        for width in self.channels:
            part = packed[..., start : start + (width or 1)]
            arrays.append(part[..., 0] if width is None else part)
            start += width or 1
        return jax.tree.unflatten(self.tree, arrays)


@inference.jit
def _extract(structure: Structure, state: nnx.State, batch: Batch) -> Array:
    preds, features = structure.merge(state).pose_forward(batch)
    return Layout.pack((features, preds["pose"][-1], preds["visible"][-1]))


class Trunk:
    """The trunk of an action network, in evaluation mode.

    Attributes:
      layout: of the features that the heads read.
      frames: length T of its clips. dims: D, coordinates of its poses.
    """

    def __init__(self, model: Separable, frames: int):
        config: NetworkConfig = model.config
        trunk_name(config)  # or Problem
        assert config.pose_shape is not None
        self._parts = structure, state = inference.prepare(model)
        self.frames, self.dims = frames, config.pose_shape[1]
        clip = Batch(frames=jax.ShapeDtypeStruct((1, frames, *frame_size(config), 3), jnp.float32))
        self.layout = Layout.of(jax.eval_shape(lambda batch: structure.merge(state).pose_forward(batch)[1], clip))

    def __call__(self, example: Mapping[str, np.ndarray]) -> np.ndarray:
        """Runs the trunk on an example: (T, J, C + D + 1), features for the heads, the last block's pose, `visible`."""
        batch = {key: example[key][None] for key in ("frames", "power") if key in example}
        features = np.asarray(_extract(*self._parts, batch))[0]
        if not np.isfinite(features).all():
            raise Problem("the network's features are not finite numbers; its weights are damaged")
        return features

    def pose(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pose (..., J, D) in units of the crop and visible (..., J) from what a call returned."""
        return features[..., -1 - self.dims : -1], features[..., -1]


@dataclasses.dataclass(frozen=True)
class Clips(sequences.PreparedSet):
    """All sequences of a prepared set, divided by a fold: "test" has the sequences `test`, "train" the others.

    Attributes:
      test: indices of the test sequences.
      boxes: (N, 4) crop of each sequence in pixels; NaN where the record's own box is to be used.
    """

    test: tuple[int, ...] = ()
    boxes: np.ndarray | None = None

    @classmethod
    def all(cls, prepared: sequences.PreparedSet) -> "Clips":
        return cls(prepared.config, prepared.folder, prepared.index)

    def _numbers(self, split: str | None) -> np.ndarray:
        every = np.arange(len(self.index["sequences"]))
        return np.array(self.test, np.int64) if split == "test" else np.setdiff1d(every, self.test)

    def records(self, split: str) -> RecordSource:
        numbers, source = self._known(split), super().records(split)
        return source if self.boxes is None else _Boxed(source, self.boxes[numbers])


@dataclasses.dataclass(frozen=True)
class _Boxed:
    source: RecordSource
    boxes: np.ndarray

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict:
        record, box = self.source[index], self.boxes[index]
        return record if np.isnan(box).any() else {**record, "box": box}


def find_boxes(trunk: Trunk, clips: Clips, path: Path, progress: bool = True) -> np.ndarray:
    """Predict the person's box in sequences without one: (N, 4) pixels, NaN where the given box (or the whole image)
    is to be used.

    The network runs on T whole pictures spread over the sequence, as in `jaxhar predict`. The box is the union of the
    boxes around confident joints; there is none if fewer than half of the pictures have enough confident joints.

    Args:
      path: file of the boxes, read if it exists, else written.
    """
    if path.is_file():
        return np.load(path)
    source = clips.records("train")
    boxes = np.full((len(source), 4), np.nan)
    for n in tqdm(range(len(source)), desc="finding people", unit="clip", disable=not progress):
        record = source[n]
        size = int(record["size"][0]), int(record["size"][1])
        if not np.allclose(record["box"], (0, 0, *size)):
            continue
        length = record["length"]
        chosen = np.linspace(0, length - 1, trunk.frames).round().astype(int).tolist()
        pose, confidence = trunk.pose(trunk(clips.config.example(record, chosen, transforms.Draw())))
        crop = transforms.centred_bbox(size)
        count = min(length, trunk.frames)  # of a still, one frame is enough: the others are equal
        found = [tracking.person_box(p, c, crop) for p, c in zip(pose[:count], confidence[:count], strict=True)]
        usable = [box for box in found if box is not None]
        if 2 * len(usable) >= count:
            boxes[n] = tracking.union(tracking.smooth(np.stack(usable), 1.0))
    with files.replacing(path) as temporary, open(temporary, "wb") as file:
        np.save(file, boxes)
    return boxes


def extract(trunk: Trunk, clips: Clips, folder: Path, copies: int, seed: int, progress: bool = True) -> "Features":
    """Compute the trunk's features of every sequence: of the middle clip, its mirror image, then augmented clips.

    Sequences whose features are in `folder` already are not computed again.
    """
    names = clips.sequence_names("train")
    missing = [n for n in range(len(names)) if not (folder / f"{n}.npy").is_file()]
    source, config = clips.records("train"), clips.config
    bar = tqdm(total=len(missing) * copies, desc="extracting features", unit="clip", disable=not progress)
    with bar:
        for n in missing:
            record, rng = source[n], np.random.default_rng((seed, n))
            length, views = record["length"], []
            for copy in range(copies):
                draw = config.augment.fixed(flip=copy == 1) if copy < 2 else config.augment.draw(rng)
                frames = transforms.clip_frames(length, draw.subsampling, config.frames, rng if copy > 1 else None)
                views.append(trunk(config.example(record, frames, draw)))
                bar.update()
            with files.replacing(folder / f"{n}.npy") as temporary, open(temporary, "wb") as file:
                np.save(file, np.stack(views))
    labels = np.array([entry["action"] for entry in clips.entries("train")])
    return Features(folder, labels, copies, clips)


@dataclasses.dataclass(frozen=True)
class Features:
    """The trunk's features of N sequences, stored on disk; evaluation reads them instead of `Clips`.

    Attributes:
      folder: holds one file per sequence.
      labels: (N,) classes.
      copies: clips per sequence.
      clips: the sequences; evaluation reads those in its `test`.
    """

    folder: Path
    labels: np.ndarray
    copies: int
    clips: Clips

    @property
    def skeleton(self) -> Any:
        return self.clips.skeleton

    @property
    def actions(self) -> tuple[str, ...]:
        return self.clips.actions

    def get(self, number: int, copy: int = 0) -> np.ndarray:
        """One clip, (T, J, C)."""
        return np.array(np.load(self.folder / f"{number}.npy", mmap_mode="r")[copy])

    @property
    def eval_split(self) -> str:
        return self.clips.eval_split

    @property
    def notes(self) -> tuple[str, ...]:
        return ()

    def views(self, split: str | None = None) -> Mapping[str, View]:
        return {"single": View("single", "each")}

    def sequence_names(self, split: str = "test") -> list[str]:
        return self.clips.sequence_names(split)

    def eval_stream(self, split: str = "test", view: str = "single", batch: int = 8) -> Iterator[Batch]:
        """Features of the middle clips of the fold's test sequences, in batches."""
        numbers = self.clips._numbers(split)
        for start in range(0, len(numbers), batch):
            chosen = numbers[start : start + batch]
            examples = [
                {"features": self.get(n), "action": np.int32(self.labels[n]), "sequence": np.int32(start + i)}
                for i, n in enumerate(chosen)
            ]
            yield pipeline.pad(pipeline.stack(examples), batch)

    def eval_length(self, view: str = "single", split: str = "test", batch: int = 8) -> int:
        return -(-len(self.clips._numbers(split)) // batch)

    def draw(self, numbers: Sequence[int], batch: int, rng: np.random.Generator) -> Batch:
        """A training batch of these sequences, drawn at random with equal probability for every class."""
        chosen, copies = chosen_copies(self.labels, numbers, self.copies, batch, rng)
        features = np.stack([self.get(n, c) for n, c in zip(chosen, copies, strict=True)])
        return {"features": features, "action": self.labels[chosen].astype(np.int32)}  # type: ignore[return-value]


def chosen_copies(
    labels: np.ndarray, numbers: Sequence[int], copies: int, batch: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Sequences (B,) of these, drawn at random with equal probability for every class, and a copy of each (B,)."""
    known = labels[[*numbers]]
    share = 1 / np.bincount(known)[known]
    return rng.choice(numbers, batch, p=share / share.sum()), rng.integers(copies, size=batch)
