"""The authors' Keras 2 weight files: `file` reads and `writing` writes them; one module a family knows its layers."""

from collections.abc import Mapping
from types import ModuleType

import numpy as np

from jaxhar.core.family import Group, Kinds
from jaxhar.models.reception import weights as reception
from jaxhar.models.spnet import weights as spnet
from jaxhar.models.spnet.weights import infer_config
from jaxhar.weights.keras import file, writing
from jaxhar.weights.keras.file import read
from jaxhar.weights.keras.writing import write

__all__ = ["arrange", "assign", "infer_config", "layout", "read", "write"]


def _family(config) -> ModuleType:
    return spnet if isinstance(config, spnet.Config) else reception


def layout(config) -> dict[str, Kinds]:
    """The groups of the authors' file of a network, and the modules (dotted paths) their layers belong to."""
    return _family(config).layout(config)


def assign(groups: dict[str, Group], layout: dict[str, Kinds]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Give every weight of a file its leaf: see `file.assign`; action blocks of an SPNet may start at any number."""
    return file.assign(spnet.renumber(groups), layout)


def arrange(flat: Mapping[str, np.ndarray], config) -> writing.Groups:
    """The weights of a network as the groups of its authors' file: see `writing.arrange`."""
    sequence = reception.sequence(config) if _family(config) is reception else ()
    return writing.arrange(flat, layout(config), sequence)
