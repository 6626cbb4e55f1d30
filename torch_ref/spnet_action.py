"""The action blocks of SPNet in PyTorch, with the same modules and names as jaxhar/models/spnet/action.py."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torch_ref.layers import Conv, Norm, NormConv, PreactResidual, global_max_min, max_min_pool, max_pool, upsample_to

LONG_CLIP = 16


class ActionFeatures(NamedTuple):
    """Input of an action block: pose (..., J, D), visible (..., J), appearance (..., J, C), maps after the softmax."""

    pose: Tensor
    visible: Tensor
    appearance: Tensor
    maps: Tensor


def halve(x: Tensor) -> Tensor:
    """Zero-pads joints to a multiple of four and max-pools them by two: (N, C, T, J) -> (N, C, t, j)."""
    frames, joints = x.shape[2:]
    stride = 2 if frames >= LONG_CLIP else 1
    more_frames, more_joints = -frames % (2 * stride), -joints % 4
    pads = [more_joints // 2, more_joints - more_joints // 2, more_frames // 2, more_frames - more_frames // 2]
    return max_pool(F.pad(x, pads), 2, (stride, 2))


class ActionBlock(nn.Module):
    """Fuses poses, appearance and the previous block into class maps, and feeds the maps to the next block."""

    def __init__(
        self,
        dims: int,
        channels: int,
        pose_features: int,
        visual_features: int,
        num_actions: Sequence[int],
        first: bool,
        last: bool,
    ):
        super().__init__()
        p, v = pose_features, visual_features
        width = max(p, v)
        self.carry = None if first else PreactResidual(width, width, 3)
        self.conv_a = Conv(dims, p // 16, (3, 1))
        self.conv_b = Conv(dims, p // 8, (3, 3))
        self.conv_c = Conv(dims, p // 4, (3, 5))
        self.pose = PreactResidual(p // 16 + p // 8 + p // 4, p, 3, bottleneck=p // 2)
        self.visual = Conv(channels, v)
        self.fusion = PreactResidual(p + v + (0 if first else width), width, 3, bottleneck=width // 4)
        self.features = NormConv(width, width, 3)
        self.norm = Norm(width, scale=True)
        self.maps = nn.ModuleList(Conv(width, n, 3) for n in num_actions)
        self.remap = None if last else Conv(sum(num_actions), width, 3)

    def forward(
        self, x: Tensor | None, lateral: Tensor | None, features: ActionFeatures
    ) -> tuple[Tensor, list[Tensor]]:
        """x and lateral (N, F, t, j), features of clips -> x for the next block, logits (N, A) of each label set."""
        poses = (features.pose * features.visible[..., None]).permute(0, 3, 1, 2)
        poses = self.pose(torch.cat([conv(poses) for conv in (self.conv_a, self.conv_b, self.conv_c)], 1))
        parts = [halve(poses), halve(self.visual(features.appearance.permute(0, 3, 1, 2)))]
        if self.carry is not None and x is not None:
            x = self.carry(x)
            parts.append(x if lateral is None else x + lateral)
        x = self.fusion(torch.cat(parts, 1))
        y = self.features(x)
        active = F.relu(self.norm(max_min_pool(y)))
        maps = [conv(active) for conv in self.maps]
        x = x + y
        if self.remap is not None:
            x = x + self.remap(F.relu(upsample_to(torch.cat(maps, 1), x)))
        return x, [global_max_min(m) for m in maps]
