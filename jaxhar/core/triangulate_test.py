import dataclasses

import numpy as np
import pytest

from jaxhar.core.camera import OPENCV, Camera
from jaxhar.core.triangulate import ransac, triangulate


def ring(count: int, rng: np.random.Generator, strength: float = 1.0) -> list[Camera]:
    """Cameras 5 m round the origin that look at it, with distorted lenses."""
    cameras = []
    for n in range(count):
        angle = 2 * np.pi * (n + rng.uniform(0.2, 0.6)) / count
        eye = np.array([5000 * np.cos(angle), 5000 * np.sin(angle), rng.uniform(1000, 2000)])
        forward = -eye / np.linalg.norm(eye)
        right = np.cross(forward, [0, 0, 1])
        right /= np.linalg.norm(right)
        R = np.stack([right, np.cross(forward, right), forward])
        k, p = strength * np.array([-0.25, 0.25, -0.003]), strength * np.array([-1e-3, 1.5e-3])
        cameras.append(Camera(R, eye, rng.uniform(1100, 1200, 2), rng.uniform(490, 520, 2), k, p))
    return cameras


def scene(views: int, seed: int = 0, strength: float = 1.0) -> tuple[list[Camera], np.ndarray, np.ndarray]:
    """Cameras, points (3, 17, 3) and their pixels (V, 3, 17, 2)."""
    rng = np.random.default_rng(seed)
    cameras = ring(views, rng, strength)
    points = rng.uniform(-900, 900, (3, 17, 3))
    return cameras, points, np.stack([c.project(points)[..., :2] for c in cameras])


@pytest.mark.parametrize("views", [2, 3, 4, 7])
@pytest.mark.parametrize("method", [triangulate, ransac])
def test_noise_free_points_come_back(views, method):
    cameras, points, pixels = scene(views, views, strength=1.5)
    found = method(cameras, pixels)
    np.testing.assert_allclose(found.points, points, rtol=0, atol=1e-6)
    assert found.used.all() and found.valid.all() and found.error.max() < 1e-6
    assert found.points.shape == (3, 17, 3) and found.used.shape == found.errors.shape == (views, 3, 17)


@pytest.mark.parametrize("unit", [1.0, 1000.0])
def test_it_is_the_dlt_in_pixels(unit):
    """Against rows u M3 - M1 written down for one joint, with noise and confidences."""
    cameras, points, pixels = scene(4)
    rng = np.random.default_rng(1)
    pixels = pixels + rng.normal(0, 5, pixels.shape)
    confidence = rng.uniform(0.1, 1, pixels.shape[:-1])
    found = triangulate(cameras, pixels, confidence, unit=unit).points
    rows = []
    for camera, seen, weight in zip(cameras, pixels[:, 1, 5], confidence[:, 1, 5], strict=True):
        K = np.array([[camera.f[0], 0, camera.c[0]], [0, camera.f[1], camera.c[1]], [0, 0, 1]])
        M = K @ np.column_stack([camera.R, -camera.R @ camera.t / unit])
        u, v = camera.undistort(seen) * camera.f + camera.c
        rows += [weight * (u * M[2] - M[0]), weight * (v * M[2] - M[1])]
    x = np.linalg.svd(np.array(rows))[2][-1]
    np.testing.assert_allclose(found[1, 5], x[:3] / x[3] * unit, rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", [triangulate, ransac])
def test_missing_views(method):
    cameras, points, pixels = scene(4)
    confidence = np.ones((4, 3, 17))
    confidence[0, 0, 0] = 0
    confidence[1:, 0, 1] = 0  # one view left
    confidence[:, 0, 2] = -1
    confidence[2, 0, 3] = np.nan
    pixels[:2, 0, 4] = np.nan
    pixels[0, 0, 0] = 1e6  # ignored: its confidence is 0
    found = method(cameras, pixels, confidence)
    lost = np.zeros((3, 17), bool)
    lost[0, 1:3] = True
    np.testing.assert_array_equal(found.few, lost)
    np.testing.assert_array_equal(np.isnan(found.points), np.repeat(lost[..., None], 3, -1))
    np.testing.assert_array_equal(np.isnan(found.error), lost)
    assert not found.behind.any() and not found.used[:, lost].any()
    np.testing.assert_allclose(found.points[~lost], points[~lost], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found.used[:, 0, 0], [False, True, True, True])
    np.testing.assert_array_equal(found.used[:, 0, 4], [False, False, True, True])
    np.testing.assert_array_equal(found.used[:, 0, 3], [True, True, False, True])
    assert np.isnan(found.errors[0, 0, 4]) and found.errors[0, 0, 0] > 1e5


def test_a_wrong_view_is_left_out_by_ransac_only():
    cameras, points, pixels = scene(4)
    rng = np.random.default_rng(2)
    noisy = pixels + rng.normal(0, 0.5, pixels.shape)
    wrong = noisy.copy()
    for joint in range(17):
        wrong[joint % 4, :, joint] += 120 * np.array([1, -1]) * (1 if joint % 2 else -1)
    plain, robust = triangulate(cameras, wrong), ransac(cameras, wrong, threshold=10)
    off = np.linalg.norm(plain.points - points, axis=-1)
    assert off.min() > 20
    assert np.linalg.norm(robust.points - points, axis=-1).max() < 12
    expected = np.ones((4, 3, 17), bool)
    for joint in range(17):
        expected[joint % 4, :, joint] = False
    np.testing.assert_array_equal(robust.used, expected)
    assert robust.errors[~expected].min() > 50 and robust.error.max() < 3 < plain.error.min()
    few = ransac(cameras, wrong, threshold=10, max_pairs=5)
    assert np.nanmedian(np.linalg.norm(few.points - points, axis=-1)) < 12


def test_two_views_that_disagree_give_no_point_by_ransac():
    cameras, _, pixels = scene(2)
    pixels[0, 0, 0] += [0, 200]
    found = ransac(cameras, pixels, threshold=10)
    assert found.few[0, 0] and found.few.sum() == 1 and np.isnan(found.points[0, 0]).all()
    assert triangulate(cameras, pixels).valid[0, 0]


def test_points_behind_a_camera_and_at_infinity():
    """Two cameras side by side: crossed pixels meet behind them, equal ones nowhere."""
    left = Camera(np.eye(3), np.zeros(3), (1000, 1000), (500, 500), np.zeros(3), np.zeros(2))
    right = dataclasses.replace(left, t=np.array([400.0, 0, 0]))
    pixels = np.array([[[400.0, 500], [500, 500], [600, 500]], [[500.0, 500], [500, 500], [500, 500]]])
    found = triangulate([left, right], pixels)
    np.testing.assert_array_equal(found.behind, [True, True, False])
    np.testing.assert_array_equal(found.valid, [False, False, True])
    assert np.isnan(found.points[:2]).all() and not found.used[:, :2].any() and not found.few.any()
    np.testing.assert_allclose(found.points[2], [400, 0, 4000], atol=1e-6)
    assert not ransac([left, right], pixels).valid[:2].any()


def test_wrong_shapes():
    cameras, _, pixels = scene(3)
    with pytest.raises(ValueError, match="pixels must be \\(2 views"):
        triangulate(cameras[:2], pixels)
    with pytest.raises(ValueError, match="confidence must be"):
        triangulate(cameras, pixels, np.ones((3, 17)))


def test_the_originals_lens():
    """One focal length for both axes, and the tangential term counted twice."""
    camera = scene(1)[0][0]
    theirs = camera.original_lens()
    np.testing.assert_array_equal(theirs.f, [camera.f.mean()] * 2)
    assert theirs.w == OPENCV and theirs.t is not None
    world = np.array([[300.0, 200.0, 500.0]])
    gap = theirs.project(world) - camera.project(world)
    expected = (camera.f.mean() / camera.f - 1) * (camera.project(world)[:, :2] - camera.c)
    np.testing.assert_allclose(gap[:, :2], expected, atol=1e-9)
