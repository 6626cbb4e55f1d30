"""Vision transformer: patches of clips or images as tokens, with their positions (Dosovitskiy et al., ICLR'21)."""

import math
from enum import StrEnum

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxhar.nn.layers import drawn, product
from jaxhar.nn.linear import normal, xavier
from jaxhar.nn.platform import result_dtype
from jaxhar.nn.recompute import Blocks
from jaxhar.nn.transformer import Block, Fixed, Form, layer_norm

Array = jax.Array
#: Steps of time, rows and columns of patches; of an image rows and columns.
Grid = tuple[int, ...]


class Positions(StrEnum):
    """The positions that are added to the tokens."""

    #: A learned table for the places in a frame, and one for the steps of time.
    SEPARATE = "separate"
    #: One learned table.
    JOINT = "joint"
    #: A fixed table of sines and cosines.
    SINCOS = "sincos"


def sincos(width: int, grid: Grid, class_token: bool) -> np.ndarray:
    """(1, N, width) float32: of time a quarter of the channels, none for images, then of column and row.

    Each has its sines, then its cosines, of position / 10000^(i / n). The row of a class token comes first and is 0.
    """
    *step, row, column = np.indices(grid).reshape(len(grid), -1)
    of_time = width // 4 if step else 0
    of_place = (width - of_time) // 2
    parts = [_waves(step[0], of_time)] if step else []
    parts += [_waves(column, of_place), _waves(row, of_place)]
    table = np.concatenate(parts, axis=1, dtype=np.float32)
    return np.concatenate([np.zeros((int(class_token), width), np.float32), table])[None]


def _waves(position: np.ndarray, width: int) -> np.ndarray:
    half = width // 2
    angle = position[:, None] / 10000 ** (np.arange(half) / half)
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


class PatchEmbed(nnx.Module):
    """Patches (B, N, P) -> tokens (B, N, C): a convolution whose kernel is as large as its stride.

    Args:
      patch: sizes of a patch: frames, rows and columns, or rows and columns of an image.
    """

    def __init__(self, patch: tuple[int, ...], width: int, *, dtype, rngs: nnx.Rngs):
        draw = xavier(3 * math.prod(patch), width)
        self.kernel = nnx.Param(drawn(rngs.params(), (*patch, 3, width), draw))
        self.bias = nnx.Param(jnp.zeros(width))
        self.dtype = dtype

    def __call__(self, patches: Array) -> Array:
        dtype = result_dtype(self.dtype)
        kernel = self.kernel[...].reshape(-1, self.kernel.shape[-1])
        return product(patches.astype(self.dtype), kernel.astype(self.dtype), dtype) + self.bias[...].astype(dtype)


class Tower(Blocks):
    """Positions, a class token, blocks and a norm that is not applied: tokens (B, N, C) -> (B, 1 + N, C).

    Args:
      grid: of all tokens of a clip.
      class_token: whether there is a class token, which comes first. own_class: whether it is of this module, and not
        given.
      path_dropout: of the last block; it grows from 0 in the first.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        grid: Grid,
        positions: Positions,
        class_token: bool = True,
        own_class: bool = True,
        qkv_bias: bool = True,
        path_dropout: float = 0.0,
        *,
        dtype,
        rngs: nnx.Rngs,
    ):
        def learned(tokens: int) -> nnx.Param:
            return nnx.Param(drawn(rngs.params(), (1, tokens, width), normal(0.02)))

        steps, places = grid[0] if len(grid) == 3 else 1, grid[-2] * grid[-1]
        self.class_token, self.separate = class_token, positions is Positions.SEPARATE
        self.cls_token = learned(1) if class_token and own_class else None
        self.pos_embed: nnx.Variable
        if self.separate:
            self.pos_embed_spatial, self.pos_embed_temporal = learned(places), learned(steps)
            self.pos_embed_class = learned(1) if class_token else None
        elif positions is Positions.JOINT:
            self.pos_embed = learned(class_token + steps * places)
        else:
            self.pos_embed = Fixed(jnp.asarray(sincos(width, grid, class_token)))
        self.blocks = nnx.List(
            Block(
                width,
                heads,
                path_drop=path_dropout * number / max(depth - 1, 1),
                form=Form.MAE,
                qkv_bias=qkv_bias,
                dtype=dtype,
                rngs=rngs,
            )
            for number in range(depth)
        )
        self.norm = layer_norm(width, Form.MAE, rngs=rngs)

    def positions(self) -> tuple[Array, Array]:
        """Of all tokens (N, C), and of the class token, 0 without one."""
        if self.separate:
            space, time = self.pos_embed_spatial[...][0], self.pos_embed_temporal[...][0]
            table = (time[:, None] + space).reshape(-1, space.shape[-1])
            return table, jnp.zeros(()) if self.pos_embed_class is None else self.pos_embed_class[...]
        table = self.pos_embed[...]
        return table[0, int(self.class_token) :], table[:, :1]

    def __call__(
        self, x: Array, places: Array | None = None, first: Array | None = None, padding: Array | None = None
    ) -> Array:
        """The tokens after the blocks.

        Args:
          x: (B, N, C). places: (B, N), their numbers if they are some of the clip's tokens.
          first: (B, 1, C), a class token in place of this module's.
          padding: (B, N) bool, tokens that no token attends to.
        """
        x = self._begun(x, places, first)
        if padding is not None and self.class_token:
            padding = jnp.pad(padding, [(0, 0), (1, 0)])
        for block in self.blocks:
            x = self.through(block, x, padding)
        return x

    def rollout(self, x: Array, counts: Array) -> Array:
        """How much each token counts by the attention of all blocks: attention rollout.

        With A_l, the attention in block l, averaged over the heads (N' x N', rows sum to 1), and the identity for the
        shortcut, the tokens after block l are taken for mixtures of those before it by 0.5 A_l + 0.5 I. The product
        over all blocks, the last one first, says how much each token at the end is made of each at the beginning
        (Abnar and Zuidema, "Quantifying Attention Flow in Transformers", ACL'20, section 3). Values, perceptrons and
        norms are left out.

        Args:
          x: (B, N, C). counts: (B, N') how much the tokens at the end count; their class token comes first.

        Returns:
          (B, N') how much those at the beginning do, with the same sum.
        """
        x = self._begun(x, None, None)
        shares = []
        for block in self.blocks:
            shares.append(block.attn.shares(block.norm1(x)))
            x = block(x)
        for share in reversed(shares):
            counts = 0.5 * (jnp.einsum("bq,bqk->bk", counts, share) + counts)
        return counts

    def _begun(self, x: Array, places: Array | None, first: Array | None) -> Array:
        """The tokens before the blocks, with their positions and the class token; arguments as of `__call__`."""
        table, of_class = self.positions()
        x = x + (table if places is None else table[places]).astype(x.dtype)
        if self.class_token:
            token = self.cls_token[...] if first is None else first  # type: ignore[index]
            token = (token + of_class).astype(x.dtype)
            x = jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, x.shape[-1])), x], axis=1)
        return x
