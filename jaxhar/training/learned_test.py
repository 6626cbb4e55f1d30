"""What a run keeps of its batches."""

import numpy as np

from jaxhar.training.learned import Learned


def test_the_cameras_of_the_first_fused_moment_are_kept():
    learned = Learned()
    cameras = np.random.default_rng(0).normal(size=(3, 4, 22))
    learned.add({"clips": {"camera": cameras, "together": np.zeros(3, bool)}})
    learned.add({"stills": {"camera": cameras}})
    assert learned.cameras == []
    learned.add({"clips": {"camera": cameras, "together": np.array([False, True, True])}})
    learned.add({"clips": {"camera": cameras + 1, "together": np.ones(3, bool)}})
    np.testing.assert_allclose(learned.cameras, cameras[1], atol=1e-6)
