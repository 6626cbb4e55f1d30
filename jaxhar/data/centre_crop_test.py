"""Crops about a centre against the original's matrices and crops, and their augmentation."""

import numpy as np

from jaxhar.core import geometry
from jaxhar.core.skeleton import MPII as MPII_JOINTS
from jaxhar.data import centre_crop, transforms
from jaxhar.data.formats import jpeg
from jaxhar.data.records.reader import as_read
from jaxhar.data.records.record import Record
from parity_tests.golden_multiview import make_weights


def test_matrices_and_crops_are_the_originals():
    meta, case = make_weights.read_case("affine")
    size = tuple(case["size"].tolist())
    image = make_weights.image("crop", meta["seed"], 240, 320)
    for i, (center, scale, rotation) in enumerate(zip(case["center"], case["scale"], case["rotation"], strict=True)):
        found = np.vstack([centre_crop.crop_matrix(center, scale, rotation, size), [0, 0, 1]])
        corners = np.array([[0.0, 0.0], [320, 0], [0, 240]])
        expected = geometry.apply(np.vstack([case["matrix"][i], [0, 0, 1]]), corners)
        np.testing.assert_allclose(geometry.apply(found, corners), expected, atol=2e-4)
        np.testing.assert_allclose(geometry.apply(found, case["points"][i]), case["moved"][i], atol=2e-4)
        np.testing.assert_allclose(geometry.invert(found)[:2], case["inverse"][i], atol=2e-4)
        if i < len(case["crops"]):
            away = centre_crop.warp(image, found[:2], size).astype(int) - case["crops"][i]
            assert np.abs(away).max() <= 3 and np.abs(away).mean() < 0.05


def test_the_person_of_the_published_example():
    center, scale = centre_crop.prepared(np.array([966.0, 340.0]), 4.718488)
    np.testing.assert_allclose([*center, scale], [965, 409.77732, 5.89811], atol=1e-5)
    found = centre_crop.crop_matrix(center, float(scale), 0.0, (256, 256))
    np.testing.assert_allclose(found, [[0.217019, 0, -81.423019], [0, 0.217019, 39.07067]], atol=1e-5)
    joint = geometry.apply(np.vstack([found, [0, 0, 1]]), np.array([[803.0, 710.0]]))
    np.testing.assert_allclose(joint, [[92.843, 193.154]], atol=1e-3)


def _record(points: np.ndarray) -> dict:
    image = np.random.default_rng(0).integers(256, size=(120, 160, 3), dtype=np.uint8)
    labels = {"points": points[None], "labelled": np.ones((1, 16), bool)}
    return as_read(Record("a", "train", 1, labels, [jpeg.encode(image)], (160, 120)))


def test_a_mirrored_crop_is_that_of_the_mirrored_image():
    points = np.random.default_rng(1).uniform(20, 100, (16, 2)).astype(np.float32)
    record = _record(points)
    fixed = {"centers": np.array([[80.3, 61.0]]), "scales": [0.5], "size": 64, "norm": np.ones(1)}
    layouts = {"layout": MPII_JOINTS, "skeleton": MPII_JOINTS, "keep_outside": True}
    draw = transforms.Draw(angle=20.0)
    plain = centre_crop.example(record, [0], draw, **fixed, **layouts)
    flipped = centre_crop.example(record, [0], transforms.Draw(angle=20.0, flip=True), **fixed, **layouts)
    np.testing.assert_allclose(flipped["pose"][0, MPII_JOINTS.flip, 0], 1 - plain["pose"][0, :, 0], atol=1e-6)
    np.testing.assert_array_equal(flipped["frames"][0, :, :0:-1], plain["frames"][0, :, 1:])
    # the original mirrors the image, x -> width - 1 - x, with its joints and centre, and turns the other way here
    whole = np.vstack([centre_crop.crop_matrix([160 - 1 - 80.3, 61.0], 0.5, -20.0, (64, 64)), [0, 0, 1]])
    mirrored = np.stack([160 - 1 - points[:, 0], points[:, 1]], -1)
    np.testing.assert_allclose(
        64 * flipped["pose"][0], geometry.apply(whole, mirrored)[MPII_JOINTS.flip], rtol=0, atol=1e-4
    )


def test_joints_at_the_edge():
    points = np.tile(np.float32([[30, 30]]), (16, 1))
    points[:4] = [[0, 0], [63.99, 10], [64, 10], [-0.01, 10]]
    found = centre_crop.example(
        _record(points),
        [0],
        transforms.Draw(),
        centers=np.array([[32.0, 32.0]]),
        scales=[64 / 200],
        size=64,
        layout=MPII_JOINTS,
        skeleton=MPII_JOINTS,
        norm=np.ones(1),
    )
    assert found["visible"][0, :4].tolist() == [1, 1, 0, 0] and not found["valid"][0, 2:4].any()


def test_augmentation_has_the_originals_limits():
    rng = np.random.default_rng(0)
    draws = [centre_crop.SIMPLE_BASELINES.draw(rng) for _ in range(2000)]
    scales, angles = np.array([d.scale for d in draws]), np.array([d.angle for d in draws])
    assert scales.min() == 0.75 and scales.max() == 1.25 and abs(np.mean(scales == 0.75) - 0.159) < 0.03
    assert abs(np.mean(angles != 0) - 0.6) < 0.03 and np.abs(angles).max() <= 60
    assert abs(angles[angles != 0].std() - 29) < 2 and abs(np.mean([d.flip for d in draws]) - 0.5) < 0.04
    assert centre_crop.Jitter().draw(rng) == transforms.Draw()
