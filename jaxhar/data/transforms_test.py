import dataclasses
import math

import cv2
import numpy as np
import pytest
from PIL import Image

from jaxhar.core import geometry
from jaxhar.core.pixels import Pixels
from jaxhar.core.skeleton import PA16
from jaxhar.data import presets, transforms
from jaxhar.data.formats import jpeg
from jaxhar.data.transforms import Draw

LABELLED = np.ones((1, 16), bool)


def smooth_image(w: int, h: int) -> np.ndarray:
    """A picture whose values change by about a grey level or two a pixel, so that a pixel's shift shows as such."""
    coarse = np.random.default_rng(0).integers(0, 255, (h // 24, w // 24, 3), np.uint8)
    return cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC)


def literal_crop(image: np.ndarray, box: np.ndarray, angle: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Turn and expand the whole image, then cut, then resize: deephar's steps as they stand. Also the map."""
    centre, window = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    h, w = image.shape[:2]
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    to = np.array([[1, 0, centre[0]], [0, 1, centre[1]], [0, 0, 1]])
    back = np.array([[1, 0, -centre[0]], [0, 1, -centre[1]], [0, 0, 1]])
    affine = to @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) @ back
    corners = affine @ np.array([[0, 0, 1], [w, 0, 1], [0, h, 1], [w, h, 1]]).T
    affine = np.array([[1, 0, -corners[0].min()], [0, 1, -corners[1].min()], [0, 0, 1]]) @ affine
    picture = Image.fromarray(image)
    if angle:
        picture = picture.rotate(angle, Image.Resampling.BILINEAR, expand=True)
    middle = (affine @ [*centre, 1])[:2]
    cut = [int(v) for v in (*(middle - window / 2), *(middle + window / 2))]
    affine = np.array([[1, 0, -cut[0]], [0, 1, -cut[1]], [0, 0, 1]]) @ affine
    affine = np.diag([1 / (cut[2] - cut[0]), 1 / (cut[3] - cut[1]), 1]) @ affine
    return np.asarray(
        picture.crop((cut[0], cut[1], cut[2], cut[3])).resize((size, size), Image.Resampling.BILINEAR)
    ), affine


@pytest.mark.parametrize("box", [(60, 40, 260, 240), (-30.5, -20.2, 350.7, 260.1), (100, 90, 180.5, 230)])
def test_straight_crop_equals_cut_and_resize(box):
    image = smooth_image(320, 240)
    crop = transforms.plan_crop(np.array(box), (320, 240), 96)
    expected, affine = literal_crop(image, np.array(box), 0, 96)
    np.testing.assert_array_equal(transforms.crop_image(image, crop), expected)
    np.testing.assert_allclose(crop.affine, affine, atol=1e-12)


@pytest.mark.parametrize("side", [48, 95, 96])
def test_an_enlarging_straight_crop_equals_cut_and_resize_to_one_grey_level(side):
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    box = np.array([-10.0, 100, side - 10, 100 + side])
    found = transforms.crop_image(image, transforms.plan_crop(box, (320, 240), 96))
    np.testing.assert_allclose(found.astype(int), literal_crop(image, box, 0, 96)[0], atol=side < 96)


def test_images_are_cropped_one_by_one_as_an_iterator_gives_them():
    images = [smooth_image(160, 120), smooth_image(160, 120)[::-1].copy()]
    for draw in (Draw(), Draw(flip=True), Draw(angle=20), Draw(angle=20, flip=True)):
        crop = transforms.plan_crop(np.array([20.0, 10, 100, 90]), (160, 120), 64, draw)
        out = np.empty((2, 64, 64, 3), np.uint8)
        transforms.crop_images(iter(images), crop, out)
        np.testing.assert_array_equal(out, [transforms.crop_image(image, crop) for image in images])


@pytest.mark.parametrize("draw", [Draw(), Draw(flip=True), Draw(angle=20), Draw(angle=-35, flip=True)])
@pytest.mark.parametrize("person", [(70, 60, 110, 200), (-30, 20, 90, 400), (400, 50, 420, 90)])
def test_around_a_person_the_image_is_black(draw, person):
    image, box = smooth_image(320, 240), np.array([40.0, 10, 260, 230])
    window = transforms.seen_window(np.array(person, float), 0.1, (320, 240))
    assert window is not None and (window[2:] > window[:2]).all()
    far = 0.1 * max(person[2] - person[0], person[3] - person[1])
    inside = np.clip([person[0] - far, person[1] - far, person[2] + far, person[3] + far], 0, [319, 239, 320, 240])
    np.testing.assert_allclose(window, inside, atol=1)
    x1, y1, x2, y2 = window.astype(int)
    black = np.zeros_like(image)
    black[y1:y2, x1:x2] = image[y1:y2, x1:x2]
    crop = transforms.plan_crop(box, (320, 240), 96, draw)
    found = transforms.crop_image(image, dataclasses.replace(crop, window=window))
    np.testing.assert_allclose(found.astype(int), transforms.crop_image(black, crop), atol=1)
    assert transforms.seen_window(np.array(person, float), None, (320, 240)) is None


def test_a_reduced_image_is_black_around_the_same_person():
    image, draw = smooth_image(1279, 721), Draw(angle=20)
    crop = transforms.plan_crop(np.array([100.0, -150, 1100, 850]), (1279, 721), 224, draw)
    crop = dataclasses.replace(crop, window=np.array([401.0, 203, 777, 655]))
    data = jpeg.encode(image[..., ::-1], 100)
    whole = transforms.crop_image(jpeg.decode(data, "a"), crop)
    reduced = transforms.crop_image(jpeg.decode(data, "a", crop.reduction), crop, crop.reduction)
    assert crop.reduction == 4 and np.abs(whole.astype(int) - reduced).mean() < 1.5
    assert 0.1 < (whole.max(-1) == 0).mean() < 0.9


@pytest.mark.parametrize("angle", [-30.0, -5.0, 15.0, 40.0])
@pytest.mark.parametrize("box", [(60, 40, 260, 240), (-20, 10, 200, 250), (180, 60, 330.5, 310.5)])
def test_turned_crop_equals_turn_expand_cut_resize(angle, box):
    image = smooth_image(320, 240)
    crop = transforms.plan_crop(np.array(box), (320, 240), 128, Draw(angle=angle))
    expected, affine = literal_crop(image, np.array(box), angle, 128)
    np.testing.assert_allclose(crop.affine, affine, atol=1e-12)
    ours = transforms.crop_image(image, crop).astype(int)
    # PIL rounds the size of the turned image, which moves it by under a pixel: leave its edge out.
    inside = cv2.erode((expected.max(-1) > 0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    shifted = [np.abs(np.roll(ours, (dy, dx), (0, 1)) - expected)[inside] for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    assert np.abs(ours - expected)[inside].mean() < 3
    assert np.min(shifted, axis=0).mean() < 2


def test_a_dot_lands_where_the_affine_map_says():
    image = np.zeros((240, 320, 3), np.uint8)
    image[98:103, 148:153] = 255
    for draw in (Draw(), Draw(angle=25, flip=True, trans=(15, -5), scale=1.3), Draw(angle=-30)):
        crop = transforms.plan_crop(np.array([60.0, 30, 250, 210]), (320, 240), 256, draw)
        found = transforms.crop_image(image, crop)[..., 0].astype(float)
        y, x = np.mgrid[:256, :256] + 0.5
        centre = np.array([(x * found).sum(), (y * found).sum()]) / found.sum() / 256
        expected = geometry.apply(crop.affine, np.array([[150.5, 100.5]]))[0]
        np.testing.assert_allclose(centre, expected, atol=0.5 / 256)


@pytest.mark.parametrize(("side", "reduction"), [(500, 2), (900, 4), (2000, 8), (250, 1)])
def test_a_reduced_image_gives_the_same_turned_crop(side, reduction):
    image = smooth_image(1279, 721)
    box = np.array([600 - side / 2, 350 - side / 2, 600 + side / 2, 350 + side / 2])
    assert transforms.plan_crop(box, (1279, 721), 224).reduction == 1, "a straight crop is the authors'"
    crop = transforms.plan_crop(box, (1279, 721), 224, Draw(angle=20, flip=True))
    assert crop.reduction == reduction
    data = jpeg.encode(image[..., ::-1], 100)
    whole = transforms.crop_image(jpeg.decode(data, "a"), crop)
    reduced = transforms.crop_image(jpeg.decode(data, "a", reduction), crop, reduction)
    assert np.abs(whole.astype(int) - reduced).mean() < 1.5


def test_crop_sides_follow_truncation_toward_zero():
    far = transforms.plan_crop(np.array([100.0, 100.0, 300.9, 300.9]), (640, 480), 256)
    near = transforms.plan_crop(np.array([-50.45, -50.45, 150.45, 150.45]), (640, 480), 256)
    assert far.cut_size == (200, 200) and near.cut_size == (200, 200)
    assert transforms.plan_crop(np.array([100.2, 100.2, 301.1, 301.1]), (640, 480), 256).cut_size == (201, 201)
    np.testing.assert_array_equal(near.cut, geometry.translation(50, 50))


def test_small_windows_grow_to_32_pixels():
    crop = transforms.plan_crop(np.array([100.0, 100, 110, 200]), (320, 240), 64)
    assert crop.cut_size == (32, 32)
    np.testing.assert_allclose(geometry.apply(crop.affine, np.array([[105.0, 150.0]])), [[0.5, 0.5]], atol=1 / 64)


def test_shift_is_multiplied_by_scale():
    box = np.array([100.0, 100, 200, 200])
    crop = transforms.plan_crop(box, (320, 240), 64, Draw(scale=1.3, trans=(40, -10)))
    np.testing.assert_array_equal(crop.cut, geometry.translation(-152, -87))


def test_pixels_outside_are_black_and_powers_apply_per_channel():
    image = np.full((40, 40, 3), 128, np.uint8)
    crop = transforms.plan_crop(np.array([-40.0, 0, 40, 80]), (40, 40), 80)
    frames = transforms.crop_image(image, crop)[None, None]
    assert frames.shape == (1, 1, 80, 80, 3) and frames.dtype == np.uint8
    out = Pixels.SIGNED({"frames": frames, "power": np.array([[[0.9, 1.0, 1.1]]], np.float32)})[0]
    assert (out[0, :, :39] == -1).all() and (out[0, 41:] == -1).all()
    expected = 2 * ((128 / 255) ** np.array([0.9, 1.0, 1.1]) - 0.5)
    np.testing.assert_allclose(out[0, 10, 60], expected, atol=1e-6)


def test_a_crop_wholly_outside_is_black():
    crop = transforms.plan_crop(np.array([500.0, 500, 600, 600]), (40, 40), 16)
    assert (transforms.crop_image(np.full((40, 40, 3), 255, np.uint8), crop) == 0).all()


def test_one_pixel_image():
    crop = transforms.plan_crop(transforms.centred_bbox((1, 1)), (1, 1), 16)
    assert transforms.crop_image(np.full((1, 1, 3), 255, np.uint8), crop).shape == (16, 16, 3)


def test_flip_mirrors_and_swaps_sides():
    points = np.random.default_rng(1).uniform(50, 150, (1, 16, 2))
    box = np.array([0.0, 0, 200, 200])
    plain = transforms.plan_crop(box, (200, 200), 64)
    mirrored = transforms.plan_crop(box, (200, 200), 64, Draw(flip=True))
    pose, _, _ = transforms.crop_pose(plain, points, LABELLED, PA16.flip)
    flipped, visible, valid = transforms.crop_pose(mirrored, points, LABELLED, PA16.flip)
    right, left = PA16.index("r_wrist"), PA16.index("l_wrist")
    np.testing.assert_allclose(flipped[0, left], [1 - pose[0, right, 0], pose[0, right, 1]], atol=1e-6)
    assert visible.all() and valid.all()
    image = smooth_image(200, 200)
    np.testing.assert_array_equal(transforms.crop_image(image, mirrored), transforms.crop_image(image, plain)[:, ::-1])


def test_visible_is_strictly_inside():
    points = np.zeros((1, 16, 2))
    points[0, :4] = [[100, 100], [150, 150], [200, 150], [150, 99]]
    crop = transforms.plan_crop(np.array([100.0, 100, 200, 200]), (320, 240), 64)
    labelled = LABELLED.copy()
    labelled[0, 5] = False
    pose, visible, valid = transforms.crop_pose(crop, points, labelled, PA16.flip)
    assert visible[0, :4].tolist() == [0, 1, 0, 0] and visible.sum() == 1
    assert (pose[~valid] == 0).all() and valid.sum() == 2
    _, visible, valid = transforms.crop_pose(crop, points, labelled, PA16.flip, keep_outside=True)
    assert visible.sum() == 1 and valid.sum() == 30


def test_depths_are_measured_from_the_root():
    points = np.zeros((2, 16, 3))
    points[..., :2] = 150
    points[..., 2] = 4000
    points[1, :4, 2] = [4500, 3000, 5000, 6000]
    crop = transforms.plan_crop(np.array([100.0, 100, 200, 200]), (320, 240), 64)
    depth = transforms.Depth(np.array([3500.0, 4000.0]), 2000.0)
    labelled = np.repeat(LABELLED, 2, axis=0)
    pose, visible, valid = transforms.crop_pose(crop, points, labelled, PA16.flip, depth=depth)
    assert pose.shape == valid.shape == (2, 16, 3) and visible.all() and valid[..., :2].all()
    assert (pose[0, :, 2] == 0.75).all() and pose[1, :4, 2].tolist() == [0.75, 0, 0, 0]
    assert valid[1, :4, 2].tolist() == [True, False, False, False]  # strictly inside, as in the picture
    pose, _, valid = transforms.crop_pose(crop, points, labelled, PA16.flip, keep_outside=True, depth=depth)
    assert pose[1, :4, 2].tolist() == [0.75, 0, 1, 1.5] and valid.all()
    mirrored = transforms.plan_crop(np.array([100.0, 100, 200, 200]), (320, 240), 64, Draw(flip=True))
    points[1, PA16.index("r_wrist"), 2] = 4250
    pose, _, _ = transforms.crop_pose(mirrored, points, labelled, PA16.flip, depth=depth)
    assert pose[1, PA16.index("l_wrist"), 2] == 0.625 and pose[1, PA16.index("r_wrist"), 2] == 0.5


def test_valid_bbox_is_square_around_the_extremes():
    box = transforms.valid_bbox(np.array([[10.0, 20.0], [30.0, 60.0], [20.0, 30.0]]))
    np.testing.assert_allclose(box, [-10, 10, 50, 70])


def test_gt_bbox_unites_first_middle_and_last_frame():
    points = np.zeros((4, 2, 2))
    points[:, 1] = 10
    points += np.array([0, 1000, 100, 50])[:, None, None]  # frame 1 is not asked, frame 2 = int(4 / 2 + 0.5) is
    labelled = np.ones((4, 2), bool)
    np.testing.assert_allclose(transforms.gt_bbox(points, labelled, (320, 240)), [-2.5, -2.5, 112.5, 112.5])
    np.testing.assert_allclose(transforms.gt_bbox(points, labelled, (320, 240), 2.0), [-10, -10, 120, 120])
    labelled[0] = False
    np.testing.assert_allclose(transforms.gt_bbox(points, labelled, (320, 240)), [0, 0, 320, 240])
    np.testing.assert_allclose(transforms.gt_bbox(points[:1], labelled[1:2], (320, 240)), [-2.5, -2.5, 12.5, 12.5])
    np.testing.assert_allclose(transforms.gt_bbox(points[:2], np.ones((2, 2), bool), (9, 9))[2:], [1012.5, 1012.5])


def test_centred_bbox():
    np.testing.assert_allclose(transforms.centred_bbox((320, 240), 1.5), [-80, -120, 400, 360])


def test_clip_sampling_literals():
    assert transforms.clip_frames(100, 6, 8) == list(range(28, 71, 6))
    assert transforms.clip_frames(40, 6, 8) == list(range(2, 38, 5))
    assert transforms.clip_frames(7, 6, 8) == [0, 1, 2, 2, 3, 4, 4, 5]
    assert transforms.clip_frames(31, 2, 16) == list(range(7, 23))
    assert transforms.clip_frames(1, 2, 16) == [0] * 16
    assert transforms.clip_frames(9, 2, 1) == [4]


def test_multi_clip_literals():
    clips = transforms.multi_clips(60, 6, 8)
    assert [c[0] for c in clips] == [0, 9] and clips[1] == list(range(9, 52, 6))
    assert transforms.multi_clips(31, 2, 16) == [transforms.clip_frames(31, 2, 16)]
    assert [c[0] for c in transforms.multi_clips(50, 2, 16)] == [0, 9, 18]
    assert transforms.multi_clips(3, 1, 1) == [[0], [1], [2]]


def test_random_clips_reach_every_start():
    rng = np.random.default_rng(0)
    starts = {transforms.clip_frames(10, 2, 4, rng)[0] for _ in range(200)}
    assert starts == {0, 1, 2, 3}
    short = [transforms.clip_frames(3, 3, 16, rng) for _ in range(100)]
    assert all(0 <= i < 3 for clip in short for i in clip)


def test_augmentations_are_the_published_ones():
    clips = presets.PENN_CLIPS
    assert clips.angles == tuple(range(-30, 31, 5)) and clips.scales == (0.7, 1.0, 1.3)
    assert clips.trans_x == clips.trans_y == tuple(range(-40, 41, 5))
    assert clips.subsampling == (1, 2, 3) and clips.fixed_subsampling == 2
    assert clips.channel_power == (0.9, 0.92, 0.94, 0.96, 0.98, 1.0, 1.02, 1.04, 1.06, 1.08, 1.1)
    assert presets.PENN_STILLS.scales == (0.7, 1.0, 1.3, 2.5)
    assert presets.PENN_STILLS_TPAMI.angles == tuple(range(-40, 41, 5))
    ntu, stills = presets.NTU_CLIPS_TPAMI, presets.NTU_STILLS_TPAMI
    assert ntu.angles == (0.0,) and ntu.scales == (0.7, 1.0, 1.3) and ntu.trans_y == tuple(range(-10, 11, 5))
    assert ntu.trans_x == tuple(range(-40, 41, 5)) and (ntu.subsampling, ntu.fixed_subsampling) == ((3, 4, 5), 4)
    assert stills.angles == (-10, -5, 0, 5, 10) and stills.scales == (0.7, 1.0, 1.3, 2.0) and stills.subsampling == (1,)
    assert (presets.NTU_CLIPS.subsampling, presets.NTU_CLIPS.fixed_subsampling) == ((1, 2, 3), 2)
    assert presets.NTU_CLIPS.trans_y == tuple(range(-40, 41, 5))
    assert presets.NTU_STILLS.angles == tuple(range(-15, 16, 5))
    assert presets.NTU_STILLS.scales == (0.8, 1.0, 1.2, 2.0)
    assert transforms.NONE.draw(np.random.default_rng(0)) == Draw() == transforms.NONE.fixed()


def test_draws_are_seeded_and_reach_every_value():
    draws = [presets.PENN_CLIPS.draw(np.random.default_rng(i)) for i in range(300)]
    assert draws[:3] == [presets.PENN_CLIPS.draw(np.random.default_rng(i)) for i in range(3)]
    assert {d.angle for d in draws} == set(presets.PENN_CLIPS.angles)
    assert {d.flip for d in draws} == {False, True} and {d.subsampling for d in draws} == {1, 2, 3}
    assert any(len(set(d.power)) == 3 for d in draws)


@pytest.mark.parametrize("angle", [0.0, 10.0])
def test_a_crop_of_another_shape(angle):
    """A wide crop of a box of the same shape is the middle of the square crop around it, and points follow."""
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8), (0, 0), 4)
    draw = transforms.Draw(angle=angle)
    box = transforms.fit_aspect(np.array([100.0, 60, 180, 140]), (32, 64))
    assert box.tolist() == [60, 60, 220, 140] and transforms.fit_aspect(box, (9, 9)) is box
    wide = transforms.plan_crop(box, (300, 200), (32, 64), draw)
    square = transforms.plan_crop(np.array([60.0, 20, 220, 180]), (300, 200), 64, draw)
    a, b = (transforms.crop_image(image, crop).astype(int) for crop in (wide, square))
    assert a.shape == (32, 64, 3) and np.abs(a - b[16:48])[2:-2].mean() < 3
    points = np.array([[130.0, 100.0], [90.0, 110.0]])
    x, y = geometry.apply(wide.affine, points).T
    u, v = geometry.apply(square.affine, points).T
    np.testing.assert_allclose([x, y], [u, 2 * v - 0.5], atol=0.02)
