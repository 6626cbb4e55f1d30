"""Learned positions for clips of another size or length, interpolated in space and in time apart."""

from collections.abc import Mapping

import jax
import numpy as np

from jaxhar.models.mae.config import MaeConfig, VideoClassifierConfig, ViTConfig
from jaxhar.nn.vit import Positions, sincos


def resized(flat: Mapping[str, np.ndarray], source: ViTConfig, target: ViTConfig) -> dict[str, np.ndarray]:
    """Weights of a network of the settings `source` with positions for `target`; the other weights as they are.

    Learned tables are interpolated, cubically in space and linearly in time; sines and cosines are computed anew.
    """
    assert isinstance(source, MaeConfig | VideoClassifierConfig)
    return {path: _table(path, array, source, target) for path, array in flat.items()}


def _table(path: str, array: np.ndarray, source: ViTConfig, target: ViTConfig) -> np.ndarray:
    name, width = path.rpartition(".")[2], array.shape[-1]
    if name == "pos_embed_spatial":
        return _interpolated(array[0], (1, *source.grid[-2:]), (1, *target.grid[-2:]))[None]
    if name == "pos_embed_temporal":
        return _interpolated(array[0], (source.grid[0], 1, 1), (target.grid[0], 1, 1))[None]
    if name != "pos_embed":
        return array
    if target.positions is Positions.SINCOS:
        return sincos(width, target.grid, target.cls_token)
    first = int(source.cls_token)
    before, after = ((1, *config.grid)[-3:] for config in (source, target))
    return np.concatenate([array[:, :first], _interpolated(array[0, first:], before, after)[None]], axis=1)


def _interpolated(table: np.ndarray, before: tuple[int, ...], after: tuple[int, ...]) -> np.ndarray:
    """Rows of a table on the grid `before` (steps, rows, columns) -> rows on the grid `after`."""
    if before == after:
        return table
    grid, width = table.reshape(*before, -1), table.shape[-1]
    grid = jax.image.resize(grid, (before[0], *after[1:], width), "cubic", antialias=False)
    grid = jax.image.resize(grid, (*after, width), "linear", antialias=False)
    return np.asarray(grid).reshape(-1, width)
