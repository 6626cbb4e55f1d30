"""Deephar's Keras model, if TensorFlow and deephar's code are installed."""

import sys
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.common import Contenders, Row
from benchmarks.networks import pictures
from jaxhar import infer, zoo


def _theirs(folder: Path):
    """Deephar's 8-block pose network and its tf.function; SystemExit with a sentence if it cannot be loaded."""
    if not (folder / "deephar" / "models").is_dir():
        sys.exit(f"--keras {folder}: there is no deephar/models in it; give the folder of deephar's code")
    try:
        import tensorflow as tf
        import tf_keras
    except ImportError as error:
        sys.exit(f"--keras needs TensorFlow and tf_keras (Keras 2): pip install tensorflow tf_keras ({error})")
    # deephar's code imports "keras", which must be Keras 2
    sys.modules["keras"] = tf_keras
    for name in [n for n in sys.modules if n.startswith("tf_keras.")]:
        sys.modules[name.removeprefix("tf_")] = sys.modules[name]
    sys.path.insert(0, str(folder))
    from deephar.models import reception

    model = reception.build((256, 256, 3), 16, dim=2, num_blocks=8, num_context_per_joint=2, ksize=(5, 5))
    return model, tf.function(lambda images: model(images, training=False))


def image(folder: Path) -> Contenders:
    """One image in float32, with random weights on both sides."""
    model, function = _theirs(folder)
    ours = zoo.create(zoo.config("reception-mpii"))
    frames = pictures(ours.config, 1, None)[:, 0]
    return {
        "ours": lambda: infer(ours, frames),
        "deephar's Keras, tf.function": lambda: [np.asarray(y) for y in function(frames)],
        "deephar's Keras, predict_on_batch": lambda: model.predict_on_batch(frames),
    }


def rows(folder: Path | None) -> dict[str, Row]:
    """The row of deephar's model; {} without its folder."""
    return {} if folder is None else {"reception-mpii, inference, one image, deephar's Keras": partial(image, folder)}
