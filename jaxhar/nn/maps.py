"""Networks from an image to one heat map per joint: a backbone, and transposed convolutions where it is coarse.

Xiao, Wu, Wei: "Simple Baselines for Human Pose Estimation and Tracking" (ECCV'18); Sun, Xiao, Liu, Wang: "Deep
High-Resolution Representation Learning for Human Pose Estimation" (CVPR'19).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from jaxhar.nn.deconv import PADS, DeconvNorm
from jaxhar.nn.hrnet import HRNet
from jaxhar.nn.mobilenet import MobileNetV2
from jaxhar.nn.resnet import DEPTHS, ResNet
from jaxhar.nn.symmetric import Conv, narrow, torch_default

Array = jax.Array


class Backbone(StrEnum):
    """Networks from an image to features."""

    RESNET = "resnet"
    HRNET = "hrnet"
    MOBILENETV2 = "mobilenetv2"


#: Channels of the published networks, see `MapsConfig.width`.
_WIDTHS = {Backbone.RESNET: 64, Backbone.HRNET: 48, Backbone.MOBILENETV2: 32}


@dataclass(frozen=True)
class MapsConfig:
    """Settings of a network from images to heat maps.

    Attributes:
      image_size: side of the input in pixels, or (height, width); a multiple of 32. Heat maps have a quarter of it.
      num_joints: J.
      backbone: which network gives the features. depth: of a ResNet: 18, 34, 50, 101, 152.
      width: channels of a ResNet's first stage, of an HRNet's finest branch, of a MobileNetV2's first convolution; None
        for the published 64, 48 and 32.
      stride_first: whether the first convolution of a ResNet's bottleneck has the stride, not the second.
      modules, units: of an HRNet, see `jaxhar.nn.hrnet.HRNet`.
      deconv_filters, deconv_kernels: channels and kernel sizes (2, 3 or 4) of the transposed convolutions; an HRNet has
        none.
      deconv_bias: whether they have a bias.
      final_kernel: size of the last convolution, 1 or 3.
      sigmoid: whether the maps end in a sigmoid.
    """

    TINY: ClassVar[dict[str, object]] = {
        "image_size": 64,
        "depth": 18,
        "width": 8,
        "modules": (1, 1, 1),
        "units": 1,
        "deconv_filters": (16, 16, 16),
    }

    image_size: int | tuple[int, int] = 256
    num_joints: int = 16
    backbone: Backbone = Backbone.RESNET
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

    def __post_init__(self) -> None:
        object.__setattr__(self, "backbone", Backbone(self.backbone))
        if self.backbone is Backbone.RESNET and self.depth not in DEPTHS:
            raise ValueError(f"depth must be one of {', '.join(map(str, DEPTHS))}, not {self.depth}")
        if len(self.deconv_filters) != len(self.deconv_kernels):
            raise ValueError(
                f"deconv_filters has {len(self.deconv_filters)} entries and deconv_kernels {len(self.deconv_kernels)}; "
                "give as many of both"
            )
        if not set(self.deconv_kernels) <= PADS.keys() or self.final_kernel not in (1, 3):
            raise ValueError(
                f"deconv_kernels must be 2, 3 or 4 and final_kernel 1 or 3, not {self.deconv_kernels} and "
                f"{self.final_kernel}"
            )
        if min(self.size) < 32 or any(side % 32 for side in self.size):
            raise ValueError(f"image_size must be a multiple of 32, not {self.image_size}")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the images in pixels."""
        return (self.image_size,) * 2 if isinstance(self.image_size, int) else self.image_size

    @property
    def heatmap_size(self) -> tuple[int, int]:
        """(height, width) of the heat maps."""
        scale = 4 if self.backbone is Backbone.HRNET else 32 // 2 ** len(self.deconv_filters)
        height, width = self.size
        return height // scale, width // scale

    @property
    def channels(self) -> int:
        """See `width`."""
        return self.width or _WIDTHS[self.backbone]


class MapsNet(nnx.Module):
    """Images (N, H, W, 3) -> heat maps (N, h, w, J), float32 or a larger type."""

    def __init__(self, config: MapsConfig, *, dtype, rngs: nnx.Rngs):
        kw = {"dtype": dtype, "rngs": rngs}
        self.backbone: ResNet | HRNet | MobileNetV2
        if config.backbone is Backbone.HRNET:
            self.backbone = HRNet(config.channels, config.modules, config.units, **kw)
        elif config.backbone is Backbone.MOBILENETV2:
            self.backbone = MobileNetV2(config.channels, **kw)
        else:
            self.backbone = ResNet(config.depth, config.channels, config.stride_first, **kw)
        init = torch_default if config.sigmoid else narrow
        inputs, head = self.backbone.channels, []
        if config.backbone is not Backbone.HRNET:
            for outputs, kernel in zip(config.deconv_filters, config.deconv_kernels, strict=True):
                head.append(DeconvNorm(inputs, outputs, kernel, config.deconv_bias, init=init, **kw))
                inputs = outputs
        self.deconv = nnx.List(head)
        self.final = Conv(inputs, config.num_joints, config.final_kernel, bias=True, init=init, **kw)
        self.sigmoid = config.sigmoid

    def features(self, images: Array) -> Array:
        """The features of the backbone."""
        return self.backbone(images)

    def __call__(self, images: Array) -> Array:
        x = self.features(images)
        for layer in self.deconv:
            x = nnx.relu(layer(x))
        maps = self.final(x)
        maps = maps.astype(jnp.promote_types(maps.dtype, jnp.float32))
        return nnx.sigmoid(maps) if self.sigmoid else maps
