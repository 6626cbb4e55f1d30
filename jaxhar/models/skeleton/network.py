"""Transformer over the joints of a clip of skeletons: one token per frame, body and joint, and one for the class.

The network of dmae_st's "tsfmr" on NTU RGB+D. Its originals meant the positions of `Positions.SINUSOID` and `HYBRID`,
but overwrote them by random values that are not trained, `FROZEN_RANDOM`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxhar.core.batch import Batch, Preds
from jaxhar.core.network import check_numbers
from jaxhar.models.skeleton.positions import table
from jaxhar.nn.layers import drawn
from jaxhar.nn.linear import Linear
from jaxhar.nn.transformer import Activation, Block, Fixed, Form, layer_norm

Array = jax.Array


class Positions(StrEnum):
    """The table that is added to the tokens."""

    #: Learned.
    LEARNED = "learned"
    #: Sinusoids of the frame (half of the channels), the body and the joint (a quarter each).
    SINUSOID = "sinusoid"
    #: Learned in three quarters of the channels, a sinusoid of the frame in the others.
    HYBRID = "hybrid"
    #: Random and not trained.
    FROZEN_RANDOM = "frozen_random"


@dataclass(frozen=True)
class SkeletonTransformerConfig:
    """Settings of a transformer over skeletons.

    Attributes:
      num_frames, num_persons, num_joints: largest T and M, and J, of the positions.
      width: C, a multiple of `heads` and of 4. depth: number of blocks.
      mlp_ratio: width of the inner layer of a block's perceptron over C.
      act: its activation; minGPT has gelu_tanh.
      num_actions: number of classes.
      positions, block: their forms.
      dropout: of the tokens and after the layers. attention_dropout: of the attention weights. path_dropout: of whole
        blocks, growing from 0 in the first block to this in the last.
    """

    reads: ClassVar[tuple[str, ...]] = ("points",)
    predicts: ClassVar[tuple[str, ...]] = ("action",)
    pixels: ClassVar[None] = None
    frames_apart: ClassVar[bool] = False
    pose_shape: ClassVar[None] = None

    num_frames: int = 32
    num_persons: int = 2
    num_joints: int = 25
    width: int = 128
    depth: int = 6
    heads: int = 8
    mlp_ratio: float = 4
    act: Activation = Activation.GELU
    num_actions: int = 60
    positions: Positions = Positions.LEARNED
    block: Form = Form.TIMM
    dropout: float = 0.1
    attention_dropout: float = 0.0
    path_dropout: float = 0.0

    def __post_init__(self) -> None:
        sizes = ("num_frames", "num_persons", "num_joints", "width", "depth", "heads", "num_actions")
        shares = dict.fromkeys(("dropout", "attention_dropout", "path_dropout"), (0, 1))
        check_numbers(self, *sizes, mlp_ratio=(0.25, 1000), **shares)
        object.__setattr__(self, "act", Activation(self.act))
        object.__setattr__(self, "positions", Positions(self.positions))
        object.__setattr__(self, "block", Form(self.block))
        if self.width % self.heads or self.width % 4:
            raise ValueError(f"width must be a multiple of heads ({self.heads}) and of 4, not {self.width}")

    @classmethod
    def reference(cls, positions: Positions = Positions.LEARNED) -> "SkeletonTransformerConfig":
        """The original's settings; its structured positions are `FROZEN_RANDOM` in truth."""
        return cls(
            num_persons=3, width=16, depth=4, heads=4, act=Activation.RELU, dropout=0.0, positions=Positions(positions)
        )

    @property
    def classes(self) -> tuple[int, ...]:
        """Number of classes."""
        return (self.num_actions,)

    @property
    def sinusoids(self) -> np.ndarray:
        """The part of the positions that is given: (1, 1 + T M J, channels), the last ones of the table."""
        widths = {Positions.SINUSOID: (self.width // 2, self.width // 4, self.width // 4)}
        hybrid = (self.width // 4, 0, 0)
        return table(self.num_frames, self.num_persons, self.num_joints, widths.get(self.positions, hybrid))

    def inputs(self, batch: object, frames: int | None = None) -> dict[str, jax.ShapeDtypeStruct]:
        """Points (B, T, M, J, 3)."""
        shape = (batch, frames or self.num_frames, self.num_persons, self.num_joints, 3)
        return {"points": jax.ShapeDtypeStruct(shape, jnp.float32)}


class SkeletonTransformer(nnx.Module):
    """The network. Built by `zoo.create`.

    Attributes:
      config: its settings.
    """

    def __init__(self, config: SkeletonTransformerConfig, *, dtype=jnp.float32, rngs: nnx.Rngs):
        self.config = config
        width = config.width
        self.embed = Linear(3, width, dtype=dtype, rngs=rngs)
        self.cls_token = nnx.Param(_normal(rngs, (1, 1, width)))
        shape = (1, 1 + config.num_frames * config.num_persons * config.num_joints, width)
        self.positions: nnx.Variable
        if config.positions is Positions.SINUSOID:
            self.positions = Fixed(jnp.asarray(config.sinusoids))
        elif config.positions is Positions.FROZEN_RANDOM:
            self.positions = Fixed(_normal(rngs, shape))
        else:
            learned = 3 * (width // 4) if config.positions is Positions.HYBRID else width
            self.positions = nnx.Param(_normal(rngs, (*shape[:2], learned)))
        self.dropout = nnx.Dropout(config.dropout, rngs=rngs)
        self.blocks = nnx.List(
            Block(
                width,
                config.heads,
                config.mlp_ratio,
                config.act,
                config.dropout,
                config.attention_dropout,
                config.path_dropout * number / max(config.depth - 1, 1),
                config.block,
                config.depth,
                dtype=dtype,
                rngs=rngs,
            )
            for number in range(config.depth)
        )
        self.norm = layer_norm(width, config.block, rngs=rngs)
        self.head = Linear(width, config.num_actions, dtype=dtype, rngs=rngs)

    def _positions(self, frames: int, persons: int) -> tuple[Array, Array]:
        """Of the class token (1, 1, C), and of the joints of a clip (1, T M J, C)."""
        config, table = self.config, self.positions[...]
        if frames > config.num_frames or persons > config.num_persons:
            raise ValueError(
                f"the network has positions for {config.num_frames} frames and {config.num_persons} persons, not for "
                f"{frames} and {persons}: choose frames and persons, or set num_frames and num_persons"
            )
        if config.positions is Positions.HYBRID:
            table = jnp.concatenate([table, jnp.asarray(config.sinusoids, table.dtype)], -1)
        grid = table[0, 1:].reshape(config.num_frames, config.num_persons, config.num_joints, -1)
        return table[:, :1], grid[:frames, :persons].reshape(1, -1, config.width)

    def _tokens(self, batch: Batch) -> tuple[Array, Array]:
        """The class token and one for each joint (B, N, C), and which of them are missing (B, N)."""
        points = jnp.asarray(batch["points"])
        size, frames, persons, joints, _ = points.shape
        tokens = points.reshape(size, frames * persons * joints, 3)
        of_class, of_joints = self._positions(frames, persons)
        x = self.embed(tokens) + of_joints.astype(points.dtype)
        first = (self.cls_token[...] + of_class).astype(x.dtype)
        x = jnp.concatenate([jnp.broadcast_to(first, (size, 1, x.shape[-1])), x], axis=1)
        missing = jnp.pad((tokens == 0).all(-1), [(0, 0), (1, 0)])  # never the class token
        return self.dropout(x), missing

    def shows(self, batch: Batch) -> dict[str, Array]:
        """Attention of the class token to each joint in the last block, averaged over the heads."""
        x, missing = self._tokens(batch)
        *before, last = self.blocks
        for block in before:
            x = block(x, missing)
        heads = last.attn.qkv(last.norm1(x)).reshape(*x.shape[:2], 3, self.config.heads, -1)
        query, key = heads[:, 0, 0], heads[:, :, 1]
        scores = jnp.einsum("bhd,bkhd->bhk", query, key) * query.shape[-1] ** -0.5
        weights = jax.nn.softmax(jnp.where(missing[:, None], -jnp.inf, scores)).mean(1)
        return {"attention": weights[:, 1:].reshape(batch["points"].shape[:-1])}

    def __call__(self, batch: Batch) -> Preds:
        """Scores of the classes.

        Args:
          batch: with points (B, T, M, J, 3); a joint at exactly (0, 0, 0) is missing, and nothing attends to it.

        Returns:
          action (1, B, A).
        """
        x, missing = self._tokens(batch)
        for block in self.blocks:
            x = block(x, missing)
        x = self.head(self.norm(x[:, 0]))
        return {"action": x.astype(jnp.promote_types(x.dtype, jnp.float32))[None]}


def _normal(rngs: nnx.Rngs, shape: tuple[int, ...]) -> Array:
    return drawn(rngs.params(), shape, lambda rng, shape: rng.normal(0, 0.02, shape))
