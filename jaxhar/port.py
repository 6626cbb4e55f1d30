"""Conversion of weights from and to Keras .h5 files and PyTorch state dicts; every weight must match.

The common form is a flat dict: dotted path, e.g. `blocks.0.maps.kernel`, -> float32 array.
"""

from dataclasses import replace

from flax import nnx

from jaxhar.weights.flat import (
    Flat,
    by_module,
    config_from_json,
    config_to_json,
    fill,
    flatten,
    from_flat,
    shapes,
    to_flat,
)
from jaxhar.weights.keras.files import load_keras, read_keras, save_keras
from jaxhar.weights.torch import from_torch, read_torch, to_torch
from jaxhar.weights.transfer import compare

__all__ = [
    "Flat",
    "by_module",
    "compare",
    "config_from_json",
    "config_to_json",
    "cut",
    "fill",
    "flatten",
    "from_flat",
    "from_torch",
    "load_keras",
    "read_keras",
    "read_torch",
    "save_keras",
    "shapes",
    "to_flat",
    "to_torch",
]


def cut(model: nnx.Module, predictions: int) -> nnx.Module:
    """Truncates an SPNet after its k-th prediction block, in evaluation mode: faster and less accurate (TPAMI'20).

    Args:
      model: the complete network.
      predictions: k, the number of prediction blocks to keep.
    """
    config = replace(model.config, num_predictions=predictions)  # type: ignore[attr-defined]
    flat = to_flat(model)
    return from_flat({name: flat[name] for name in shapes(config)}, config)
