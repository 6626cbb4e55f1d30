"""The authors' Keras 2 weight files: `file` reads and `writing` writes them; one module a family knows its layers."""

from collections.abc import Mapping

import numpy as np

from jaxhar.keras import writing
from jaxhar.keras.file import assign, read
from jaxhar.keras.reception import layout, sequence
from jaxhar.keras.writing import write

__all__ = ["arrange", "assign", "layout", "read", "write"]


def arrange(flat: Mapping[str, np.ndarray], config) -> writing.Groups:
    """The weights of a network as the groups of its authors' file: see `writing.arrange`."""
    return writing.arrange(flat, layout(config), sequence(config))
