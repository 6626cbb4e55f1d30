"""Poses by structures from heat maps of generated people, and what falls back."""

import numpy as np
import pytest

from jaxhar.core import geometry
from jaxhar.core.gaussian import encode
from jaxhar.core.skeleton import COCO, H36M17, PA16, UNION20, Skeleton
from jaxhar.core.triangulate import triangulate
from jaxhar.data.generate import film, room
from jaxhar.data.generate.body import SKELETON, perform
from jaxhar.data.generate.motions import MOTIONS
from jaxhar.host.errors import Problem
from jaxhar.predict import pictorial
from jaxhar.predict.moments import Moments

FRAMES, SIDE = 4, 64


@pytest.fixture(scope="module")
def scene():
    """Cameras, true points (F, J, 3) in mm, pixels (V, F, 1, J, 2), and moments in two pieces."""
    index = [SKELETON.index(joint) for joint in PA16.joints]
    truth = (
        1000 * perform(MOTIONS["squat"], film.performer(0, 0).body, FRAMES, np.random.default_rng(0)).joints[:, index]
    )
    cameras = room.cameras(1, (320, 320))
    pixels = np.stack([camera.project(truth)[..., :2] for camera in cameras])
    affine = np.zeros((FRAMES, len(cameras), 3, 3))
    maps = np.zeros((FRAMES, len(cameras), SIDE, SIDE, len(PA16)), np.float32)
    for v in range(len(cameras)):
        for n in range(FRAMES):
            low, high = pixels[v, n].min(0) - 20, pixels[v, n].max(0) + 20
            affine[n, v] = geometry.scaling(*(1 / (high - low))) @ geometry.translation(*-low)
            unit = geometry.apply(affine[n, v], pixels[v, n])
            maps[n, v] = encode(unit * SIDE, np.ones(len(PA16)), (SIDE, SIDE), 2.0)[0]
    parts = [
        Moments(i, pixels.swapaxes(0, 1)[i:j], np.ones((j - i, 4, 16)), affine[i:j], maps[i:j])
        for i, j in ((0, 3), (3, 4))
    ]
    return cameras, truth, pixels[:, :, None], parts


def test_maps_find_what_two_wrong_joints_spoil(scene):
    cameras, truth, pixels, parts = scene
    spoiled = pixels.copy()
    spoiled[0, 2, 0, PA16.index("r_wrist")] += 60  # of the joints, not of the maps
    weight = np.ones(pixels.shape[:-1])
    start = triangulate(cameras, spoiled, weight)
    found, notes = pictorial.locate(start, cameras, spoiled, weight, PA16, parts)
    off = [np.linalg.norm(result.points[:, 0] - truth, axis=-1) for result in (start, found)]
    assert off[0].max() > 150 and off[1].max() < 60 and off[1].mean() < 25
    assert notes == [] and found.valid.all() and found.used.all()
    assert found.errors[0, 2, 0, PA16.index("r_wrist")] > 50


def test_frames_without_a_pose_are_triangulated_and_counted(scene):
    cameras, truth, pixels, parts = scene
    weight = np.ones(pixels.shape[:-1])
    weight[:, 3, 0, 0] = 0
    empty = parts[0].maps.copy()
    empty[1] = 0
    pieces = [Moments(0, parts[0].pixels, parts[0].confidence, parts[0].affine, empty), parts[1]]
    start = triangulate(cameras, pixels, weight)
    found, notes = pictorial.locate(start, cameras, pixels, weight, PA16, pieces)
    assert notes == ["1 of 4 frames have no pose with the limbs' lengths and are triangulated"]
    np.testing.assert_array_equal(found.points[1], start.points[1])
    assert start.few[3, 0, 0] and not found.few.any() and np.isnan(found.error[3, 0, 0])
    assert np.linalg.norm(found.points[3, 0, 0] - truth[3, 0]) < 60, "no view is confident, but the maps know it"


def test_the_joints_of_the_tree():
    assert pictorial.body(UNION20)[0] is H36M17
    layout, parents = pictorial.body(COCO)
    assert len(layout) == 12 and parents.index(-1) == 0 and {*COCO.joints[:5]}.isdisjoint(layout.joints)
    with pytest.raises(Problem, match="needs limbs between the joints, and skeleton dots has none"):
        pictorial.body(Skeleton("dots", ("a", "b", "c")))


def test_a_limb_that_nobody_saw(scene):
    cameras, _, pixels, parts = scene
    weight = np.ones(pixels.shape[:-1])
    weight[1:, :, 0, [PA16.index("head")]] = 0
    start = triangulate(cameras, pixels, weight)
    found, notes = pictorial.locate(start, cameras, pixels, weight, PA16, parts)
    assert found is start
    assert notes == ["all frames are triangulated, as no limb to head has a length in any frame"]
