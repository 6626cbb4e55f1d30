"""The person detector in PyTorch, with the names of modules of jaxhar/models/people/network.py."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_PRIOR = 0.02
_STRIDE = 4
_LOG_SIDE = 8.0


@dataclass(frozen=True)
class PeopleConfig:
    """Settings, with the fields of jaxhar.models.people.network.PeopleConfig."""

    image_size: int | tuple[int, int] = 256
    widths: tuple[int, ...] = (16, 40, 80, 112)
    blocks: tuple[int, ...] = (1, 1, 2, 1)
    neck: int = 24
    most: int = 64


class ConvNorm(nn.Module):
    """Convolution without bias, then batch normalisation; no activation."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class Patches(ConvNorm):
    """Squares of 4 x 4 pixels to features; the channels of a square are ordered by row, column and colour."""

    def __init__(self, outputs: int):
        super().__init__(3 * _STRIDE**2, outputs)

    def forward(self, x: Tensor) -> Tensor:
        n, colours, height, width = x.shape
        x = x.reshape(n, colours, height // _STRIDE, _STRIDE, width // _STRIDE, _STRIDE)
        return super().forward(x.permute(0, 3, 5, 1, 2, 4).reshape(n, -1, height // _STRIDE, width // _STRIDE))


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.conv1 = ConvNorm(inputs, width, 3, stride)
        self.conv2 = ConvNorm(width, width, 3)
        self.shortcut = None if stride == 1 and inputs == width else ConvNorm(inputs, width, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.conv1(x)))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class People(nn.Module):
    """The network: frames (B, T, 3, H, W) -> boxes, scores, centres, extent as jaxhar's.

    Attributes:
      pixels: normalisation of the frames, see `torch_ref.infer`.
    """

    pixels = "signed"

    def __init__(self, config: PeopleConfig):
        super().__init__()
        neck, inputs = config.neck, config.widths[0]
        self.most = config.most
        self.stem = Patches(inputs)
        stages = []
        for number, (outputs, count) in enumerate(zip(config.widths, config.blocks, strict=True)):
            blocks = []
            for place in range(count):
                blocks.append(Block(inputs, outputs, 2 if number and not place else 1))
                inputs = outputs
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.lateral = nn.ModuleList(ConvNorm(width, neck) for width in config.widths)
        self.refine = nn.ModuleList(ConvNorm(neck, neck, 3) for _ in config.widths[1:])
        self.head = ConvNorm(neck, neck, 3)
        self.centres, self.extent = nn.Conv2d(neck, 1, 1), nn.Conv2d(neck, 4, 1)
        for layer in (self.centres, self.extent):
            nn.init.normal_(layer.weight, std=1e-3)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.constant_(self.centres.bias, float(torch.logit(torch.tensor(_PRIOR))))  # type: ignore[arg-type]

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of centres (N, h, w) and extents (N, h, w, 4) of images (N, 3, H, W)."""
        x = F.relu(self.stem(x))
        levels = []
        for stage, lateral in zip(self.stages, self.lateral, strict=True):
            x = stage(x)
            levels.append(lateral(x))
        x = F.relu(levels[-1])
        for finer, refine in zip(levels[-2::-1], self.refine, strict=True):
            x = F.relu(refine(F.relu(finer + x.repeat_interleave(2, -2).repeat_interleave(2, -1))))
        x = F.relu(self.head(x))
        return self.centres(x)[:, 0], self.extent(x).movedim(1, -1)

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        centres, extent = self.maps(frames.flatten(0, 1))
        boxes, scores = decode(centres, extent, self.most)
        found: dict[str, Any] = {"boxes": boxes, "scores": scores, "centres": centres, "extent": extent}
        return {key: value.unflatten(0, frames.shape[:2])[None] for key, value in found.items()}


def decode(centres: Tensor, extent: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Boxes (N, count, 4) in units of the picture and scores (N, count), as jaxhar.core.centres.decode."""
    height, width = centres.shape[-2:]
    highest = F.max_pool2d(centres[:, None], 3, 1, 1)[:, 0]
    scores, cells = centres.sigmoid().where(centres >= highest, 0.0).flatten(1).topk(min(count, height * width))
    found = extent.flatten(1, 2).gather(1, cells[..., None].expand(-1, -1, 4))
    middle = torch.stack([cells % width, cells // width], -1) + found[..., :2]
    half = found[..., 2:].clamp(-_LOG_SIDE, _LOG_SIDE).exp() / 2
    size = torch.tensor([width, height] * 2, dtype=extent.dtype)
    boxes = torch.cat([middle - half, middle + half], -1) / size
    return boxes.where(scores[..., None] > 0, 0.0), scores


def build(config: PeopleConfig) -> nn.Module:
    """The network of these settings."""
    return People(config)


#: The networks by the names of jaxhar.zoo.
ZOO = {"people": PeopleConfig()}
