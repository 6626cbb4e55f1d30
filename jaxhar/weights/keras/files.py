"""Networks from the authors' .h5 files, and back."""

from pathlib import Path

from flax import nnx

from jaxhar.weights import keras
from jaxhar.weights.flat import Flat, from_flat


def load_keras(path: str | Path, config) -> nnx.Module:
    """The network of an authors' .h5 file, in evaluation mode.

    Args:
      path: what Keras' `save_weights` or `save` wrote. Automatic layer numbers and the order of the weights inside a
        group do not matter.
      config: the settings the weights were trained with.

    Raises:
      Problem: the file cannot be read, a weight has no leaf, a leaf has no weight, or a soft-argmax grid is not the one
        our arithmetic stands for.
    """
    flat, complaints = read_keras(path, config)
    return from_flat(flat, config, f"the weights in {path}", complaints)


def read_keras(path: str | Path, config) -> tuple[Flat, list[str]]:
    """The leaves that an authors' .h5 file has for a network, and what in the file does not fit it.

    Raises:
      Problem: the file cannot be read.
    """
    return keras.assign(keras.read(Path(path)), config)


def save_keras(path: str | Path, flat: Flat, config) -> None:
    """Write the weights of a network as the .h5 file that the authors' code loads under Keras 2.1.4.

    Raises:
      Problem: the file cannot be written.
    """
    keras.write(Path(path), keras.arrange(flat, config))
