"""The loss of masked autoencoders counts what was removed, and nothing else."""

import numpy as np

from jaxhar.core.patches import Patching
from jaxhar.core.pixels import Pixels
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
