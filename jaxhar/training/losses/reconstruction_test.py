"""The loss of masked autoencoders counts what was removed, and nothing else."""

import dataclasses

import numpy as np
import pytest

from jaxhar import zoo
from jaxhar.core.patches import Patching
from jaxhar.core.pixels import Pixels
from jaxhar.host.errors import Problem
from jaxhar.training.losses import fitted
from jaxhar.training.losses.reconstruction import Reconstruction


def test_only_removed_patches_count():
    rng = np.random.default_rng(0)
    batch = {"frames": rng.integers(0, 256, (2, 4, 8, 8, 3), np.uint8)}
    loss = Reconstruction(Patching(4, 2, 4, 2, True, Pixels.KINETICS))
    target = np.asarray(loss.patching.target(batch))
    removed = np.array([[1, 0, 0, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1, 0]], np.float32)
    found = target + np.where(removed[..., None] > 0, 0.5, 7).astype(np.float32)
    np.testing.assert_allclose(
        loss({"patches": found[None], "removed": removed[None]}, batch)["reconstruction"], 0.25, rtol=1e-5
    )
    exact = {"patches": target[None], "removed": removed[None]}
    np.testing.assert_allclose(loss(exact, batch)["reconstruction"], loss.floor(batch)["reconstruction"])
    assert loss.fit(exact, batch)[0] == 0 and loss({}, batch) == {}


def test_what_is_reconstructed_is_what_the_network_says():
    network = zoo.tiny("mae-st-vit-b")
    assert fitted(Reconstruction(), network) == Reconstruction(network.patching) == Reconstruction().of(network)
    for name, value in (("norm_pixels", False), ("patch", 16)):
        other = dataclasses.replace(network.patching, **{name: value})
        with pytest.raises(Problem, match=f"with {name} {value}, and the network those with {name}"):
            fitted(Reconstruction(other), network)
    with pytest.raises(Problem, match="VideoClassifierConfig are the settings of another"):
        fitted(Reconstruction(), zoo.tiny("mae-st-vit-b-k400"))
