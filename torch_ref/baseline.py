"""Simple Baselines and HRNet in PyTorch, with the modules and names of their originals."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torch_ref.backbones import MobileNetV2, hrnet_parts, resnet_stages
from torch_ref.gaussian import decode


@dataclass(frozen=True)
class MapsConfig:
    """Settings of a single-view network, with the fields of jaxhar.models.baseline.network.BaselineConfig."""

    image_size: int | tuple[int, int] = 256
    num_joints: int = 16
    backbone: str = "resnet"
    depth: int = 50
    width: int | None = None
    stride_first: bool = False
    modules: tuple[int, ...] = (1, 4, 3)
    units: int = 4
    deconv_filters: tuple[int, ...] = (256, 256, 256)
    deconv_kernels: tuple[int, ...] = (4, 4, 4)
    deconv_bias: bool = False
    final_kernel: int = 1
    sigmoid: bool = False
    decoding: str = "argmax"
    pixels: str = "imagenet_bgr"

    @property
    def channels(self) -> int:
        """See `width`."""
        return self.width or {"resnet": 64, "hrnet": 48, "mobilenetv2": 32}[self.backbone]


class Frames(nn.Module):
    """A network of images that is applied to every frame: (B, T, 3, H, W) -> maps, pose, visible.

    Attributes:
      pixels: normalisation of the frames, see `torch_ref.infer`.
    """

    def __init__(self, config: MapsConfig):
        super().__init__()
        self.decoding = config.decoding
        self.pixels = config.pixels

    def maps(self, x: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> heat maps (N, J, h, w)."""
        raise NotImplementedError

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        maps = self.maps(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return predictions(maps[None], self.decoding)


class MapsNet(Frames):
    """A network with the common names."""

    def __init__(self, config: MapsConfig):
        super().__init__(config)
        self.hrnet = config.backbone == "hrnet"
        if self.hrnet:
            for name, module in hrnet_parts(config.channels, config.modules, config.units).items():
                self.add_module(name, module)
            inputs = config.channels
        elif config.backbone == "mobilenetv2":
            self.mobilenetv2 = MobileNetV2(config.channels)
            inputs = self.mobilenetv2.channels
        else:
            width = config.channels
            self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
            stages, inputs = resnet_stages(config.depth, width, config.stride_first)
            self.layer1, self.layer2, self.layer3, self.layer4 = stages
        if not self.hrnet:
            head, inputs = _head(inputs, config)
            self.deconv_layers = nn.Sequential(*head)
        k = config.final_kernel
        self.final_layer = nn.Conv2d(inputs, config.num_joints, k, padding=k // 2)
        self.sigmoid = config.sigmoid

    def features(self, x: Tensor) -> Tensor:
        """The features of the backbone."""
        if hasattr(self, "mobilenetv2"):
            return self.mobilenetv2(x)
        x = F.relu(self.bn1(self.conv1(x)))
        if not self.hrnet:
            x = F.max_pool2d(x, 3, 2, 1)
            return self.layer4(self.layer3(self.layer2(self.layer1(x))))
        parts: Any = self
        x = parts.layer1(F.relu(parts.bn2(parts.conv2(x))))
        xs = parts.stage2([layer(x) for layer in parts.transition1])
        xs = parts.stage3([*xs, parts.transition2[2](xs[-1])])
        return parts.stage4([*xs, parts.transition3[3](xs[-1])])[0]

    def maps(self, x: Tensor) -> Tensor:
        x = self.features(x)
        maps = self.final_layer(x if self.hrnet else self.deconv_layers(x))
        return maps.sigmoid() if self.sigmoid else maps


class LipNet(Frames):
    """The network of single-person-pose-estimation, whose modules have numbers."""

    def __init__(self, config: MapsConfig):
        super().__init__(config)
        width = config.channels
        stages, inputs = resnet_stages(config.depth, width, config.stride_first)
        stem = [nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        self.resnet_backbone = nn.Sequential(*stem, *stages)
        head, inputs = _head(inputs, config)
        self.deconv = nn.Sequential(*head)
        k = config.final_kernel
        self.heatmap_out = nn.Sequential(nn.Conv2d(inputs, config.num_joints, k, padding=k // 2), nn.Sigmoid())

    def maps(self, x: Tensor) -> Tensor:
        return self.heatmap_out(self.deconv(self.resnet_backbone(x)))


def _head(inputs: int, config: MapsConfig) -> tuple[list[nn.Module], int]:
    """Transposed convolutions to the double size, and their number of output channels."""
    layers: list[nn.Module] = []
    for outputs, k in zip(config.deconv_filters, config.deconv_kernels, strict=True):
        pad, extra = {4: (1, 0), 3: (1, 1), 2: (0, 0)}[k]
        layers.append(nn.ConvTranspose2d(inputs, outputs, k, 2, pad, extra, bias=config.deconv_bias))
        layers += [nn.BatchNorm2d(outputs), nn.ReLU()]
        inputs = outputs
    return layers, inputs


def predictions(maps: Tensor, how: str) -> dict[str, Tensor]:
    """Maps (K, B, T, J, h, w) as the predictions of jaxhar: maps (K, B, T, h, w, J), pose, visible."""
    cells, value = decode(maps, how)
    height, width = maps.shape[-2:]
    pose = cells / torch.tensor([width, height], dtype=maps.dtype)
    return {"maps": maps.movedim(-3, -1), "pose": pose, "visible": value.clamp(0, 1)}


def build(config: MapsConfig) -> nn.Module:
    """The network of these settings."""
    return LipNet(config) if config.sigmoid else MapsNet(config)


#: The networks by the names of jaxhar.zoo.
ZOO = {
    "simple-baseline-lip": MapsConfig(depth=18, deconv_filters=(512, 512, 512), sigmoid=True),
    "simple-baseline-mpii": MapsConfig(),
    "simple-baseline-coco": MapsConfig(image_size=(256, 192), num_joints=17),
    "hrnet-w32-coco": MapsConfig((256, 192), 17, "hrnet", width=32, pixels="imagenet"),
    "hrnet-w48-coco": MapsConfig((256, 192), 17, "hrnet", width=48, pixels="imagenet"),
}
