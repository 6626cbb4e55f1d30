import dataclasses

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jaxhar.core.camera import H36M, OPENCV, Camera


def lens(rng: np.random.Generator, **settings) -> Camera:
    """A camera like those of Human3.6M: 1000 x 1000 pixels, a lens of about 45 degrees."""
    return Camera(
        R=Rotation.random(random_state=rng).as_matrix(),
        t=rng.uniform(-4000, 4000, 3),
        f=rng.uniform(1140, 1150, 2),
        c=rng.uniform(505, 520, 2),
        k=[-0.2, 0.25, -0.003] + rng.normal(0, 0.005, 3),
        p=rng.uniform(-2e-3, 2e-3, 2),
        **settings,
    )


def before(camera: Camera, rng: np.random.Generator, count: int = 500) -> np.ndarray:
    """World points in the camera's view, 3 to 7 metres away."""
    depth = rng.uniform(3000, 7000, (count, 1))
    seen = np.concatenate([rng.uniform(-0.44, 0.44, (count, 2)) * depth, depth], axis=1)
    return seen @ camera.R + camera.t


@pytest.mark.parametrize("seed", range(5))
def test_projection_is_opencvs(seed):
    rng = np.random.default_rng(seed)
    camera = lens(rng)
    world = before(camera, rng)
    matrix = np.array([[camera.f[0], 0, camera.c[0]], [0, camera.f[1], camera.c[1]], [0, 0, 1]])
    coefficients = np.array([*camera.k[:2], *camera.p, camera.k[2]])
    turn = cv2.Rodrigues(camera.R)[0]
    expected = cv2.projectPoints(world, turn, -camera.R @ camera.t, matrix, coefficients)[0][:, 0]
    found = camera.project(world)
    # OpenCV takes the rotation as a vector, whose rounding moves the points by itself
    rebuilt = Camera(cv2.Rodrigues(turn)[0], camera.t, camera.f, camera.c, camera.k, camera.p)
    slack = np.abs(rebuilt.project(world)[:, :2] - found[:, :2]).max()
    assert slack < 1e-9
    np.testing.assert_allclose(found[:, :2], expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found[:, 2], ((world - camera.t) @ camera.R.T)[:, 2], rtol=1e-14)


@pytest.mark.parametrize("w", [OPENCV, H36M])
@pytest.mark.parametrize("seed", range(3))
def test_the_inverse_is_exact_and_the_closed_form_is_near(seed, w):
    rng = np.random.default_rng(seed)
    camera = lens(rng, w=w)
    world = before(camera, rng)
    np.testing.assert_allclose(camera.unproject(camera.project(world)), world, rtol=0, atol=1e-8)
    off = np.linalg.norm(camera.unproject(camera.project(world), closed_form=True) - world, axis=-1)
    near = np.abs(camera.project(world)[:, :2] - camera.c).max(-1) < 250
    assert 1e-3 < off[near].max() < 10 and np.median(off[near]) < 1


def test_human36m_counts_the_tangential_term_once():
    """deephar's projection with p2 before p1, as in its file, and its approximate inverse."""
    rng = np.random.default_rng(3)
    camera = lens(rng, w=H36M)
    world = before(camera, rng)
    seen = (world - camera.t) @ camera.R.T
    p, k = camera.p[::-1], camera.k

    def bend(xy):
        r2 = (xy**2).sum(1, keepdims=True)
        return r2, 1 + k[0] * r2 + k[1] * r2**2 + k[2] * r2**3 + (xy * p).sum(1, keepdims=True)

    xy = seen[:, :2] / seen[:, 2:]
    r2, g = bend(xy)
    theirs = (xy * g + r2 * p) * camera.f + camera.c
    found = camera.project(world)
    np.testing.assert_allclose(found[:, :2], theirs, rtol=0, atol=1e-9)
    gap = np.abs(dataclasses.replace(camera, w=OPENCV).project(world)[:, :2] - theirs).max()
    assert 1e-3 < gap < 1
    xy = (theirs - camera.c) / camera.f
    r2, g = bend(xy)
    back = np.concatenate([(xy - r2 * p) / g * found[:, 2:], found[:, 2:]], axis=1) @ camera.R + camera.t
    np.testing.assert_allclose(camera.unproject(found, closed_form=True), back, rtol=0, atol=1e-8)


def test_a_camera_is_22_numbers():
    camera = lens(np.random.default_rng(0))
    vector = camera.to_vector()
    assert vector.shape == (22,) and vector[21] == OPENCV
    np.testing.assert_array_equal(vector[16:18], camera.p)
    np.testing.assert_array_equal(Camera.from_vector(vector).to_vector(), vector)
    np.testing.assert_array_equal(Camera.from_vector(vector[:21]).to_vector(), vector)
    with pytest.raises(ValueError, match="22 numbers"):
        Camera.from_vector(vector[:20])


def test_leading_axes_and_points_off_the_lens():
    camera = Camera(np.eye(3), np.zeros(3), (1000, 1000), (500, 500), (-0.35, 0.0, 0.0), (0.0, 0.0))
    world = np.random.default_rng(0).uniform(-500, 500, (2, 3, 4, 3)) + [0, 0, 4000]
    uvd = camera.project(world)
    assert uvd.shape == world.shape
    np.testing.assert_allclose(camera.unproject(uvd), world, atol=1e-9)
    assert np.isfinite(camera.unproject(np.array([5e4, 5e4, 4000.0]))).all()
