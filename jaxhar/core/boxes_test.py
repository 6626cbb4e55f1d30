import jax.numpy as jnp
import numpy as np
import pytest

from jaxhar.core.boxes import area, generalised_overlap, overlap


@pytest.mark.parametrize("xp", [np, jnp])
def test_intersection_over_union_of_known_boxes(xp):
    a = xp.asarray([[0.0, 0, 2, 2], [0, 0, 0, 0]])
    b = xp.asarray([[0.0, 0, 2, 2], [1, 1, 3, 3], [2, 0, 4, 2], [0, 0, 1, 4], [3, 3, 1, 1]])
    found = overlap(a, b)
    assert isinstance(found, type(a))
    np.testing.assert_allclose(found, [[1, 1 / 7, 0, 2 / 6, 0], [0] * 5], rtol=1e-6)
    np.testing.assert_allclose(area(b), [4, 4, 4, 4, 0])


def test_against_counted_cells():
    rng = np.random.default_rng(0)
    low, side = rng.integers(0, 8, (2, 6, 2)), rng.integers(1, 8, (2, 6, 2))
    boxes = np.concatenate([low, low + side], -1).astype(float)
    masks = np.zeros((2, 6, 16, 16), bool)
    for k in np.ndindex(2, 6):
        x1, y1, x2, y2 = boxes[k].astype(int)
        masks[k][y1:y2, x1:x2] = True
    shared = (masks[0][:, None] & masks[1]).sum((-2, -1))
    union = (masks[0][:, None] | masks[1]).sum((-2, -1))
    np.testing.assert_allclose(overlap(boxes[0], boxes[1]), shared / union)


def test_generalised_overlap_against_single_cases():
    one = jnp.array([0.0, 0, 2, 2])
    others = jnp.array([[0.0, 0, 2, 2], [1, 0, 3, 2], [4, 0, 6, 2], [0, 0, 1, 1]])
    found = generalised_overlap(jnp.broadcast_to(one, others.shape), others)
    np.testing.assert_allclose(found, [1, 1 / 3, -1 / 3, 1 / 4], rtol=1e-6)
