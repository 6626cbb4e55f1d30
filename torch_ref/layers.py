"""Blocks of the CVPR'18 and TPAMI'20 networks in PyTorch, for images (N, C, H, W), as jaxhar/nn/layers.py."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Size = int | tuple[int, int]


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def pad_same(x: Tensor, size: tuple[int, int], stride: Size, value: float = 0.0) -> Tensor:
    """Keras' SAME padding; an odd pixel is added at the bottom or right."""
    pads = []
    for n, k, s in zip(x.shape[:-3:-1], size[::-1], _pair(stride)[::-1], strict=True):  # last axis first, as in F.pad
        total = max((-(-n // s) - 1) * s + k - n, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads, value=value) if any(pads) else x


class Conv(nn.Conv2d):
    """Convolution without bias, SAME padding."""

    def __init__(self, inputs: int, outputs: int, kernel: Size = 1, stride: int = 1, groups: int = 1):
        super().__init__(inputs, outputs, _pair(kernel), stride, bias=False, groups=groups)
        self.reset_glorot()

    def reset_glorot(self) -> None:
        """Glorot's uniform distribution with Keras' fans; for a depthwise kernel, fan out is that of one output."""
        out, per_group, kh, kw = self.weight.shape
        inputs = per_group * self.groups
        outputs = 1 if self.groups > 1 else out
        limit = (6 / (kh * kw * (inputs + outputs))) ** 0.5
        nn.init.uniform_(self.weight, -limit, limit)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = self.kernel_size
        return super().forward(pad_same(x, (rows, columns), self.stride[0]))


class Norm(nn.Module):
    """Batch normalisation with Keras' constants, with bias and optional scale.

    `momentum` is torch's: one minus Keras'. As everywhere in torch, the running variance is the unbiased one: after a
    training step it is larger than jaxhar's by n / (n - 1) in the part that comes from the batch.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, features: int, scale: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features)) if scale else None
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.training, momentum=0.01, eps=1e-3
        )


class ConvTranspose(nn.ConvTranspose2d):
    """Transposed 2x2 convolution with stride 2, without bias: (N, in, H, W) -> (N, out, 2 H, 2 W)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, 2, 2, bias=False)
        limit = (6 / (4 * (inputs + outputs))) ** 0.5
        nn.init.uniform_(self.weight, -limit, limit)


class SeparableConv(nn.Module):
    """Depthwise convolution followed by a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, kernel: Size, stride: int = 1):
        super().__init__()
        self.depthwise = Conv(inputs, inputs, kernel, stride, groups=inputs)
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
    """Separable residual unit "SR"; main path and shortcut start with a ReLU of the input."""

    def __init__(self, inputs: int, outputs: int, kernel: Size):
        super().__init__()
        self.main = SeparableNorm(inputs, outputs, kernel)
        self.shortcut = None if inputs == outputs else ConvNorm(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(x)
        return (x if self.shortcut is None else self.shortcut(active)) + self.main(active)


class NormConv(nn.Module):
    """Batch normalisation, ReLU, convolution."""

    def __init__(self, inputs: int, outputs: int, kernel: Size = 1, stride: int = 1, separable: bool = False):
        super().__init__()
        self.norm = Norm(inputs, scale=True)
        self.conv = (SeparableConv if separable else Conv)(inputs, outputs, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.relu(self.norm(x)))


class PreactResidual(nn.Module):
    """Residual unit of the TPAMI'20 networks; main path and shortcut start from the same normalised input."""

    def __init__(self, inputs: int, outputs: int, kernel: Size, stride: int = 1, bottleneck: int | None = None):
        super().__init__()
        same = inputs == outputs and stride == 1
        self.norm = Norm(inputs, scale=True)
        self.shortcut = None if same else Conv(inputs, outputs, 1, stride)
        self.reduce = None if bottleneck is None else Conv(inputs, bottleneck)
        self.main: nn.Module = (
            SeparableConv(inputs, outputs, kernel, stride)
            if bottleneck is None
            else NormConv(bottleneck, outputs, kernel, stride)
        )

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.norm(x))
        shortcut = x if self.shortcut is None else self.shortcut(active)
        return shortcut + self.main(active if self.reduce is None else self.reduce(active))


def max_pool(x: Tensor, size: int = 2, stride: Size = 2) -> Tensor:
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
