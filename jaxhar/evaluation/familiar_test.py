from types import SimpleNamespace

import numpy as np
import pytest
from flax import nnx

from jaxhar import inference, zoo
from jaxhar.evaluation import familiar


class Blobs:
    """A data set of pictures of a soft blob somewhere, five in a batch, the last one padding."""

    eval_split = "test"

    def __init__(self, batches, size):
        self.batches, self.size = batches, size

    def eval_stream(self, split, view, batch):
        assert view == "single" and batch == 32
        rng = np.random.default_rng(len(split))
        for _ in range(self.batches):
            yield {"frames": blobs(rng, 5, self.size)[:, None], "mask": np.arange(5) < 4}


def blobs(rng, count, size):
    y, x = np.mgrid[:size, :size]
    middle = rng.uniform(0.3, 0.7, (count, 2, 1, 1)) * size
    away = (y - middle[:, 0]) ** 2 + (x - middle[:, 1]) ** 2
    return np.repeat((255 * np.exp(-away / (0.02 * size**2)))[..., None], 3, -1).astype(np.uint8)


@pytest.mark.parametrize("name", ["reception-mpii", "spnet-pose"])
def test_pictures_unlike_those_of_the_training_are_noticed(name):
    model = zoo.create(zoo.tiny(name))
    size = model.config.inputs(1)["frames"].shape[2]
    found = familiar.of_data(model, Blobs(60, size))
    rng = np.random.default_rng(7)

    def known(images):
        return found(inference.appearance(model, images[:, None])[:, 0])

    assert known(blobs(rng, 40, size)).mean() > 0.85
    assert not known(rng.integers(0, 256, (8, size, size, 3), np.uint8)).any()
    assert familiar.of_data(model, Blobs(1, size)) is None


def test_a_network_that_describes_no_images_says_nothing():
    class Plain(nnx.Module):
        config = SimpleNamespace()

    assert familiar.of_data(Plain(), Blobs(60, 32)) is None
