"""SPNet: pose and action from pyramids of prediction blocks that refine each other (TPAMI'20).

Luvizon, Picard, Tabia: "Multi-task Deep Learning for Real-Time 3D Human Pose Estimation and Action Recognition".

The trunk is a sequence of pyramids that run down and up the levels of resolution. Every level of a pyramid except the
first has a prediction block, whose heat maps give the pose. In an action pyramid each prediction block also passes
poses and features at the joints to an action block, which processes images of time by joints.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxhar.core.batch import Batch, Preds
from jaxhar.core.heatmaps import attend, decode_normalised, spatial_softmax
from jaxhar.models.spnet.action import ActionBlock, ActionFeatures
from jaxhar.models.spnet.config import ENTRY_WIDTH, BlockPosition, Downsampling, SPNetConfig
from jaxhar.nn.layers import Conv, ConvTranspose, Norm, NormConv, PreactResidual, max_pool, upsample_to
from jaxhar.nn.recompute import Blocks
from jaxhar.nn.time import is_training, per_frame

Array = jax.Array


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


class PoseTrunk(Blocks):
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
            x = self.through(step.unit, x) if position.pyramid % 2 else self.through(step.unit, x, before)
            appearance.setdefault(position.level, x)
            x, pose_maps, action_maps = self.through(step.block, x if before is None else x + before)
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

    def appearance(self, batch: Batch) -> Array:
        """The mean of the entry flow's features over positions: frames (B, T, H, W, 3) -> (B, T, S)."""

        def features(net: PoseTrunk, images: Array) -> Array:
            return net.entry(images).astype(jnp.float32).mean((-3, -2))

        return per_frame(features, self.pose, self.config.pixels(batch))

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
