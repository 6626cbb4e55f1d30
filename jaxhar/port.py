"""Weights in and out: Keras .h5, safetensors, state dicts of the PyTorch twin. Strict both ways.

The common form is a flat dict: dotted path of the leaf, as in `blocks.0.maps.kernel`, to a float32 array.
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
    """An SPNet up to its k-th prediction, in evaluation mode: less exact and faster (TPAMI'20, figure of speeds).

    Args:
      model: the whole network; its first k predictions are those of the result.
      predictions: k.
    """
    config = replace(model.config, num_predictions=predictions)  # type: ignore[attr-defined]
    flat = to_flat(model)
    return from_flat({name: flat[name] for name in shapes(config)}, config)
