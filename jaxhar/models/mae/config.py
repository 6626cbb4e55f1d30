"""Settings of masked autoencoders and of the classifiers that are trained from them."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxhar.core import masks
from jaxhar.core.network import check_numbers
from jaxhar.core.patches import Patching
from jaxhar.core.pixels import Pixels
from jaxhar.nn.vit import Grid, Positions

#: Width, depth and heads of the published sizes, and the side of their patches.
SIZES = {"b": (768, 12, 12, 16), "l": (1024, 24, 16, 16), "h": (1280, 32, 16, 14)}
#: Number of equally probable shares of removed tokens, where they are drawn.
_LEVELS = 1000


class Masking(StrEnum):
    """How the tokens that the network does not see are chosen."""

    #: At random.
    RANDOM = "random"
    #: At random, the same patches in all frames.
    TUBE = "tube"
    #: Preferably inside of person boxes, e^(1 / temperature) times as likely as outside.
    DIRECTED_V1 = "directed_v1"
    #: The same, e^temperature times as likely; 0 is at random, and negative ones keep the persons.
    DIRECTED_V2 = "directed_v2"


class MaskSchedule(StrEnum):
    """How the share of removed tokens changes in the training."""

    #: Not at all.
    CONSTANT = "constant"
    #: To `mask_ratio_end` by half a cosine.
    COSINE = "cosine"
    #: Drawn anew in every step, between `mask_ratio` and `mask_ratio_end`.
    RANDOM = "random"


class Pool(StrEnum):
    """How a classifier sums up the tokens of a clip."""

    #: Their mean.
    MEAN = "mean"
    #: The class token alone.
    CLASS = "class"
    #: The sum of those that are covered by person boxes, over the number of all.
    COVERED = "covered"
    #: The mean of those that are covered by person boxes, 0 if none is.
    COVERED_MEAN = "covered_mean"


@dataclass(frozen=True)
class ViTConfig:
    """What vision transformers of this family have in common.

    Attributes:
      image_size: rows and columns of the frames.
      num_frames: T. t_patch: frames of a token. patch: rows and columns of a token.
      width: C. depth: number of blocks. heads: of their attention.
      positions: their form.
      cls_token: whether there is a class token.
      qkv_bias: whether queries, keys and values have biases.
      pixels: normalisation of the frames.
    """

    image: ClassVar[bool] = False
    frames_apart: ClassVar[bool] = False
    pose_shape: ClassVar[None] = None

    image_size: int = 224
    num_frames: int = 16
    patch: int = 16
    t_patch: int = 2
    width: int = 768
    depth: int = 12
    heads: int = 12
    positions: Positions = Positions.SEPARATE
    cls_token: bool = True
    qkv_bias: bool = True
    pixels: Pixels = Pixels.KINETICS

    def __post_init__(self) -> None:
        check_numbers(self, "image_size", "num_frames", "patch", "t_patch", "width", "depth", "heads")
        object.__setattr__(self, "positions", Positions(self.positions))
        object.__setattr__(self, "pixels", Pixels(self.pixels))
        for name, whole, part in (("image_size", self.image_size, "patch"), ("num_frames", self.num_frames, "t_patch")):
            if whole % vars(self)[part]:
                raise ValueError(f"{name} must be a multiple of {part} ({vars(self)[part]}), not {whole}")
        _divisible("width", self.width, self.heads, self.positions)

    @classmethod
    def of_size(cls, size: str, **fields: object) -> Self:
        """The settings of ViT-B, L or H."""
        width, depth, heads, patch = SIZES[size]
        config = cls(**fields)  # type: ignore[arg-type]
        return replace(config, width=width, depth=depth, heads=heads, patch=patch)

    @property
    def grid(self) -> Grid:
        """Steps of time, rows and columns of the tokens; of an image rows and columns."""
        side = self.image_size // self.patch
        return (side, side) if self.image else (self.num_frames // self.t_patch, side, side)

    @property
    def tokens(self) -> int:
        """N, without the class token."""
        return (self.num_frames // self.t_patch) * (self.image_size // self.patch) ** 2

    @property
    def reads(self) -> tuple[str, ...]:
        """Keys of the batch that the network requires."""
        return ("frames",)

    def inputs(self, batch: object, frames: int | None = None) -> dict[str, jax.ShapeDtypeStruct]:
        """Frames (B, T, H, W, 3), and cover (B, T, H, W) if it is read; T is `num_frames`, not another length."""
        size = (batch, self.num_frames, self.image_size, self.image_size)
        shapes = {"frames": (*size, 3), "cover": size}
        return {key: jax.ShapeDtypeStruct(shapes[key], jnp.float32) for key in self.reads}

    def check(self, frames: jax.Array) -> None:
        """ValueError if a clip has other sizes than the positions of the network."""
        wanted = (self.num_frames, self.image_size, self.image_size, 3)
        if frames.shape[1:] != wanted:
            raise ValueError(f"the network reads clips (B, T, H, W, C) = (B, {str(wanted)[1:]}, not {frames.shape}")


@dataclass(frozen=True)
class MaeConfig(ViTConfig):
    """Settings of a video masked autoencoder (MAE-ST, Feichtenhofer et al., NeurIPS'22; directed: dmae_st).

    Attributes:
      decoder_width, decoder_depth, decoder_heads: of the decoder.
      pred_frames: how many of the frames are reconstructed.
      norm_pixels: whether every patch is reconstructed relative to its own mean and deviation.
      mask_ratio: share of the tokens that are removed.
      masking: how they are chosen. The directed ones read the cover of person boxes.
      temperature: of directed masks; with `temperature_steps`, it moves to `temperature_end` in as many training
        steps, by half a cosine, and stays there.
      flip_mask: whether directed masks prefer to remove what lies outside of boxes.
      per_step: whether directed masks weigh the patches of each step of time apart, as the original.
      mask_schedule: how the share of removed tokens changes; `mask_steps` is the length of its cosine in training
        steps. The encoder then computes as many tokens as are ever kept, and attends to those of the step.
    """

    predicts: ClassVar[tuple[str, ...]] = ("patches", "removed")
    classes: ClassVar[tuple[int, ...]] = ()

    decoder_width: int = 512
    decoder_depth: int = 4
    decoder_heads: int = 16
    pred_frames: int = 8
    norm_pixels: bool = True
    mask_ratio: float = 0.9
    masking: Masking = Masking.RANDOM
    temperature: float = 1.0
    temperature_end: float = 1.0
    temperature_steps: int = 0
    flip_mask: bool = False
    per_step: bool = True
    mask_schedule: MaskSchedule = MaskSchedule.CONSTANT
    mask_ratio_end: float = 0.9
    mask_steps: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        finite = (-1e12, 1e12)
        check_numbers(self, "decoder_width", "decoder_depth", "decoder_heads", mask_ratio=(0, 1), mask_ratio_end=(0, 1))
        check_numbers(self, temperature=finite, temperature_end=finite)
        object.__setattr__(self, "masking", Masking(self.masking))
        object.__setattr__(self, "mask_schedule", MaskSchedule(self.mask_schedule))
        _divisible("decoder_width", self.decoder_width, self.decoder_heads, self.positions)
        if not 0 < self.pred_frames <= self.num_frames or self.t_patch * self.pred_frames % self.num_frames:
            # One to t_patch frames for each token, which num_frames is a multiple of.
            fitting = [n * self.num_frames // self.t_patch for n in range(1, self.t_patch + 1)]
            raise ValueError(
                f"pred_frames must be {' or '.join(map(str, fitting))} with num_frames {self.num_frames} and t_patch "
                f"{self.t_patch}, not {self.pred_frames}: set it, too"
            )
        for name, ratio in self._ratios.items():
            if not 0 < self.count(ratio) < self.tokens:
                some = "none" if self.count(ratio) < 1 else "all"
                raise ValueError(
                    f"{name} {ratio} keeps {some} of the {self.tokens} tokens of a clip; it must leave some to see and "
                    "some to reconstruct"
                )
        if self.mask_schedule is MaskSchedule.COSINE and self.mask_steps < 1:
            raise ValueError("mask_schedule is cosine, which needs mask_steps, its length in training steps")
        if self.temperature_steps < 0:
            raise ValueError(f"temperature_steps must be 0 or more, not {self.temperature_steps}")
        if (
            self.masking is Masking.DIRECTED_V1
            and self.temperature_steps
            and self.temperature * self.temperature_end < 0
        ):
            raise ValueError("temperature must not pass 0 for masks directed_v1: give it and its end one sign")
        if self.masking is Masking.DIRECTED_V1 and 0 in (self.temperature, self.temperature_end):
            raise ValueError("temperature must not be 0 for masks directed_v1, which divide by it")

    @property
    def directed(self) -> bool:
        """Whether masks depend on person boxes."""
        return self.masking in (Masking.DIRECTED_V1, Masking.DIRECTED_V2)

    @property
    def reads(self) -> tuple[str, ...]:
        """Frames, and their cover for directed masks."""
        return ("frames", "cover") if self.directed else ("frames",)

    @property
    def _ratios(self) -> dict[str, float]:
        """The shares of removed tokens at the ends of their schedule."""
        ends = {"mask_ratio": self.mask_ratio}
        return ends if self.mask_schedule is MaskSchedule.CONSTANT else {**ends, "mask_ratio_end": self.mask_ratio_end}

    def count(self, ratio: float) -> int:
        """Number of tokens that are kept at a share of removed ones."""
        if self.masking is Masking.TUBE:
            return masks.tube_count(self.tokens, self.num_frames // self.t_patch, ratio)
        return masks.count(self.tokens, ratio)

    @property
    def kept(self) -> int:
        """Number of tokens that the encoder computes, the most that a step keeps."""
        return max(self.count(ratio) for ratio in self._ratios.values())

    @property
    def moves(self) -> bool:
        """Whether masks change over the steps of the training, so that they depend on `step` in evaluation too."""
        return self.mask_schedule is MaskSchedule.COSINE or self.directed and self.temperature_steps > 0

    def temperature_at(self, step: jax.Array | int | None) -> jax.Array:
        """The temperature of directed masks at a step of the training; at its end where the step is None."""
        if not self.temperature_steps:
            return jnp.asarray(self.temperature)
        now = self.temperature_steps if step is None else jnp.minimum(step, self.temperature_steps)
        return masks.cosine_between(now, self.temperature, self.temperature_end, self.temperature_steps)

    def kept_at(self, step: jax.Array | int | None, key: jax.Array | None = None) -> jax.Array | int:
        """Number of tokens that are kept at a step of the training; at its end where the step is None.

        Args:
          key: of the run, for shares that are drawn in every step; without it, `mask_ratio` is kept.
        """
        first, last = self.mask_ratio, self.mask_ratio_end
        if self.mask_schedule is MaskSchedule.CONSTANT:
            return self.count(first)
        if self.mask_schedule is MaskSchedule.RANDOM:
            if key is None or step is None:
                return self.count(first)
            counts = np.array([self.count(ratio) for ratio in np.linspace(first, last, _LEVELS)])
            return jnp.asarray(counts)[jax.random.randint(jax.random.fold_in(key, step), (), 0, _LEVELS)]
        if step is None:
            return self.count(last)
        counts = np.array([self.count(ratio) for ratio in masks.cosine_table(first, last, self.mask_steps)])
        changes = np.flatnonzero(np.diff(counts)) + 1
        return jnp.asarray(counts[[0, *changes]])[jnp.searchsorted(jnp.asarray(changes), step, side="right")]

    @property
    def patching(self) -> Patching:
        """What is reconstructed."""
        return Patching(
            self.patch, self.t_patch, self.num_frames, self.pred_frames, self.norm_pixels, Pixels(self.pixels)
        )


@dataclass(frozen=True)
class ImageMaeConfig(MaeConfig):
    """Settings of an image masked autoencoder (He et al., CVPR'22): clips of one frame.

    Its decoder gets the encoder's class token.
    """

    image: ClassVar[bool] = True

    num_frames: int = 1
    t_patch: int = 1
    pred_frames: int = 1
    positions: Positions = Positions.SINCOS
    decoder_depth: int = 8
    mask_ratio: float = 0.75
    pixels: Pixels = Pixels.IMAGENET

    def __post_init__(self) -> None:
        _one_frame(self)
        super().__post_init__()


@dataclass(frozen=True)
class VideoClassifierConfig(ViTConfig):
    """Settings of a classifier of clips, to be trained from a masked autoencoder.

    Attributes:
      num_actions: number of classes.
      pool: how the tokens are summed up; those by boxes read the cover.
      drop_first: whether pooling leaves out the first patch of a network without class token, as the original does by
        mistake.
      head_norm: whether a batch normalisation stands before the last layer, as for linear probes.
      dropout: before the last layer. path_dropout: of whole blocks, growing from 0 in the first to this in the last.
    """

    predicts: ClassVar[tuple[str, ...]] = ("action",)

    num_actions: int = 400
    pool: Pool = Pool.MEAN
    drop_first: bool = False
    head_norm: bool = False
    dropout: float = 0.3
    path_dropout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, "num_actions", dropout=(0, 1), path_dropout=(0, 1))
        object.__setattr__(self, "pool", Pool(self.pool))
        if self.pool is Pool.CLASS and not self.cls_token:
            raise ValueError("pool is class, which needs a class token: set cls_token, or pool to mean")

    @property
    def reads(self) -> tuple[str, ...]:
        """Frames, and their cover if they are pooled by it."""
        return ("frames",) if self.pool in (Pool.MEAN, Pool.CLASS) else ("frames", "cover")

    @property
    def own_norm(self) -> bool:
        """Whether what is pooled has a norm of its own in place of the encoder's: in pictures, but for class tokens."""
        return self.image and self.pool is not Pool.CLASS

    @property
    def classes(self) -> tuple[int, ...]:
        """Number of classes."""
        return (self.num_actions,)


@dataclass(frozen=True)
class ImageClassifierConfig(VideoClassifierConfig):
    """Settings of a classifier of pictures, to be trained from an image masked autoencoder (He et al., CVPR'22).

    Its positions are learned, and begin as those of the masked autoencoder.
    """

    image: ClassVar[bool] = True

    num_frames: int = 1
    t_patch: int = 1
    positions: Positions = Positions.JOINT
    pixels: Pixels = Pixels.IMAGENET
    num_actions: int = 1000
    dropout: float = 0.0

    def __post_init__(self) -> None:
        _one_frame(self)
        super().__post_init__()


def _one_frame(config: ViTConfig) -> None:
    if (config.num_frames, config.t_patch) != (1, 1) or config.positions == Positions.SEPARATE:
        raise ValueError("an image has one frame, and no positions apart for space and time")


def _divisible(name: str, width: int, heads: int, positions: Positions) -> None:
    if width % heads or positions is Positions.SINCOS and width % 16:
        also = " and of 16 for sines and cosines" if positions is Positions.SINCOS else ""
        raise ValueError(f"{name} must be a multiple of its heads ({heads}){also}, not {width}")
