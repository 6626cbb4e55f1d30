"""Heat-map volumes of skeletons over time, as jaxhar.core.volume."""

from collections.abc import Sequence

import torch
from torch import Tensor

Pairs = Sequence[tuple[int, int]]


def encode(points: Tensor, score: Tensor, size: tuple[int, int], sigma: float, limbs: Pairs, epsilon: float) -> Tensor:
    """Points (..., M, J, 2) in cells and score (..., M, J) -> maps (..., C, h, w) of the joints, or of the limbs."""
    x = torch.arange(size[1], dtype=points.dtype)
    y = torch.arange(size[0], dtype=points.dtype)[:, None]
    if limbs:
        first, second = ([limb[i] for limb in limbs] for i in (0, 1))
        start, end = points[..., first, :], points[..., second, :]
        least = torch.minimum(score[..., first], score[..., second])
        short = ((end - start) ** 2).sum(-1) < 1
        end = torch.where(short[..., None], start, end)
        height = torch.where(short, score[..., first], least)
    else:
        start = end = points
        least = height = score
    height = torch.where(least < epsilon, torch.zeros_like(height), height)
    along = end - start
    square = (along**2).sum(-1)
    square = torch.where(square == 0, torch.ones_like(square), square)

    def spread(value: Tensor) -> Tensor:
        return value[..., None, None]

    low, high = torch.minimum(start, end) - 3 * sigma, torch.maximum(start, end) + 3 * sigma
    inside = (x >= spread(low[..., 0].trunc())) & (x < spread(high[..., 0].trunc()) + 1)
    inside = inside & (y >= spread(low[..., 1].trunc())) & (y < spread(high[..., 1].trunc()) + 1)
    dx, dy = x - spread(start[..., 0]), y - spread(start[..., 1])
    share = (dx * spread(along[..., 0]) + dy * spread(along[..., 1])) / spread(square)
    share = share.clamp(0, 1)
    distance = (dx - share * spread(along[..., 0])) ** 2 + (dy - share * spread(along[..., 1])) ** 2
    maps = spread(height) * torch.exp(-distance / (2 * sigma**2))
    return torch.where(inside, maps, torch.zeros_like(maps)).amax(-4)


def partners(joints: int, sides: Pairs, limbs: Pairs) -> list[int]:
    """For every channel that of the other side; see jaxhar.core.volume.partners."""
    other = list(range(joints))
    for left, right in sides:
        other[left], other[right] = right, left
    if not limbs:
        return other
    place = {frozenset(limb): i for i, limb in enumerate(limbs)}
    return [place.get(frozenset((other[a], other[b])), i) for i, (a, b) in enumerate(limbs)]


def mirrored(volume: Tensor, channels: Sequence[int]) -> Tensor:
    """A volume (..., C, h, w) with columns in reverse order and sides exchanged."""
    return volume.flip(-1)[..., list(channels), :, :]
