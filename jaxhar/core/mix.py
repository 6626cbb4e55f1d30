"""Mixtures of the clips of a batch: mixup (Zhang et al., ICLR'18), CutMix (Yun et al., ICCV'19), random erasing.

The partner of a clip is that of the batch in reverse order. Boxes are (top, bottom, left, right) in pixels, the same on
all frames of a clip; their values may be traced.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array


class Box(NamedTuple):
    """Rows and columns of a rectangle; the bottom row and the right column lie outside of it."""

    top: Array | int
    bottom: Array | int
    left: Array | int
    right: Array | int


def mixup(x: Array, share: Array | float) -> Array:
    """`share` of every clip (B, ...) and the rest of its partner."""
    return share * x + (1 - share) * x[::-1]


def cut_box(size: tuple[int, int], share: Array | float, row: Array | int, column: Array | int) -> Box:
    """The rectangle about (row, column) that CutMix replaces to keep `share` of a picture, cut at its edges."""
    height, width = size
    part = jnp.sqrt(1 - jnp.asarray(share))
    rows, columns = ((side * part).astype(jnp.int32) // 2 for side in size)
    return Box(
        jnp.clip(row - rows, 0, height),
        jnp.clip(row + rows, 0, height),
        jnp.clip(column - columns, 0, width),
        jnp.clip(column + columns, 0, width),
    )


def kept_share(size: tuple[int, int], box: Box) -> Array:
    """The share of a picture outside of a box."""
    return jnp.asarray(1 - (box.bottom - box.top) * (box.right - box.left) / (size[0] * size[1]))


def inside(x: Array, box: Box) -> Array:
    """Which pixels of clips (B, T, H, W, C) are in a box: (H, W, 1) bool, or (B, 1, H, W, 1) with a box for each."""
    rows, columns = jnp.arange(x.shape[2])[:, None, None], jnp.arange(x.shape[3])[:, None]
    top, bottom, left, right = (
        edge[:, None, None, None, None] if jnp.ndim(edge) else edge for edge in map(jnp.asarray, box)
    )
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)


def cutmix(x: Array, box: Box) -> Array:
    """Clips (B, T, H, W, C) with a rectangle of their partners."""
    return jnp.where(inside(x, box), x[::-1], x)


def mixed_targets(labels: Array, classes: int, share: Array | float = 1.0, smoothing: float = 0.0) -> Array:
    """Soft labels (B, A) of a mixture of clips, smoothed: of `smoothing`, every class gets as much.

    Args:
      labels: (B,) classes, -1 for a clip without; or soft labels (B, A), all 0 for a clip without.
    """
    hot = labels if jnp.ndim(labels) == 2 else jax.nn.one_hot(labels, classes)
    own = smoothing / classes * hot.sum(-1, keepdims=True) + (1 - smoothing) * hot
    return share * own + (1 - share) * own[::-1]


def erase_size(size: tuple[int, int], share: Array | float, ratio: Array | float) -> tuple[Array, Array]:
    """Rows and columns of a rectangle of `share` of a picture whose rows are `ratio` times its columns."""
    area = size[0] * size[1] * jnp.asarray(share)
    return jnp.round(jnp.sqrt(area * ratio)).astype(jnp.int32), jnp.round(jnp.sqrt(area / ratio)).astype(jnp.int32)


def erased(x: Array, box: Box, fill: Array, first: int = 0) -> Array:
    """Clips (B, T, H, W, C) with the values of `fill` in a box, from the frame `first` on."""
    where = inside(x, box) & (jnp.arange(x.shape[1]) >= first)[:, None, None, None]
    return jnp.where(where, fill, x)
