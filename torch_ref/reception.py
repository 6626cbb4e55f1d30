"""ReceptionNet in PyTorch, with the same modules and names as jaxhar/models/reception/network.py."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torch_ref.action import ActionNet
from torch_ref.heatmaps import decode, decode_volume
from torch_ref.layers import Conv, ConvNorm, SeparableNorm, SeparableResidual, max_pool, upsample_to

#: Channels of the first convolution and of the prediction blocks in the pose stream.
_POSE_STREAM = {"v1": (8, 112), "v2": (12, 224)}


@dataclass(frozen=True)
class Config:
    """Settings of a CVPR'18 network, with the fields of jaxhar.models.reception.network.ReceptionConfig."""

    image_size: int = 256
    num_blocks: int = 8
    num_joints: int = 16
    num_context: int = 2
    depth_maps: int | None = None
    depth_grid: str = "ends"
    kernel_size: int = 5
    joint_prob: str = "sigmoid_max"
    old_model: bool = False
    width: int = 576
    stem_width: int = 32
    num_frames: int | None = None
    num_actions: int | None = None
    pose_net: str = "v1"
    pose_stream_entry: int | None = None
    pose_stream_width: int | None = None
    visual_stream_width: int = 256
    weighted_merge: bool = True

    @property
    def dims(self) -> int:
        """D, coordinates of a joint: 2 or 3."""
        return 2 if self.depth_maps is None else 3

    @property
    def num_maps(self) -> int:
        """M, number of heat maps of a prediction block."""
        return self.num_joints * (1 + self.num_context if self.depth_maps is None else self.depth_maps)

    @property
    def pose_stream(self) -> tuple[int, int]:
        """Channels of the pose stream's first convolution and of its prediction blocks."""
        entry, width = _POSE_STREAM[self.pose_net]
        return self.pose_stream_entry or entry, self.pose_stream_width or width


class Stem(nn.Module):
    """(N, 3, H, W) -> (N, width, H / 8, W / 8)."""

    def __init__(self, config: Config):
        super().__init__()
        c = config.stem_width
        wide = c if config.old_model else 3 * c
        self.conv1 = ConvNorm(3, c, 3, 2)
        self.conv2 = None if config.old_model else ConvNorm(c, c, 3)
        self.conv3 = ConvNorm(c, 2 * c, 3)
        self.conv4 = ConvNorm(2 * c, wide, 3, 2)
        self.conv5 = ConvNorm(2 * c + wide, 2 * c)
        self.conv6 = ConvNorm(2 * c, 3 * c, 3)
        self.conv7 = ConvNorm(2 * c + wide, 2 * c)
        self.conv8 = ConvNorm(2 * c, 2 * c, (5, 1))
        self.conv9 = ConvNorm(2 * c, 2 * c, (1, 5))
        self.conv10 = ConvNorm(2 * c, 3 * c, 3)
        self.conv11 = ConvNorm(6 * c, 6 * c, 3, 2)
        self.residual = SeparableResidual(12 * c, config.width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        if self.conv2 is not None:
            x = F.relu(self.conv2(x))
        x = F.relu(self.conv3(x))
        x = torch.cat([F.relu(self.conv4(x)), max_pool(x, 3)], 1)
        a = self.conv6(F.relu(self.conv5(x)))
        b = F.relu(self.conv7(x))
        b = F.relu(self.conv8(b))
        b = F.relu(self.conv9(b))
        b = self.conv10(b)
        x = torch.cat([a, b], 1)
        x = torch.cat([self.conv11(F.relu(x)), max_pool(x)], 1)
        return self.residual(x)


class ReceptionBlock(nn.Module):
    """Residual separable units at full, half and quarter resolution."""

    def __init__(self, config: Config):
        super().__init__()
        full, half, k = config.width, config.width // 2, config.kernel_size
        self.level1 = SeparableResidual(full, full, k)
        self.down = ConvNorm(full, half)
        self.level2_1 = SeparableResidual(half, half, k)
        self.level2_2 = SeparableResidual(half, half, k)
        self.level3_1 = SeparableResidual(half, half, k)
        self.level3_2 = SeparableResidual(half, half, k)
        self.level3_3 = SeparableResidual(half, half, k)
        self.level2_3 = SeparableResidual(half, full, k)

    def forward(self, x: Tensor) -> Tensor:
        a = self.level1(x)
        b = self.level2_1(self.down(F.relu(max_pool(x))))
        c = self.level3_3(self.level3_2(self.level3_1(max_pool(b))))
        b = self.level2_2(b)
        b = self.level2_3(b + upsample_to(c, b))
        return a + upsample_to(b, a)


class PredictionBlock(nn.Module):
    """A reception block, and heat maps that are fed back into the trunk; the last block feeds nothing back."""

    def __init__(self, config: Config, last: bool):
        super().__init__()
        width, maps = config.width, config.num_maps
        self.reception = ReceptionBlock(config)
        self.separable = SeparableNorm(width, width, config.kernel_size)
        self.maps = Conv(width, maps)
        self.remap = None if last else ConvNorm(maps, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.reception(x)
        x = self.separable(F.relu(features))
        maps = self.maps(F.relu(x))
        x = features + x
        if self.remap is not None:
            x = x + self.remap(F.relu(maps))
        return x, maps, features


class Reception(nn.Module):
    """The pose network. Built by `torch_ref.create`."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.stem = Stem(config)
        self.blocks = nn.ModuleList(
            PredictionBlock(config, last=b == config.num_blocks - 1) for b in range(config.num_blocks)
        )

    def trunk(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Images (N, 3, H, W) -> raw maps of every block, and the first block's features."""
        x = self.stem(images)
        all_maps, all_features = [], []
        for block in self.blocks:
            x, maps, features = block(x)
            all_maps.append(maps)
            all_features.append(features)
        return all_maps, all_features[0]

    def decode(self, maps: Tensor, gain: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        """One block's maps -> pose (N, J, D), visible (N, J), joint maps (N, J, h, w)."""
        c = self.config
        if c.dims == 3:
            return decode_volume(maps, c.num_joints, c.depth_grid, gain)
        return decode(maps, c.num_joints, c.num_context, c.joint_prob, gain)

    def forward(self, frames: Tensor, action: bool = True) -> dict[str, Tensor]:
        """Frames (B, T, 3, H, W) -> pose (K, B, T, J, D), visible (K, B, T, J)."""
        blocks = [self.decode(maps)[:2] for maps in self.trunk(frames.flatten(0, 1))[0]]
        clips = frames.shape[:2]
        return {
            "pose": torch.stack([pose.unflatten(0, clips) for pose, _ in blocks]),
            "visible": torch.stack([visible.unflatten(0, clips) for _, visible in blocks]),
        }


def build(config: Config) -> nn.Module:
    """A pose network, with action heads if the settings have classes."""
    pose = Reception(config)
    return pose if config.num_actions is None else ActionNet(pose)


#: The networks by the names of jaxhar.zoo.
ZOO = {
    "reception-mpii": Config(),
    "reception-h36m": Config(num_joints=17, num_context=0, depth_maps=16),
    "reception-penn": Config(num_blocks=4, num_frames=16, num_actions=15),
    "reception-ntu": Config(
        num_blocks=4, num_joints=20, num_context=0, depth_maps=8, pose_net="v2", num_frames=20, num_actions=60
    ),
}
