"""PoseConv3D in PyTorch, with the modules and names of pyskl and mmaction2, for volumes (N, C, T, H, W)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torch_ref import volume

Size = tuple[int, int, int]


@dataclass(frozen=True)
class PoseConvConfig:
    """Settings, with the fields of jaxhar.models.poseconv.network.PoseConvConfig."""

    backbone: str = "slowonly"
    base: int | None = None
    blocks: Sequence[int] | None = None
    num_actions: int = 60
    num_joints: int = 17
    num_persons: int = 2
    num_frames: int = 48
    limbs: tuple[tuple[int, int], ...] = ()
    sides: tuple[tuple[int, int], ...] = tuple((left, left + 1) for left in range(1, 17, 2))
    size: int | tuple[int, int] = 56
    eval_size: int | tuple[int, int] | None = 64
    sigma: float = 0.6
    epsilon: float = 1e-4
    dropout: float = 0.5


class Unit(nn.Module):
    """A convolution without bias, padded on both sides, and a batch norm if `norm`."""

    def __init__(
        self, inputs: int, outputs: int, kernel: Size, stride: Size = (1, 1, 1), groups: int = 1, norm: bool = True
    ):
        super().__init__()
        pad = kernel[0] // 2, kernel[1] // 2, kernel[2] // 2
        self.conv = nn.Conv3d(inputs, outputs, kernel, stride, pad, groups=groups, bias=False)
        if norm:
            self.bn = nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.bn(x) if hasattr(self, "bn") else x


class Bottleneck(nn.Module):
    """A residual block; `first` has a convolution in the shortcut, `depthwise` makes it one of X3D."""

    def __init__(
        self, inputs: int, inner: int, outputs: int, mixes: bool, stride: Size, first: bool, depthwise: bool = False
    ):
        super().__init__()
        if depthwise:
            self.conv1 = Unit(inputs, inner, (1, 1, 1))
            self.conv2 = Unit(inner, inner, (3, 3, 3), stride, groups=inner)
        else:
            self.conv1 = Unit(inputs, inner, (3 if mixes else 1, 1, 1))
            self.conv2 = Unit(inner, inner, (1, 3, 3), stride)
        self.conv3 = Unit(inner, outputs, (1, 1, 1))
        self.downsample = Unit(inputs, outputs, (1, 1, 1), stride) if first else None
        self.depthwise = depthwise

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.conv1(x)))
        y = self.conv3(y if self.depthwise else F.relu(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


def stage(inputs: int, inner: int, count: int, mixes: bool, stride: Size) -> nn.Sequential:
    """The blocks of a stage, the first with the stride."""
    ends = [inputs] + [4 * inner] * count
    steps = [stride] + [(1, 1, 1)] * (count - 1)
    return nn.Sequential(*(Bottleneck(ends[i], inner, 4 * inner, mixes, step, i == 0) for i, step in enumerate(steps)))


class SlowOnly(nn.Module):
    """A ResNet over frames whose last two stages mix successive frames."""

    def __init__(self, inputs: int, base: int, blocks: Sequence[int]):
        super().__init__()
        self.conv1 = Unit(inputs, base, (1, 7, 7))
        channels = base
        for number, count in enumerate(blocks):
            inner = base * 2**number
            blocks_of = stage(channels, inner, count, number > 0, (2 if number == 2 else 1, 2, 2))
            self.add_module(f"layer{number + 1}", blocks_of)
            channels = 4 * inner
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        parts: Any = self
        x = F.max_pool3d(F.relu(self.conv1(x)), (1, 3, 3), 1, (0, 1, 1))
        return parts.layer3(parts.layer2(parts.layer1(x)))


class C3DLight(nn.Module):
    """Six 3x3x3 convolutions with mean pools over 2x2 positions."""

    def __init__(self, inputs: int, base: int):
        super().__init__()
        sizes = {"1a": base, "2a": 2 * base, "3a": 4 * base, "3b": 4 * base, "4a": 8 * base, "4b": 8 * base}
        for name, outputs in sizes.items():
            self.add_module(f"conv{name}", Unit(inputs, outputs, (3, 3, 3)))
            inputs = outputs
        self.channels = inputs

    def forward(self, x: Tensor) -> Tensor:
        for name, module in self.named_children():
            x = F.relu(module(x))
            if name in ("conv1a", "conv2a", "conv3b"):
                x = F.avg_pool3d(x, (1, 2, 2))
        return x


class X3DShallow(nn.Module):
    """Blocks with depthwise convolutions, without squeeze-and-excitation."""

    def __init__(self, inputs: int, base: int, blocks: Sequence[int]):
        super().__init__()
        self.conv1_s = Unit(inputs, base, (1, 3, 3), (1, 2, 2), norm=False)
        self.conv1_t = Unit(base, base, (5, 1, 1), groups=base)
        channels = base
        for number, count in enumerate(blocks):
            outputs, made = base * 2**number, []
            for place in range(count):
                stride = (1, 1, 1) if place else (1, 2, 2)
                made.append(Bottleneck(channels, int(2.25 * outputs), outputs, False, stride, not place, True))
                channels = outputs
            self.add_module(f"layer{number + 1}", nn.Sequential(*made))
        self.channels = int(2.25 * channels)
        self.conv5 = Unit(channels, self.channels, (1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        parts: Any = self
        x = parts.layer3(parts.layer2(parts.layer1(F.relu(self.conv1_t(self.conv1_s(x))))))
        return F.relu(self.conv5(x))


class Head(nn.Module):
    """The mean over time and positions, dropout and a linear layer: (N, C, T, H, W) -> (N, A)."""

    def __init__(self, channels: int, classes: int, dropout: float):
        super().__init__()
        self.fc_cls = nn.Linear(channels, classes)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        return self.fc_cls(F.dropout(x.mean((2, 3, 4)), self.dropout, self.training))


class PoseConv(nn.Module):
    """The network: points (B, T, M, J, 2) in crop units and score (B, T, M, J), or a volume -> action (1, B, A)."""

    def __init__(self, config: PoseConvConfig):
        super().__init__()
        self.config = config
        inputs = len(config.limbs) or config.num_joints
        if config.backbone == "slowonly":
            self.backbone: nn.Module = SlowOnly(inputs, config.base or 32, config.blocks or (4, 6, 3))
        elif config.backbone == "c3d-light":
            self.backbone = C3DLight(inputs, config.base or 32)
        else:
            self.backbone = X3DShallow(inputs, config.base or 24, config.blocks or (2, 5, 3))
        self.cls_head = Head(self.backbone.channels, config.num_actions, config.dropout)  # type: ignore[arg-type]

    def volume(self, points: Tensor, score: Tensor, mirrored: Tensor | None = None) -> Tensor:
        """The heat-map volume (B, T, H, W, C)."""
        config = self.config
        side = config.size if self.training or config.eval_size is None else config.eval_size
        size = (side, side) if isinstance(side, int) else side
        cells = points * torch.tensor(size[::-1], dtype=points.dtype)
        maps = volume.encode(cells, score, size, config.sigma, config.limbs, config.epsilon)
        if mirrored is not None:
            channels = volume.partners(config.num_joints, config.sides, config.limbs)
            maps = torch.where(mirrored[:, None, None, None, None], volume.mirrored(maps, channels), maps)
        return maps.movedim(2, -1)

    def forward(
        self,
        points: Tensor | None = None,
        score: Tensor | None = None,
        mirrored: Tensor | None = None,
        volume: Tensor | None = None,
    ) -> dict[str, Tensor]:
        if volume is None:
            assert points is not None and score is not None
            volume = self.volume(points, score, mirrored)
        return {"action": self.cls_head(self.backbone(volume.movedim(-1, 1)))[None]}


def build(config: PoseConvConfig) -> nn.Module:
    """The network of these settings."""
    return PoseConv(config)


_LIMBS = (
    *((0, 5), (0, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (11, 13), (13, 15)),
    *((6, 12), (12, 14), (14, 16), (0, 1), (0, 2), (1, 3), (2, 4), (11, 12)),
)

#: The networks by the names of jaxhar.zoo.
ZOO = {
    "poseconv3d-ntu60-joint": PoseConvConfig(),
    "poseconv3d-ntu60-limb": PoseConvConfig(limbs=_LIMBS),
    "poseconv3d-k400-joint": PoseConvConfig(blocks=(3, 4, 6), num_actions=400),
    "poseconv3d-c3d-ntu60-joint": PoseConvConfig("c3d-light"),
    "poseconv3d-x3d-ntu60-joint": PoseConvConfig("x3d-shallow"),
}
