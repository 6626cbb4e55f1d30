"""Heat maps with a Gaussian at each joint: targets from joints (encode), and joints from predicted maps (decode).

Maps are (..., h, w, J), channels last. Positions are (x, y) in cells of the map; the middle of the first cell is 0.
Crop units are cells divided by (w, h), as in the networks that use these maps.
"""

from enum import StrEnum

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array

#: Positions are rounded to this fraction of a cell before their cell is chosen: float32 crop units of a map of 80 cells
#: are off by up to 5e-6, which must not move a joint on the border of two cells.
_GRID = 4096
#: Side of the Gaussian filter of `Decoding.DARK` for maps with sigma 2.
_DARK_KERNEL = 11


class Decoding(StrEnum):
    """How a joint's position is found in its map."""

    #: The cell of the maximum.
    ARGMAX = "argmax"
    #: A quarter of a cell from there towards the higher neighbour, in each axis (Newell et al., ECCV'16).
    QUARTER = "quarter"
    #: The maximum of a Gaussian fitted there (Zhang et al., "Distribution-Aware Coordinate Representation", CVPR'20).
    DARK = "dark"


def _snap(cells: Array) -> Array:
    return jnp.round(cells * _GRID) / _GRID


def _drawn(middle: Array, size: tuple[int, int], sigma: float, first: Array, last: Array) -> Array:
    """Gaussians (..., h, w, J) of height 1 about cells `middle` (..., J, 2), 0 outside of cells first to last."""
    height, width = size

    def along(axis: int, count: int) -> Array:
        """(..., count, J), the factor of one axis."""
        at = jnp.arange(count, dtype=middle.dtype)[:, None]
        near = (at >= first[..., None, :, axis]) & (at <= last[..., None, :, axis])
        return jnp.where(near, jnp.exp(-((at - middle[..., None, :, axis]) ** 2) / (2 * sigma**2)), 0)

    return along(1, height)[..., :, None, :] * along(0, width)[..., None, :, :]


def encode(cells: Array, visible: Array, size: tuple[int, int], sigma: float = 2.0) -> tuple[Array, Array]:
    """Target maps by the rule of Simple Baselines, HRNet and multi-view fusion: exact peaks of 1, cut at 3 sigma.

    Args:
      cells: (..., J, 2) joints in cells.
      visible: (..., J), 1 for joints to draw.
      size: (h, w).

    Returns:
      maps (..., h, w, J), and weights (..., J): `visible`, 0 for joints whose whole Gaussian lies outside of the map.
    """
    reach = int(3 * sigma)
    middle = jnp.trunc(_snap(jnp.asarray(cells)) + 0.5)
    limit = jnp.asarray(size[::-1], middle.dtype)
    outside = ((middle - reach >= limit) | (middle + reach + 1 < 0)).any(-1)
    weights = jnp.where(outside, 0, visible).astype(middle.dtype)
    maps = _drawn(middle, size, sigma, middle - reach, middle + reach)
    return jnp.where((weights > 0.5)[..., None, None, :], maps, 0), weights


def encode_lip(cells: Array, present: Array, size: tuple[int, int], legacy: bool = False) -> Array:
    """Target maps of single-person-pose-estimation on LIP: sigma 1, cells -4 to 3 about the joint, which is clamped.

    Args:
      cells: (..., J, 2) joints in cells.
      present: (..., J), whether annotated; the map of a missing joint is 0.
      size: (h, w).
      legacy: leave out the last row and column, as the original does.

    Returns:
      maps (..., h, w, J).
    """
    last = jnp.asarray(size[::-1], jnp.asarray(cells).dtype) - 1
    middle = jnp.clip(jnp.trunc(_snap(jnp.asarray(cells))), 0, last)
    upper = jnp.minimum(middle + 3, last - 1 if legacy else last)
    maps = _drawn(middle, size, 1.0, middle - 4, jnp.broadcast_to(upper, middle.shape))
    return jnp.where((jnp.asarray(present) > 0.5)[..., None, None, :], maps, 0)


def decode(maps: Array, how: Decoding | str = Decoding.ARGMAX) -> tuple[Array, Array]:
    """Joints from heat maps.

    Args:
      maps: (..., h, w, J).
      how: see `Decoding`.

    Returns:
      cells (..., J, 2) as (x, y), (0, 0) where the largest value is not positive, and that value (..., J).
    """
    *lead, height, width, joints = maps.shape
    flat = maps.reshape(*lead, height * width, joints)
    index, value = jnp.argmax(flat, -2), flat.max(-2)
    peak = jnp.stack([index % width, index // width], -1)
    how = Decoding(how)
    if how is Decoding.QUARTER:
        cells = peak + _quarter(maps, peak).astype(maps.dtype)
    elif how is Decoding.DARK:
        cells = peak + _dark(maps, peak, value)
    else:
        cells = peak.astype(maps.dtype)
    return jnp.where((value > 0)[..., None], cells, 0), value


def joints(maps: Array, how: Decoding | str = Decoding.ARGMAX) -> tuple[Array, Array]:
    """Poses from heat maps (..., h, w, J): crop units (..., J, 2), and the largest value within [0, 1] (..., J)."""
    cells, value = decode(maps, how)
    height, width = maps.shape[-3:-1]
    return cells / jnp.array([width, height], cells.dtype), jnp.clip(value, 0, 1)


def _at(maps: Array, peak: Array, dx: int, dy: int) -> Array:
    """Values (..., J) of the cells at `peak` (..., J, 2) plus an offset; the nearest cell outside of the map."""
    height, width = maps.shape[-3:-1]
    x, y = jnp.clip(peak[..., 0] + dx, 0, width - 1), jnp.clip(peak[..., 1] + dy, 0, height - 1)
    flat = maps.reshape(*maps.shape[:-3], height * width, maps.shape[-1])
    return jnp.take_along_axis(flat, (y * width + x)[..., None, :], -2)[..., 0, :]


def _inside(maps: Array, peak: Array, margin: int) -> Array:
    """(...) whether both coordinates of a peak are more than `margin` and less than size - 1 - (margin - 1)."""
    height, width = maps.shape[-3:-1]
    limit = jnp.array([width, height]) - margin
    return ((peak > margin) & (peak < limit)).all(-1)


def _quarter(maps: Array, peak: Array) -> Array:
    """(..., J, 2): -0.25, 0 or 0.25 cells; 0 for both axes at the border, as in the originals."""
    dx = _at(maps, peak, 1, 0) - _at(maps, peak, -1, 0)
    dy = _at(maps, peak, 0, 1) - _at(maps, peak, 0, -1)
    return jnp.where(_inside(maps, peak, 1)[..., None], 0.25 * jnp.sign(jnp.stack([dx, dy], -1)), 0)


def _dark(maps: Array, peak: Array, value: Array) -> Array:
    """(..., J, 2) offset of the maximum of a Gaussian: one Newton step on the logarithm of the smoothed map."""
    smooth = _smoothed(maps)
    smooth = smooth * (value / jnp.maximum(smooth.max((-3, -2)), 1e-12))[..., None, None, :]
    logs = jnp.log(jnp.maximum(smooth, 1e-10))
    dx = 0.5 * (_at(logs, peak, 1, 0) - _at(logs, peak, -1, 0))
    dy = 0.5 * (_at(logs, peak, 0, 1) - _at(logs, peak, 0, -1))
    xx = 0.25 * (_at(logs, peak, 2, 0) - 2 * _at(logs, peak, 0, 0) + _at(logs, peak, -2, 0))
    yy = 0.25 * (_at(logs, peak, 0, 2) - 2 * _at(logs, peak, 0, 0) + _at(logs, peak, 0, -2))
    diagonal = _at(logs, peak, 1, 1) + _at(logs, peak, -1, -1) - _at(logs, peak, -1, 1) - _at(logs, peak, 1, -1)
    xy = 0.25 * diagonal
    determinant = xx * yy - xy * xy
    safe = jnp.where(determinant == 0, 1, determinant)
    offset = -jnp.stack([yy * dx - xy * dy, xx * dy - xy * dx], -1) / safe[..., None]
    usable = _inside(maps, peak, 1) & (determinant != 0)
    return jnp.where(usable[..., None], offset, 0).astype(maps.dtype)


def _smoothed(maps: Array) -> Array:
    """Maps filtered by a Gaussian of `_DARK_KERNEL` cells, 0 outside of the map; OpenCV's deviation for that size."""
    half = _DARK_KERNEL // 2
    sigma = 0.3 * ((_DARK_KERNEL - 1) * 0.5 - 1) + 0.8
    weights = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    for axis in (-3, -2):
        count = maps.shape[axis]
        pads = [(half, half) if a == maps.ndim + axis else (0, 0) for a in range(maps.ndim)]
        padded = jnp.pad(maps, pads)
        maps = sum(
            float(w) * jax.lax.slice_in_dim(padded, i, i + count, axis=maps.ndim + axis) for i, w in enumerate(weights)
        )  # type: ignore[assignment]
    return maps
