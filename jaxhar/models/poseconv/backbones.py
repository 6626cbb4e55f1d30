"""Backbones of PoseConv3D: SlowOnly, C3D-light and X3D-shallow, from volumes (N, T, H, W, C) to features.

Feichtenhofer et al., "SlowFast Networks for Video Recognition" (ICCV'19); Tran et al., "Learning Spatiotemporal
Features with 3D Convolutional Networks" (ICCV'15); Feichtenhofer, "X3D" (CVPR'20); all as Duan et al., "Revisiting
Skeleton-based Action Recognition" (CVPR'22), reduce them.
"""

from collections.abc import Sequence
from functools import partial

import jax
from flax import nnx

from jaxhar.nn.conv3d import Conv3d, ConvNorm3d, Size
from jaxhar.nn.layers import max_pool
from jaxhar.nn.resnet import chain

Array = jax.Array


class Bottleneck(nnx.Module):
    """A residual block of three convolutions: (N, T, H, W, in) -> (N, T', H', W', out).

    Args:
      inner: channels of the middle convolution.
      sizes: of the three kernels.
      stride: of the middle convolution and of the shortcut.
      depthwise: whether the middle convolution is depthwise, without an activation, as in X3D.
    """

    def __init__(
        self,
        inputs: int,
        inner: int,
        outputs: int,
        sizes: Sequence[Size],
        stride: Size,
        first: bool,
        depthwise: bool = False,
        *,
        dtype,
        rngs: nnx.Rngs,
    ):
        kw = {"dtype": dtype, "rngs": rngs}
        self.conv1 = ConvNorm3d(inputs, inner, sizes[0], **kw)
        self.conv2 = ConvNorm3d(inner, inner, sizes[1], stride, depthwise, **kw)
        self.conv3 = ConvNorm3d(inner, outputs, sizes[2], **kw)
        self.shortcut = ConvNorm3d(inputs, outputs, (1, 1, 1), stride, **kw) if first else None
        self.depthwise = depthwise

    def __call__(self, x: Array) -> Array:
        y = self.conv2(nnx.relu(self.conv1(x)))
        y = self.conv3(y if self.depthwise else nnx.relu(y))
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


def stage(
    inputs: int, inner: int, count: int, mixes: bool, stride: Size, *, dtype, rngs: nnx.Rngs
) -> nnx.List[Bottleneck]:
    """The blocks of a stage: the first has the stride; with `mixes` each starts with a 3x1x1 convolution."""
    sizes = ((3 if mixes else 1, 1, 1), (1, 3, 3), (1, 1, 1))
    return nnx.List(
        Bottleneck(
            4 * inner if place else inputs,
            inner,
            4 * inner,
            sizes,
            (1, 1, 1) if place else stride,
            not place,
            dtype=dtype,
            rngs=rngs,
        )
        for place in range(count)
    )


class SlowOnly(nnx.Module):
    """A ResNet over frames whose last two stages mix successive frames.

    Args:
      inputs: channels of the volume.
      base: channels of the first stage's inner convolutions; doubled in every further stage, four times as many result.
      blocks: number of blocks of each stage.
      mixing: for every stage, whether its blocks start with a 3x1x1 convolution.
      strides: of the stages' first blocks.
    """

    def __init__(
        self,
        inputs: int,
        base: int,
        blocks: Sequence[int],
        mixing: Sequence[bool] = (False, True, True),
        strides: Sequence[Size] = ((1, 2, 2), (1, 2, 2), (2, 2, 2)),
        *,
        dtype,
        rngs: nnx.Rngs,
    ):
        kw = {"dtype": dtype, "rngs": rngs}
        self.conv1 = ConvNorm3d(inputs, base, (1, 7, 7), **kw)
        stages, channels = [], base
        for number, (count, mixes, stride) in enumerate(zip(blocks, mixing, strides, strict=True)):
            inner = base * 2**number
            stages.append(stage(channels, inner, count, mixes, stride, **kw))
            channels = 4 * inner
        self.layer1, self.layer2, self.layer3 = stages
        self.channels = channels

    def __call__(self, x: Array) -> Array:
        x = max_pool(nnx.relu(self.conv1(x)), 3, 1)
        for stage in (self.layer1, self.layer2, self.layer3):
            x = chain(stage, x)
        return x


class C3DLight(nnx.Module):
    """Six 3x3x3 convolutions with mean pools over 2x2 positions between them.

    Args:
      base: channels of the first convolution; the last two have eight times as many.
    """

    def __init__(self, inputs: int, base: int, *, dtype, rngs: nnx.Rngs):
        new = partial(ConvNorm3d, kernel=(3, 3, 3), dtype=dtype, rngs=rngs)
        self.conv1a = new(inputs, base)
        self.conv2a = new(base, 2 * base)
        self.conv3a, self.conv3b = new(2 * base, 4 * base), new(4 * base, 4 * base)
        self.conv4a, self.conv4b = new(4 * base, 8 * base), new(8 * base, 8 * base)
        self.channels = 8 * base

    def __call__(self, x: Array) -> Array:
        x = mean_pool(nnx.relu(self.conv1a(x)))
        x = mean_pool(nnx.relu(self.conv2a(x)))
        x = mean_pool(nnx.relu(self.conv3b(nnx.relu(self.conv3a(x)))))
        return nnx.relu(self.conv4b(nnx.relu(self.conv4a(x))))


def mean_pool(x: Array) -> Array:
    """Means of 2x2 positions: (..., H, W, C) -> (..., H // 2, W // 2, C)."""
    height, width = x.shape[-3] // 2, x.shape[-2] // 2
    x = x[..., : 2 * height, : 2 * width, :]
    return x.reshape(*x.shape[:-3], height, 2, width, 2, x.shape[-1]).mean((-4, -2))


class X3DShallow(nnx.Module):
    """Blocks with depthwise 3x3x3 convolutions, without squeeze-and-excitation.

    Args:
      base: channels of the first stage, doubled in every further one; blocks are 2.25 times as wide inside.
      blocks: number of blocks of each stage.
    """

    def __init__(self, inputs: int, base: int, blocks: Sequence[int], *, dtype, rngs: nnx.Rngs):
        kw = {"dtype": dtype, "rngs": rngs}
        self.conv1_s = Conv3d(inputs, base, (1, 3, 3), (1, 2, 2), **kw)
        self.conv1_t = ConvNorm3d(base, base, (5, 1, 1), depthwise=True, **kw)
        sizes: tuple[Size, ...] = ((1, 1, 1), (3, 3, 3), (1, 1, 1))
        stages, channels = [], base
        for number, count in enumerate(blocks):
            outputs = base * 2**number
            inner, made = int(2.25 * outputs), []
            for place in range(count):
                step = (1, 1, 1) if place else (1, 2, 2)
                made.append(Bottleneck(channels, inner, outputs, sizes, step, not place, True, **kw))
                channels = outputs
            stages.append(nnx.List(made))
        self.layer1, self.layer2, self.layer3 = stages
        self.channels = int(2.25 * channels)
        self.conv5 = ConvNorm3d(channels, self.channels, **kw)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.conv1_t(self.conv1_s(x)))
        for stage in (self.layer1, self.layer2, self.layer3):
            x = chain(stage, x)
        return nnx.relu(self.conv5(x))
