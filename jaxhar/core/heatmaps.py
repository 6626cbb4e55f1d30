"""Joint positions and confidences from heat maps: soft-argmax, context aggregation (CVPR'18, section 3).

Maps are (..., H, W, J), channels last; any leading axes. Coordinates are in units of the crop: the first column and row
of bins lie at 0, the last at 1. Depth is in [0, 1]; `DepthGrid` says where its bins lie.
"""

from enum import StrEnum

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


class JointProb(StrEnum):
    """How a joint's confidence is computed from its heat map before the softmax."""

    #: Sigmoid of the global maximum: the code that trained the released CVPR'18 weights.
    SIGMOID_MAX = "sigmoid_max"
    #: Largest sum over a 2x2 window, no sigmoid: deephar's later code, with the same weights.
    AVGPOOL4_MAX = "avgpool4_max"


class DepthGrid(StrEnum):
    """Positions of the D depth bins of a 3-D network."""

    #: From 0 to 1, both included: the code that trained the released CVPR'18 weights.
    ENDS = "ends"
    #: At the centres of D equal parts of [0, 1]: deephar's later code.
    CENTRES = "centres"


def spatial_softmax(maps: Array) -> Array:
    """Softmax over the positions of every map: (..., H, W, J) -> (..., H, W, J), each map summing to 1."""
    return jax.nn.softmax(maps, axis=(-3, -2))


@jax.jit
def soft_argmax(maps: Array) -> Array:
    """Expected position under each map's softmax (CVPR'18, equation 1): (..., H, W, J) logits -> (..., J, 2) as (x, y).

    Rows and columns are summed before the division by the total; this saves the memory of a softmax map.
    """
    height, width = maps.shape[-3:-1]
    weights = jnp.exp(maps - jax.lax.stop_gradient(maps.max((-3, -2), keepdims=True)))
    columns, rows = weights.sum(-3), weights.sum(-2)  # (..., W, J), (..., H, J)
    x = (columns * jnp.linspace(0, 1, width, dtype=maps.dtype)[:, None]).sum(-2)
    y = (rows * jnp.linspace(0, 1, height, dtype=maps.dtype)[:, None]).sum(-2)
    return jnp.stack([x, y], axis=-1) / columns.sum(-2)[..., None]


def depth_bins(depths: int, grid: DepthGrid) -> np.ndarray:
    """The depth of every bin, (D,) ascending in [0, 1]."""
    first = 0 if DepthGrid(grid) is DepthGrid.ENDS else 1 / (2 * depths)
    return np.linspace(first, 1 - first, depths)


def soft_argmax_depth(depths: Array, grid: DepthGrid) -> Array:
    """Expected depth under each joint's softmax over the bins: (..., D, J) logits -> (..., J)."""
    bins = jnp.asarray(depth_bins(depths.shape[-2], grid), depths.dtype)
    return (jax.nn.softmax(depths, axis=-2) * bins[:, None]).sum(-2)


def joint_probability(maps: Array, kind: JointProb) -> Array:
    """Confidence of each joint, maps (..., H, W, J) -> (..., J). Windows are at most as large as the map."""
    if JointProb(kind) is JointProb.SIGMOID_MAX:
        return jax.nn.sigmoid(maps.max((-3, -2)))
    height, width = maps.shape[-3:-1]
    if height > 1:
        maps = maps[..., :-1, :, :] + maps[..., 1:, :, :]
    if width > 1:
        maps = maps[..., :-1, :] + maps[..., 1:, :]
    return maps.max((-3, -2))


def aggregate_context(pose: Array, context: Array, probability: Array, alpha: float = 0.8) -> Array:
    """Mix each joint with the mean of its context points, weighted by their probabilities (CVPR'18, equation 4).

    Args:
      pose: (..., J, D).
      context: (..., J * n, D), the n points of each joint next to each other.
      probability: (..., J * n). If they sum to nearly 0, this divides by nearly 0 and the position can
        lie far outside the crop.

    Returns:
      (..., J, D).
    """
    joints = pose.shape[-2]
    context = context.reshape(*context.shape[:-2], joints, -1, context.shape[-1])
    probability = probability.reshape(*probability.shape[:-1], joints, -1, 1)
    mean = (probability * context).sum(-2) / probability.sum(-2)
    return alpha * pose + (1 - alpha) * mean


def decode(
    maps: Array, num_joints: int, num_context: int, kind: JointProb, gain: float = 1.0
) -> tuple[Array, Array, Array]:
    """Joints from the raw maps of one prediction block of a 2-D network.

    Args:
      maps: (..., H, W, J * (1 + num_context)): the J joint maps, then num_context maps for each joint in turn.
      num_joints: J.
      num_context: context maps per joint; 0: joints from their own maps only.
      kind: how confidences are computed.
      gain: factor on the joint maps for the confidence only; 4 inside the action networks.

    Returns:
      pose (..., J, 2), visible (..., J), and the joints' raw maps (..., H, W, J).
    """
    maps = maps.astype(jnp.promote_types(maps.dtype, jnp.float32))
    joint_maps, context = maps[..., :num_joints], maps[..., num_joints:]
    pose = soft_argmax(joint_maps)
    if num_context:
        pose = aggregate_context(pose, soft_argmax(context), joint_probability(context, kind))
    return pose, joint_probability(gain * joint_maps, kind), joint_maps


def decode_volume(maps: Array, num_joints: int, grid: DepthGrid, gain: float = 1.0) -> tuple[Array, Array, Array]:
    """Joints from the raw maps of one prediction block of a 3-D network (CVPR'18, section 3.2).

    x and y come from the mean over depth, z from the mean over rows and columns.

    Args:
      maps: (..., H, W, D * J), joint j at depth d in channel d * J + j.
      num_joints: J.
      grid: where the depth bins lie.
      gain: factor on the sum of both maxima, for the confidence only; 2 inside the action networks.

    Returns:
      pose (..., J, 3), visible (..., J), and the joints' raw maps averaged over depth (..., H, W, J).
    """
    maps = maps.astype(jnp.promote_types(maps.dtype, jnp.float32))
    volume = maps.reshape(*maps.shape[:-1], -1, num_joints)  # (..., H, W, D, J)
    plane, depths = volume.mean(-2), volume.mean((-4, -3))  # (..., H, W, J), (..., D, J)
    pose = jnp.concatenate([soft_argmax(plane), soft_argmax_depth(depths, grid)[..., None]], axis=-1)
    return pose, jax.nn.sigmoid(gain * (plane.max((-3, -2)) + depths.max(-2))), plane


def decode_normalised(maps: Array, depth: Array | None = None) -> tuple[Array, Array]:
    """Joints from the maps of one prediction block of SPNet (TPAMI'20, section 3), all from the maps after the softmax.

    Args:
      maps: (..., H, W, J) logits.
      depth: None, or (..., H, W, J) logits of the depth at each position; a joint's depth is the mean of their sigmoid,
        weighted by its softmax map.

    Returns:
      pose (..., J, 2), or (..., J, 3) with depth in [0, 1]; visible (..., J), the largest mass in a 2x2 window.
    """
    weights, pose = spatial_softmax(maps), soft_argmax(maps)
    if depth is not None:
        z = (jax.nn.sigmoid(depth) * weights).sum((-3, -2))
        pose = jnp.concatenate([pose, z[..., None]], axis=-1)
    return pose, joint_probability(weights, JointProb.AVGPOOL4_MAX)


def attend(maps: Array, features: Array) -> Array:
    """Features at each joint: their mean weighted by the joint's softmax map (CVPR'18, section 4.2).

    Args:
      maps: (..., H, W, J) logits.
      features: (..., H, W, C).

    Returns:
      (..., J, C), in the type of `features`.
    """
    weights = spatial_softmax(maps).astype(features.dtype)
    return jnp.einsum("...hwj,...hwc->...jc", weights, features)


def soft_argmax_grids(side: int, maps: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Weights of the two layers with which deephar's code computes the soft-argmax of maps (side, side): x and y."""
    ramp = np.broadcast_to(np.linspace(0, 1, side)[:, None, None], (side, maps, 1))
    eye = np.eye(maps)[None, None]
    return (
        {"depthwise_kernel": np.stack([ramp] * side, 0), "pointwise_kernel": eye},
        {"depthwise_kernel": np.stack([ramp] * side, 1), "pointwise_kernel": eye},
    )
