"""The authors' Keras 2 weight files: `file` reads them, the modules named after the families know their layers."""

from types import ModuleType

import numpy as np

from jaxhar.keras import file, reception, spnet
from jaxhar.keras.file import Group, Kinds, read
from jaxhar.keras.spnet import infer_config

__all__ = ["assign", "infer_config", "layout", "read"]


def _family(config) -> ModuleType:
    return spnet if isinstance(config, spnet.Config) else reception


def layout(config) -> dict[str, Kinds]:
    """The groups of the authors' file of a network, and the modules (dotted paths) their layers belong to."""
    return _family(config).layout(config)


def assign(groups: dict[str, Group], layout: dict[str, Kinds]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Give every weight of a file its leaf: see `file.assign`; action blocks of an SPNet may start at any number."""
    return file.assign(spnet.renumber(groups), layout)
