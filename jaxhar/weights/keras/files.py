"""Networks from and to Keras .h5 files."""

from pathlib import Path

from flax import nnx

from jaxhar.weights import keras
from jaxhar.weights.flat import Flat, from_flat


def load_keras(path: str | Path, config) -> nnx.Module:
    """Loads a network from a Keras .h5 file, in evaluation mode.

    Args:
      path: a file from Keras' `save_weights` or `save`. Automatic layer numbers and the order of the weights inside a
        group do not matter.
      config: the settings of the network.

    Raises:
      Problem: the file cannot be read, weights are missing or superfluous, or constants of the soft-argmax differ.
    """
    flat, complaints = read_keras(path, config)
    return from_flat(flat, config, f"the weights in {path}", complaints)


def read_keras(path: str | Path, config) -> tuple[Flat, list[str]]:
    """The weights of a network in a Keras .h5 file, and a list of mismatches.

    Raises:
      Problem: the file cannot be read.
    """
    return keras.assign(keras.read(Path(path)), config)


def save_keras(path: str | Path, flat: Flat, config) -> None:
    """Writes the weights of a network as an .h5 file for deephar's code under Keras 2.1.4.

    Raises:
      Problem: the file cannot be written.
    """
    keras.write(Path(path), keras.arrange(flat, config))
