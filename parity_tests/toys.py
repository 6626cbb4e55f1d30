"""Two network families that exist only in tests, with their data, losses and scorers.

`CLIPS` is an autoencoder of unlabelled clips; `SKELETONS` classifies the action of skeleton sequences without images.
Tests register them (`jaxhar.zoo.register`) and use them in every command. They show everything that a new family needs.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxhar import zoo
from jaxhar.core.batch import Batch, Preds
from jaxhar.core.family import LAYERS, Entry, Family, Kind, Rule
from jaxhar.core.pixels import Pixels
from jaxhar.core.prepared import View
from jaxhar.core.skeleton import Skeleton
from jaxhar.data import pipeline
from jaxhar.evaluation.action import Action
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.scorer import Context, Example, Predicted, float64
from jaxhar.evaluation.sections import Picture, Section
from jaxhar.training.experiment import Experiment, Train
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.optim import Optimizer

# ---------------------------------------------------------------------------------------------------------------------
# Data from a random number generator; nothing is stored.


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Random examples, seeded by their number; both the settings and the prepared data.

    Attributes:
      size: number of sequences of each split.
      batch: examples per training batch.
    """

    size: int = 4
    batch: int = 2

    title: ClassVar[str] = ""
    eval_split: ClassVar[str] = "test"
    skeleton: ClassVar[Skeleton | None] = None
    actions: ClassVar[tuple[str, ...]] = ()
    notes: ClassVar[tuple[str, ...]] = ()

    def example(self, split: str, number: int) -> pipeline.Example:
        """One sequence of a split."""
        raise NotImplementedError

    def prepare(self, workdir: Path) -> "Drawn":
        return self

    def changed(self, **fields: Any) -> "Drawn":
        return dataclasses.replace(self, **fields)

    @property
    def parts(self) -> Mapping[str, "Drawn"]:
        return {self.title: self}

    def train_stream(self, seed: int, process_index: int = 0, process_count: int = 1) -> "_Stream":
        return _Stream(self, seed, pipeline.share(self.batch, process_index, process_count))

    def views(self, split: str | None = None) -> Mapping[str, View]:
        return {"single": View("single", "each")}

    def eval_stream(
        self,
        split: str | None = None,
        view: str = "single",
        batch: int = 8,
        process_index: int = 0,
        process_count: int = 1,
    ) -> Iterator[Batch]:
        rounds = self.eval_length(view, split, batch, process_count)
        for start in range(process_index * batch, rounds * process_count * batch, process_count * batch):
            numbers = range(start, min(start + batch, self.size)) or range(1)
            examples = [self.example(split or self.eval_split, n) | {"sequence": np.int32(n)} for n in numbers]
            padded = pipeline.pad(pipeline.stack(examples), batch)
            yield padded if start < self.size else padded | {"mask": np.zeros(batch, bool)}

    def eval_length(
        self, view: str = "single", split: str | None = None, batch: int = 8, process_count: int = 1
    ) -> int:
        return pipeline.num_batches(self.size, batch, process_count)

    def entries(self, split: str | None = None) -> list[Any]:
        split = split or self.eval_split
        labels = [int(self.example(split, n).get("action", -1)) for n in range(self.size)]
        return [
            {"name": f"{split}{n}", "split": split, "length": 1, "action": label, "subject": -1, "view": -1}
            for n, label in enumerate(labels)
        ]

    def sequence_names(self, split: str | None = None) -> list[str]:
        return [entry["name"] for entry in self.entries(split)]

    def too_short(self, split: str | None = None) -> set[int]:
        return set()

    def records(self, split: str) -> Any:
        return [self.example(split, n) for n in range(self.size)]


class _Stream:
    """Endless random sequences of the training split."""

    def __init__(self, data: Drawn, seed: int, rows: range):
        self.data, self.seed, self.rows, self.position = data, seed, rows, 0

    def __iter__(self) -> "_Stream":
        return self

    def __next__(self) -> dict[str, Batch]:
        rng = np.random.default_rng((self.seed, self.position))
        self.position += 1
        numbers = rng.integers(self.data.size, size=self.data.batch)[self.rows.start : self.rows.stop].tolist()
        return {"clips": pipeline.stack([self.data.example("train", n) for n in numbers])}

    def get_state(self) -> dict[str, Any]:
        return {"position": self.position}

    def set_state(self, state: dict[str, Any]) -> None:
        self.position = state["position"]

    def close(self) -> None:
        pass


def _generator(split: str, number: int) -> np.random.Generator:
    return np.random.default_rng((split == "train", number))


# ---------------------------------------------------------------------------------------------------------------------
# An autoencoder of clips, without any label.

HEIGHT, WIDTH, FRAMES = 8, 12, 3


@dataclasses.dataclass(frozen=True)
class DrawnClips(Drawn):
    """Clips of a bright spot that moves over coloured noise."""

    title: ClassVar[str] = "clips"

    def example(self, split: str, number: int) -> pipeline.Example:
        rng = _generator(split, number)
        frames = rng.integers(0, 90, (1, HEIGHT, WIDTH, 3)).repeat(FRAMES, 0)
        row = int(rng.integers(HEIGHT - 2))
        for t in range(FRAMES):
            frames[t, row : row + 3, 3 * t : 3 * t + 3] = 230
        return {"frames": frames.astype(np.uint8), "mask": np.bool_(True)}


@dataclasses.dataclass(frozen=True)
class ClipConfig:
    """Settings of the autoencoder.

    Attributes:
      hidden: width of its bottleneck.
    """

    hidden: int = 24

    reads: ClassVar[tuple[str, ...]] = ("frames",)
    predicts: ClassVar[tuple[str, ...]] = ("patches",)
    pixels: ClassVar[Pixels] = Pixels.KINETICS
    frames_apart: ClassVar[bool] = False
    pose_shape: ClassVar[None] = None
    classes: ClassVar[tuple[int, ...]] = ()

    def inputs(self, batch: Any, frames: int | None = None) -> dict[str, jax.ShapeDtypeStruct]:
        return {"frames": jax.ShapeDtypeStruct((batch, frames or FRAMES, HEIGHT, WIDTH, 3), jnp.float32)}


class ClipNet(nnx.Module):
    """Clips through a bottleneck: a Linear layer down, a norm, one up."""

    def __init__(self, config: ClipConfig, *, dtype: Any = jnp.float32, rngs: nnx.Rngs):
        self.config = config
        pixels = FRAMES * HEIGHT * WIDTH * 3
        self.down = nnx.Linear(pixels, config.hidden, dtype=dtype, rngs=rngs)
        self.norm = nnx.BatchNorm(config.hidden, dtype=dtype, rngs=rngs)
        self.up = nnx.Linear(config.hidden, pixels, dtype=dtype, rngs=rngs)

    def __call__(self, batch: Batch) -> Preds:
        """patches (1, B, T, H, W, 3): the frames in the network's own pixel statistics."""
        frames = self.config.pixels(batch)
        x = nnx.relu(self.norm(self.down(frames.reshape(frames.shape[0], -1))))
        return {"patches": self.up(x).reshape(1, *frames.shape).astype(jnp.float32)}


@dataclasses.dataclass(frozen=True)
class Reconstruction:
    """Mean squared error of the reconstructed frames."""

    def __call__(self, preds: Preds, batch: Batch) -> dict[str, jax.Array]:
        if "patches" not in preds or "frames" not in batch:
            return {}
        error = (preds["patches"] - ClipConfig.pixels(batch)) ** 2
        return {"reconstruction": error.mean((0, 2, 3, 4, 5))}

    def floor(self, batch: Batch) -> dict[str, jax.Array]:
        return {"reconstruction": jnp.zeros(len(batch["frames"]))}

    def fit(self, preds: Preds, batch: Batch) -> tuple[float, float]:
        return float(self(preds, batch)["reconstruction"].mean()), 0.02


@dataclasses.dataclass(frozen=True)
class ReconstructionScorer:
    """Mean absolute error of the frames, and a reconstructed frame as an image."""

    reads: ClassVar[tuple[str, ...]] = ("patches",)

    def begin(self, context: Context) -> "_ReconstructionSums | None":
        return _ReconstructionSums(context)

    def truth(self, batch: Batch, context: Context) -> Preds:
        return {"patches": np.asarray(ClipConfig.pixels(batch))[None]}


class _ReconstructionSums:
    def __init__(self, context: Context):
        self.context = context
        self.errors: list[float] = []
        self.pictures: list[Picture] = []

    def add(self, example: Example, preds: Predicted) -> None:
        if "patches" not in preds:
            return
        true = float64(ClipConfig.pixels({"frames": np.asarray(example["frames"])}))
        found = float64(preds["patches"])[-1]
        self.errors.append(float(np.abs(found - true).mean()))
        if not self.pictures:
            image = ClipConfig.pixels.picture(found[len(found) // 2])
            self.pictures.append(Picture("reconstruction", image=image, name=self.context.name(example)))

    def sections(self) -> list[Section]:
        if not self.errors:
            return []
        key = f"reconstruction{self.context.suffix}"
        return [
            Section(
                "Reconstruction",
                scalars={key: float(np.mean(self.errors))},
                units={key: "σ"},
                pictures=tuple(self.pictures),
                json={"errors": self.errors},
                if_true={key: (0.0, 1e-6)},
                if_learned={key: (0.0, 0.2)},
            )
        ]


CLIPS = Family(
    name="toy-clips",
    config=ClipConfig,
    build=ClipNet,
    entries={"toy-clips": Entry(ClipConfig(), published="none: a test")},
    tiny={"hidden": 16},
)


def clips() -> Experiment:
    """The autoencoder on its clips."""
    return Experiment(
        name="toy-clips",
        model=ClipConfig(),
        data=DrawnClips(),
        losses=Reconstruction(),
        optimizer=Optimizer(optax.adam, learning_rate=3e-3),
        train=Train(steps=6, log_every=2, checkpoint_every=2, eval_every=3, best="", devices=1),
        evals={"": Eval(views=("single",), scorers=(ReconstructionScorer(),))},
    )


# ---------------------------------------------------------------------------------------------------------------------
# A classifier of skeleton sequences, without images.

TIME, PERSONS, JOINTS, COORDINATES = 4, 2, 5, 3
NAMES = ("rise", "sink", "rest")


@dataclasses.dataclass(frozen=True)
class DrawnSkeletons(Drawn):
    """Skeletons that rise, sink or rest."""

    size: int = 6

    title: ClassVar[str] = "skeletons"
    actions: ClassVar[tuple[str, ...]] = NAMES

    def example(self, split: str, number: int) -> pipeline.Example:
        rng, action = _generator(split, number), number % len(NAMES)
        points = rng.uniform(0.3, 0.7, (1, PERSONS, JOINTS, COORDINATES)).repeat(TIME, 0)
        points[..., 1] += 0.1 * (0, -1, 1)[action - 1] * np.arange(TIME)[:, None, None]
        score = np.ones((TIME, PERSONS, JOINTS))
        points[:, 1], score[:, 1] = (0, 0) if number % 2 else (points[:, 1], 1)  # every other example has one person
        return {
            "points": points.astype(np.float32),
            "score": score.astype(np.float32),
            "action": np.int32(action),
            "mask": np.bool_(True),
        }


@dataclasses.dataclass(frozen=True)
class SkeletonConfig:
    """Settings of the classifier.

    Attributes:
      labels: number of classes. width: channels, a multiple of 8. heads: of the attention.
    """

    labels: int = 3
    width: int = 16
    heads: int = 2

    reads: ClassVar[tuple[str, ...]] = ("points", "score")
    predicts: ClassVar[tuple[str, ...]] = ("action",)
    pixels: ClassVar[None] = None
    frames_apart: ClassVar[bool] = False
    pose_shape: ClassVar[None] = None

    @property
    def classes(self) -> tuple[int, ...]:
        return (self.labels,)

    def inputs(self, batch: Any, frames: int | None = None) -> dict[str, jax.ShapeDtypeStruct]:
        shape = (batch, frames or TIME, PERSONS, JOINTS)
        return {
            "points": jax.ShapeDtypeStruct((*shape, COORDINATES), jnp.float32),
            "score": jax.ShapeDtypeStruct(shape, jnp.float32),
        }


class Attention(nnx.Module):
    """Self-attention over time with one layer for queries, keys and values."""

    def __init__(self, width: int, heads: int, *, dtype: Any, rngs: nnx.Rngs):
        self.qkv = nnx.LinearGeneral(width, (3, heads, width // heads), dtype=dtype, rngs=rngs)
        self.out = nnx.Linear(width, width, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, T, C) -> (B, T, C)."""
        query, key, value = jnp.moveaxis(self.qkv(x), 2, 0)  # (B, T, heads, width) each
        return self.out(jax.nn.dot_product_attention(query, key, value).reshape(x.shape))


class SkeletonNet(nnx.Module):
    """One token per frame, attention over time, then a convolution over time and a small image of the channels."""

    def __init__(self, config: SkeletonConfig, *, dtype: Any = jnp.float32, rngs: nnx.Rngs):
        self.config = config
        kw: dict[str, Any] = {"dtype": dtype, "rngs": rngs}
        self.embed = nnx.Linear(PERSONS * JOINTS * (COORDINATES + 1), config.width, **kw)
        self.square = nnx.Linear(config.width, config.width, **kw)
        self.attention = Attention(config.width, config.heads, **kw)
        self.volume = nnx.Conv(config.width // 4, 8, (3, 3, 3), padding="SAME", **kw)
        self.norm = nnx.BatchNorm(8, **kw)
        self.classify = nnx.Linear(8 * 4, config.labels, **kw)

    def __call__(self, batch: Batch) -> Preds:
        """Logits (1, B, A) under "action"."""
        points, score = batch["points"], batch["score"]
        x = jnp.concatenate([points * score[..., None], score[..., None]], -1)
        x = self.embed(x.reshape(*x.shape[:2], -1))
        x = x + self.square(nnx.relu(x))
        x = x + self.attention(x)
        x = nnx.relu(self.norm(self.volume(x.reshape(*x.shape[:2], 2, 2, -1))))  # (B, T, 2, 2, 8)
        x = self.classify(x.max(1).reshape(x.shape[0], -1))
        return {"action": x[None].astype(jnp.float32)}


SKELETONS = Family(
    name="toy-skeletons",
    config=SkeletonConfig,
    build=SkeletonNet,
    entries={"toy-skeletons": Entry(SkeletonConfig(), actions=NAMES, published="none: a test")},
    tiny={"width": 8},
    table=lambda config: (
        Rule(r"(.*\.)qkv\.kernel", r"\1qkv.weight", Kind.QKV),
        Rule(r"(.*\.)qkv\.bias", r"\1qkv.bias", Kind.QKV),
        *LAYERS,
    ),
)


def skeletons() -> Experiment:
    """The classifier on its sequences."""
    return Experiment(
        name="toy-skeletons",
        model=SkeletonConfig(),
        data=DrawnSkeletons(),
        losses=Multitask(),
        optimizer=Optimizer(optax.adam, learning_rate=1e-2),
        train=Train(steps=6, log_every=2, checkpoint_every=2, eval_every=3, best="accuracy/single", devices=1),
        evals={"": Eval(views=("single",), scorers=(Action(),))},
    )


def register() -> None:
    """Registers both families."""
    for family in (CLIPS, SKELETONS):
        if not set(family.entries) <= set(zoo.names()):
            zoo.register(family)
