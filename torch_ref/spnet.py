"""SPNet in PyTorch. To be read beside jaxhar/models/spnet.py: same modules, same names."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torch_ref.heatmaps import attend, decode_normalised, spatial_softmax
from torch_ref.layers import Conv, ConvTranspose, Norm, NormConv, PreactResidual, max_pool, upsample_to
from torch_ref.spnet_action import ActionBlock, Sight

ENTRY_WIDTH = 64


class Place(NamedTuple):
    """Where a prediction is made: pyramid from 1 (odd ones run down), level from 0 (the finest)."""

    pyramid: int
    level: int
    action: bool


@dataclass(frozen=True)
class Config:
    """Settings of an SPNet; the fields are those of jaxhar.models.spnet.Config."""

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
    def predictions(self) -> tuple[Place, ...]:
        places = []
        for pyramid in range(1, self.num_pyramids + 1):
            action = bool(self.num_actions) and pyramid in self.action_pyramids
            down = range(1, self.num_levels)
            places += [Place(pyramid, i, action) for i in (down if pyramid % 2 else [i - 1 for i in reversed(down)])]
        return tuple(places[: self.num_predictions])

    @property
    def entry_units(self) -> tuple[tuple[int, int, int], ...]:
        """Channels in and out and stride of the residual units before the first pyramid."""
        widths, strides = [ENTRY_WIDTH, self.growth], [1]
        for halvings in range(2, self.image_div.bit_length()):
            widths += [halvings * self.growth] * 2
            strides += [2 if self.downsampling == "conv" and halvings > 2 else 1, 1]
        return tuple(zip(widths, widths[1:], strides, strict=False))

    def channels(self, level: int) -> int:
        return self.growth * (self.image_div.bit_length() - 1 + level)


class Entry(nn.Module):
    """Images (N, 3, H, W) -> the trunk's level 0, (N, C, H / div, W / div)."""

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
    """To the next finer level, of the size of `like`."""

    def __init__(self, config: Config, level: int):
        super().__init__()
        self.residual = PreactResidual(config.channels(level + 1), config.channels(level), config.kernel_size)

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        return self.residual(upsample_to(x, like))


class TransposedUpUnit(nn.Module):
    """As `UpUnit`, by a transposed convolution."""

    def __init__(self, config: Config, level: int):
        super().__init__()
        self.norm = Norm(config.channels(level + 1), scale=True)
        self.conv = ConvTranspose(config.channels(level + 1), config.channels(level))

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        height, width = like.shape[2:]
        return self.conv(F.relu(self.norm(x)))[:, :, :height, :width]


class JointMaps(nn.Module):
    """Heat maps, and depth maps in 3-D: (N, C, h, w) -> (N, J, h, w) logits, and the same or None."""

    def __init__(self, config: Config, width: int):
        super().__init__()
        self.maps = Conv(width, config.num_joints)
        self.depth = Conv(width, config.num_joints) if config.depth_maps else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.maps(x), None if self.depth is None else self.depth(x)


class Remap(nn.Module):
    """The way of the joint maps back into the trunk."""

    def __init__(self, config: Config, width: int):
        super().__init__()
        joints = config.num_joints
        self.context = Conv(width, joints)
        self.maps = Conv(2 * joints, width)
        self.depth = Conv(joints, width) if config.depth_maps else None

    def forward(self, x: Tensor, maps: Tensor, depth: Tensor | None) -> Tensor:
        back = self.maps(F.relu(torch.cat([self.context(x), maps], 1)))
        return back if self.depth is None or depth is None else back + self.depth(depth)


class PredictionBlock(nn.Module):
    """Features, the maps of the joints in them, and their way back into the trunk (none in the last block)."""

    def __init__(self, config: Config, place: Place, last: bool):
        super().__init__()
        width = config.channels(place.level)
        self.alpha = config.sam_alpha
        self.residual = PreactResidual(width, width, config.kernel_size)
        self.features = NormConv(width, width, config.kernel_size, separable=True)
        self.norm = Norm(width, scale=True)
        self.maps = JointMaps(config, width)
        self.replica = JointMaps(config, width) if config.pose_replica and place.action else None
        self.remap = None if last else Remap(config, width)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor | None], tuple[Tensor, Tensor | None]]:
        """(N, C, h, w) -> the next input, and twice maps and depth maps: for the pose and for action."""
        residual = self.residual(x)
        features = self.features(residual)
        active = F.relu(self.norm(features))
        own = self.maps(active)
        seen = own if self.replica is None else self.replica(active)
        x = residual + features
        if self.remap is not None:
            x = x + self.remap(active, *own)
        return x, (self.alpha * own[0], own[1]), (self.alpha * seen[0], seen[1])


class Step(nn.Module):
    """From one prediction to the next: a change of level and a prediction block."""

    def __init__(self, config: Config, place: Place, last: bool):
        super().__init__()
        up = TransposedUpUnit if config.downsampling == "conv" else UpUnit
        unit: Any = DownUnit if place.pyramid % 2 else up
        self.unit = unit(config, place.level)
        self.block = PredictionBlock(config, place, last)


class PoseNet(nn.Module):
    """The trunk with its prediction blocks; it sees single images."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.entry = Entry(config)
        places = config.predictions
        self.steps = nn.ModuleList(Step(config, place, k == len(places) - 1) for k, place in enumerate(places))

    def forward(self, images: Tensor) -> tuple[list[tuple[Tensor, Tensor]], list[Sight]]:
        """Images (N, 3, H, W) -> pose (N, J, D) and visible (N, J) of every prediction; sights of the action blocks."""
        x = self.entry(images)
        lateral, appearance = {0: x}, {0: x}
        joints, sights = [], []
        step: Any
        for place, step in zip(self.config.predictions, self.steps, strict=True):
            before = lateral.get(place.level)
            x = step.unit(x) if place.pyramid % 2 else step.unit(x, before)
            appearance.setdefault(place.level, x)
            x, own, seen = step.block(x if before is None else x + before)
            lateral[place.level] = x
            joints.append(decode_normalised(*own))
            if place.action:
                seen_features = attend(seen[0], appearance[place.level])
                sights.append(Sight(*decode_normalised(*seen), seen_features, spatial_softmax(seen[0])))
        return joints, sights


class SPNet(nn.Module):
    """The network. `torch_ref.create` builds it."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.pose = PoseNet(config)
        places = [place for place in config.predictions if place.action]
        self.actions = nn.ModuleList(
            ActionBlock(
                config.dims,
                config.channels(place.level),
                config.num_pose_features,
                config.num_visual_features,
                config.num_actions or (),
                first=k == 0,
                last=k == len(places) - 1,
            )
            for k, place in enumerate(places)
        )

    def look(self, frames: Tensor) -> tuple[dict[str, Any], list[Sight]]:
        """The pose function: frames (B, T, 3, H, W) -> pose, visible; sights for `recognise`."""
        clips = frames.shape[:2]
        joints, sights = self.pose(frames.flatten(0, 1))
        pose, visible = zip(*joints, strict=True)
        preds = {"pose": torch.stack(pose).unflatten(1, clips), "visible": torch.stack(visible).unflatten(1, clips)}
        return preds, [Sight(*(part.unflatten(0, clips) for part in sight)) for sight in sights]

    def recognise(self, sights: list[Sight]) -> Tensor | tuple[Tensor, ...]:
        """The action function: logits (K', B, A); with several sets of labels, one tensor a set."""
        x: Tensor | None = None
        lateral: dict[int, Tensor | None] = {}
        logits = []
        blocks, seen = iter(self.actions), iter(sights)
        for place in self.config.predictions:
            if place.action:
                x, heads = next(blocks)(x, lateral.get(place.level), next(seen))
                logits.append(heads)
            lateral[place.level] = x
        sets = tuple(torch.stack(heads) for heads in zip(*logits, strict=True))
        return sets if len(sets) > 1 else sets[0]

    def decoupled(self, frames: Tensor) -> dict[str, Any]:
        """The joints as the action blocks see them: pose, visible, and a tuple of soft-maxed maps (B, T, J, h, w)."""
        pose, visible, _, maps = zip(*self.look(frames)[1], strict=True)
        return {"pose": torch.stack(pose), "visible": torch.stack(visible), "maps": maps}

    def forward(self, frames: Tensor, action: bool = True) -> dict[str, Any]:
        """Frames (B, T, 3, H, W) -> pose (K, B, T, J, D), visible (K, B, T, J), action logits as of `recognise`."""
        preds, sights = self.look(frames)
        if action and sights:
            preds["action"] = self.recognise(sights)
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
