"""Multi-view networks with fused heat maps in PyTorch, with the modules and names of the original."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from torch_ref.baseline import MapsConfig, MapsNet, predictions


@dataclass(frozen=True)
class Config(MapsConfig):
    """Settings of a multi-view network, with the fields of jaxhar.models.multiview.network.MultiViewConfig."""

    num_joints: int = 20
    views: int = 4
    fusion: bool = True


class Matrix(nn.Module):
    """A fusion matrix (P, P)."""

    def __init__(self, pixels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(pixels, pixels).uniform_(0, 0.1))


class Fusion(nn.Module):
    """Maps (B, V, J, h, w) -> 0.4 of the own map and 0.6 of the mean of the others', each mapped by its matrix."""

    def __init__(self, views: int, pixels: int):
        super().__init__()
        self.aggre = nn.ModuleList(Matrix(pixels) for _ in range(views * (views - 1)))

    def forward(self, maps: Tensor) -> Tensor:
        flat, views, fused = maps.flatten(-2), maps.shape[1], []
        for i in range(views):
            others = [j for j in range(views) if j != i]
            first = i * (views - 1)
            matrices = [self.aggre[first + rank].weight for rank in range(views - 1)]
            moved = sum(flat[:, j] @ matrix for j, matrix in zip(others, matrices, strict=True))  # type: ignore[operator, misc]
            fused.append(0.4 * flat[:, i] + 0.6 / (views - 1) * moved)
        return torch.stack(fused, 1).reshape(maps.shape)


class MultiView(nn.Module):
    """Frames (B, V, 3, H, W) -> maps, pose and visible, before and after the fusion; see jaxhar's network.

    Attributes:
      pixels: normalisation of the frames, see `torch_ref.infer`.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.config, self.pixels = config, config.pixels
        self.resnet = MapsNet(config)
        if config.fusion:
            size = (config.image_size,) * 2 if isinstance(config.image_size, int) else config.image_size
            scale = 4 if config.backbone == "hrnet" else 32 // 2 ** len(config.deconv_filters)
            self.aggre_layer = Fusion(config.views, size[0] * size[1] // scale**2)

    def forward(self, frames: Tensor, together: Tensor | None = None) -> dict[str, Tensor]:
        if self.training:  # as in the original, batch norms see one view after the other
            raw = torch.stack([self.resnet.maps(view) for view in frames.unbind(1)], 1)
        else:
            raw = self.resnet.maps(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        maps = [raw]
        if self.config.fusion and frames.shape[1] == self.config.views:
            fused = self.aggre_layer(raw)
            maps.append(fused if together is None else fused.where(together[:, None, None, None, None], raw))
        return predictions(torch.stack(maps), self.config.decoding)


def build(config: Config) -> nn.Module:
    """The network of these settings."""
    return MultiView(config)


#: The networks by the names of jaxhar.zoo.
ZOO = {"multiview-h36m": Config()}
