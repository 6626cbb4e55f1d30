"""Heat-map volumes: known values, joints that are not drawn, mirror images."""

import numpy as np

from jaxhar.core import volume
from jaxhar.core.skeleton import COCO


def test_a_joint_has_the_values_of_its_window():
    maps = np.asarray(volume.encode(np.array([[[3.5, 4.25]]], np.float32), np.ones((1, 1), np.float32), (8, 8)))[..., 0]
    rows, columns = np.nonzero(maps > 0)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 6, 1, 5)
    np.testing.assert_allclose(maps[4, 1:4], [0.00016, 0.04028, 0.64789], atol=5e-6)
    assert abs(maps.sum() - 2.25794) < 1e-5


def test_a_limb_falls_off_with_the_distance_to_it():
    points = np.array([[[1.5, 1.5], [5.5, 4.5]]], np.float32)
    maps = np.asarray(volume.encode(points, np.ones((1, 2), np.float32), (8, 8), limbs=((0, 1),)))[..., 0]
    assert abs(maps.sum() - 9.7734) < 1e-3
    np.testing.assert_allclose(maps[2, 1:5], [0.49935, 0.98621, 0.70665, 0.18627], atol=1e-5)


def test_what_has_no_score_is_not_drawn():
    points = np.full((2, 3, 17, 2), 4.0, np.float32)
    assert not np.asarray(volume.encode(points, np.zeros((2, 3, 17), np.float32), (8, 8))).any()
    score = np.zeros((2, 3, 17), np.float32)
    score[1, 2, 5] = 0.5
    for limbs in ((), volume.COCO_LIMBS):
        maps = np.asarray(volume.encode(points, score, (8, 8), limbs=limbs))
        assert maps.any() == (limbs == ())  # a limb needs both joints
        if not limbs:
            assert maps.max() == 0.5 and np.unique(np.nonzero(maps)[-1]).tolist() == [5]


def test_mirror_images_exchange_the_sides():
    pairs = volume.partners(COCO.flip.tolist(), volume.COCO_LIMBS)
    left, right = [0, 2, 3, 6, 7, 8, 12, 14], [1, 4, 5, 9, 10, 11, 13, 15]  # of mmaction2's configs
    assert [pairs[i] for i in left] == right and [pairs[i] for i in right] == left and pairs[16] == 16
    maps = np.random.default_rng(0).random((2, 3, 4, 17)).astype(np.float32)
    other = volume.mirrored(maps, COCO.flip.tolist())
    np.testing.assert_array_equal(other[..., COCO.index("l_wrist")], maps[:, :, ::-1, COCO.index("r_wrist")])
    np.testing.assert_array_equal(volume.mirrored(other, COCO.flip.tolist()), maps)
