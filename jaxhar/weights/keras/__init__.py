"""Keras 2 weight files: `file` reads and `writing` writes them by the layout of the family."""

from collections.abc import Mapping

import numpy as np

from jaxhar import zoo
from jaxhar.core.family import Group, KerasLayout, Kinds
from jaxhar.core.network import NetworkConfig
from jaxhar.host.errors import Problem
from jaxhar.host.settings import override
from jaxhar.weights.keras import file, writing
from jaxhar.weights.keras.file import read
from jaxhar.weights.keras.writing import write

__all__ = ["arrange", "assign", "infer_config", "layout", "read", "told", "write"]


def _keras(config) -> KerasLayout:
    family = zoo.family(config)
    if family.keras is None:
        raise Problem(f"there is no Keras form of networks of the family {family.name}: use .safetensors or .pth")
    return family.keras


def layout(config) -> dict[str, Kinds]:
    """The groups of the Keras file of a network, with the module (dotted path) of each layer.

    Raises:
      Problem: the network has no Keras form.
    """
    keras = _keras(config)
    try:
        return keras.layout(config)
    except ValueError as error:
        raise Problem(str(error)) from error


def assign(groups: dict[str, Group], config) -> tuple[dict[str, np.ndarray], list[str]]:
    """The weights of a network from the groups of its file, and a list of mismatches: see `file.assign`."""
    flat, complaints = file.assign(_keras(config).renumber(groups), layout(config))
    found = told(groups, config).items()
    other = [f"{name}={text}" for name, text in found if override(config, {name: text}) != config]
    return flat, complaints + [f"the constants in it are those of {one} (--set {one})" for one in other]


def told(groups: dict[str, Group], config) -> Mapping[str, str]:
    """The settings by name, as text, that the constants in a file tell; {} if they tell none."""
    return _keras(config).told(groups, config)


def arrange(flat: Mapping[str, np.ndarray], config) -> writing.Groups:
    """The weights of a network as the groups of its Keras file: see `writing.arrange`."""
    return writing.arrange(flat, layout(config), _keras(config).sequence(config))


def infer_config(groups: dict[str, Group]) -> NetworkConfig:
    """Infers the settings of a Keras file from its names and shapes.

    Args:
      groups: from `read`.

    Raises:
      Problem: no family can infer them.
    """
    reasons = []
    for family in zoo.FAMILIES:
        if family.keras is not None and family.keras.infer is not None:
            try:
                return family.keras.infer(groups)
            except ValueError as error:
                reasons.append(str(error))
    raise Problem("; ".join(reasons) or "no family of networks can infer its settings from a Keras file")
