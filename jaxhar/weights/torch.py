"""Weights of the PyTorch twin: names, layouts, and access to PyTorch itself."""

from pathlib import Path

import numpy as np

from jaxhar.host.errors import Problem
from jaxhar.weights.flat import Flat, misfit, shapes

_TORCH_NAMES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def to_torch(flat: Flat) -> Flat:
    """Our flat weights -> the twin's state dict, as numpy arrays."""
    return {_torch_name(name): _torch_layout(name, array) for name, array in flat.items()}


def from_torch(state: Flat, config) -> Flat:
    """The twin's state dict, as numpy arrays -> our flat weights; the inverse of `to_torch`.

    Raises:
      Problem: names are not those of the network.
    """
    flat, complaints = read_torch(state, config)
    if complaints:
        raise Problem(misfit("the PyTorch weights", complaints))
    return flat


def read_torch(state: Flat, config) -> tuple[Flat, list[str]]:
    """The leaves that a state dict of the twin has for a network, and what in it does not fit."""
    names = {_torch_name(name): name for name in shapes(config)}
    complaints = [f"missing: {name}" for name in names if name not in state]
    complaints += [f"left over: {name}" for name in state if name not in names]
    flat = {}
    for torch_name, name in names.items():
        if torch_name not in state:
            continue
        array = np.asarray(state[torch_name])
        order = (2, 3, 0, 1) if _is_depthwise(name) else (2, 3, 1, 0)
        flat[name] = array.transpose(order) if array.ndim == 4 else array
    return flat, complaints


def _is_depthwise(name: str) -> bool:
    return name.endswith("depthwise.kernel")


def _torch_name(name: str) -> str:
    *above, leaf = name.split(".")
    return ".".join([*above, _TORCH_NAMES[leaf]])


def _torch_layout(name: str, array: np.ndarray) -> np.ndarray:
    if array.ndim != 4:
        return array
    return np.ascontiguousarray(array.transpose((2, 3, 0, 1) if _is_depthwise(name) else (3, 2, 0, 1)))


def twin():
    """The PyTorch twin, `torch_ref`; Problem without PyTorch."""
    try:
        import torch_ref
    except ImportError as error:
        raise Problem(f"this needs PyTorch: pip install 'jaxhar[torch]' ({error})") from error
    return torch_ref


def load_pth(path: Path):
    try:
        return twin().load(path)
    except ValueError as error:
        raise Problem(str(error)) from error
