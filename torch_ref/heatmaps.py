"""Joints from heat maps (N, J, H, W) in PyTorch, as jaxhar/core/heatmaps.py."""

import torch
from torch import Tensor


def spatial_softmax(maps: Tensor) -> Tensor:
    """Softmax over the positions of every map."""
    return maps.flatten(-2).softmax(-1).view_as(maps)


def soft_argmax(maps: Tensor) -> Tensor:
    """(N, J, H, W) logits -> (N, J, 2) as (x, y) in [0, 1]."""
    height, width = maps.shape[-2:]
    weights = spatial_softmax(maps)
    x = weights.sum(-2) @ torch.linspace(0, 1, width, dtype=maps.dtype, device=maps.device)
    y = weights.sum(-1) @ torch.linspace(0, 1, height, dtype=maps.dtype, device=maps.device)
    return torch.stack([x, y], -1)


def depth_bins(depths: int, grid: str) -> Tensor:
    """The depth of every bin, (D,) ascending in [0, 1]."""
    if grid not in ("ends", "centres"):
        raise ValueError(f"depth_grid must be ends or centres, not {grid!r}")
    first = 0 if grid == "ends" else 1 / (2 * depths)
    return torch.linspace(first, 1 - first, depths, dtype=torch.float64)


def soft_argmax_depth(depths: Tensor, grid: str) -> Tensor:
    """(N, D, J) logits -> (N, J) in [0, 1]."""
    bins = depth_bins(depths.shape[-2], grid).to(depths)
    return (depths.softmax(-2) * bins[:, None]).sum(-2)


def joint_probability(maps: Tensor, kind: str) -> Tensor:
    """Confidence of each joint, maps (N, J, H, W) -> (N, J). Windows are at most as large as the map."""
    if kind == "sigmoid_max":
        return maps.amax((-2, -1)).sigmoid()
    if kind == "avgpool4_max":
        height, width = maps.shape[-2:]
        if height > 1:
            maps = maps[..., :-1, :] + maps[..., 1:, :]
        if width > 1:
            maps = maps[..., :-1] + maps[..., 1:]
        return maps.amax((-2, -1))
    raise ValueError(f"joint_prob must be sigmoid_max or avgpool4_max, not {kind!r}")


def aggregate_context(pose: Tensor, context: Tensor, probability: Tensor, alpha: float = 0.8) -> Tensor:
    """Mix each joint (N, J, 2) with its context points (N, J * n, 2), weighted by probability (N, J * n)."""
    joints = pose.shape[1]
    context = context.unflatten(1, (joints, -1))
    probability = probability.unflatten(1, (joints, -1))[..., None]
    return alpha * pose + (1 - alpha) * (probability * context).sum(2) / probability.sum(2)


def decode(
    maps: Tensor, num_joints: int, num_context: int, kind: str, gain: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Raw maps (N, M, H, W) of one block -> pose (N, J, 2), visible (N, J), joint maps (N, J, H, W)."""
    joint_maps, context = maps[:, :num_joints], maps[:, num_joints:]
    pose = soft_argmax(joint_maps)
    if num_context:
        pose = aggregate_context(pose, soft_argmax(context), joint_probability(context, kind))
    return pose, joint_probability(gain * joint_maps, kind), joint_maps


def decode_volume(maps: Tensor, num_joints: int, grid: str, gain: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Raw maps (N, D * J, H, W) of one block -> pose (N, J, 3), visible (N, J), maps without depth (N, J, H, W)."""
    volume = maps.unflatten(1, (-1, num_joints))  # (N, D, J, H, W)
    plane, depths = volume.mean(1), volume.mean((-2, -1))  # (N, J, H, W), (N, D, J)
    pose = torch.cat([soft_argmax(plane), soft_argmax_depth(depths, grid)[..., None]], -1)
    return pose, (gain * (plane.amax((-2, -1)) + depths.amax(1))).sigmoid(), plane


def decode_normalised(maps: Tensor, depth: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Maps (N, J, H, W) of one block of SPNet, and depth maps or None -> pose (N, J, 2 or 3), visible (N, J)."""
    weights, pose = spatial_softmax(maps), soft_argmax(maps)
    if depth is not None:
        z = (depth.sigmoid() * weights).sum((-2, -1))
        pose = torch.cat([pose, z[..., None]], -1)
    return pose, joint_probability(weights, "avgpool4_max")


def attend(maps: Tensor, features: Tensor) -> Tensor:
    """Maps (N, J, H, W) and features (N, C, H, W) -> features at each joint (N, J, C)."""
    return torch.einsum("njhw,nchw->njc", spatial_softmax(maps), features)
