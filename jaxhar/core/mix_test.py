"""Mixtures of clips keep their shares, and a box of its own for every clip."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhar.core import mix

CLIPS = np.random.default_rng(0).standard_normal((4, 2, 6, 8, 3)).astype(np.float32)


def test_a_mixture_of_a_share_of_one_changes_nothing():
    np.testing.assert_array_equal(mix.mixup(CLIPS, 1.0), CLIPS)
    box = mix.cut_box((6, 8), 1.0, 3, 3)
    assert float(mix.kept_share((6, 8), box)) == 1
    np.testing.assert_array_equal(mix.cutmix(jnp.asarray(CLIPS), box), CLIPS)


def test_a_box_is_drawn_within_the_jitted_step():
    @jax.jit
    def cut(x, share, row, column):
        box = mix.cut_box((6, 8), share, row, column)
        return mix.cutmix(x, box), mix.kept_share((6, 8), box)

    found, share = cut(CLIPS, 0.5, 0, 7)
    expected = CLIPS.copy()
    expected[:, :, :2, 5:] = CLIPS[::-1, :, :2, 5:]
    np.testing.assert_array_equal(found, expected)
    assert float(share) == pytest.approx(1 - 6 / 48)


def test_targets_are_shared_as_the_clips_are():
    found = mix.mixed_targets(jnp.array([0, 1, 2, 2]), 4, 0.25, 0.2)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(found[0], [0.05 + 0.2, 0.05, 0.05 + 0.6, 0.05], rtol=1e-6)


def test_every_clip_has_a_rectangle_of_its_own():
    edges = [jnp.array(edge) for edge in ([0, 1, 2, 0], [2, 4, 3, 0], [0, 3, 7, 0], [3, 5, 8, 0])]
    found = np.asarray(mix.erased(CLIPS, mix.Box(*edges), jnp.full(CLIPS.shape, 9.0), first=1))
    np.testing.assert_array_equal(found[:, 0], CLIPS[:, 0])
    for number, (top, bottom, left, right) in enumerate(zip(*map(np.asarray, edges), strict=True)):
        changed = (found[number, 1] != CLIPS[number, 1]).all(-1)
        assert changed[top:bottom, left:right].all() and changed.sum() == (bottom - top) * (right - left)
    rows, columns = mix.erase_size((24, 32), 0.25, 1.0)
    assert int(rows) == int(columns) == 14
