"""RandAugment: all frames are changed alike, and the same seed changes them the same way."""

import numpy as np

from jaxhar.data.rand_augment import OPERATIONS, RandAugment, apply, argument


def test_all_frames_are_changed_alike_by_the_seed():
    frame = np.random.default_rng(0).integers(0, 256, (16, 20, 3), np.uint8)
    clip, augment = np.stack([frame] * 3), RandAugment(probability=1.0)
    found = [augment(clip, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert found[0].dtype == np.uint8 and (found[0] == found[0][:1]).all()
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()
    np.testing.assert_array_equal(RandAugment(probability=0.0)(clip, np.random.default_rng(1)), clip)


def test_every_operation_changes_a_picture():
    frame = np.random.default_rng(0).integers(10, 200, (16, 20, 3), np.uint8)
    for name in OPERATIONS:
        assert (apply(frame, name, argument(name, 9, False)) != frame).any(), name
