import numpy as np
import pytest

from jaxhar.core import geometry


def test_rotation_is_counter_clockwise_on_screen():
    right = np.array([[1.0, 0.0]])
    np.testing.assert_allclose(geometry.apply(geometry.rotation(90), right), [[0.0, -1.0]], atol=1e-15)


def test_composition_and_inverse():
    a = geometry.translation(3, -2) @ geometry.rotation(30) @ geometry.scaling(2, 0.5)
    points = np.random.default_rng(0).normal(size=(5, 2))
    step = geometry.apply(
        geometry.translation(3, -2), geometry.apply(geometry.rotation(30), points * np.array([2.0, 0.5]))
    )
    np.testing.assert_allclose(geometry.apply(a, points), step, atol=1e-12)
    np.testing.assert_allclose(geometry.apply(geometry.invert(a), step), points, atol=1e-12)


def test_apply_broadcasts_over_leading_axes_and_leaves_its_input():
    affines = np.stack([geometry.translation(1, 0), geometry.translation(0, 1)])
    points = np.zeros((4, 3, 2))
    out = geometry.apply(affines[:, None], points[None])
    assert out.shape == (2, 4, 3, 2)
    assert (out[0] == [1, 0]).all() and (out[1] == [0, 1]).all()
    assert (points == 0).all()


def test_nan_stays_in_its_point():
    out = geometry.apply(geometry.rotation(10), np.array([[np.nan, 1.0], [2.0, 3.0]]))
    assert np.isnan(out[0]).all() and np.isfinite(out[1]).all()


def test_singular_map_is_refused():
    with pytest.raises(np.linalg.LinAlgError):
        geometry.invert(geometry.scaling(0, 1))
