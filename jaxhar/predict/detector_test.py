"""The detector of the package: its weights find generated persons, boxes are in pixels, wrong use is told."""

import dataclasses

import numpy as np
import pytest

from jaxhar import zoo
from jaxhar.data.generate import crowd, film
from jaxhar.data.generate.crowd_test import scene
from jaxhar.evaluation.boxes_ap import average_precision, match
from jaxhar.host.errors import Problem, Usage
from jaxhar.predict.detector import WEIGHTS, Own, distinct, merged
from jaxhar.weights.checkpoint import save_model


@pytest.fixture(scope="module")
def own():
    return Own()


def test_the_weights_are_small():
    assert WEIGHTS.stat().st_size < 4e6


def test_persons_of_scenes_never_seen_are_found(own):
    """Other persons, other scenes and another seed than in training."""
    scores, right, persons = [], [], 0
    for number in range(24):
        rng = np.random.default_rng([99, number])
        people = [film.performer(99, 10 * number + k) for k in range(3)]
        made = crowd.random_scene((320, 240), 1 + number % 3, 6, people.__getitem__, rng)
        (shot,) = made.shots([3])
        clear = [seen.box for seen in shot.people if seen.share >= 0.25 and seen.within >= 0.1]
        others = [seen.box for seen in shot.people if seen.share < 0.25 or seen.within < 0.1]
        boxes, found = own.boxes(np.ascontiguousarray(shot.image[..., ::-1]))
        hits, counts = match(boxes, found, np.reshape(clear, (-1, 4)), np.reshape(others, (-1, 4)))
        scores.append(found[counts])
        right.append(hits[counts])
        persons += len(clear)
    assert average_precision(np.concatenate(scores), np.concatenate(right), persons) > 0.5


@pytest.mark.parametrize("size", [(90, 200), (200, 90), (40, 40)])
def test_boxes_are_pixels_of_any_picture(own, size):
    rng = np.random.default_rng(0)
    boxes, scores = own.boxes(rng.integers(0, 256, (*size, 3)).astype(np.uint8))
    assert boxes.shape == (len(scores), 4) and boxes.dtype == scores.dtype == np.float64
    assert (boxes >= 0).all() and (boxes <= [size[1], size[0]] * 2).all() and (np.diff(scores) <= 0).all()


def test_a_box_moves_with_the_person(own):
    """The picture put into a larger one, which is fitted into the same square: the boxes move, and change little."""
    (shot,) = scene([("stand", 0.0, 4.0, 180)], clutter=0.0).shots([0])
    frame = np.ascontiguousarray(shot.image[..., ::-1])
    boxes, _ = Own(least=0.05).boxes(frame)
    assert len(boxes)
    wide = np.zeros((160, 160, 3), np.uint8)
    wide[20:140] = frame
    moved, _ = Own(least=0.05).boxes(wide)
    # the square around the first picture is the second one
    np.testing.assert_allclose(moved[0] - [0, 20, 0, 20], boxes[0], atol=1.0)


def test_two_boxes_of_one_person_are_one():
    boxes = np.array([[0, 0, 10, 20], [0, 0, 10, 19], [5, 0, 15, 20], [30, 0, 40, 20]], float)
    assert distinct(boxes, 0.6).tolist() == [True, False, True, True]
    assert distinct(boxes, 1.0).all() and distinct(np.zeros((0, 4)), 0.5).shape == (0,)


def test_wrong_use_is_told(tmp_path):
    with pytest.raises(Usage, match="a multiple of 32|multiples of 32"):
        Own(sides=(448, 100))
    with pytest.raises(Usage, match=r"two numbers, .*, not \(384,\)"):
        Own(sides=(384,))
    with pytest.raises(Usage, match="between 0 and 1"):
        Own(least=1.5)
    with pytest.raises(Problem, match="no model at"):
        Own(weights=tmp_path / "none.safetensors")
    config = dataclasses.replace(zoo.tiny("simple-baseline-mpii"))
    save_model(tmp_path / "pose.safetensors", zoo.create(config), None, ())
    with pytest.raises(Problem, match="is no person detector"):
        Own(weights=tmp_path / "pose.safetensors")
    with pytest.raises(ValueError, match="must be"):
        Own().boxes(np.zeros((20, 20, 3), np.float32))


def test_boxes_of_a_picture_and_its_mirror_image_are_merged():
    one = np.array([[0, 0, 10, 20], [50, 0, 60, 20]], float), np.array([0.9, 0.4])
    other = np.array([[1, 0, 11, 20], [80, 0, 90, 20]], float), np.array([0.6, 0.5])
    boxes, scores = merged(one, other)
    np.testing.assert_allclose(scores, [0.75, 0.25, 0.2])
    np.testing.assert_allclose(boxes, [[0.4, 0, 10.4, 20], [80, 0, 90, 20], [50, 0, 60, 20]])
    nothing = np.zeros((0, 4)), np.zeros(0)
    assert merged(nothing, nothing)[0].shape == (0, 4)
    np.testing.assert_array_equal(merged(one, nothing)[1], [0.45, 0.2])
