"""Heat maps (..., J, h, w) from joints, and joints from heat maps, in PyTorch, as jaxhar/core/gaussian.py."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_DARK_KERNEL = 11
_GRID = 4096  # positions are rounded to this fraction of a cell before their cell is chosen


def encode(cells: Tensor, visible: Tensor, size: tuple[int, int], sigma: float = 2.0) -> tuple[Tensor, Tensor]:
    """Target maps (..., J, h, w) of joints (..., J, 2) in cells, cut at 3 sigma, and their weights (..., J)."""
    reach = int(3 * sigma)
    middle = ((cells * _GRID).round() / _GRID + 0.5).trunc()
    outside = ((middle - reach >= middle.new_tensor(size[::-1])) | (middle + reach + 1 < 0)).any(-1)
    weights = visible.to(middle.dtype).masked_fill(outside, 0.0)
    maps = _drawn(middle, size, sigma, middle - reach, middle + reach)
    return maps * (weights > 0.5)[..., None, None], weights


def encode_lip(cells: Tensor, present: Tensor, size: tuple[int, int], legacy: bool = False) -> Tensor:
    """Target maps (..., J, h, w) with sigma 1 on cells -4 to 3 about each joint, which is moved into the map."""
    last = cells.new_tensor(size[::-1]) - 1
    middle = ((cells * _GRID).round() / _GRID).trunc().clamp(min=0).minimum(last)
    maps = _drawn(middle, size, 1.0, middle - 4, (middle + 3).minimum(last - 1 if legacy else last))
    return maps * (present > 0.5)[..., None, None]


def _drawn(middle: Tensor, size: tuple[int, int], sigma: float, first: Tensor, last: Tensor) -> Tensor:
    grid = torch.meshgrid(*(torch.arange(side, dtype=middle.dtype) for side in size), indexing="ij")
    at = torch.stack(grid[::-1], -1)  # (h, w, 2)
    middle, first, last = (x[..., None, None, :] for x in (middle, first, last))
    near = ((at >= first) & (at <= last)).all(-1)
    return (-((at - middle) ** 2).sum(-1) / (2 * sigma**2)).exp() * near


def decode(maps: Tensor, how: str = "argmax") -> tuple[Tensor, Tensor]:
    """Cells (..., J, 2) as (x, y) and the largest values (..., J); `how`: argmax, quarter or dark."""
    height, width = maps.shape[-2:]
    value, index = maps.flatten(-2).max(-1)
    peak = torch.stack([index % width, index // width], -1)
    cells = peak.to(maps.dtype)
    if how != "argmax":
        limit = torch.tensor([width, height]) - 1
        inside = ((peak > 1) & (peak < limit)).all(-1, keepdim=True)
        offset = _quarter(maps, peak) if how == "quarter" else _dark(maps, peak, value)
        cells = cells + offset.where(inside, 0.0)
    return cells.where(value[..., None] > 0, 0.0), value


def _at(maps: Tensor, peak: Tensor, dx: int, dy: int) -> Tensor:
    height, width = maps.shape[-2:]
    x, y = (peak[..., 0] + dx).clamp(0, width - 1), (peak[..., 1] + dy).clamp(0, height - 1)
    return maps.flatten(-2).gather(-1, (y * width + x)[..., None])[..., 0]


def _quarter(maps: Tensor, peak: Tensor) -> Tensor:
    dx = _at(maps, peak, 1, 0) - _at(maps, peak, -1, 0)
    dy = _at(maps, peak, 0, 1) - _at(maps, peak, 0, -1)
    return 0.25 * torch.stack([dx, dy], -1).sign()


def _dark(maps: Tensor, peak: Tensor, value: Tensor) -> Tensor:
    sigma = 0.3 * ((_DARK_KERNEL - 1) * 0.5 - 1) + 0.8
    at = torch.arange(_DARK_KERNEL, dtype=maps.dtype) - _DARK_KERNEL // 2
    weights = torch.exp(-(at**2) / (2 * sigma**2))
    weights = weights / weights.sum()
    flat = maps.reshape(-1, 1, *maps.shape[-2:])
    flat = F.conv2d(flat, weights[None, None, :, None], padding=(_DARK_KERNEL // 2, 0))
    smooth = F.conv2d(flat, weights[None, None, None], padding=(0, _DARK_KERNEL // 2)).reshape(maps.shape)
    smooth = smooth * (value / smooth.amax((-2, -1)).clamp(min=1e-12))[..., None, None]
    logs = smooth.clamp(min=1e-10).log()

    def of(dx: int, dy: int) -> Tensor:
        return _at(logs, peak, dx, dy)

    dx, dy = 0.5 * (of(1, 0) - of(-1, 0)), 0.5 * (of(0, 1) - of(0, -1))
    xx, yy = 0.25 * (of(2, 0) - 2 * of(0, 0) + of(-2, 0)), 0.25 * (of(0, 2) - 2 * of(0, 0) + of(0, -2))
    xy = 0.25 * (of(1, 1) + of(-1, -1) - of(-1, 1) - of(1, -1))
    determinant = xx * yy - xy * xy
    safe = determinant.where(determinant != 0, math.inf)
    return -torch.stack([yy * dx - xy * dy, xx * dy - xy * dx], -1) / safe[..., None]
