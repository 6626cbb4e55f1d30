"""RGBPose-Conv3D: actions from the frames of a clip and from its skeletons, by two paths that exchange features.

Duan et al., "Revisiting Skeleton-based Action Recognition" (CVPR'22), section 3.3. The path of the frames sees a
quarter of the moments that the path of the skeletons sees.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jaxhar.core import volume
from jaxhar.core.batch import Batch, Preds
from jaxhar.core.network import check_numbers
from jaxhar.core.pixels import Pixels
from jaxhar.models.poseconv.backbones import stage
from jaxhar.nn.conv3d import Conv3d, ConvNorm3d
from jaxhar.nn.layers import drawn, max_pool
from jaxhar.nn.linear import Linear, normal
from jaxhar.nn.platform import result_dtype
from jaxhar.nn.resnet import chain
from jaxhar.nn.symmetric import batch_norm, he, max_pool_3

Array = jax.Array

#: Moments of the skeletons for one frame.
RATIO = 4
_NHWC = ("NHWC", "HWOI", "NHWC")


@dataclass(frozen=True)
class RGBPoseConfig:
    """Settings of the two paths.

    Attributes:
      rgb_base, pose_base: channels of the paths' first stages. rgb_blocks, pose_blocks: blocks of their stages.
      num_actions: number of classes.
      num_joints: J. num_persons, num_frames: M and number of frames of an input of the default shape.
      image_size: side of the frames in pixels, a multiple of 32; the volume has a quarter of it.
      sigma, epsilon: see `PoseConvConfig`.
      dropout: before the classifiers.
    """

    reads: ClassVar[tuple[str, ...]] = ("frames", "points", "score")
    predicts: ClassVar[tuple[str, ...]] = ("action",)
    frames_apart: ClassVar[bool] = False
    pose_shape: ClassVar[None] = None
    pixels: ClassVar[Pixels] = Pixels.IMAGENET
    TINY: ClassVar[dict[str, object]] = {
        "rgb_base": 8,
        "pose_base": 4,
        "rgb_blocks": (1, 1, 1, 1),
        "pose_blocks": (1, 1, 1),
        "image_size": 32,
    }

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

    def __post_init__(self) -> None:
        layers = ("rgb_base", "pose_base", "rgb_blocks", "pose_blocks", "num_actions")
        sizes = ("num_joints", "num_persons", "num_frames", "image_size")
        check_numbers(self, *layers, *sizes, sigma=(0.01, 1000), epsilon=(0, 1), dropout=(0, 1))
        if self.image_size % 32:
            raise ValueError(f"image_size must be a multiple of 32, not {self.image_size}")

    @property
    def classes(self) -> tuple[int, ...]:
        """Number of classes."""
        return (self.num_actions,)

    def inputs(self, batch: object, frames: int | None = None) -> dict[str, jax.ShapeDtypeStruct]:
        """Frames (B, T, H, W, 3); points (B, 4 T, M, J, 2) and scores (B, 4 T, M, J)."""
        time = frames or self.num_frames
        shape = (batch, RATIO * time, self.num_persons, self.num_joints)
        return {
            "frames": jax.ShapeDtypeStruct((batch, time, self.image_size, self.image_size, 3), jnp.float32),
            "points": jax.ShapeDtypeStruct((*shape, 2), jnp.float32),
            "score": jax.ShapeDtypeStruct(shape, jnp.float32),
        }


class Spread(nnx.Module):
    """Transposed 7x1x1 convolution, batch norm and ReLU: (N, T, H, W, in) -> (N, 4 T, H, W, out)."""

    def __init__(self, inputs: int, outputs: int, *, dtype, rngs: nnx.Rngs):
        self.kernel = nnx.Param(drawn(rngs.params(), (7, 1, 1, outputs, inputs), he))
        self.norm = batch_norm(outputs)
        self.dtype = dtype

    def __call__(self, x: Array) -> Array:
        n, time, height, width, channels = x.shape
        dtype = result_dtype(self.dtype)
        kernel = self.kernel[...][::-1, :, 0].astype(dtype)
        y = lax.conv_general_dilated(
            x.astype(dtype).reshape(n, time, height * width, channels),
            kernel,
            (1, 1),
            ((3, 6), (0, 0)),
            lhs_dilation=(RATIO, 1),
            dimension_numbers=_NHWC,
        )
        return nnx.relu(self.norm(y.reshape(n, RATIO * time, height, width, -1)))


class RGBPath(nnx.Module):
    """A ResNet over frames, with the convolutions that bring it the features of the skeletons."""

    def __init__(self, base: int, blocks: Sequence[int], pose_base: int, *, dtype, rngs: nnx.Rngs):
        kw = {"dtype": dtype, "rngs": rngs}
        self.conv1 = ConvNorm3d(3, base, (1, 7, 7), (1, 2, 2), **kw)
        spatial = ((1, 1, 1), (1, 2, 2), (1, 2, 2), (1, 2, 2))
        inputs = (base, 4 * base, 8 * base + 4 * pose_base, 16 * base + 8 * pose_base)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            stage(inputs[i], base * 2**i, blocks[i], i > 1, spatial[i], **kw) for i in range(4)
        )
        self.layer2_lateral = Conv3d(4 * pose_base, 4 * pose_base, (7, 1, 1), (RATIO, 1, 1), **kw)
        self.layer3_lateral = Conv3d(8 * pose_base, 8 * pose_base, (7, 1, 1), (RATIO, 1, 1), **kw)


class PosePath(nnx.Module):
    """A ResNet over heat-map volumes, with the convolutions that bring it the features of the frames."""

    def __init__(self, inputs: int, base: int, blocks: Sequence[int], rgb_base: int, *, dtype, rngs: nnx.Rngs):
        kw = {"dtype": dtype, "rngs": rngs}
        self.conv1 = ConvNorm3d(inputs, base, (1, 7, 7), **kw)
        channels = (base, 4 * base + rgb_base // 2, 8 * base + rgb_base)
        self.layer1, self.layer2, self.layer3 = (
            stage(channels[i], base * 2**i, blocks[i], i > 0, (1, 2, 2), **kw) for i in range(3)
        )
        self.layer1_lateral = Spread(8 * rgb_base, rgb_base // 2, **kw)
        self.layer2_lateral = Spread(16 * rgb_base, rgb_base, **kw)


class RGBPose(nnx.Module):
    """The network. Built by `zoo.create`.

    Attributes:
      config: its settings.
    """

    def __init__(self, config: RGBPoseConfig, *, dtype=jnp.float32, rngs: nnx.Rngs):
        self.config = config
        kw = {"dtype": dtype, "rngs": rngs}
        self.rgb_path = RGBPath(config.rgb_base, config.rgb_blocks, config.pose_base, **kw)
        self.pose_path = PosePath(config.num_joints, config.pose_base, config.pose_blocks, config.rgb_base, **kw)
        self.dropout = nnx.Dropout(config.dropout, rngs=rngs)
        self.rgb_head = Linear(32 * config.rgb_base, config.num_actions, normal(0.01), **kw)
        self.pose_head = Linear(16 * config.pose_base, config.num_actions, normal(0.01), **kw)

    def __call__(self, batch: Batch) -> Preds:
        """Scores of the classes.

        Args:
          batch: with frames (B, T, H, W, 3), and with points (B, 4 T, M, J, 2) in crop units and score (B, 4 T, M, J),
            or with a volume (B, 4 T, H / 4, W / 4, J).

        Returns:
          action (2, B, A) by the skeletons and by the frames; in evaluation (3, B, A), the last the logarithm of the
          mean of both probabilities.
        """
        config, rgb, pose = self.config, self.rgb_path, self.pose_path
        x = config.pixels(batch)
        x = max_pool_3_frames(nnx.relu(rgb.conv1(x)))
        z = batch["volume"] if "volume" in batch else self._volume(batch)
        z = max_pool(nnx.relu(pose.conv1(z)), 3, 1)
        x, z = chain(rgb.layer2, chain(rgb.layer1, x)), chain(pose.layer1, z)
        x, z = _joined(x, rgb.layer2_lateral(z)), _joined(z, pose.layer1_lateral(x))
        x, z = chain(rgb.layer3, x), chain(pose.layer2, z)
        x, z = _joined(x, rgb.layer3_lateral(z)), _joined(z, pose.layer2_lateral(x))
        x, z = chain(rgb.layer4, x), chain(pose.layer3, z)
        by_frames = self.rgb_head(self.dropout(x.mean((1, 2, 3))))
        by_pose = self.pose_head(self.dropout(z.mean((1, 2, 3))))
        heads = jnp.stack([by_pose, by_frames])
        heads = heads.astype(jnp.promote_types(heads.dtype, jnp.float32))
        if self.dropout.deterministic:
            both = jnp.log(jax.nn.softmax(heads).mean(0, keepdims=True) + 1e-30)
            heads = jnp.concatenate([heads, both])
        return {"action": heads}

    def _volume(self, batch: Batch) -> Array:
        side = self.config.image_size // 4
        points = jnp.asarray(batch["points"]) * side
        return volume.encode(points, batch["score"], (side, side), self.config.sigma, (), self.config.epsilon)


def _joined(own: Array, other: Array) -> Array:
    return jnp.concatenate([own, other.astype(own.dtype)], axis=-1)


def max_pool_3_frames(x: Array) -> Array:
    """`max_pool_3` of every frame of clips (N, T, H, W, C)."""
    n, time = x.shape[:2]
    y = max_pool_3(x.reshape(n * time, *x.shape[2:]))
    return y.reshape(n, time, *y.shape[1:])
