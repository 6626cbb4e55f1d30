"""Heat-map volumes of skeletons over time (Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR'22).

A frame has one map per joint, a Gaussian of sigma cells about it, or one per limb, which falls off with the distance to
the segment between its joints; persons share the maps by their maximum. Values are only drawn in a window about the
joint or the limb, as the original does. Positions are (x, y) in cells; the middle of the first cell is 0.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
#: Pairs of joint numbers.
Pairs = Sequence[tuple[int, int]]

#: COCO's limbs in the order of the published networks.
COCO_LIMBS: tuple[tuple[int, int], ...] = (
    *((0, 5), (0, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (11, 13), (13, 15)),
    *((6, 12), (12, 14), (14, 16), (0, 1), (0, 2), (1, 3), (2, 4), (11, 12)),
)


@partial(jax.jit, static_argnames=("size", "sigma", "limbs", "epsilon", "scaling"))
def encode(
    points: Array,
    score: Array,
    size: tuple[int, int],
    sigma: float = 0.6,
    limbs: tuple[tuple[int, int], ...] = (),
    epsilon: float = 1e-4,
    scaling: float = 1.0,
) -> Array:
    """The maps of every frame.

    Args:
      points: (..., M, J, 2) cells.
      score: (..., M, J) height of the Gaussians; a joint of less than `epsilon` is not drawn. A limb has the smaller
        score of its two joints.
      size: (h, w) of the maps.
      limbs: draw these instead of the joints. A limb shorter than a cell is drawn as its first joint.
      scaling: factor on the size and on the points, but not on sigma.

    Returns:
      (..., h, w, C), C joints or limbs.
    """
    height, width = (int(side * scaling + 0.5) for side in size)
    points, score = jnp.asarray(points) * scaling, jnp.asarray(score)
    at = (jnp.arange(width, dtype=points.dtype), jnp.arange(height, dtype=points.dtype))
    maps = (
        _limb_maps(points, score, at, sigma, limbs, epsilon)
        if limbs
        else _joint_maps(points, score, at, sigma, epsilon)
    )
    return maps.max(-4)


def _joint_maps(points: Array, score: Array, at: tuple[Array, Array], sigma: float, epsilon: float) -> Array:
    """(..., M, h, w, J)."""

    def along(axis: int) -> Array:
        """(..., M, cells, J), the factor of one axis."""
        middle, cells = points[..., None, :, axis], at[axis][:, None]
        inside = _window(middle, middle, cells, sigma)
        return jnp.where(inside, jnp.exp(-((cells - middle) ** 2) / (2 * sigma**2)), 0)

    height = jnp.where(score < epsilon, 0, score)
    return height[..., None, None, :] * along(1)[..., :, None, :] * along(0)[..., None, :, :]


def _window(low: Array, high: Array, cells: Array, sigma: float) -> Array:
    """Whether cells are within 3 sigma of the range from low to high, rounded towards 0 at both ends."""
    return (cells >= jnp.trunc(low - 3 * sigma)) & (cells < jnp.trunc(high + 3 * sigma) + 1)


def _limb_maps(
    points: Array, score: Array, at: tuple[Array, Array], sigma: float, limbs: Pairs, epsilon: float
) -> Array:
    """(..., M, h, w, limbs)."""
    first, second = (np.array(ends) for ends in zip(*limbs, strict=True))
    start, end = points[..., first, :], points[..., second, :]  # (..., M, limbs, 2)
    lower = jnp.minimum(score[..., first], score[..., second])
    along = end - start
    square = (along**2).sum(-1)
    short = square < 1
    end = jnp.where(short[..., None], start, end)
    height = jnp.where(lower < epsilon, 0, jnp.where(short, score[..., first], lower))

    def spread(value: Array) -> Array:
        """A value of every limb, for the axes rows, columns, limbs."""
        return value[..., None, None, :]

    x, y = at[0][:, None], at[1][:, None, None]
    low, high = jnp.minimum(start, end), jnp.maximum(start, end)
    inside = _window(spread(low[..., 0]), spread(high[..., 0]), x, sigma)
    inside &= _window(spread(low[..., 1]), spread(high[..., 1]), y, sigma)
    dx, dy = x - spread(start[..., 0]), y - spread(start[..., 1])
    ax, ay = spread(along[..., 0]), spread(along[..., 1])
    share = jnp.where(spread(short), 0, (dx * ax + dy * ay) / jnp.maximum(spread(square), 1))
    share = jnp.clip(share, 0, 1)  # of the limb before the nearest point on it
    distance = (dx - share * ax) ** 2 + (dy - share * ay) ** 2
    return jnp.where(inside, spread(height) * jnp.exp(-distance / (2 * sigma**2)), 0)


def partners(joints: Sequence[int], limbs: Pairs = ()) -> tuple[int, ...]:
    """For every channel its partner on the other side.

    Args:
      joints: for every joint its partner. limbs: the channels, if they are not the joints.
    """
    if not limbs:
        return tuple(joints)
    place = {frozenset(limb): i for i, limb in enumerate(limbs)}
    return tuple(place.get(frozenset((joints[a], joints[b])), i) for i, (a, b) in enumerate(limbs))


def mirrored(volume: Array, channels: Sequence[int]) -> Array:
    """A volume (..., w, C) with columns in reverse order and sides exchanged; `channels` as from `partners`."""
    return volume[..., ::-1, :][..., np.array(channels)]
