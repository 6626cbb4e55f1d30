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


def test_joints_that_no_example_had_are_named():
    learned, other = Learned(), Learned()
    assert learned.unseen_joints("abc") == []
    valid = np.zeros((2, 3, 3, 2), bool)
    learned.add({"clips": {"valid": valid}})
    valid[1, 2, 1, 0] = True
    other.add({"clips": {"valid": valid}})
    assert learned.unseen_joints("abc") == ["a", "b", "c"] and other.unseen_joints("abc") == ["a", "c"]
    valid[0, 0, 2] = True
    learned.add({"stills": {"valid": valid}})
    assert Learned.of_all([Learned(), learned, other]).unseen_joints("abc") == ["a"]
