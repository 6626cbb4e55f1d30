"""Action heads in PyTorch, with the same modules and names as jaxhar/models/reception/action.py."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torch_ref.heatmaps import attend
from torch_ref.layers import Conv, ConvNorm, SeparableConv, global_max_min, max_min_pool, max_pool, upsample_to

STREAM_BLOCKS = 4
VISIBLE_GAIN = {2: 4.0, 3: 2.0}


class StreamBlock(nn.Module):
    """(N, F, t, j) -> the next block's input and the class maps (N, A, ceil(t / 2), ceil(j / 2))."""

    def __init__(self, width: int, num_actions: int, last: bool):
        super().__init__()
        self.conv1 = ConvNorm(width, width // 2)
        self.conv2 = ConvNorm(width // 2, width, 3)
        self.conv3 = ConvNorm(width, width, 3)
        self.maps = Conv(width, num_actions, 3)
        self.remap = None if last else ConvNorm(num_actions, width, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x + self.conv2(F.relu(self.conv1(F.relu(x))))
        y = self.conv3(F.relu(x))
        maps = self.maps(F.relu(max_min_pool(y)))
        x = x + y
        if self.remap is not None:
            x = x + self.remap(F.relu(upsample_to(maps, x)))
        return x, maps


class ActionStream(nn.Module):
    """A sequence of prediction blocks; subclasses add the first layers."""

    def __init__(self, width: int, num_actions: int):
        super().__init__()
        self.blocks = nn.ModuleList(
            StreamBlock(width, num_actions, last=b == STREAM_BLOCKS - 1) for b in range(STREAM_BLOCKS)
        )

    def predict(self, x: Tensor) -> list[Tensor]:
        """(N, F, t, j) -> class maps of every block."""
        predictions = []
        for block in self.blocks:
            x, maps = block(x)
            predictions.append(maps)
        return predictions


class PoseStream(ActionStream):
    """Actions from joint coordinates, as images with time as rows, joints as columns, coordinates as channels."""

    def __init__(self, dims: int, entry: int, width: int, num_actions: int):
        super().__init__(width, num_actions)
        self.conv_a = ConvNorm(dims, entry, (3, 1))
        self.conv_b = ConvNorm(dims, 2 * entry, (3, 3))
        self.conv_c = ConvNorm(dims, 3 * entry, (3, 5))
        self.conv_d = ConvNorm(6 * entry, width // 2, 3)
        self.conv_e1 = ConvNorm(6 * entry, 2 * width // 7)
        self.conv_e2 = ConvNorm(2 * width // 7, width // 2, 3)

    def forward(self, pose: Tensor, visible: Tensor) -> list[Tensor]:
        """pose (B, T, J, D), visible (B, T, J) -> four class maps (B, A, ceil(T / 4), ceil(J / 4))."""
        x = (pose * visible[..., None]).permute(0, 3, 1, 2)
        x = torch.cat([F.relu(conv(x)) for conv in (self.conv_a, self.conv_b, self.conv_c)], 1)
        x = torch.cat([self.conv_d(x), self.conv_e2(self.conv_e1(x))], 1)
        return self.predict(max_min_pool(x))


class VisualStream(ActionStream):
    """Actions from the pose network's features at each joint."""

    def __init__(self, features: int, width: int, num_actions: int):
        super().__init__(width, num_actions)
        self.entry = ConvNorm(features, width)

    def forward(self, appearance: Tensor) -> list[Tensor]:
        """(B, T, J, S) -> four class maps (B, A, ceil(T / 4), ceil(J / 4))."""
        return self.predict(max_pool(self.entry(appearance.permute(0, 3, 1, 2))))


def class_weights(num_actions: int) -> SeparableConv:
    """A factor per class (initially 1) and an A x A matrix (initially the identity)."""
    weights = SeparableConv(num_actions, num_actions, 1)
    nn.init.ones_(weights.depthwise.weight)
    nn.init.dirac_(weights.pointwise.weight)
    return weights


class ActionNet(nn.Module):
    """A pose network with both action streams. Built by `torch_ref.create`."""

    def __init__(self, pose: Any):
        super().__init__()
        config = pose.config
        actions = config.num_actions
        entry, width = config.pose_stream
        self.config = config
        self.pose = pose
        self.pose_stream = PoseStream(config.dims, entry, width, actions)
        self.visual_stream = VisualStream(config.width, config.visual_stream_width, actions)
        self.pose_weight = class_weights(actions) if config.weighted_merge else None
        self.visual_weight = class_weights(actions) if config.weighted_merge else None

    def merge(self, pose_maps: Tensor, visual_maps: Tensor) -> Tensor:
        """Sum of the last class maps of both streams (B, A, t, j), weighted if the network has class weights."""
        if self.pose_weight is not None and self.visual_weight is not None:
            pose_maps, visual_maps = self.pose_weight(pose_maps), self.visual_weight(visual_maps)
        return pose_maps + visual_maps

    def forward(self, frames: Tensor, action: bool = True) -> dict[str, Tensor]:
        """Frames (B, T, 3, H, W) -> pose (K, B, T, J, D), visible (K, B, T, J), action logits (9, B, A).

        K is the number of blocks in training; in evaluation only the last block is returned (K = 1).
        """
        clips = frames.shape[:2]
        maps, features = self.pose.trunk(frames.flatten(0, 1))
        blocks = [self.pose.decode(m, VISIBLE_GAIN[self.config.dims]) for m in maps]
        returned = blocks if self.training else blocks[-1:]
        preds = {
            "pose": torch.stack([pose.unflatten(0, clips) for pose, _, _ in returned]),
            "visible": torch.stack([visible.unflatten(0, clips) for _, visible, _ in returned]),
        }
        if action:
            pose, visible, joint_maps = blocks[-1]
            pose_maps = self.pose_stream(pose.unflatten(0, clips), visible.unflatten(0, clips))
            visual_maps = self.visual_stream(attend(joint_maps, features).unflatten(0, clips))
            merged = self.merge(pose_maps[-1], visual_maps[-1])
            preds["action"] = torch.stack([global_max_min(m) for m in (*pose_maps, *visual_maps, merged)])
        return preds
