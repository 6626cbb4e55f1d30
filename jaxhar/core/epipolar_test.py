import numpy as np
import pytest

from jaxhar.core.epipolar import distance, fundamental, match_persons
from jaxhar.core.triangulate_test import ring


def persons(count: int, views: int, seed: int, noise: float = 5.0):
    """Cameras, and per view the pixels (count, 17, 2) of persons in a room, in an order of its own, with the order."""
    rng = np.random.default_rng(seed)
    cameras = ring(views, rng)
    bodies = rng.normal(0, 250, (count, 17, 3)) + rng.uniform(-1200, 1200, (count, 1, 3)) * [1, 1, 0.1]
    orders = [rng.permutation(count) for _ in cameras]
    seen = [
        c.project(bodies)[..., :2][o] + rng.normal(0, noise, (count, 17, 2))
        for c, o in zip(cameras, orders, strict=True)
    ]
    return cameras, seen, orders


def test_the_fundamental_matrix_and_distances():
    cameras, _, _ = persons(1, 2, 0)
    world = np.random.default_rng(1).uniform(-800, 800, (50, 3))
    one, two = (c.project(world)[:, :2] for c in cameras)
    assert distance(*cameras, one, two).max() < 1e-6
    # a step of 7 px at right angles to the epipolar line is 7 px in that view
    straight = [
        np.column_stack([c.undistort(p) * c.f + c.c, np.ones(50)]) for c, p in zip(cameras, (one, two), strict=True)
    ]
    F = fundamental(*cameras)
    assert np.abs(np.einsum("ni,ij,nj->n", straight[1], F, straight[0])).max() / np.abs(F).max() < 1e-6
    flat = [type(c)(c.R, c.t, c.f, c.c, np.zeros(3), np.zeros(2)) for c in cameras]
    line = straight[0] @ F.T
    moved = straight[1][:, :2] + 7 * line[:, :2] / np.linalg.norm(line[:, :2], axis=1, keepdims=True)
    there = distance(*flat, straight[0][:, :2], moved)
    back = distance(*flat[::-1], moved, straight[0][:, :2])
    np.testing.assert_allclose(there, back, rtol=1e-9)
    assert (there > 3.5).all() and there.min() < 14


@pytest.mark.parametrize("views, count, seed", [(2, 2, 0), (3, 4, 1), (4, 3, 2), (5, 5, 3)])
def test_persons_are_found_again(views, count, seed):
    cameras, seen, orders = persons(count, views, seed)
    groups = match_persons(cameras, seen)
    assert groups.shape == (count, views)
    for group in groups:
        assert len({orders[view][m] for view, m in enumerate(group)}) == 1, (groups, orders)


def test_missing_and_extra_persons():
    """One person is not seen in view 0, one detection in view 1 is nobody's, view 2 sees nobody."""
    cameras, seen, orders = persons(3, 5, 4)
    rng = np.random.default_rng(5)
    hidden = int(np.flatnonzero(orders[0] == 1)[0])
    seen[0] = np.delete(seen[0], hidden, 0)
    orders[0] = np.delete(orders[0], hidden)
    seen[1] = np.concatenate([rng.uniform(0, 900, (1, 17, 2)), seen[1]])
    orders[1] = np.concatenate([[9], orders[1]])
    seen[2], orders[2] = np.zeros((0, 17, 2)), orders[2][:0]
    weight = [rng.uniform(0.5, 1, s.shape[:2]) for s in seen]
    seen[3][0, :5], weight[3][1, 3:8] = np.nan, 0
    groups = match_persons(cameras, seen, weight)
    who = [{int(orders[view][m]) for view, m in enumerate(group) if m >= 0} for group in groups]
    assert sorted(map(sorted, who)) == [[0], [1], [2], [9]]
    assert (groups[:, 2] == -1).all()
    np.testing.assert_array_equal((groups >= 0).sum(1), [4, 4, 3, 1])


def test_nobody_and_few_joints():
    cameras, seen, _ = persons(2, 3, 6)
    assert match_persons(cameras, [s[:0] for s in seen]).shape == (0, 3)
    seen = [s[:, :3] for s in seen]
    assert match_persons(cameras, seen).shape == (6, 3)  # nothing can be compared
    assert len(match_persons(cameras, seen, min_joints=3)) < 6
    with pytest.raises(ValueError, match="3 cameras need as many"):
        match_persons(cameras, seen[:2])
