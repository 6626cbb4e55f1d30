"""The authors' Keras 2 weight files: `file` reads them, the modules named after the families know their layers."""

from jaxhar.keras.file import assign, read
from jaxhar.keras.reception import layout

__all__ = ["assign", "layout", "read"]
