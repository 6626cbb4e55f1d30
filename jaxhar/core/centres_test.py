import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhar.core.centres import corners, decode, encode

SIZE = 24, 40  # rows, columns
BOXES = np.array([[0.1, 0.2, 0.3, 0.9], [0.5, 0.1, 0.9, 0.4], [0.55, 0.5, 0.6, 0.62], [0, 0, 0, 0]], np.float32)
BOXED = np.array([True, True, True, False])
NONE = np.zeros(4, bool)


def perfect(target):
    """Logits and extents of a network that knows the targets."""
    return jnp.where(target.heat == 1, 9.0, -9.0), target.extent


def test_boxes_come_back():
    boxes, scores = decode(*perfect(encode(BOXES, BOXED, NONE, SIZE)), 3)
    order = np.lexsort(np.asarray(boxes).T)
    np.testing.assert_allclose(np.asarray(boxes)[order], BOXES[:3][np.lexsort(BOXES[:3].T)], atol=1e-6)
    np.testing.assert_allclose(scores, np.full(3, 1 / (1 + np.exp(-9))), rtol=1e-6)


def test_any_leading_axes():
    batch = np.stack([BOXES, BOXES[::-1]])[:, None]
    known = np.stack([BOXED, BOXED[::-1]])[:, None]
    both = encode(batch, known, np.zeros_like(known), SIZE)
    for b in range(2):
        one = encode(batch[b, 0], known[b, 0], NONE, SIZE)
        for name, value in one._asdict().items():
            np.testing.assert_allclose(getattr(both, name)[b, 0], value, rtol=1e-6, err_msg=name)


def test_the_cells_around_a_middle_give_its_box_too():
    target = encode(BOXES, BOXED, NONE, SIZE)
    share = np.asarray(target.share)
    assert share.sum() == pytest.approx(3, rel=1e-5) and (share > 0).sum() > 12
    assert (share[np.asarray(target.heat) < 0.2] == 0).all()
    boxes = np.asarray(corners(target.extent))
    scale = np.array([SIZE[1], SIZE[0]] * 2)
    for y, x in np.argwhere(share > 0):
        box = (boxes[y, x] + [x, y, x, y]) / scale
        assert np.abs(box - BOXES[:3]).max(-1).min() < 1e-5


def test_peaks_are_one_at_the_middles_and_fall_with_the_size_of_the_box():
    target = encode(BOXES, BOXED, NONE, SIZE)
    assert int((target.heat == 1).sum()) == 3
    x, y = 28, 6  # the middle of the second box, 16 columns wide and 7.2 rows high
    assert target.heat[y, x] == 1
    assert target.heat[y, x + 1] == pytest.approx(np.exp(-1 / (2 * (0.09 * 16) ** 2)), rel=1e-5)
    assert target.heat[y + 1, x] == pytest.approx(np.exp(-1 / (2 * (0.09 * 7.2) ** 2)), rel=1e-5)
    assert float(target.heat[20, 20]) < 1e-6


def test_nothing_is_learned_in_ignored_boxes_but_persons_there():
    ignored = np.array([False, True, False, False])
    persons = np.array([True, False, False, True])
    boxes = np.where(persons[:, None], [0.6, 0.2, 0.7, 0.3], BOXES).astype(np.float32)
    target = encode(boxes, persons, ignored, SIZE)
    covered = ~np.asarray(target.counted)
    assert covered[6, 22] and not covered[20, 22] and not covered[6, 2]
    assert target.counted[6, 26] and target.heat[6, 26] == 1
    assert covered.sum() == pytest.approx(0.4 * 40 * 8, abs=10)


def test_two_persons_in_one_cell_and_a_middle_outside():
    boxes = np.array([[0.4, 0.4, 0.5, 0.5], [0.41, 0.4, 0.5, 0.5], [0.9, 0.9, 1.4, 1.4]], np.float32)
    target = encode(boxes, np.ones(3, bool), np.zeros(3, bool), (10, 10))
    assert target.known.tolist() == [True, True, False]
    assert int((target.heat == 1).sum()) == 1 and np.isfinite(np.asarray(target.extent)).all()


def test_fewer_peaks_than_boxes_and_wild_predictions():
    flat = jnp.full((4, 4), -3.0).at[1, 2].set(2.0)
    boxes, scores = decode(flat, jnp.full((4, 4, 4), 1e9), 16)
    assert boxes.shape == (16, 4) and np.isfinite(np.asarray(boxes)).all()
    assert scores[0] == pytest.approx(1 / (1 + np.exp(-2.0)), rel=1e-5)
    empty = np.asarray(scores) == 0  # neighbours of the peak; the others are as high as theirs
    assert empty.any() and (np.asarray(boxes)[empty] == 0).all()


def test_the_gradient_of_decoding_is_finite():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=SIZE), jnp.float32)
    extent = jnp.asarray(np.random.default_rng(1).normal(size=(*SIZE, 4)), jnp.float32)
    gradient = jax.grad(lambda e: decode(logits, e, 5)[0].sum())(extent)
    assert np.isfinite(np.asarray(gradient)).all() and int((gradient != 0).any(-1).sum()) == 5
