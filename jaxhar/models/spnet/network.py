"""SPNet: pose and action from pyramids of prediction blocks that refine each other (TPAMI'20).

Luvizon, Picard, Tabia: "Multi-task Deep Learning for Real-Time 3D Human Pose Estimation and Action Recognition".

The trunk is a sequence of pyramids that run down and up the levels of resolution. Every level of a pyramid except the
first has a prediction block, whose heat maps give the pose. In an action pyramid each prediction block also passes
poses and features at the joints to an action block, which processes images of time by joints.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxhar.core.batch import Batch, Preds
from jaxhar.core.heatmaps import attend, decode_normalised, spatial_softmax
from jaxhar.core.pixels import Pixels
from jaxhar.models.spnet.action import ActionBlock, ActionFeatures
from jaxhar.nn.layers import Conv, ConvTranspose, Norm, NormConv, PreactResidual, max_pool, upsample_to
from jaxhar.nn.time import is_training, per_frame

Array = jax.Array

#: Channels of the first convolution.
ENTRY_WIDTH = 64


class Downsampling(StrEnum):
    """How the resolution changes between levels."""

    #: Max-pooling down, repetition of pixels up.
    MAX_POOLING = "maxpooling"
    #: Strided convolutions down, transposed convolutions up.
    CONV = "conv"


class BlockPosition(NamedTuple):
    """Position of a prediction block in the network.

    Attributes:
      pyramid: number of the pyramid, from 1; odd pyramids run down, even ones up.
      level: level of resolution; 0 is the finest.
      action: whether the block feeds an action block.
    """

    pyramid: int
    level: int
    action: bool


@dataclass(frozen=True)
class SPNetConfig:
    """Settings of an SPNet: a pose network, with action blocks if `num_actions` is given.

    Attributes:
      image_size: side of the square input in pixels.
      image_div: image size divided by map size at level 0; a power of two, at least 4.
      num_pyramids: number of pyramids, alternately down and up.
      action_pyramids: pyramids with action blocks, counted from 1.
      num_levels: number of levels of resolution; a pyramid has one prediction block less.
      growth: channels added with every level.
      kernel_size: side of the depthwise kernels in the trunk.
      downsampling: how the resolution changes.
      num_joints: J.
      depth_maps: whether each joint also has a depth map, for 3-D poses.
      num_frames: T, default clip length; None for stills. The network accepts any length.
      num_actions: A of every label set; None for a pose network. A single number or () is converted.
      num_pose_features, num_visual_features: channels of the pose and the visual part of an action block.
      pose_replica: whether action blocks get separate heat maps, so that the two tasks do not train the same maps.
      sam_alpha: factor on the heat maps before every softmax.
      num_predictions: number of prediction blocks, to trade accuracy for speed; None for all.
    """

    #: See `jaxhar.core.network.NetworkConfig`.
    reads: ClassVar[tuple[str, ...]] = ("frames",)
    pixels: ClassVar[Pixels] = Pixels.SIGNED
    #: Changes for tests, applied by `tiny` and `zoo.tiny`.
    TINY: ClassVar[dict[str, object]] = {
        "image_size": 64,
        "num_pyramids": 2,
        "action_pyramids": (1, 2),
        "num_levels": 3,
        "growth": 8,
        "kernel_size": 3,
        "num_pose_features": 16,
        "num_visual_features": 16,
    }

    image_size: int = 256
    image_div: int = 8
    num_pyramids: int = 8
    action_pyramids: tuple[int, ...] = (1, 2)
    num_levels: int = 4
    growth: int = 96
    kernel_size: int = 5
    downsampling: Downsampling = Downsampling.MAX_POOLING
    num_joints: int = 16
    depth_maps: bool = False
    num_frames: int | None = None
    num_actions: tuple[int, ...] | None = None
    num_pose_features: int = 128
    num_visual_features: int = 128
    pose_replica: bool = False
    sam_alpha: float = 1.0
    num_predictions: int | None = None

    def __post_init__(self):
        actions = (self.num_actions,) if isinstance(self.num_actions, int) else tuple(self.num_actions or ())
        object.__setattr__(self, "num_actions", actions or None)
        object.__setattr__(self, "action_pyramids", tuple(sorted(self.action_pyramids)))
        object.__setattr__(self, "downsampling", Downsampling(self.downsampling))
        for name in ("image_size", "num_pyramids", "growth", "kernel_size", "num_joints"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.image_div < 4 or self.image_div & (self.image_div - 1):
            raise ValueError(f"image_div must be 4, 8, 16, ..., not {self.image_div}")
        if self.kernel_size % 2 == 0 or self.num_levels < 2:
            raise ValueError(
                f"kernel_size must be odd and num_levels at least 2, not {self.kernel_size} and {self.num_levels}"
            )
        possible = range(1, self.num_pyramids + 1)
        if self.num_actions and not (self.action_pyramids and set(self.action_pyramids) <= set(possible)):
            raise ValueError(f"action_pyramids must be some of {[*possible]}, not {self.action_pyramids}")
        if self.num_actions and min(self.num_pose_features, self.num_visual_features) < 16:
            raise ValueError("num_pose_features and num_visual_features must be at least 16")
        most = self.num_pyramids * (self.num_levels - 1)
        if self.num_predictions is not None and not 1 <= self.num_predictions <= most:
            raise ValueError(f"num_predictions must lie in 1..{most}, not {self.num_predictions}")

    @property
    def predicts(self) -> tuple[str, ...]:
        """Keys of the predictions."""
        return ("pose", "visible", *(("action",) if self.classes else ()))

    @property
    def frames_apart(self) -> bool:
        """True for pose networks, which process every frame independently."""
        return not self.classes

    @property
    def pose_shape(self) -> tuple[int, int]:
        """(J, D)."""
        return self.num_joints, self.dims

    @property
    def classes(self) -> tuple[int, ...]:
        """Number of classes of each label set."""
        return self.num_actions or ()

    def inputs(self, batch: object, frames: int | None = None) -> dict[str, jax.ShapeDtypeStruct]:
        """Frames (B, T, H, W, 3)."""
        length = frames or self.num_frames or 1
        return {"frames": jax.ShapeDtypeStruct((batch, length, self.image_size, self.image_size, 3), jnp.float32)}

    def for_classes(self, classes: int, frames: int) -> "SPNetConfig":
        """Settings of the same trunk with action blocks for this number of classes, and clips of this length."""
        replica = self.pose_replica and bool(self.classes)  # a pose network has no weights for the second maps
        return replace(self, num_actions=(classes,), num_frames=frames, pose_replica=replica)

    @classmethod
    def tiny(cls, **changes) -> "SPNetConfig":
        """Settings of a narrow network of two pyramids for tests."""
        return cls(**{**cls.TINY, **changes})

    @property
    def dims(self) -> int:
        """D, coordinates of a joint."""
        return 3 if self.depth_maps else 2

    @property
    def predictions(self) -> tuple[BlockPosition, ...]:
        """Positions of the K prediction blocks in order."""
        positions = []
        for pyramid in range(1, self.num_pyramids + 1):
            action = self.num_actions is not None and pyramid in self.action_pyramids
            down = range(1, self.num_levels)
            levels = down if pyramid % 2 else [level - 1 for level in reversed(down)]
            positions += [BlockPosition(pyramid, level, action) for level in levels]
        return tuple(positions[: self.num_predictions])

    @property
    def entry_units(self) -> tuple[tuple[int, int, int], ...]:
        """(input channels, output channels, stride) of the residual units before the first pyramid: one, then two for
        every resolution from a quarter of the image on."""
        widths, strides = [ENTRY_WIDTH, self.growth], [1]
        for halvings in range(2, self.image_div.bit_length()):
            widths += [halvings * self.growth] * 2
            strides += [2 if self.downsampling is Downsampling.CONV and halvings > 2 else 1, 1]
        return tuple(zip(widths, widths[1:], strides, strict=False))

    def channels(self, level: int) -> int:
        """Channels of the trunk at a level."""
        return self.growth * (self.image_div.bit_length() - 1 + level)


class EntryFlow(nnx.Module):
    """First layers: images (N, H, W, 3) -> level 0 of the trunk, (N, H / div, W / div, C)."""

    def __init__(self, config: SPNetConfig, *, dtype, rngs: nnx.Rngs):
        kw = {"dtype": dtype, "rngs": rngs}
        self.strided = config.downsampling is Downsampling.CONV
        self.conv = Conv(3, ENTRY_WIDTH, 7, 2, **kw)
        self.residuals = nnx.List(
            PreactResidual(inputs, outputs, 3, stride, bottleneck=outputs // 2, **kw)
            for inputs, outputs, stride in config.entry_units
        )

    def __call__(self, x: Array) -> Array:
        first, *pairs = self.residuals
        x = max_pool(first(self.conv(x)), 3)
        for i in range(0, len(pairs), 2):
            if i > 0 and not self.strided:
                x = max_pool(x)
            x = pairs[i + 1](pairs[i](x))
        return x


class DownUnit(nnx.Module):
    """To the next coarser level: (N, h, w, C) -> (N, ceil(h / 2), ceil(w / 2), C + growth)."""

    def __init__(self, config: SPNetConfig, level: int, *, dtype, rngs: nnx.Rngs):
        self.stride = 2 if config.downsampling is Downsampling.CONV else 1
        inputs, outputs = config.channels(level - 1), config.channels(level)
        self.residual = PreactResidual(inputs, outputs, config.kernel_size, self.stride, dtype=dtype, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.residual(x if self.stride == 2 else max_pool(x))


class UpUnit(nnx.Module):
    """To the next finer level, with the size of `like`: (N, ceil(h / 2), ceil(w / 2), C) -> (N, h, w, C - growth)."""

    def __init__(self, config: SPNetConfig, level: int, *, dtype, rngs: nnx.Rngs):
        inputs, outputs = config.channels(level + 1), config.channels(level)
        self.residual = PreactResidual(inputs, outputs, config.kernel_size, dtype=dtype, rngs=rngs)

    def __call__(self, x: Array, like: Array) -> Array:
        return self.residual(upsample_to(x, like))


class TransposedUpUnit(nnx.Module):
    """As `UpUnit`, with a transposed convolution, the counterpart of strided convolutions."""

    def __init__(self, config: SPNetConfig, level: int, *, dtype, rngs: nnx.Rngs):
        inputs, outputs = config.channels(level + 1), config.channels(level)
        self.norm = Norm(inputs, scale=True, rngs=rngs)
        self.conv = ConvTranspose(inputs, outputs, dtype=dtype, rngs=rngs)

    def __call__(self, x: Array, like: Array) -> Array:
        height, width = like.shape[1:3]
        return self.conv(nnx.relu(self.norm(x)))[:, :height, :width]


class JointMaps(nnx.Module):
    """Heat maps and, for 3-D poses, depth maps: (N, h, w, C) -> logits (N, h, w, J), and the same or None."""

    def __init__(self, config: SPNetConfig, width: int, *, dtype, rngs: nnx.Rngs):
        self.maps = Conv(width, config.num_joints, dtype=dtype, rngs=rngs)
        self.depth = Conv(width, config.num_joints, dtype=dtype, rngs=rngs) if config.depth_maps else None

    def __call__(self, x: Array) -> tuple[Array, Array | None]:
        return self.maps(x), None if self.depth is None else self.depth(x)


class Remap(nnx.Module):
    """Feeds joint maps back into the trunk: features (N, h, w, C) and maps (N, h, w, J) -> (N, h, w, C)."""

    def __init__(self, config: SPNetConfig, width: int, *, dtype, rngs: nnx.Rngs):
        joints, kw = config.num_joints, {"dtype": dtype, "rngs": rngs}
        self.context = Conv(width, joints, **kw)
        self.maps = Conv(2 * joints, width, **kw)
        self.depth = Conv(joints, width, **kw) if config.depth_maps else None

    def __call__(self, x: Array, maps: Array, depth: Array | None) -> Array:
        back = self.maps(nnx.relu(jnp.concatenate([self.context(x), maps], axis=-1)))
        return back if self.depth is None or depth is None else back + self.depth(depth)


class PyramidBlock(nnx.Module):
    """Prediction block: features, and joint maps that are fed back into the trunk; the last feeds nothing back."""

    def __init__(self, config: SPNetConfig, position: BlockPosition, last: bool, *, dtype, rngs: nnx.Rngs):
        kw = {"dtype": dtype, "rngs": rngs}
        width = config.channels(position.level)
        self.alpha = config.sam_alpha
        self.residual = PreactResidual(width, width, config.kernel_size, **kw)
        self.features = NormConv(width, width, config.kernel_size, separable=True, **kw)
        self.norm = Norm(width, scale=True, rngs=rngs)
        self.maps = JointMaps(config, width, **kw)
        self.replica = JointMaps(config, width, **kw) if config.pose_replica and position.action else None
        self.remap = None if last else Remap(config, width, **kw)

    def __call__(self, x: Array) -> tuple[Array, tuple[Array, Array | None], tuple[Array, Array | None]]:
        """(N, h, w, C) -> the next input (N, h, w, C), and (maps, depth maps) for the pose and for the action block."""
        residual = self.residual(x)
        features = self.features(residual)
        active = nnx.relu(self.norm(features))
        pose_maps = self.maps(active)
        action_maps = pose_maps if self.replica is None else self.replica(active)
        x = residual + features
        if self.remap is not None:
            x = x + self.remap(active, *pose_maps)
        return x, self._scaled(*pose_maps), self._scaled(*action_maps)

    def _scaled(self, maps: Array, depth: Array | None) -> tuple[Array, Array | None]:
        wide = jnp.promote_types(maps.dtype, jnp.float32)
        return self.alpha * maps.astype(wide), None if depth is None else depth.astype(wide)


class Step(nnx.Module):
    """A change of level followed by a prediction block."""

    def __init__(self, config: SPNetConfig, position: BlockPosition, last: bool, *, dtype, rngs: nnx.Rngs):
        up = TransposedUpUnit if config.downsampling is Downsampling.CONV else UpUnit
        unit: Any = DownUnit if position.pyramid % 2 else up
        self.unit = unit(config, position.level, dtype=dtype, rngs=rngs)
        self.block = PyramidBlock(config, position, last, dtype=dtype, rngs=rngs)


class PoseTrunk(nnx.Module):
    """The trunk with its prediction blocks; it processes single images."""

    def __init__(self, config: SPNetConfig, *, dtype, rngs: nnx.Rngs):
        self.config = config
        self.dtype = dtype
        self.entry = EntryFlow(config, dtype=dtype, rngs=rngs)
        positions = config.predictions
        self.steps = nnx.List(
            Step(config, position, last=k == len(positions) - 1, dtype=dtype, rngs=rngs)
            for k, position in enumerate(positions)
        )

    def __call__(
        self, images: Array, with_maps: bool = False
    ) -> tuple[list[tuple[Array, Array]], list[ActionFeatures]]:
        """Images (N, H, W, 3) -> (pose (N, J, D), visible (N, J)) of every prediction block; action features."""
        x = self.entry(images)
        lateral = {0: x}  # latest features of every level
        appearance = {0: x}  # first features of every level, before any prediction
        joints, features = [], []
        for position, step in zip(self.config.predictions, self.steps, strict=True):
            before = lateral.get(position.level)
            x = step.unit(x) if position.pyramid % 2 else step.unit(x, before)
            appearance.setdefault(position.level, x)
            x, pose_maps, action_maps = step.block(x if before is None else x + before)
            lateral[position.level] = x
            joints.append(decode_normalised(*pose_maps))
            if position.action:
                maps = spatial_softmax(action_maps[0]) if with_maps else None
                features.append(
                    ActionFeatures(
                        *decode_normalised(*action_maps), attend(action_maps[0], appearance[position.level]), maps
                    )
                )
        return joints, features


class SPNet(nnx.Module):
    """The network. Built by `zoo.create`.

    Attributes:
      config: the settings.
      pose: the trunk, which processes the images.
      actions: the action blocks; empty in a pose network.
    """

    def __init__(self, config: SPNetConfig, *, dtype=jnp.float32, rngs: nnx.Rngs):
        self.config = config
        self.dtype = dtype
        self.pose = PoseTrunk(config, dtype=dtype, rngs=rngs)
        positions = [position for position in config.predictions if position.action]
        self.actions = nnx.List(
            ActionBlock(
                config.dims,
                config.channels(position.level),
                config.num_pose_features,
                config.num_visual_features,
                config.num_actions or (),
                first=k == 0,
                last=k == len(positions) - 1,
                dtype=dtype,
                rngs=rngs,
            )
            for k, position in enumerate(positions)
        )

    def pose_forward(self, batch: Batch) -> tuple[Preds, list[ActionFeatures]]:
        """Runs the trunk; returns (preds, features); pass the features to `action_forward`."""
        joints, features = per_frame(lambda net, images: net(images), self.pose, self.config.pixels(batch))
        pose, visible = zip(*joints, strict=True)
        return {"pose": jnp.stack(pose), "visible": jnp.stack(visible)}, features

    def action_forward(self, features: list[ActionFeatures]) -> Array | tuple[Array, ...]:
        """Runs the action blocks on the features of `pose_forward`; returns logits (K', B, A) for each label set."""
        x: Array | None = None
        lateral: dict[int, Array | None] = {}  # latest action features of every level
        logits = []
        blocks, inputs = iter(self.actions), iter(features)
        for position in self.config.predictions:
            if position.action:
                x, heads = next(blocks)(x, lateral.get(position.level), next(inputs))
                logits.append(heads)
            lateral[position.level] = x
        wide = jnp.promote_types(self.dtype, jnp.float32)
        sets = tuple(jnp.stack(heads).astype(wide) for heads in zip(*logits, strict=True))
        return sets if len(sets) > 1 else sets[0]

    def decoupled(self, batch: Batch) -> dict[str, object]:
        """The joints that the action blocks get as input, from the replica if the network has one.

        Args:
          batch: with frames (B, T, H, W, 3).

        Returns:
          pose (K', B, T, J, D), visible (K', B, T, J), and maps: for each action block the heat maps after the
          softmax (B, T, h, w, J).
        """
        frames = self.config.pixels(batch)
        features = per_frame(lambda net, images: net(images, with_maps=True)[1], self.pose, frames)
        pose, visible, _, maps = zip(*features, strict=True)
        return {"pose": jnp.stack(pose), "visible": jnp.stack(visible), "maps": maps}

    def __call__(self, batch: Batch) -> Preds:
        """Pose of every frame and action of every clip from every prediction block.

        Args:
          batch: with frames (B, T, H, W, 3), any T >= 1. In training the action blocks run only if the batch has
            actions; otherwise their running statistics do not change.

        Returns:
          pose (K, B, T, J, D), visible (K, B, T, J); with action blocks also action: logits (K', B, A), or a
          tuple of them with several label sets.
        """
        preds, features = self.pose_forward(batch)
        if self.actions and ("action" in batch or not is_training(self)):
            preds["action"] = self.action_forward(features)
        return preds
