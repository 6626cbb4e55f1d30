"""ReceptionNet: 2-D or 3-D human pose from a stem and K prediction blocks (CVPR'18, section 3 and appendix A).

Luvizon, Picard, Tabia: "2D/3D Pose Estimation and Action Recognition using Multitask Deep Learning".
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from jaxhar.core.batch import Batch, Preds
from jaxhar.core.heatmaps import DepthGrid, JointProb, decode, decode_volume
from jaxhar.core.pixels import Pixels
from jaxhar.nn.layers import Conv, ConvNorm, SeparableNorm, SeparableResidual, max_pool, upsample_to
from jaxhar.nn.recompute import Blocks
from jaxhar.nn.time import per_frame

Array = jax.Array


class PoseNet(StrEnum):
    """deephar's two pose streams, from joints to actions; they differ in their widths."""

    #: In the Penn Action weights.
    V1 = "v1"
    #: In the NTU RGB+D weights.
    V2 = "v2"


#: Channels of the first convolution and of the prediction blocks in the pose stream.
_POSE_STREAM = {PoseNet.V1: (8, 112), PoseNet.V2: (12, 224)}


@dataclass(frozen=True)
class ReceptionConfig:
    """Settings of a CVPR'18 network: a pose network, with action heads if `num_actions` is given.

    Attributes:
      image_size: side of the square input in pixels; heat maps have an eighth of it.
      num_blocks: K, number of prediction blocks.
      num_joints: J.
      num_context: context maps per joint of a 2-D network; 0 for a 3-D network.
      depth_maps: number of depth bins of a 3-D network; None for a 2-D network.
      depth_grid: positions of the depth bins.
      kernel_size: side of the depthwise kernels in the prediction blocks.
      joint_prob: how a joint's confidence is computed in a 2-D network.
      old_model: the stem of deephar's first networks, without a second convolution and with a narrow fourth one;
        their trunk had width 512.
      width: channels of the trunk.
      stem_width: channels of the first convolution; those of the others are multiples of it.
      num_frames: T, default clip length; None for stills. The network accepts any length.
      num_actions: A; None for a pose network.
      pose_net: which of deephar's pose streams.
      pose_stream_entry, pose_stream_width: channels of the pose stream; None for those of `pose_net`.
      visual_stream_width: channels of the visual stream.
      weighted_merge: whether the last class maps of both streams are multiplied by learned class weights before they
        are added.
    """

    #: See `jaxhar.core.network.NetworkConfig`.
    reads: ClassVar[tuple[str, ...]] = ("frames",)
    pixels: ClassVar[Pixels] = Pixels.SIGNED
    #: Changes for tests, applied by `tiny` and `zoo.tiny`.
    TINY: ClassVar[dict[str, object]] = {
        "image_size": 64,
        "num_blocks": 2,
        "width": 36,
        "stem_width": 4,
        "pose_stream_entry": 4,
        "pose_stream_width": 28,
        "visual_stream_width": 32,
    }

    image_size: int = 256
    num_blocks: int = 8
    num_joints: int = 16
    num_context: int = 2
    depth_maps: int | None = None
    depth_grid: DepthGrid = DepthGrid.ENDS
    kernel_size: int = 5
    joint_prob: JointProb = JointProb.SIGMOID_MAX
    old_model: bool = False
    width: int = 576
    stem_width: int = 32
    num_frames: int | None = None
    num_actions: int | None = None
    pose_net: PoseNet = PoseNet.V1
    pose_stream_entry: int | None = None
    pose_stream_width: int | None = None
    visual_stream_width: int = 256
    weighted_merge: bool = True

    def __post_init__(self):
        for name, kind in (("joint_prob", JointProb), ("depth_grid", DepthGrid), ("pose_net", PoseNet)):
            object.__setattr__(self, name, kind(getattr(self, name)))
        for name in ("image_size", "num_blocks", "num_joints", "kernel_size", "width", "stem_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.kernel_size % 2 == 0 or self.width % 2:
            raise ValueError(f"kernel_size must be odd and width even, not {self.kernel_size} and {self.width}")
        if self.depth_maps is not None and (self.depth_maps < 1 or self.num_context):
            raise ValueError(
                "a 3-D network has 1 or more depth_maps and no context maps (num_context=0), "
                f"not depth_maps={self.depth_maps} and num_context={self.num_context}"
            )

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
        return () if self.num_actions is None else (self.num_actions,)

    def inputs(self, batch: object, frames: int | None = None) -> dict[str, jax.ShapeDtypeStruct]:
        """Frames (B, T, H, W, 3)."""
        length = frames or self.num_frames or 1
        return {"frames": jax.ShapeDtypeStruct((batch, length, self.image_size, self.image_size, 3), jnp.float32)}

    def for_classes(self, classes: int, frames: int) -> "ReceptionConfig":
        """Settings of the same trunk with action heads for this number of classes, and clips of this length."""
        return replace(self, num_actions=classes, num_frames=frames)

    @classmethod
    def tiny(cls, **changes) -> "ReceptionConfig":
        """Settings of a narrow network of two blocks for tests."""
        return cls(**{**cls.TINY, **changes})


class Stem(nnx.Module):
    """Stem similar to that of Inception-v4: (N, H, W, 3) -> (N, H / 8, W / 8, width)."""

    def __init__(self, config: ReceptionConfig, *, dtype, rngs: nnx.Rngs):
        c = config.stem_width
        wide = c if config.old_model else 3 * c
        kw = {"dtype": dtype, "rngs": rngs}
        self.conv1 = ConvNorm(3, c, 3, 2, **kw)
        self.conv2 = None if config.old_model else ConvNorm(c, c, 3, **kw)
        self.conv3 = ConvNorm(c, 2 * c, 3, **kw)
        self.conv4 = ConvNorm(2 * c, wide, 3, 2, **kw)
        self.conv5 = ConvNorm(2 * c + wide, 2 * c, **kw)
        self.conv6 = ConvNorm(2 * c, 3 * c, 3, **kw)
        self.conv7 = ConvNorm(2 * c + wide, 2 * c, **kw)
        self.conv8 = ConvNorm(2 * c, 2 * c, (5, 1), **kw)
        self.conv9 = ConvNorm(2 * c, 2 * c, (1, 5), **kw)
        self.conv10 = ConvNorm(2 * c, 3 * c, 3, **kw)
        self.conv11 = ConvNorm(6 * c, 6 * c, 3, 2, **kw)
        self.residual = SeparableResidual(12 * c, config.width, 3, **kw)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.conv1(x))
        if self.conv2 is not None:
            x = nnx.relu(self.conv2(x))
        x = nnx.relu(self.conv3(x))
        x = jnp.concatenate([nnx.relu(self.conv4(x)), max_pool(x, 3)], axis=-1)
        a = self.conv6(nnx.relu(self.conv5(x)))
        b = nnx.relu(self.conv7(x))
        b = nnx.relu(self.conv8(b))
        b = nnx.relu(self.conv9(b))
        b = self.conv10(b)
        x = jnp.concatenate([a, b], axis=-1)
        x = jnp.concatenate([self.conv11(nnx.relu(x)), max_pool(x)], axis=-1)
        return self.residual(x)


class ReceptionBlock(nnx.Module):
    """Residual separable units at full, half and quarter resolution: (N, h, w, S) -> (N, h, w, S)."""

    def __init__(self, config: ReceptionConfig, *, dtype, rngs: nnx.Rngs):
        full, half, k = config.width, config.width // 2, config.kernel_size
        kw = {"dtype": dtype, "rngs": rngs}
        self.level1 = SeparableResidual(full, full, k, **kw)
        self.down = ConvNorm(full, half, **kw)
        self.level2_1 = SeparableResidual(half, half, k, **kw)
        self.level2_2 = SeparableResidual(half, half, k, **kw)
        self.level3_1 = SeparableResidual(half, half, k, **kw)
        self.level3_2 = SeparableResidual(half, half, k, **kw)
        self.level3_3 = SeparableResidual(half, half, k, **kw)
        self.level2_3 = SeparableResidual(half, full, k, **kw)

    def __call__(self, x: Array) -> Array:
        a = self.level1(x)
        b = self.level2_1(self.down(nnx.relu(max_pool(x))))
        c = self.level3_3(self.level3_2(self.level3_1(max_pool(b))))
        b = self.level2_2(b)
        b = self.level2_3(b + upsample_to(c, b))
        return a + upsample_to(b, a)


class PredictionBlock(nnx.Module):
    """A reception block, and heat maps that are fed back into the trunk; the last block feeds nothing back."""

    def __init__(self, config: ReceptionConfig, last: bool, *, dtype, rngs: nnx.Rngs):
        width, maps = config.width, config.num_maps
        kw = {"dtype": dtype, "rngs": rngs}
        self.reception = ReceptionBlock(config, **kw)
        self.separable = SeparableNorm(width, width, config.kernel_size, **kw)
        self.maps = Conv(width, maps, **kw)
        self.remap = None if last else ConvNorm(maps, width, **kw)

    def __call__(self, x: Array) -> tuple[Array, Array, Array]:
        """(N, h, w, S) -> next block's input (N, h, w, S), maps (N, h, w, M), features of the reception block."""
        features = self.reception(x)
        x = self.separable(nnx.relu(features))
        maps = self.maps(nnx.relu(x))
        x = features + x
        if self.remap is not None:
            x = x + self.remap(nnx.relu(maps))
        return x, maps, features


class Reception(Blocks):
    """The pose network. Built by `zoo.create`.

    Attributes:
      config: its settings.
    """

    def __init__(self, config: ReceptionConfig, *, dtype=jnp.float32, rngs: nnx.Rngs):
        self.config = config
        self.dtype = dtype
        self.stem = Stem(config, dtype=dtype, rngs=rngs)
        self.blocks = nnx.List(
            PredictionBlock(config, last=b == config.num_blocks - 1, dtype=dtype, rngs=rngs)
            for b in range(config.num_blocks)
        )

    def trunk(self, images: Array) -> tuple[list[Array], Array]:
        """Images (N, H, W, 3) -> maps of every block (N, h, w, M), and the first block's features (N, h, w, S)."""
        x = self.stem(images)
        all_maps, all_features = [], []
        for block in self.blocks:
            x, maps, features = self.through(block, x)
            all_maps.append(maps)
            all_features.append(features)
        return all_maps, all_features[0]

    def decode(self, maps: Array, gain: float = 1.0) -> tuple[Array, Array, Array]:
        """One block's maps (..., h, w, M) -> pose (..., J, D), visible (..., J), joint maps (..., h, w, J)."""
        c = self.config
        if c.dims == 3:
            return decode_volume(maps, c.num_joints, c.depth_grid, gain)
        return decode(maps, c.num_joints, c.num_context, c.joint_prob, gain)

    def appearance(self, batch: Batch) -> Array:
        """The mean of the first block's features over positions: frames (B, T, H, W, 3) -> (B, T, S)."""

        def features(net: "Reception", images: Array) -> Array:
            return net.trunk(images)[1].astype(jnp.float32).mean((-3, -2))

        return per_frame(features, self, self.config.pixels(batch))

    def __call__(self, batch: Batch) -> Preds:
        """Pose of every frame by every block.

        Args:
          batch: with frames (B, T, H, W, 3), any T >= 1; each frame is processed independently.

        Returns:
          pose (K, B, T, J, D) and visible (K, B, T, J).
        """

        def poses(net: "Reception", images: Array) -> list[tuple[Array, Array]]:
            return [net.decode(maps)[:2] for maps in net.trunk(images)[0]]

        return stack_blocks(per_frame(poses, self, self.config.pixels(batch)))


def stack_blocks(blocks: Sequence[tuple[Array, Array]]) -> Preds:
    """[(pose, visible)] of K blocks -> Preds with K as leading axis."""
    pose, visible = zip(*blocks, strict=True)
    return {"pose": jnp.stack(pose), "visible": jnp.stack(visible)}
