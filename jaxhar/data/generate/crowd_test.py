"""Scenes of several persons: boxes are where the persons are drawn, and who is in front hides who is behind."""

from dataclasses import replace

import numpy as np
import pytest

from jaxhar.data.generate import crowd, film
from jaxhar.data.generate.crowd import Scene, actor, empty, moved, random_scene
from jaxhar.data.generate.everyday import EVERYDAY, SPEED
from jaxhar.data.generate.film import FilmCamera

SIZE = 160, 120


def scene(people, frames=5, focal=170.0, clutter=0.0):
    """People as (action, x, distance in metres, yaw) before a level camera, without anything around them."""
    axes = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], float)
    centre = np.tile(np.array(SIZE) / 2, (frames, 1))
    camera = FilmCamera(np.array([0.0, 0.0, 0.9]), axes, np.full(frames, focal), centre)
    actors = []
    for k, (action, x, distance, yaw) in enumerate(people):
        one = actor(k + 7, film.performer(0, k), action, frames, yaw, np.random.default_rng(k))
        actors.append(replace(one, performance=moved(one.performance, np.array([x, distance, 0.0]))))
    return Scene(tuple(actors), camera, SIZE, clutter, (3, 4))


def test_the_box_is_around_the_pixels_of_the_person():
    alone = scene([("stand", 0.2, 4.0, 180)])
    (shot,) = alone.shots([2])
    (nobody,) = empty(alone).shots([2])
    (seen,) = shot.people
    changed = np.abs(shot.image.astype(int) - nobody.image).max(-1) > 12
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    np.testing.assert_allclose(seen.box, [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], atol=2.0)
    assert seen.identity == 7 and seen.share == 1 and seen.within == 1 and seen.inside.all() and not seen.hidden.any()
    assert ((seen.joints >= seen.box[:2] - 3) & (seen.joints <= seen.box[2:] + 3)).all()


def test_who_is_in_front_hides_who_is_behind():
    (shot,) = scene([("stand", 0.0, 3.5, 180), ("stand", 0.1, 5.0, 180)]).shots([0])
    front, behind = shot.people
    assert front.share == 1 and not front.hidden.any()
    assert behind.share < 0.6 and behind.hidden.sum() > 5
    (alone,) = scene([("stand", 0.0, 3.5, 180)]).shots([0])
    np.testing.assert_array_equal(front.box, alone.people[0].box)


def test_people_walk_into_the_picture_and_out_of_it():
    frames = 60
    film_ = scene([("walk", -1.4, 4.0, -90), ("run", 2.0, 6.0, 90)], frames)
    shots = list(film_.shots(range(0, frames, 10)))
    middles = {k: [s.box[[0, 2]].mean() for shot in shots for s in shot.people if s.identity == k] for k in (7, 8)}
    assert all(np.diff(middles[7]) > 0) and all(np.diff(middles[8]) < 0)
    assert len(middles[7]) < len(shots) or min(s.within for shot in shots for s in shot.people) < 1
    speeds = [np.linalg.norm(np.diff(a.performance.joints[:, 0], axis=0), axis=-1).mean() for a in film_.actors]
    assert speeds[0] * crowd.RATE == pytest.approx(SPEED["walk"], rel=0.2)
    assert speeds[1] * crowd.RATE == pytest.approx(SPEED["run"], rel=0.2)


def test_a_person_outside_of_the_picture_is_not_there():
    (shot,) = scene([("stand", 9.0, 4.0, 0), ("wave", 0.0, 4.0, 180)]).shots([0])
    assert [seen.identity for seen in shot.people] == [8]


@pytest.mark.parametrize("action", EVERYDAY)
def test_every_motion_stands_on_the_ground_and_is_as_tall_as_a_person(action):
    joints = actor(0, film.performer(0, 3), action, 12, 30.0, np.random.default_rng(0)).performance.joints
    assert np.isfinite(joints).all()
    assert 0 <= joints[..., 2].min(1).min() and joints[..., 2].min(1).max() < 0.35
    assert 0.7 < joints[..., 2].max() < 2.6


def test_a_random_scene_is_that_of_its_generator():
    shots = []
    for _ in range(2):
        made = random_scene(SIZE, 5, 6, lambda k: film.performer(1, k), np.random.default_rng(5))
        shots.append(next(made.shots([3])))
    np.testing.assert_array_equal(shots[0].image, shots[1].image)
    assert [s.identity for s in shots[0].people] == [s.identity for s in shots[1].people] and len(shots[0].people) > 1
    for seen in shots[0].people:
        x1, y1, x2, y2 = seen.box
        assert 0 <= x1 < x2 <= SIZE[0] and 0 <= y1 < y2 <= SIZE[1] and 0 <= seen.share <= 1
