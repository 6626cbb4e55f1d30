"""SPNet in PyTorch, with the same modules and names as jaxhar/models/spnet/network.py."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torch_ref.heatmaps import attend, decode_normalised, spatial_softmax
from torch_ref.layers import Conv, ConvTranspose, Norm, NormConv, PreactResidual, max_pool, upsample_to
from torch_ref.spnet_action import ActionBlock, ActionFeatures

ENTRY_WIDTH = 64


class BlockPosition(NamedTuple):
    """Position of a prediction block: pyramid from 1 (odd ones run down), level from 0 (the finest)."""

    pyramid: int
    level: int
    action: bool


@dataclass(frozen=True)
class Config:
    """Settings of an SPNet, with the fields of jaxhar.models.spnet.network.SPNetConfig."""

    image_size: int = 256
    image_div: int = 8
    num_pyramids: int = 8
    action_pyramids: tuple[int, ...] = (1, 2)
    num_levels: int = 4
    growth: int = 96
    kernel_size: int = 5
    downsampling: str = "maxpooling"
    num_joints: int = 16
    depth_maps: bool = False
    num_frames: int | None = None
    num_actions: tuple[int, ...] | None = None
    num_pose_features: int = 128
    num_visual_features: int = 128
    pose_replica: bool = False
    sam_alpha: float = 1.0
    num_predictions: int | None = None

    @property
    def dims(self) -> int:
        return 3 if self.depth_maps else 2

    @property
    def predictions(self) -> tuple[BlockPosition, ...]:
        positions = []
        for pyramid in range(1, self.num_pyramids + 1):
            action = bool(self.num_actions) and pyramid in self.action_pyramids
            down = range(1, self.num_levels)
            levels = down if pyramid % 2 else [level - 1 for level in reversed(down)]
            positions += [BlockPosition(pyramid, level, action) for level in levels]
        return tuple(positions[: self.num_predictions])

    @property
    def entry_units(self) -> tuple[tuple[int, int, int], ...]:
        """(input channels, output channels, stride) of the residual units before the first pyramid."""
        widths, strides = [ENTRY_WIDTH, self.growth], [1]
        for halvings in range(2, self.image_div.bit_length()):
            widths += [halvings * self.growth] * 2
            strides += [2 if self.downsampling == "conv" and halvings > 2 else 1, 1]
        return tuple(zip(widths, widths[1:], strides, strict=False))

    def channels(self, level: int) -> int:
        return self.growth * (self.image_div.bit_length() - 1 + level)


class EntryFlow(nn.Module):
    """First layers: images (N, 3, H, W) -> level 0 of the trunk, (N, C, H / div, W / div)."""

    def __init__(self, config: Config):
        super().__init__()
        self.strided = config.downsampling == "conv"
        self.conv = Conv(3, ENTRY_WIDTH, 7, 2)
        self.residuals = nn.ModuleList(
            PreactResidual(inputs, outputs, 3, stride, bottleneck=outputs // 2)
            for inputs, outputs, stride in config.entry_units
        )

    def forward(self, x: Tensor) -> Tensor:
        first, *pairs = self.residuals
        x = max_pool(first(self.conv(x)), 3)
        for i in range(0, len(pairs), 2):
            if i > 0 and not self.strided:
                x = max_pool(x)
            x = pairs[i + 1](pairs[i](x))
        return x


class DownUnit(nn.Module):
    """To the next coarser level."""

    def __init__(self, config: Config, level: int):
        super().__init__()
        self.stride = 2 if config.downsampling == "conv" else 1
        inputs, outputs = config.channels(level - 1), config.channels(level)
        self.residual = PreactResidual(inputs, outputs, config.kernel_size, self.stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x if self.stride == 2 else max_pool(x))


class UpUnit(nn.Module):
    """To the next finer level, with the size of `like`."""

    def __init__(self, config: Config, level: int):
        super().__init__()
        self.residual = PreactResidual(config.channels(level + 1), config.channels(level), config.kernel_size)

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        return self.residual(upsample_to(x, like))


class TransposedUpUnit(nn.Module):
    """As `UpUnit`, with a transposed convolution."""

    def __init__(self, config: Config, level: int):
        super().__init__()
        self.norm = Norm(config.channels(level + 1), scale=True)
        self.conv = ConvTranspose(config.channels(level + 1), config.channels(level))

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        height, width = like.shape[2:]
        return self.conv(F.relu(self.norm(x)))[:, :, :height, :width]


class JointMaps(nn.Module):
    """Heat maps and, for 3-D poses, depth maps: (N, C, h, w) -> logits (N, J, h, w), and the same or None."""

    def __init__(self, config: Config, width: int):
        super().__init__()
        self.maps = Conv(width, config.num_joints)
        self.depth = Conv(width, config.num_joints) if config.depth_maps else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.maps(x), None if self.depth is None else self.depth(x)


class Remap(nn.Module):
    """Feeds joint maps back into the trunk."""

    def __init__(self, config: Config, width: int):
        super().__init__()
        joints = config.num_joints
        self.context = Conv(width, joints)
        self.maps = Conv(2 * joints, width)
        self.depth = Conv(joints, width) if config.depth_maps else None

    def forward(self, x: Tensor, maps: Tensor, depth: Tensor | None) -> Tensor:
        back = self.maps(F.relu(torch.cat([self.context(x), maps], 1)))
        return back if self.depth is None or depth is None else back + self.depth(depth)


class PyramidBlock(nn.Module):
    """Prediction block: features, and joint maps that are fed back into the trunk; the last feeds nothing back."""

    def __init__(self, config: Config, position: BlockPosition, last: bool):
        super().__init__()
        width = config.channels(position.level)
        self.alpha = config.sam_alpha
        self.residual = PreactResidual(width, width, config.kernel_size)
        self.features = NormConv(width, width, config.kernel_size, separable=True)
        self.norm = Norm(width, scale=True)
        self.maps = JointMaps(config, width)
        self.replica = JointMaps(config, width) if config.pose_replica and position.action else None
        self.remap = None if last else Remap(config, width)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor | None], tuple[Tensor, Tensor | None]]:
        """(N, C, h, w) -> the next input, and (maps, depth maps) for the pose and for the action block."""
        residual = self.residual(x)
        features = self.features(residual)
        active = F.relu(self.norm(features))
        pose_maps = self.maps(active)
        action_maps = pose_maps if self.replica is None else self.replica(active)
        x = residual + features
        if self.remap is not None:
            x = x + self.remap(active, *pose_maps)
        return x, (self.alpha * pose_maps[0], pose_maps[1]), (self.alpha * action_maps[0], action_maps[1])


class Step(nn.Module):
    """A change of level followed by a prediction block."""

    def __init__(self, config: Config, position: BlockPosition, last: bool):
        super().__init__()
        up = TransposedUpUnit if config.downsampling == "conv" else UpUnit
        unit: Any = DownUnit if position.pyramid % 2 else up
        self.unit = unit(config, position.level)
        self.block = PyramidBlock(config, position, last)


class PoseTrunk(nn.Module):
    """The trunk with its prediction blocks; it processes single images."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.entry = EntryFlow(config)
        positions = config.predictions
        self.steps = nn.ModuleList(
            Step(config, position, k == len(positions) - 1) for k, position in enumerate(positions)
        )

    def forward(self, images: Tensor) -> tuple[list[tuple[Tensor, Tensor]], list[ActionFeatures]]:
        """Images (N, 3, H, W) -> (pose (N, J, D), visible (N, J)) of every prediction block; action features."""
        x = self.entry(images)
        lateral, appearance = {0: x}, {0: x}
        joints, features = [], []
        step: Any
        for position, step in zip(self.config.predictions, self.steps, strict=True):
            before = lateral.get(position.level)
            x = step.unit(x) if position.pyramid % 2 else step.unit(x, before)
            appearance.setdefault(position.level, x)
            x, pose_maps, action_maps = step.block(x if before is None else x + before)
            lateral[position.level] = x
            joints.append(decode_normalised(*pose_maps))
            if position.action:
                joint_features = attend(action_maps[0], appearance[position.level])
                decoded = decode_normalised(*action_maps)
                features.append(ActionFeatures(*decoded, joint_features, spatial_softmax(action_maps[0])))
        return joints, features


class SPNet(nn.Module):
    """The network. Built by `torch_ref.create`."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.pose = PoseTrunk(config)
        positions = [position for position in config.predictions if position.action]
        self.actions = nn.ModuleList(
            ActionBlock(
                config.dims,
                config.channels(position.level),
                config.num_pose_features,
                config.num_visual_features,
                config.num_actions or (),
                first=k == 0,
                last=k == len(positions) - 1,
            )
            for k, position in enumerate(positions)
        )

    def pose_forward(self, frames: Tensor) -> tuple[dict[str, Any], list[ActionFeatures]]:
        """Runs the trunk on frames (B, T, 3, H, W); returns (preds, features) for `action_forward`."""
        clips = frames.shape[:2]
        joints, features = self.pose(frames.flatten(0, 1))
        pose, visible = zip(*joints, strict=True)
        preds = {"pose": torch.stack(pose).unflatten(1, clips), "visible": torch.stack(visible).unflatten(1, clips)}
        return preds, [ActionFeatures(*(part.unflatten(0, clips) for part in one)) for one in features]

    def action_forward(self, features: list[ActionFeatures]) -> Tensor | tuple[Tensor, ...]:
        """Runs the action blocks; returns logits (K', B, A), or a tuple of them with several label sets."""
        x: Tensor | None = None
        lateral: dict[int, Tensor | None] = {}
        logits = []
        blocks, inputs = iter(self.actions), iter(features)
        for position in self.config.predictions:
            if position.action:
                x, heads = next(blocks)(x, lateral.get(position.level), next(inputs))
                logits.append(heads)
            lateral[position.level] = x
        sets = tuple(torch.stack(heads) for heads in zip(*logits, strict=True))
        return sets if len(sets) > 1 else sets[0]

    def decoupled(self, frames: Tensor) -> dict[str, Any]:
        """Input joints of the action blocks: pose, visible, and a tuple of softmax maps (B, T, J, h, w)."""
        pose, visible, _, maps = zip(*self.pose_forward(frames)[1], strict=True)
        return {"pose": torch.stack(pose), "visible": torch.stack(visible), "maps": maps}

    def forward(self, frames: Tensor, action: bool = True) -> dict[str, Any]:
        """Frames (B, T, 3, H, W) -> pose (K, B, T, J, D), visible (K, B, T, J), logits as in `action_forward`."""
        preds, features = self.pose_forward(frames)
        if action and features:
            preds["action"] = self.action_forward(features)
        return preds


build = SPNet

#: The networks by the names of jaxhar.zoo.
ZOO = {
    "spnet-penn": Config(
        num_pyramids=6,
        action_pyramids=(5, 6),
        num_frames=8,
        num_actions=(15,),
        num_pose_features=160,
        num_visual_features=160,
        pose_replica=True,
    ),
    "spnet-ntu": Config(
        num_pyramids=2,
        action_pyramids=(1, 2),
        num_joints=17,
        depth_maps=True,
        num_frames=8,
        num_actions=(60,),
        num_pose_features=192,
        num_visual_features=192,
    ),
    "spnet-pose": Config(num_joints=17, depth_maps=True),
}
