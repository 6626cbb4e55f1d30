"""ResNet, HRNet and MobileNetV2 in PyTorch with the modules and names of their originals, for images (N, 3, H, W)."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

#: Depth of a ResNet -> whether its blocks are bottlenecks, and the number of blocks of the four stages.
DEPTHS = {
    18: (False, (2, 2, 2, 2)),
    34: (False, (3, 4, 6, 3)),
    50: (True, (3, 4, 6, 3)),
    101: (True, (3, 4, 23, 3)),
    152: (True, (3, 8, 36, 3)),
}
_MOBILE = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def _conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


def _unit(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, relu: bool = False) -> nn.Sequential:
    layers = [_conv(inputs, outputs, kernel, stride), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, nn.ReLU()) if relu else nn.Sequential(*layers)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int = 1):
        super().__init__()
        self.conv1, self.bn1 = _conv(inputs, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3), nn.BatchNorm2d(width)
        self.downsample = None if stride == 1 and inputs == width else _unit(inputs, width, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; `first`: the first convolution has the stride."""

    def __init__(self, inputs: int, width: int, stride: int = 1, first: bool = False):
        super().__init__()
        self.conv1, self.bn1 = _conv(inputs, width, 1, stride if first else 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3, 1 if first else stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = _conv(width, 4 * width), nn.BatchNorm2d(4 * width)
        self.downsample = None if stride == 1 and inputs == 4 * width else _unit(inputs, 4 * width, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


def resnet_stages(depth: int, width: int, stride_first: bool) -> tuple[list[nn.Sequential], int]:
    """The four stages of a ResNet and its number of output channels."""
    deep, counts = DEPTHS[depth]
    stages, inputs = [], width
    for number, count in enumerate(counts):
        inner, blocks = width * 2**number, []
        for place in range(count):
            stride = 2 if number and not place else 1
            block = Bottleneck(inputs, inner, stride, stride_first) if deep else BasicBlock(inputs, inner, stride)
            blocks.append(block)
            inputs = 4 * inner if deep else inner
        stages.append(nn.Sequential(*blocks))
    return stages, inputs


class InvertedResidual(nn.Module):
    """A block of MobileNetV2."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int):
        super().__init__()
        inner, layers = inputs * expansion, []
        if expansion != 1:
            layers += [_conv(inputs, inner), nn.BatchNorm2d(inner), nn.ReLU6()]
        layers += [nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False), nn.BatchNorm2d(inner), nn.ReLU6()]
        self.conv = nn.Sequential(*layers, _conv(inner, outputs), nn.BatchNorm2d(outputs))
        self.same = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.same else self.conv(x)


class MobileNetV2(nn.Module):
    """Features at 1/32 of the image's size."""

    def __init__(self, width: int):
        super().__init__()
        blocks: list[nn.Module] = [nn.Sequential(_conv(3, width, 3, 2), nn.BatchNorm2d(width), nn.ReLU6())]
        inputs = width
        for expansion, channels, count, stride in _MOBILE:
            outputs = channels * width // 32
            for place in range(count):
                blocks.append(InvertedResidual(inputs, outputs, 1 if place else stride, expansion))
                inputs = outputs
        self.features, self.channels = nn.Sequential(*blocks), inputs

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)


class Exchange(nn.Module):
    """An HRNet module: blocks in every branch, then the fusion of the branches into the first `outputs` ones."""

    def __init__(self, widths: Sequence[int], units: int, outputs: int):
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(BasicBlock(w, w) for _ in range(units))) for w in widths)
        self.fuse_layers = nn.ModuleList()
        for i in range(outputs):
            row = nn.ModuleList()
            for j in range(len(widths)):
                if j > i:
                    row.append(_unit(widths[j], widths[i]).append(nn.Upsample(scale_factor=2 ** (j - i))))
                elif j < i:
                    ends = [widths[j]] * (i - j - 1) + [widths[i]]
                    chain = (_unit(widths[j], end, 3, 2, relu=k < i - j - 1) for k, end in enumerate(ends))
                    row.append(nn.Sequential(*chain))
                else:
                    row.append(nn.Identity())
            self.fuse_layers.append(row)

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        xs = [branch(x) for branch, x in zip(self.branches, xs, strict=True)]
        rows: Sequence = self.fuse_layers  # type: ignore[assignment]
        return [F.relu(sum(layer(x) for layer, x in zip(row, xs, strict=True))) for row in rows]  # type: ignore[arg-type]


def hrnet_parts(width: int, modules: Sequence[int], units: int) -> dict[str, nn.Module]:
    """The modules of an HRNet between the image and its last convolution, by name."""
    widths = [width * 2**i for i in range(4)]
    first = nn.Sequential(*(Bottleneck(256 if i else 64, 64) for i in range(units)))
    stages = []
    for branches, count in zip((2, 3, 4), modules, strict=True):
        ends = [branches] * (count - 1) + [1 if branches == 4 else branches]
        stages.append(nn.Sequential(*(Exchange(widths[:branches], units, end) for end in ends)))

    def new(number: int) -> nn.ModuleList:
        down = nn.Sequential(_unit(widths[number - 1], widths[number], 3, 2, relu=True))
        return nn.ModuleList([*(nn.Identity() for _ in range(number)), down])

    branch = nn.Sequential(_unit(256, widths[1], 3, 2, relu=True))
    return {
        "conv1": _conv(3, 64, 3, 2),
        "bn1": nn.BatchNorm2d(64),
        "conv2": _conv(64, 64, 3, 2),
        "bn2": nn.BatchNorm2d(64),
        "layer1": first,
        "transition1": nn.ModuleList([_unit(256, widths[0], 3, relu=True), branch]),
        "stage2": stages[0],
        "transition2": new(2),
        "stage3": stages[1],
        "transition3": new(3),
        "stage4": stages[2],
    }
