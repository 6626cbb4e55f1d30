"""Features of a frozen trunk: computed once for every clip, kept on the disk, drawn as training batches.

What a frozen trunk gives for a clip is the same in every epoch and in every fold. So it is computed once for each clip
and each of a few augmented copies; training runs the heads alone. Batch norms in the trunk use their running
statistics.
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
    """A network in two parts: a trunk that sees the frames, and action heads that see its features."""

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
            f"a network of the family {zoo.family(config).name} has no trunk of its own that finds poses, so no heads "
            "can be trained on its features; finetune takes weights of the reception and spnet networks"
        )
    return name


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a trunk's features are packed into one array (B, T, J, C).

    Attributes:
      tree: structure of the features that `pose_forward` gives.
      channels: of its arrays in turn; None for one without an axis of channels.
    """

    tree: jax.tree_util.PyTreeDef
    channels: tuple[int | None, ...]

    @classmethod
    def of(cls, features: object) -> "Layout":
        """That of a tree of arrays (B, T, J) and (B, T, J, C), or of their shapes."""
        arrays, tree = jax.tree.flatten(features)
        return cls(tree, tuple(None if len(a.shape) == 3 else a.shape[3] for a in arrays))

    @staticmethod
    def pack(features: object) -> Array:
        """The arrays side by side, as float32."""
        arrays = [a[..., None] if a.ndim == 3 else a for a in jax.tree.leaves(features)]
        return jnp.concatenate([a.astype(jnp.float32) for a in arrays], axis=-1)

    def unpack(self, packed: Array) -> object:
        """The tree again; further channels are left out."""
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
      layout: of the features that the heads get.
      frames: T of its clips. dims: D of its poses.
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
        """A clip as an example -> (T, J, C + D + 1): features for the heads, then the last pose and `visible`."""
        batch = {key: example[key][None] for key in ("frames", "power") if key in example}
        features = np.asarray(_extract(*self._parts, batch))[0]
        if not np.isfinite(features).all():
            raise Problem("the network gives numbers that are not finite; its weights are damaged")
        return features

    def pose(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The last pose (..., J, D) in units of the crop, and visible (..., J), out of what a call gave."""
        return features[..., -1 - self.dims : -1], features[..., -1]


@dataclasses.dataclass(frozen=True)
class Clips(sequences.PreparedSet):
    """All sequences of a prepared set, in both splits but for those that a fold keeps for its test.

    Attributes:
      test: numbers of the sequences kept for testing; "train" has the others, or all where there is none.
      boxes: (N, 4) crop of each sequence in pixels, nan to leave it as it is.
    """

    test: tuple[int, ...] = ()
    boxes: np.ndarray | None = None

    @classmethod
    def all(cls, prepared: sequences.PreparedSet) -> "Clips":
        return cls(prepared.config, prepared.folder, prepared.index)

    def _numbers(self, split: str | None) -> list[int]:
        every = range(len(self.index["sequences"]))
        return [*self.test] if split == "test" else [n for n in every if n not in self.test]

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


def find_boxes(trunk: Trunk, clips: Clips, known: Path, progress: bool = True) -> np.ndarray:
    """Where the person is in sequences that come without a box: (N, 4) pixels, nan to take the given or whole picture.

    The network looks at T whole pictures spread over the sequence, as `jaxhar predict` does, and the box is the union
    of those about the joints it is sure of. Fewer than half of the pictures with such joints give none.

    Args:
      known: file of the boxes, read if it is there, else written.
    """
    if known.is_file():
        return np.load(known)
    source = clips.records("train")
    boxes = np.full((len(source), 4), np.nan)
    for n in tqdm(range(len(source)), desc="finding people", unit="clip", disable=not progress):
        record = source[n]
        size = int(record["size"][0]), int(record["size"][1])
        if not np.allclose(record["box"], (0, 0, *size)):
            continue
        length = record["length"]
        chosen = np.linspace(0, length - 1, trunk.frames).round().astype(int).tolist()
        pose, sure = trunk.pose(trunk(clips.config.example(record, chosen, transforms.Draw())))
        whole = transforms.centred_bbox(size)
        looks = min(length, trunk.frames)  # a still is looked at once
        found = [tracking.person_box(p, s, whole) for p, s in zip(pose[:looks], sure[:looks], strict=True)]
        sound = [box for box in found if box is not None]
        if 2 * len(sound) >= looks:
            boxes[n] = tracking.union(tracking.smooth(np.stack(sound), 1.0))
    with files.replacing(known) as temporary, open(temporary, "wb") as file:
        np.save(file, boxes)
    return boxes


def extract(trunk: Trunk, clips: Clips, folder: Path, copies: int, seed: int, progress: bool = True) -> "Features":
    """The trunk's features of every sequence: the centred clip first, its mirror image second, then augmented ones.

    Sequences that `folder` has already are not computed again.
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
                some = transforms.clip_frames(length, draw.subsampling, config.clip_frames, rng if copy > 1 else None)
                views.append(trunk(config.example(record, some, draw)))
                bar.update()
            with files.replacing(folder / f"{n}.npy") as temporary, open(temporary, "wb") as file:
                np.save(file, np.stack(views))
    labels = np.array([entry["action"] for entry in clips.entries("train")])
    return Features(folder, labels, copies, clips)


@dataclasses.dataclass(frozen=True)
class Features:
    """The trunk's features of N sequences, on the disk; in evaluation they take the place of `Clips`.

    Attributes:
      folder: of the files, one a sequence.
      labels: (N,) classes.
      copies: clips of each sequence.
      clips: where they are from; its `test` is what evaluation reads.
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
        """The centred clips of the fold's test sequences."""
        numbers = self.clips._numbers(split)
        for start in range(0, len(numbers), batch):
            some = numbers[start : start + batch]
            examples = [
                {"features": self.get(n), "action": np.int32(self.labels[n]), "sequence": np.int32(start + i)}
                for i, n in enumerate(some)
            ]
            yield pipeline.pad(pipeline.stack(examples), batch)

    def eval_length(self, view: str = "single", split: str = "test", batch: int = 8) -> int:
        return -(-len(self.clips._numbers(split)) // batch)

    def draw(self, numbers: Sequence[int], batch: int, rng: np.random.Generator) -> Batch:
        """A training batch out of these sequences; every class of them comes as often as the others."""
        labels = self.labels[[*numbers]]
        share = 1 / np.bincount(labels, minlength=len(self.actions))[labels]
        chosen = rng.choice(numbers, batch, p=share / share.sum())
        copies = rng.integers(self.copies, size=batch)
        features = np.stack([self.get(n, c) for n, c in zip(chosen, copies, strict=True)])
        return {"features": features, "action": self.labels[chosen].astype(np.int32)}  # type: ignore[return-value]
