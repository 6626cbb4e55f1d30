"""Patches: their inner order, the way back, and what a masked autoencoder is to predict."""

import numpy as np
import pytest

from jaxhar.core.patches import Patching, patchify, target_frames, unpatchify
from jaxhar.core.pixels import Pixels

FRAMES = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 12, 3), np.uint8)


def test_a_patch_goes_by_frames_rows_and_columns():
    patches = patchify(FRAMES, 2, 4)
    assert patches.shape == (2, 4 * 2 * 3, 2 * 4 * 4 * 3)
    np.testing.assert_array_equal(patches[1, 6 + 3 + 2], FRAMES[1, 2:4, 4:8, 8:12].ravel())
    np.testing.assert_array_equal(unpatchify(patches, 2, 4, (8, 12)), FRAMES)


@pytest.mark.parametrize(("frames", "predicted", "chosen"), [(16, 8, [0, 2, 4, 6, 8, 10, 12, 15]), (8, 8, range(8))])
def test_frames_to_reconstruct(frames, predicted, chosen):
    np.testing.assert_array_equal(target_frames(frames, predicted), chosen)


@pytest.mark.parametrize("norm", [True, False])
def test_a_perfect_prediction_gives_the_frames_back(norm):
    patching = Patching(4, 2, 8, 4, norm, Pixels.KINETICS)
    batch = {"frames": FRAMES}
    target = patching.target(batch)
    assert target.shape == (2, 24, 48)
    if norm:
        np.testing.assert_allclose(np.asarray(target).std(-1, ddof=1), 1, atol=1e-4)
    frames = patching.frames(target, batch)
    np.testing.assert_allclose(frames, Pixels.KINETICS({"frames": FRAMES[:, target_frames(8, 4)]}), atol=1e-5)
