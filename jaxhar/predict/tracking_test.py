import numpy as np
import pytest

from jaxhar.evaluation.identities import idf1
from jaxhar.predict.tracking import Detected, Tracker, Tracking, oks

RATE = 8  # frames a second


def body(x: float, y: float = 100.0, phase: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """The box and the joints of somebody at x; `phase` moves the limbs."""
    offsets = np.array([[0, -90], [0, -50], [25 * np.sin(phase), 0], [0, 40], [30 * np.cos(phase), 90]])
    return np.array([x - 35, y - 100, x + 35, y + 100]), np.array([x, y]) + offsets


def found(*people: tuple[np.ndarray, np.ndarray], scores: list[float] | None = None, pose: bool = True) -> Detected:
    boxes = np.array([box for box, _ in people]).reshape(-1, 4)
    joints = np.array([points for _, points in people]).reshape(-1, 5, 2)
    return Detected(boxes, np.array(scores or [0.9] * len(people)), joints if pose else None)


def follow(frames: list[Detected]) -> list[list[int]]:
    tracker = Tracker()
    return [tracker.add(n, n / RATE, frame) for n, frame in enumerate(frames)]


@pytest.mark.parametrize("pose", [True, False])
def test_two_who_cross_keep_their_identities(pose):
    ways = [[(100 + 15 * n), (400 - 15 * n)] for n in range(20)]
    frames = [found(body(a, phase=0.4 * n), body(b, phase=2 + 0.7 * n), pose=pose) for n, (a, b) in enumerate(ways)]
    frames[10] = found(body(ways[10][0], phase=4.0), pose=pose)  # the second is hidden behind the first
    given = follow(frames)
    assert given[0] == [0, 0] and given[1] == [1, 2]
    assert given[10] == [1] and all(ids == [1, 2] for n, ids in enumerate(given) if n not in (0, 10))


def test_who_crosses_goes_where_the_way_leads():
    """Boxes of the detector of the package of two who cross: one box for both in the middle, then wide ones."""
    frames = [
        [(117, 115, 161, 267), (307, 97, 376, 248)],
        [(127, 110, 177, 268), (303, 96, 363, 244)],
        [(135, 114, 190, 258), (299, 100, 347, 242)],
        [(143, 115, 205, 258), (292, 100, 334, 243)],
        [(150, 113, 219, 260), (280, 95, 324, 250)],
        [(162, 112, 234, 259), (272, 94, 318, 243)],
        [(170, 111, 240, 260), (255, 97, 311, 239)],
        [(185, 110, 251, 264), (243, 99, 314, 242)],
        [(199, 101, 265, 263), (229, 103, 312, 249)],
        [(215, 104, 272, 263), (218, 102, 295, 258)],
        [(221, 99, 286, 255)],
        [(215, 94, 282, 256)],
        [(218, 96, 294, 256), (210, 97, 268, 245)],
        [(245, 104, 309, 263), (203, 98, 244, 243)],
        [(258, 108, 324, 266), (193, 94, 238, 240)],
    ]
    tracker = Tracker()
    given = [tracker.add(n, 0.12 * n, Detected(np.array(b, float), np.ones(len(b)))) for n, b in enumerate(frames)]
    assert given[9] == [1, 2] and given[12:] == [[1, 2]] * 3


def test_who_leaves_and_comes_back_within_a_second_is_the_same():
    xs = [300 + 20 * n for n in range(8)] + [None] * 3 + [440 - 20 * n for n in range(8)]
    given = follow([found() if x is None else found(body(x)) for x in xs])
    assert given[7] == [1] and given[8:11] == [[]] * 3 and given[11:] == [[1]] * 8


@pytest.mark.parametrize("pose", [True, False])
def test_who_comes_back_with_the_other_end_is_the_same(pose):
    """An arm is seen last, and a foot first; joints in such boxes are wrong."""
    size, rng = (480, 360), np.random.default_rng(0)
    boxes: list = [(x, 80, min(x + 70, 480), 280) for x in (366, 380, 394, 408, 422, 436, 450)]
    boxes += [(464, 120, 480, 180), None, None, None, (470, 250, 480, 277), (456, 190, 480, 277)]
    boxes += [(x, 82, min(x + 70, 480), 280) for x in (442, 428, 414, 400, 386)]
    tracker, given = Tracker(), []
    for n, box in enumerate(boxes):
        there = np.array([box] if box else [], float).reshape(-1, 4)
        wrong = rng.uniform(0, 360, (len(there), 5, 2))
        given.append(tracker.add(n, n / RATE, Detected(there, np.ones(len(there)), wrong if pose else None, size=size)))
    assert given[1:8] == [[1]] * 7 and given[11:] == [[1]] * 7
    other = np.array([[2.0, 240, 12, 280]])  # a foot at another edge is another person's
    assert tracker.add(18, 18 / RATE, Detected(other, np.ones(1), None, size=size)) == [0]


def test_who_stays_away_for_longer_gets_an_identity_that_nobody_had():
    xs = [300] * 4 + [None] * 10 + [300] * 4
    given = follow([found() if x is None else found(body(x)) for x in xs])
    assert given[3] == [1] and given[14] == [0] and given[-1] == [2]


def test_a_weak_detection_continues_a_track_and_begins_none():
    frames = [found(body(100)), found(body(100)), found(body(104), body(500), scores=[0.2, 0.2]), found(body(106))]
    assert follow(frames) == [[0], [1], [1, 0], [1]]


def test_a_detection_that_comes_once_gets_no_identity():
    frames = [found(body(100)), found(body(100), body(400)), found(body(100)), found(body(100), body(400))]
    frames += [found(body(100))] * 10
    assert all(ids[:1] in ([0], [1]) for ids in follow(frames)) and max(max(ids) for ids in follow(frames)) == 2
    once = Tracker(Tracking(hits=3))
    assert [once.add(n, n / RATE, frame) for n, frame in enumerate(frames)][3] == [1, 0] and len(once.tracks) == 1


def test_nobody_anywhere_is_no_error():
    assert follow([found(), found()]) == [[], []]


def test_similarity_of_poses():
    pose = body(100)[1]
    assert oks(pose, pose, 1e4) == 1.0
    assert oks(pose + [16, 0], pose, 1e4) == pytest.approx(np.exp(-0.5))
    assert np.isnan(oks(np.full((5, 2), np.nan), pose, 1e4))


def test_three_hundred_persons_are_followed():
    boxes = np.stack(np.meshgrid(np.arange(20), np.arange(15)), -1).reshape(-1, 2) * 50.0
    tracker = Tracker()
    for index in range(4):
        low = boxes + 3 * index
        pose = low[:, None] + np.array([[5.0, 5], [20, 10], [15, 30]])
        seen = Detected(np.concatenate([low, low + [30, 40]], 1), np.full(300, 0.9), pose, np.ones((300, 3)))
        ids = tracker.add(index, index / 8, seen)
    assert ids == [*range(1, 301)] and len(tracker.tracks) == 300


def test_idf1():
    box, other = np.array([0, 0, 10, 10]), np.array([20, 0, 30, 10])
    truth = [{1: box, 2: other}] * 4
    assert idf1(truth, truth) == 1.0
    assert idf1(truth, [{7: box, 9: other}] * 4) == 1.0
    assert idf1(truth, [{7: box}] * 4) == pytest.approx(2 * 4 / (8 + 4))
    swapped = [{1: box, 2: other}] * 2 + [{1: other, 2: box}] * 2
    assert idf1(truth, swapped) == pytest.approx(0.5)
    assert idf1(truth, [{}] * 4) == 0.0
