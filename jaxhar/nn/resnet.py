"""ResNet without its classifier (He et al., CVPR'16), as in torchvision: images to features at 1/32 of their size."""

from collections.abc import Sequence

import jax
from flax import nnx

from jaxhar.nn.recompute import Blocks
from jaxhar.nn.symmetric import ConvNorm, max_pool_3

Array = jax.Array

#: Depth -> whether its blocks are bottlenecks, and the number of blocks of the four stages.
DEPTHS: dict[int, tuple[bool, tuple[int, int, int, int]]] = {
    18: (False, (2, 2, 2, 2)),
    34: (False, (3, 4, 6, 3)),
    50: (True, (3, 4, 6, 3)),
    101: (True, (3, 4, 23, 3)),
    152: (True, (3, 8, 36, 3)),
}
#: Output channels of a bottleneck over its inner ones.
EXPANSION = 4


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions and a shortcut: (N, H, W, in) -> (N, H / stride, W / stride, width)."""

    def __init__(self, inputs: int, width: int, stride: int = 1, *, dtype, rngs: nnx.Rngs):
        kw = {"dtype": dtype, "rngs": rngs}
        self.conv1 = ConvNorm(inputs, width, 3, stride, **kw)
        self.conv2 = ConvNorm(width, width, 3, **kw)
        self.shortcut = None if stride == 1 and inputs == width else ConvNorm(inputs, width, 1, stride, **kw)

    def __call__(self, x: Array) -> Array:
        y = self.conv2(nnx.relu(self.conv1(x)))
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class Bottleneck(nnx.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut: (N, H, W, in) -> (N, H / stride, W / stride, 4 width).

    Args:
      stride_first: whether the first convolution has the stride, as in Caffe, and not the second.
    """

    def __init__(self, inputs: int, width: int, stride: int = 1, stride_first: bool = False, *, dtype, rngs: nnx.Rngs):
        kw = {"dtype": dtype, "rngs": rngs}
        outputs = EXPANSION * width
        first, second = (stride, 1) if stride_first else (1, stride)
        self.conv1 = ConvNorm(inputs, width, 1, first, **kw)
        self.conv2 = ConvNorm(width, width, 3, second, **kw)
        self.conv3 = ConvNorm(width, outputs, **kw)
        self.shortcut = None if stride == 1 and inputs == outputs else ConvNorm(inputs, outputs, 1, stride, **kw)

    def __call__(self, x: Array) -> Array:
        y = nnx.relu(self.conv2(nnx.relu(self.conv1(x))))
        return nnx.relu(self.conv3(y) + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(Blocks):
    """Images (N, H, W, 3) -> features (N, H / 32, W / 32, `channels`).

    Args:
      depth: 18, 34, 50, 101 or 152.
      width: channels of the first stage, doubled in every further one; 64 in the published networks.
      stride_first: see `Bottleneck`.
    """

    def __init__(self, depth: int, width: int = 64, stride_first: bool = False, *, dtype, rngs: nnx.Rngs):
        kw = {"dtype": dtype, "rngs": rngs}
        deep, counts = DEPTHS[depth]
        self.conv1 = ConvNorm(3, width, 7, 2, **kw)
        stages, inputs = [], width
        for number, count in enumerate(counts):
            inner, blocks = width * 2**number, []
            for place in range(count):
                stride = 2 if number and not place else 1
                block: nnx.Module
                if deep:
                    block, outputs = Bottleneck(inputs, inner, stride, stride_first, **kw), EXPANSION * inner
                else:
                    block, outputs = BasicBlock(inputs, inner, stride, **kw), inner
                blocks.append(block)
                inputs = outputs
            stages.append(blocks)
        self.layer1, self.layer2, self.layer3, self.layer4 = (nnx.List(blocks) for blocks in stages)
        self.channels = inputs

    def __call__(self, x: Array) -> Array:
        x = max_pool_3(nnx.relu(self.conv1(x)))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                x = self.through(block, x)
        return x


def chain(modules: Sequence, x: Array) -> Array:
    """Applies modules one after the other."""
    for module in modules:
        x = module(x)
    return x
