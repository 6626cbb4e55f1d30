"""Blocks of the CVPR'18 networks on images (N, C, H, W). To be read beside jaxhar/nn/layers.py."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Size = int | tuple[int, int]


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def pad_same(x: Tensor, size: tuple[int, int], stride: int, value: float = 0.0) -> Tensor:
    """Keras' SAME padding: an odd pixel goes to the bottom and right."""
    pads = []
    for n, k in zip(x.shape[:-3:-1], size[::-1], strict=True):  # last axis first, as F.pad wants it
        total = max((-(-n // stride) - 1) * stride + k - n, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads, value=value) if any(pads) else x


class Conv(nn.Conv2d):
    """Convolution without bias, SAME padding."""

    def __init__(self, inputs: int, outputs: int, kernel: Size = 1, stride: int = 1, groups: int = 1):
        super().__init__(inputs, outputs, _pair(kernel), stride, bias=False, groups=groups)
        self.reset_glorot()

    def reset_glorot(self) -> None:
        """Glorot's uniform distribution with Keras' fans; a depthwise kernel counts one output."""
        out, per_group, kh, kw = self.weight.shape
        inputs = per_group * self.groups
        outputs = 1 if self.groups > 1 else out
        limit = (6 / (kh * kw * (inputs + outputs))) ** 0.5
        nn.init.uniform_(self.weight, -limit, limit)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = self.kernel_size
        return super().forward(pad_same(x, (rows, columns), self.stride[0]))


class Norm(nn.Module):
    """Batch normalisation with Keras' constants and an offset but no scale.

    `momentum` is torch's: one minus Keras'. As everywhere in torch, the running variance is the unbiased one: after a
    training step it is larger than jaxhar's by n / (n - 1) in the part that comes from the batch.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, features: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(
            x, self.running_mean, self.running_var, None, self.bias, self.training, momentum=0.01, eps=1e-3
        )


class SeparableConv(nn.Module):
    """A depthwise, then a 1x1 convolution, nothing in between."""

    def __init__(self, inputs: int, outputs: int, kernel: Size):
        super().__init__()
        self.depthwise = Conv(inputs, inputs, kernel, groups=inputs)
        self.pointwise = Conv(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class ConvNorm(nn.Module):
    """Convolution, then batch normalisation."""

    def __init__(self, inputs: int, outputs: int, kernel: Size = 1, stride: int = 1):
        super().__init__()
        self.conv = Conv(inputs, outputs, kernel, stride)
        self.norm = Norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class SeparableNorm(nn.Module):
    """Separable convolution, then batch normalisation."""

    def __init__(self, inputs: int, outputs: int, kernel: Size):
        super().__init__()
        self.conv = SeparableConv(inputs, outputs, kernel)
        self.norm = Norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class SeparableResidual(nn.Module):
    """The separable residual unit "SR"; both paths start with a ReLU of the input."""

    def __init__(self, inputs: int, outputs: int, kernel: Size):
        super().__init__()
        self.main = SeparableNorm(inputs, outputs, kernel)
        self.shortcut = None if inputs == outputs else ConvNorm(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(x)
        return (x if self.shortcut is None else self.shortcut(active)) + self.main(active)


def max_pool(x: Tensor, size: int = 2, stride: int = 2) -> Tensor:
    """(N, C, H, W) -> (N, C, ceil(H / stride), ceil(W / stride))."""
    return F.max_pool2d(pad_same(x, _pair(size), stride, float("-inf")), size, stride)


def max_min_pool(x: Tensor) -> Tensor:
    """Maximum plus minimum over 2x2 windows."""
    return max_pool(x) - max_pool(-x)


def global_max_min(x: Tensor) -> Tensor:
    """Maximum plus minimum over all positions: (N, C, H, W) -> (N, C)."""
    return x.amax((-2, -1)) + x.amin((-2, -1))


def upsample_to(x: Tensor, like: Tensor) -> Tensor:
    """Repeat every pixel 2x2 and cut to the size of `like`."""
    height, width = like.shape[-2:]
    return x.repeat_interleave(2, -2)[..., :height, :].repeat_interleave(2, -1)[..., :width]
