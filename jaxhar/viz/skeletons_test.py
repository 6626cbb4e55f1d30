"""Pictures of volumes and of attention: what is bright, and where."""

import numpy as np

from jaxhar.core.skeleton import COCO
from jaxhar.viz import draw, skeletons


def test_a_volume_is_drawn_in_the_colours_of_the_sides():
    maps = np.zeros((24, 10, 10, 17), np.float32)
    maps[:, 5, 2, COCO.index("l_wrist")] = 1
    maps[:, 5, 7, COCO.index("r_wrist")] = 0.5
    picture = skeletons.volume(maps, COCO)
    assert picture.shape == (2 * 166 + 4, 6 * 144 + 4, 3)
    first = picture[26:166, 4:144]
    np.testing.assert_allclose(first[77, 35], draw.LEFT, atol=1)
    np.testing.assert_allclose(first[77, 105], (24 + np.array(draw.RIGHT)) / 2, atol=1)
    assert (first[120] == 24).all()
    limbs = skeletons.volume(maps[:3, ..., :5], COCO)
    assert limbs.shape == (166 + 4, 3 * 144 + 4, 3)


def test_attention_has_a_row_for_each_joint():
    shares = np.full((6, 17), 0.001)
    shares[4, 9] = 0.5
    picture = skeletons.attention(shares, COCO)
    cells = picture[9::18, 110 + 35 :: 70]
    assert cells.shape == (17, 6, 3)
    np.testing.assert_array_equal(cells[9, 4], draw.CURVES[0])
    cells[9, 4] = 24
    assert (cells == 24).all() and picture[:, :110].max() > 100, "names"
