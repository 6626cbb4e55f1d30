"""Masks: how many are kept, which, and how much more often those inside of boxes are removed."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxhar.core import masks


def drawn(clips, tokens, seed=0):
    return np.random.default_rng(seed).random((clips, tokens), np.float32)


@pytest.mark.parametrize(("tokens", "ratio", "kept"), [(1568, 0.9, 156), (640, 0.9, 63), (320, 0.9, 31), (100, 0.9, 9)])
def test_an_order_goes_back_and_removes_the_others(tokens, ratio, kept):
    assert masks.count(tokens, ratio) == kept
    noise = drawn(3, tokens)
    order = masks.order(noise, kept)
    shuffled = np.argsort(noise, 1, kind="stable")
    np.testing.assert_array_equal(order.kept, shuffled[:, :kept])
    np.testing.assert_array_equal(
        np.take_along_axis(shuffled, np.asarray(order.restore), 1), np.tile(range(tokens), (3, 1))
    )
    assert (np.asarray(order.removed).sum(1) == tokens - kept).all()
    assert not np.take_along_axis(np.asarray(order.removed), np.asarray(order.kept), 1).any()


def test_tubes_remove_the_same_patches_at_all_times():
    kept = masks.tube_count(4 * 49, 4, 0.9)
    removed = np.asarray(masks.order(masks.tube_keys(drawn(2, 4 * 49), 4), kept).removed).reshape(2, 4, 49)
    assert (removed == removed[:, :1]).all() and (removed.sum(2) == 45).all()


#: Ratio, preference, share removed inside of the boxes and outside: the law of large numbers for a quarter in boxes.
LAW = [
    (0.90, 1 / 1.5, 0.942, 0.887),
    (0.90, 1.0, 0.957, 0.882),
    (0.90, 2.0, 0.983, 0.873),
    (0.90, -2.0, 0.717, 0.962),
    (0.90, 0.0, 0.900, 0.900),
    (0.90, 5.0, 0.999, 0.868),
    (0.75, 1.25, 0.913, 0.696),
    (0.75, -2.0, 0.290, 0.904),
]


@pytest.mark.parametrize(("ratio", "preference", "inside", "outside"), LAW)
def test_boxes_are_removed_as_often_as_the_preference_says(ratio, preference, inside, outside):
    covered = np.zeros((300, 8, 196), np.float32)
    covered[:, :, :49] = 1
    keys = masks.directed_keys(drawn(300, 1568), covered, preference)
    shares = masks.box_shares(covered, masks.order(keys, masks.count(1568, ratio)).removed)
    assert float(shares["removed_in_box"].mean()) == pytest.approx(inside, abs=0.005)
    assert float(shares["removed_out_box"].mean()) == pytest.approx(outside, abs=0.005)


@pytest.mark.parametrize("covered", [0.0, 1.0])
def test_without_boxes_a_directed_mask_is_a_random_one(covered):
    noise = drawn(2, 64)
    keys = masks.directed_keys(noise, np.full((2, 4, 16), covered, np.float32), 3.0)
    np.testing.assert_array_equal(masks.order(keys, 6).removed, masks.order(noise, 6).removed)


@pytest.mark.parametrize("preference", [1e10, -1e10, np.inf])
def test_an_extreme_preference_is_random_among_equals(preference):
    """Of the patches inside, and of those outside, every place is removed sometimes."""
    covered = np.tile(np.arange(64) < 32, (200, 1)).astype(np.float32).reshape(200, 1, 64)
    removed = np.asarray(masks.order(masks.directed_keys(drawn(200, 64), covered, preference), 16).removed)
    assert (removed.sum(1) == 48).all()
    first, last = (removed[:, :32], removed[:, 32:])[:: 1 if preference > 0 else -1]
    assert (first == 1).all() and (0.4 < last.mean(0)).all() and (last.mean(0) < 0.6).all()


def test_a_softmax_over_the_clip_keeps_as_much_of_every_frame():
    covered = np.zeros((200, 2, 100), np.float32)
    covered[:, 0, :25] = 1
    shares = {}
    for per_step in (True, False):
        keys = masks.directed_keys(drawn(200, 200), covered, 2.0, per_step)
        kept = 1 - np.asarray(masks.order(keys, 20).removed).reshape(200, 2, 100)
        shares[per_step] = kept[:, :, 25:].sum((0, 2))
    assert shares[True][0] > 1.2 * shares[True][1]
    assert shares[False][0] == pytest.approx(shares[False][1], rel=0.1)


def test_coverage_is_the_share_of_the_pixels():
    cover = np.zeros((1, 4, 4, 6), np.uint8)
    cover[0, :2, :2, 2:4] = 1
    cover[0, 2, 2:, 4:5] = 1
    np.testing.assert_allclose(masks.coverage(cover, 2, 2)[0], [[0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0.25]])


def test_half_a_cosine():
    found = [masks.cosine_between(jnp.float32(now), 1.5, 0.5, 200) for now in (0, 50, 100, 150, 199)]
    np.testing.assert_allclose(found, [1.5, 1.354, 1.0, 0.646, 0.500], atol=5e-4)
