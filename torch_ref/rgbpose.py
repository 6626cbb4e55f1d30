"""RGBPose-Conv3D in PyTorch, with the modules and names of pyskl and mmaction2."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torch_ref import volume as volumes
from torch_ref.poseconv import Size, Unit, stage


@dataclass(frozen=True)
class RGBPoseConfig:
    """Settings, with the fields of jaxhar.models.poseconv.rgbpose.RGBPoseConfig."""

    rgb_base: int = 64
    pose_base: int = 32
    rgb_blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    pose_blocks: tuple[int, int, int] = (4, 6, 3)
    num_actions: int = 60
    num_joints: int = 17
    num_persons: int = 2
    num_frames: int = 8
    image_size: int = 224
    sigma: float = 0.7
    epsilon: float = 1e-4
    dropout: float = 0.5


class Spread(nn.Module):
    """Transposed convolution over time to four times as many moments, batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.ConvTranspose3d(inputs, outputs, (7, 1, 1), (4, 1, 1), (3, 0, 0), (3, 0, 0), bias=False)
        self.bn = nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Path(nn.Module):
    """A ResNet over frames; stages from `mixing` on mix successive frames."""

    def __init__(self, inputs: int, channels: Sequence[int], base: int, blocks: Sequence[int], mixing: int, rgb: bool):
        super().__init__()
        self.conv1 = Unit(inputs, base, (1, 7, 7), (1, 2, 2) if rgb else (1, 1, 1))
        for i, count in enumerate(blocks):
            stride: Size = (1, 1, 1) if rgb and i == 0 else (1, 2, 2)
            self.add_module(f"layer{i + 1}", stage(channels[i], base * 2**i, count, i >= mixing, stride))


class Backbone(nn.Module):
    """Both paths: (frames, volume) -> features of the frames and of the skeletons."""

    def __init__(self, config: RGBPoseConfig):
        super().__init__()
        rgb, pose = config.rgb_base, config.pose_base
        wide = (rgb, 4 * rgb, 8 * rgb + 4 * pose, 16 * rgb + 8 * pose)
        self.rgb_path = Path(3, wide, rgb, config.rgb_blocks, 2, True)
        for name, channels in (("layer2_lateral", 4 * pose), ("layer3_lateral", 8 * pose)):
            self.rgb_path.add_module(name, Unit(channels, channels, (7, 1, 1), (4, 1, 1), norm=False))
        narrow = (pose, 4 * pose + rgb // 2, 8 * pose + rgb)
        self.pose_path = Path(config.num_joints, narrow, pose, config.pose_blocks, 1, False)
        self.pose_path.add_module("layer1_lateral", Spread(8 * rgb, rgb // 2))
        self.pose_path.add_module("layer2_lateral", Spread(16 * rgb, rgb))

    def forward(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        rgb: Any = self.rgb_path
        pose: Any = self.pose_path
        x = rgb.layer2(rgb.layer1(F.max_pool3d(F.relu(rgb.conv1(x)), (1, 3, 3), (1, 2, 2), (0, 1, 1))))
        z = pose.layer1(F.max_pool3d(F.relu(pose.conv1(z)), (1, 3, 3), 1, (0, 1, 1)))
        x, z = torch.cat([x, rgb.layer2_lateral(z)], 1), torch.cat([z, pose.layer1_lateral(x)], 1)
        x, z = rgb.layer3(x), pose.layer2(z)
        x, z = torch.cat([x, rgb.layer3_lateral(z)], 1), torch.cat([z, pose.layer2_lateral(x)], 1)
        return rgb.layer4(x), pose.layer3(z)


class Head(nn.Module):
    """A linear layer for each path."""

    def __init__(self, config: RGBPoseConfig):
        super().__init__()
        self.fc_rgb = nn.Linear(32 * config.rgb_base, config.num_actions)
        self.fc_pose = nn.Linear(16 * config.pose_base, config.num_actions)


class RGBPose(nn.Module):
    """Frames (B, T, 3, H, W), and skeletons or their volume -> action (2 or 3, B, A); see jaxhar's network."""

    pixels = "imagenet"

    def __init__(self, config: RGBPoseConfig):
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.cls_head = Head(config)

    def forward(
        self,
        frames: Tensor,
        points: Tensor | None = None,
        score: Tensor | None = None,
        volume: Tensor | None = None,
    ) -> dict[str, Tensor]:
        if volume is None:
            assert points is not None and score is not None
            side = self.config.image_size // 4
            cells = points * side
            maps = volumes.encode(cells, score, (side, side), self.config.sigma, (), self.config.epsilon)
            volume = maps.movedim(2, -1)
        x, z = self.backbone(frames.movedim(2, 1), volume.movedim(-1, 1))
        drop = self.config.dropout
        by_frames = self.cls_head.fc_rgb(F.dropout(x.mean((2, 3, 4)), drop, self.training))
        by_pose = self.cls_head.fc_pose(F.dropout(z.mean((2, 3, 4)), drop, self.training))
        heads = torch.stack([by_pose, by_frames])
        if not self.training:
            both = torch.log(heads.softmax(-1).mean(0, keepdim=True) + 1e-30)
            heads = torch.cat([heads, both])
        return {"action": heads}


def build(config: RGBPoseConfig) -> nn.Module:
    """The network of these settings."""
    return RGBPose(config)


#: The network by the name of jaxhar.zoo.
ZOO = {"rgbpose-conv3d-ntu60": RGBPoseConfig()}
