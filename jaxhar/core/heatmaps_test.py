"""Soft-argmax and its companions against literals and a plain double precision rendering."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhar.core.heatmaps import (
    DepthGrid,
    JointProb,
    aggregate_context,
    attend,
    decode,
    decode_normalised,
    decode_volume,
    depth_bins,
    joint_probability,
    soft_argmax,
    soft_argmax_depth,
)


def peak(height, width, row, column, value=200.0):
    return jnp.zeros((height, width, 1)).at[row, column, 0].set(value)


@pytest.mark.parametrize(("row", "column", "xy"), [(0, 0, (0, 0)), (0, 8, (1, 0)), (4, 0, (0, 1)), (2, 4, (0.5, 0.5))])
def test_the_first_bin_lies_at_zero_and_the_last_at_one(row, column, xy):
    np.testing.assert_allclose(soft_argmax(peak(5, 9, row, column))[0], xy, atol=1e-6)


def test_soft_argmax_equals_the_double_sum_and_its_gradient_is_finite():
    maps = np.random.default_rng(0).normal(0, 4, (2, 3, 7, 6, 5))
    weights = np.exp(maps) / np.exp(maps).sum((-3, -2), keepdims=True)
    x = (weights * (np.arange(6) / 5)[:, None]).sum((-3, -2))
    y = (weights * (np.arange(7) / 6)[:, None, None]).sum((-3, -2))
    ours = soft_argmax(jnp.asarray(maps, jnp.float32))
    np.testing.assert_allclose(ours, np.stack([x, y], -1), atol=1e-6)
    gradient = jax.grad(lambda m: (soft_argmax(m) ** 2).sum())(jnp.asarray(1e4 * maps, jnp.float32))
    assert bool(jnp.isfinite(gradient).all())


def test_joint_probability():
    maps = jnp.asarray([[1.0, 2, 0], [0, -1, 3], [0, 0, 0]])[..., None]
    np.testing.assert_allclose(joint_probability(maps, JointProb.SIGMOID_MAX), [1 / (1 + np.exp(-3))], rtol=1e-6)
    np.testing.assert_allclose(joint_probability(maps, JointProb.AVGPOOL4_MAX), [4])  # 2 + 0 - 1 + 3
    with pytest.raises(ValueError, match="nonsense"):
        joint_probability(maps, "nonsense")


def test_context_points_are_weighted_by_their_probability():
    pose, context = jnp.asarray([[0.5, 0.5]]), jnp.asarray([[0.0, 1.0], [1.0, 0.0]])
    mixed = aggregate_context(pose, context, jnp.asarray([0.25, 0.75]))
    np.testing.assert_allclose(mixed, [[0.8 * 0.5 + 0.2 * 0.75, 0.8 * 0.5 + 0.2 * 0.25]], rtol=1e-6)


def test_decode_without_context_is_the_maps_own_position():
    maps = jnp.concatenate([peak(8, 8, 7, 0), peak(8, 8, 0, 7)], axis=-1)
    pose, visible, own = decode(maps, 2, 0, JointProb.SIGMOID_MAX)
    np.testing.assert_allclose(pose, [[0, 1], [1, 0]], atol=1e-6)
    np.testing.assert_allclose(visible, [1, 1])
    np.testing.assert_array_equal(own, maps)


def test_bins_of_depth():
    np.testing.assert_allclose(depth_bins(5, DepthGrid.ENDS), [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(depth_bins(4, DepthGrid.CENTRES), [0.125, 0.375, 0.625, 0.875])
    depths = jnp.zeros((4, 2)).at[0, 0].set(200.0).at[3, 1].set(200.0)
    np.testing.assert_allclose(soft_argmax_depth(depths, DepthGrid.CENTRES), [0.125, 0.875], atol=1e-6)
    np.testing.assert_allclose(soft_argmax_depth(depths, DepthGrid.ENDS), [0, 1], atol=1e-6)


def test_decode_volume_equals_the_formula_in_double_precision():
    maps = np.random.default_rng(0).normal(0, 4, (2, 7, 6, 5 * 3))
    pose, visible, plane = decode_volume(jnp.asarray(maps, jnp.float32), 3, DepthGrid.ENDS, gain=2)
    volume = np.stack([maps[..., d * 3 : d * 3 + 3] for d in range(5)], -1)  # (N, H, W, J, D)
    image, depth = volume.mean(-1), volume.mean((1, 2))
    weights = np.exp(depth) / np.exp(depth).sum(-1, keepdims=True)
    np.testing.assert_allclose(plane, image, atol=1e-5)
    np.testing.assert_allclose(pose[..., :2], soft_argmax(jnp.asarray(image)), atol=1e-6)
    np.testing.assert_allclose(pose[..., 2], weights @ [0, 0.25, 0.5, 0.75, 1], atol=1e-6)
    np.testing.assert_allclose(visible, 1 / (1 + np.exp(-2 * (image.max((1, 2)) + depth.max(-1)))), rtol=1e-5)


def test_joint_probability_of_maps_too_small_for_a_window():
    assert joint_probability(jnp.full((1, 1, 1), 0.7), JointProb.AVGPOOL4_MAX) == np.float32(0.7)
    np.testing.assert_allclose(joint_probability(jnp.ones((1, 3, 1)), JointProb.AVGPOOL4_MAX), [2])
    np.testing.assert_allclose(joint_probability(jnp.ones((3, 1, 1)), JointProb.AVGPOOL4_MAX), [2])


def test_decode_normalised_reads_depth_under_the_peak_and_the_mass_around_it():
    maps = jnp.log(jnp.asarray([[1.0, 1, 1], [1, 4, 1], [1, 1, 9]]))[..., None]
    depth = jnp.zeros((3, 3, 1)).at[2, 2, 0].set(50.0)
    pose, visible = decode_normalised(maps, depth)
    z = 9 / 20 + 11 / 20 / 2
    np.testing.assert_allclose(pose, [[(6 / 2 + 11) / 20, (6 / 2 + 11) / 20, z]], rtol=1e-6)
    np.testing.assert_allclose(visible, [(4 + 1 + 1 + 9) / 20], rtol=1e-6)
    np.testing.assert_array_equal(decode_normalised(maps)[0], pose[:, :2])


def test_attend_picks_the_features_under_the_peak():
    features = jnp.asarray(np.random.default_rng(0).standard_normal((4, 6, 3)), jnp.float32)
    np.testing.assert_allclose(attend(peak(4, 6, 1, 5), features)[0], features[1, 5], rtol=1e-5)
