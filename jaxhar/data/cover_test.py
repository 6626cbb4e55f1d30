"""Boxes as maps: what lies outside of the picture, and the way to the size of the frames."""

import numpy as np
import pytest

from jaxhar.data.cover import cover, raster


@pytest.mark.parametrize(
    ("boxes", "area"),
    [
        ([], 0),
        ([[1, 1, 2, 3, 0.9]], 6),
        ([[-5, -5, 0, 0]], 1),
        ([[-5, -5, -1, -1]], 0),
        ([[6, 4, 100, 100]], 4),
        ([[4, 1, 2, 3]], 0),
        ([[0, 0, 3, 3], [2, 2, 4, 4]], 16 + 9 - 4),
    ],
)
def test_what_a_box_covers(boxes, area):
    assert raster(np.array(boxes), (6, 8)).sum() == area


def test_negative_corners_count_from_the_far_end_where_the_original_is_meant():
    assert raster(np.array([[-3, 1, 7, 1]]), (6, 8), wrap=True).sum() == 3


def test_a_bright_person_and_its_box_agree():
    """A box that is drawn as bright pixels, at half the size of the boxes' picture."""
    frames = np.zeros((3, 90, 120))
    boxes = [np.array([[40.0 + 20 * t, 30, 101.0 + 20 * t, 151]]) for t in range(3)]
    for t in range(3):
        frames[t, 15:76, 20 + 10 * t : 51 + 10 * t] = 1
    found, bright = cover(boxes, (180, 240), (90, 120)) > 0.5, frames > 0.5
    assert (found & bright).sum() / (found | bright).sum() > 0.95
