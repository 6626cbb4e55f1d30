"""MobileNetV2 (Sandler et al., CVPR'18) without its last 1x1 convolution and its classifier: features at 1/32."""

import jax
import jax.numpy as jnp
from flax import nnx

from jaxhar.nn.resnet import chain
from jaxhar.nn.symmetric import ConvNorm

Array = jax.Array

#: Table 2 of the paper: expansion t, channels c, repetitions n, stride s.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def relu6(x: Array) -> Array:
    """ReLU clipped at 6."""
    return jnp.clip(x, 0, 6)


class InvertedResidual(nnx.Module):
    """Expansion, depthwise convolution and linear projection, with a shortcut where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, *, dtype, rngs: nnx.Rngs):
        kw = {"dtype": dtype, "rngs": rngs}
        inner = inputs * expansion
        self.expand = None if expansion == 1 else ConvNorm(inputs, inner, **kw)
        self.depthwise = ConvNorm(inner, inner, 3, stride, depthwise=True, **kw)
        self.project = ConvNorm(inner, outputs, **kw)
        self.same = stride == 1 and inputs == outputs

    def __call__(self, x: Array) -> Array:
        y = x if self.expand is None else relu6(self.expand(x))
        y = self.project(relu6(self.depthwise(y)))
        return x + y if self.same else y


class MobileNetV2(nnx.Module):
    """Images (N, H, W, 3) -> features (N, H / 32, W / 32, `channels`).

    Args:
      width: channels of the first convolution, 32 in the published network; the others are scaled with it.
    """

    def __init__(self, width: int = 32, *, dtype, rngs: nnx.Rngs):
        kw = {"dtype": dtype, "rngs": rngs}
        self.stem = ConvNorm(3, width, 3, 2, **kw)
        blocks, inputs = [], width
        for expansion, channels, count, stride in STAGES:
            outputs = channels * width // 32
            for place in range(count):
                blocks.append(InvertedResidual(inputs, outputs, 1 if place else stride, expansion, **kw))
                inputs = outputs
        self.blocks = nnx.List(blocks)
        self.channels = inputs

    def __call__(self, x: Array) -> Array:
        return chain(self.blocks, relu6(self.stem(x)))
