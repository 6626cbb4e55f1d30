"""ReceptionNet: 2-D human pose by a stem and K prediction blocks (CVPR'18, sections 3 and appendix A).

Luvizon, Picard, Tabia: "2D/3D Pose Estimation and Action Recognition using Multitask Deep Learning".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from jaxhar.batch import Preds
from jaxhar.heatmaps import JointProb, decode
from jaxhar.nn.layers import Conv, ConvNorm, SeparableNorm, SeparableResidual, max_pool, upsample_to
from jaxhar.nn.time import per_frame

Array = jax.Array


@dataclass(frozen=True)
class Config:
    """Settings of a CVPR'18 network: a pose network, with action heads if `num_actions` is given.

    Attributes:
      image_size: side of the square input in pixels; the maps are an eighth of it.
      num_blocks: K, prediction blocks.
      num_joints: J.
      num_context: context maps per joint.
      kernel_size: side of the depthwise kernels in the prediction blocks.
      joint_prob: how a joint's probability is read off its map.
      width: channels of the trunk.
      stem_width: channels of the first convolution; the rest of the stem is in proportion.
      num_frames: T, frames of a clip; None: stills. The network takes any length.
      num_actions: A; None: a pose network.
      pose_stream_entry, pose_stream_width, visual_stream_width: channels of the two action streams.
    """

    #: What `tiny` and `zoo.tiny` change.
    TINY: ClassVar[dict[str, Any]] = {
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
    kernel_size: int = 5
    joint_prob: JointProb = JointProb.SIGMOID_MAX
    width: int = 576
    stem_width: int = 32
    num_frames: int | None = None
    num_actions: int | None = None
    pose_stream_entry: int = 8
    pose_stream_width: int = 112
    visual_stream_width: int = 256

    def __post_init__(self):
        object.__setattr__(self, "joint_prob", JointProb(self.joint_prob))
        for name in ("image_size", "num_blocks", "num_joints", "kernel_size", "width", "stem_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.kernel_size % 2 == 0 or self.width % 2:
            raise ValueError(f"kernel_size must be odd and width even, not {self.kernel_size} and {self.width}")

    @classmethod
    def tiny(cls, **changes) -> "Config":
        """A narrow network of two blocks for tests."""
        return cls(**{**cls.TINY, **changes})


class Stem(nnx.Module):
    """Entry flow after Inception-v4: (N, H, W, 3) -> (N, H / 8, W / 8, width)."""

    def __init__(self, config: Config, *, dtype, rngs: nnx.Rngs):
        c = config.stem_width
        kw = {"dtype": dtype, "rngs": rngs}
        self.conv1 = ConvNorm(3, c, 3, 2, **kw)
        self.conv2 = ConvNorm(c, c, 3, **kw)
        self.conv3 = ConvNorm(c, 2 * c, 3, **kw)
        self.conv4 = ConvNorm(2 * c, 3 * c, 3, 2, **kw)
        self.conv5 = ConvNorm(5 * c, 2 * c, **kw)
        self.conv6 = ConvNorm(2 * c, 3 * c, 3, **kw)
        self.conv7 = ConvNorm(5 * c, 2 * c, **kw)
        self.conv8 = ConvNorm(2 * c, 2 * c, (5, 1), **kw)
        self.conv9 = ConvNorm(2 * c, 2 * c, (1, 5), **kw)
        self.conv10 = ConvNorm(2 * c, 3 * c, 3, **kw)
        self.conv11 = ConvNorm(6 * c, 6 * c, 3, 2, **kw)
        self.residual = SeparableResidual(12 * c, config.width, 3, **kw)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.conv1(x))
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

    def __init__(self, config: Config, *, dtype, rngs: nnx.Rngs):
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
    """One reception block, its heat maps, and their way back into the trunk (none in the last block)."""

    def __init__(self, config: Config, last: bool, *, dtype, rngs: nnx.Rngs):
        width, maps = config.width, config.num_joints * (1 + config.num_context)
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


class Reception(nnx.Module):
    """The pose network. `zoo.create` builds it.

    Attributes:
      config: its settings.
    """

    def __init__(self, config: Config, *, dtype=jnp.float32, rngs: nnx.Rngs):
        self.config = config
        self.dtype = dtype
        self.stem = Stem(config, dtype=dtype, rngs=rngs)
        self.blocks = nnx.List(
            PredictionBlock(config, last=b == config.num_blocks - 1, dtype=dtype, rngs=rngs)
            for b in range(config.num_blocks)
        )

    def trunk(self, images: Array) -> tuple[list[Array], Array]:
        """Images (N, H, W, 3) -> maps of every block (N, h, w, M), and the first block's features (N, h, w, S)."""
        x = self.stem(images.astype(self.dtype))
        all_maps, all_features = [], []
        for block in self.blocks:
            x, maps, features = block(x)
            all_maps.append(maps)
            all_features.append(features)
        return all_maps, all_features[0]

    def decode(self, maps: Array, gain: float = 1.0) -> tuple[Array, Array, Array]:
        """One block's maps (..., h, w, M) -> pose (..., J, 2), visible (..., J), joint maps (..., h, w, J)."""
        c = self.config
        return decode(maps, c.num_joints, c.num_context, c.joint_prob, gain)

    def __call__(self, frames: Array, action: bool = True) -> Preds:
        """Pose of every frame by every block.

        Args:
          frames: (B, T, H, W, 3) in [-1, 1], any T >= 1; the frames do not know of each other.
          action: accepted for the sake of one calling convention; this network has no action heads.

        Returns:
          pose (K, B, T, J, 2) and visible (K, B, T, J).
        """

        def poses(net: "Reception", images: Array) -> list[tuple[Array, Array]]:
            return [net.decode(maps)[:2] for maps in net.trunk(images)[0]]

        return stack_blocks(per_frame(poses, self, frames))


def stack_blocks(blocks: Sequence[tuple[Array, Array]]) -> Preds:
    """[(pose, visible)] of K blocks -> Preds with K as leading axis."""
    pose, visible = zip(*blocks, strict=True)
    return {"pose": jnp.stack(pose), "visible": jnp.stack(visible)}
