import numpy as np
import pytest

from jaxhar.core.skeleton import PA16
from jaxhar.viz import draw as viz

GREY = np.full((120, 160, 3), 128, np.uint8)


def stick_figure() -> np.ndarray:
    """(16, 2) a figure that faces the camera, its right side on the image's left."""
    side = {"r": -1, "l": 1}
    heights = dict(head=15, neck=28, thorax=34, shoulder=36, elbow=50, wrist=62, pelvis=66, hip=66, knee=85, ankle=105)
    out = {"elbow": 22, "wrist": 26, "shoulder": 14}
    points = []
    for joint in PA16.joints:
        name = joint.split("_")[-1]
        sign = side[joint[0]] if joint[1] == "_" else 0
        points.append((80 + sign * out.get(name, 8), heights[name]))
    return np.array(points, float)


def test_skeleton_shows_each_side_in_its_colour_and_leaves_the_input_alone():
    before = GREY.copy()
    drawn = viz.draw_skeleton(GREY, stick_figure(), PA16)
    assert (before == GREY).all() and drawn.shape == GREY.shape and drawn.dtype == np.uint8
    for joint, colour in (("r_wrist", viz.RIGHT), ("l_wrist", viz.LEFT), ("head", viz.CENTRE)):
        x, y = stick_figure()[PA16.index(joint)].astype(int)
        np.testing.assert_allclose(drawn[y, x], colour, atol=8)


def test_less_sure_joints_are_fainter():
    x, y = stick_figure()[PA16.index("r_wrist")].astype(int)
    offs = []
    for sure in (1.0, 0.5, 0.2, 0.05):
        drawn = viz.draw_skeleton(GREY, stick_figure(), PA16, np.full(16, sure))
        offs.append(int(np.abs(drawn[y, x].astype(int) - 128).sum()))
    assert offs[0] > offs[1] > offs[2] > offs[3] == 0


def test_joints_that_are_nan_or_far_outside_do_no_harm():
    pose = stick_figure()
    pose[0] = np.nan
    pose[1] = (1e7, -1e7)
    drawn = viz.draw_skeleton(GREY, pose, PA16)
    assert (drawn != GREY).any()
    assert (viz.draw_skeleton(GREY, np.full((16, 2), np.nan), PA16) == GREY).all()
    x, y = stick_figure()[0].astype(int)
    assert (drawn[y, x] == 128).all(), "the pelvis was NaN"


def test_lines_grow_with_the_figure():
    def painted(scale: int) -> float:
        image = np.full((120 * scale, 160 * scale, 3), 128, np.uint8)
        return float((viz.draw_skeleton(image, stick_figure() * scale, PA16) != image).any(-1).mean())

    assert painted(6) == pytest.approx(painted(3), rel=0.25)


def test_box_is_drawn_at_its_place_and_clipped():
    drawn = viz.draw_box(GREY, (20, 30, 60, 90))
    assert (drawn[30, 40] > 200).all() and (drawn[60, 20] > 200).all() and (drawn[60, 40] == 128).all()
    assert (viz.draw_box(GREY, (-1e12, -1e12, 1e12, 1e12)) == GREY).all()


@pytest.mark.parametrize("shade", [0, 255])
def test_action_panel_is_legible_on_any_background(shade: int):
    image = np.full((240, 320, 3), shade, np.uint8)
    drawn = viz.draw_action(image, "jumping_jacks", 0.5)
    panel = drawn[5:35, 5:145].astype(int)
    assert panel.max() == 255 and np.median(panel) < 80
    assert (drawn[120:] == shade).all()


def test_action_bar_has_the_length_of_the_probability():
    image = np.zeros((240, 320, 3), np.uint8)

    def length(probability: float) -> int:
        drawn = viz.draw_action(image, "bowl", probability)
        return int((drawn == viz.CURVES[0]).all(-1).any(0).sum())

    assert length(0.5) == pytest.approx(length(1.0) / 2, abs=2) and length(0.0) <= 2


def test_action_curves_follow_the_history():
    image = np.zeros((360, 480, 3), np.uint8)
    rising = np.stack([np.linspace(0, 1, 20), np.linspace(1, 0, 20)], axis=1)
    drawn = viz.draw_action(image, "bowl", 0.0, rising)
    ys, xs = np.nonzero((drawn == viz.CURVES[0]).all(-1))
    below = ys > 50  # under the bar
    assert np.corrcoef(xs[below], -ys[below])[0, 1] > 0.9


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (300, 2), (24, 24)])
def test_tiny_images_are_drawn_on(size: tuple[int, int]):
    image = np.zeros((*size, 3), np.uint8)
    history = np.full((5, 3), 1 / 3)
    assert viz.draw_action(image, "baseball_swing", 0.3, history).shape == image.shape
    assert viz.draw_skeleton(image, np.zeros((16, 2)), PA16).shape == image.shape


def test_below_an_upright_picture_the_panel_covers_nothing():
    image = np.full((320, 180, 3), 120, np.uint8)
    history = np.linspace([0.1, 0.9], [0.8, 0.2], 20)
    drawn = viz.draw_action_below(image, "bowl", 0.8, history)
    np.testing.assert_array_equal(drawn[:320], image)
    strip = drawn[320:].astype(int)
    bar = (np.abs(strip - viz.CURVES[0]).max(-1) < 30)[24:28].any(0)
    assert 0.7 * 180 < bar.sum() < 0.85 * 180 and strip.shape[0] > 50
    empty = viz.draw_action_below(image, None, None, history)
    assert empty.shape == drawn.shape and (empty[320:] == viz.OUTLINE).all()
    assert viz.draw_action_below(image, "bowl", 0.8).shape[0] < drawn.shape[0]


def test_contact_sheet_places_images_in_rows():
    images = [np.full((10 + n, 20, 3), 50 * (n + 1), np.uint8) for n in range(3)]
    sheet = viz.contact_sheet(images, 2, gap=2)
    assert sheet.shape == (2 * 12 + 3 * 2, 2 * 20 + 3 * 2, 3)
    assert (sheet[8, 12] == 50).all() and (sheet[8, 34] == 100).all() and (sheet[22, 12] == 150).all()
    with pytest.raises(ValueError, match="at least one image"):
        viz.contact_sheet([], 2)
