"""Boxes of persons as maps (encode), and boxes from predicted maps (decode), by the rules of CenterNet.

A map of centres has its peaks where the boxes have their middle; at each peak two further maps give the offset of the
middle from the cell, in cells, and two the logarithm of width and height, in cells. The cells around a peak have these
values as targets too (Liu et al.), so that a box is right where the peak is found one cell off. Boxes are x1, y1, x2,
y2 in units of the picture, 0 to 1. Cell i of a map of n cells spans i / n to (i + 1) / n.

Zhou, Wang, Krähenbühl: "Objects as Points" (2019). The peaks are as wide as the boxes in each axis (Liu et al.,
"Training-Time-Friendly Network for Real-Time Object Detection", AAAI'20), and sizes are logarithms, so that an error
counts alike for small and large persons.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array

#: Pixels of the picture per cell.
STRIDE = 4
#: Cells where a peak is lower than this belong to no box.
_FOOT = 0.2
#: Standard deviation of a peak, as a share of the box's side, and its smallest value in cells.
_SIGMA, _LEAST_SIGMA = 0.09, 0.6
#: Largest and smallest logarithm of a side in cells that is decoded; beyond them a wrong prediction would overflow.
_LOG_SIDE = 8.0


class Targets(NamedTuple):
    """What a network should predict for M boxes.

    Attributes:
      heat: (..., h, w) 1 at the cells of the middles, falling to 0 around them.
      counted: (..., h, w) bool, False for cells without a middle inside of ignored boxes.
      extent: (..., h, w, 4) offset x, y and log width, height of the box with the highest peak there.
      share: (..., h, w) weight of a cell among those of its box, in proportion to the peak; a box has a sum of 1.
      known: (..., M) bool, which of the M there are.
    """

    heat: Array
    counted: Array
    extent: Array
    share: Array
    known: Array


def encode(boxes: Array, boxed: Array, ignored: Array, size: tuple[int, int]) -> Targets:
    """Target maps of boxes.

    Args:
      boxes: (..., M, 4) in units of the picture. boxed: (..., M) bool, persons to find.
      ignored: (..., M) bool, boxes in which nothing should be learned.
      size: (h, w) of the maps.
    """
    height, width = size
    boxes = jnp.asarray(boxes)
    cells = boxes * jnp.asarray([width, height, width, height], boxes.dtype)
    low, high = cells[..., :2], cells[..., 2:]
    middle, side = (low + high) / 2, jnp.maximum(high - low, 1e-3)
    known = jnp.asarray(boxed) & ((middle >= 0) & (middle < jnp.asarray([width, height]))).all(-1)
    place = jnp.where(known[..., None], jnp.floor(middle), 0)
    sigma = jnp.maximum(_SIGMA * side, _LEAST_SIGMA)

    def along(axis: int, count: int) -> tuple[Array, Array]:
        """Factors (..., M, count) of the peaks, and which cells touch the boxes."""
        at = jnp.arange(count, dtype=boxes.dtype)
        peak = jnp.exp(-((at - place[..., axis, None]) ** 2) / (2 * sigma[..., axis, None] ** 2))
        inside = (at + 1 > low[..., axis, None]) & (at < high[..., axis, None])
        return peak, inside

    (columns, in_columns), (rows, in_rows) = along(0, width), along(1, height)
    peaks = jnp.where(known[..., None, None], rows[..., :, None] * columns[..., None, :], 0)
    covered = jnp.asarray(ignored)[..., None, None] & in_rows[..., :, None] & in_columns[..., None, :]
    heat = peaks.max(-3)
    owner = peaks.argmax(-3)
    own = jnp.moveaxis(jax.nn.one_hot(owner, boxes.shape[-2], dtype=boxes.dtype), -1, -3)  # (..., M, h, w)
    weight = jnp.where(heat >= _FOOT, heat, 0)
    total = (own * weight[..., None, :, :]).sum((-2, -1))

    def of_owner(values: Array) -> Array:
        """(..., M, C) -> (..., h, w, C)."""
        flat = owner.reshape(*owner.shape[:-2], -1, 1)
        return jnp.take_along_axis(values, flat, -2).reshape(*owner.shape, -1)

    given = of_owner(jnp.where(known[..., None], jnp.concatenate([middle, jnp.log(side)], -1), 0))
    here = jnp.stack(jnp.meshgrid(jnp.arange(width), jnp.arange(height)), -1).astype(boxes.dtype)
    extent = given - jnp.concatenate([here, jnp.zeros_like(here)], -1)
    return Targets(
        heat=heat,
        counted=~covered.any(-3) | (heat == 1),
        extent=jnp.where((weight > 0)[..., None], extent, 0),
        share=weight / jnp.maximum(of_owner(total[..., None])[..., 0], 1e-6),
        known=known,
    )


def corners(extent: Array) -> Array:
    """Boxes (..., 4) in cells, from their own cell, of extents (..., 4)."""
    half = jnp.exp(jnp.clip(extent[..., 2:], -_LOG_SIDE, _LOG_SIDE)) / 2
    return jnp.concatenate([extent[..., :2] - half, extent[..., :2] + half], -1)


def at_cells(maps: Array, cells: Array) -> Array:
    """Values (..., M, C) of maps (..., h, w, C) at flat indices (..., M)."""
    flat = maps.reshape(*maps.shape[:-3], -1, maps.shape[-1])
    return jnp.take_along_axis(flat, cells[..., None], -2)


def decode(centres: Array, extent: Array, count: int) -> tuple[Array, Array]:
    """The most probable boxes: cells that are the largest of their 3 x 3 neighbours, in the order of their scores.

    Args:
      centres: (..., h, w) logits. extent: (..., h, w, 4).
      count: N, number of boxes.

    Returns:
      boxes (..., N, 4) in units of the picture, which may reach beyond it, and scores (..., N) in [0, 1]; both are 0
      where there are fewer peaks.
    """
    height, width = centres.shape[-2:]
    edge = [(0, 0)] * (centres.ndim - 2) + [(1, 1), (1, 1)]
    padded = jnp.pad(centres, edge, constant_values=-jnp.inf)
    rows = jnp.maximum(jnp.maximum(padded[..., :-2, :], padded[..., 1:-1, :]), padded[..., 2:, :])
    highest = jnp.maximum(jnp.maximum(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])
    scores = jnp.where(centres >= highest, jax.nn.sigmoid(centres), 0)
    scores, cells = jax.lax.top_k(scores.reshape(*scores.shape[:-2], -1), min(count, height * width))
    here = jnp.stack([cells % width, cells // width] * 2, -1)
    boxes = (here + corners(at_cells(extent, cells))) / jnp.asarray([width, height] * 2, extent.dtype)
    return jnp.where(scores[..., None] > 0, boxes, 0), scores
