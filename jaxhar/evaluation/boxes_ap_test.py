import numpy as np
import pytest

from jaxhar.core.prepared import View
from jaxhar.evaluation.boxes_ap import BoxesAP, average_precision, curve, match
from jaxhar.evaluation.scorer import Context

TRUE = np.array([[0.0, 0, 10, 20], [5, 0, 15, 20], [40, 40, 50, 60]])
NOBODY = np.zeros((0, 4))


def test_each_person_is_found_once_by_the_most_certain_box():
    boxes = np.array([[0.0, 0, 10, 20], [0, 0, 10, 21], [6, 0, 15, 20], [41, 40, 51, 60], [80, 80, 90, 90]])
    scores = np.array([0.5, 0.9, 0.8, 0.7, 0.6])
    right, counts = match(boxes, scores, TRUE, NOBODY)
    assert right.tolist() == [False, True, True, True, False] and counts.all()
    # without the second box the first one is right
    assert match(boxes[[0, 2]], scores[[0, 2]], TRUE, NOBODY)[0].all()
    # an IoU of exactly the threshold is enough
    assert match(np.array([[0.0, 0, 10, 10]]), np.ones(1), TRUE[:1], NOBODY)[0].all()
    assert not match(np.array([[0.0, 0, 10, 9.9]]), np.ones(1), TRUE[:1], NOBODY)[0].any()


def test_boxes_in_ignored_regions_do_not_count_but_persons_there_do():
    ignored = np.array([[30.0, 30, 100, 100]])
    boxes = np.array([[40.0, 40, 50, 60], [60, 60, 70, 80], [0, 60, 10, 80]])
    right, counts = match(boxes, np.array([0.9, 0.8, 0.7]), TRUE, ignored)
    assert right.tolist() == [True, False, False] and counts.tolist() == [True, False, True]


def test_nobody_and_nothing():
    assert [len(part) for part in match(NOBODY, np.zeros(0), TRUE, TRUE)] == [0, 0]
    assert match(TRUE, np.ones(3), NOBODY, NOBODY)[0].tolist() == [False] * 3
    assert average_precision(np.zeros(0), np.zeros(0, bool), 3) == 0
    assert np.isnan(average_precision(np.ones(1), np.zeros(1, bool), 0))


def test_a_curve_of_known_values():
    """Hits at ranks 1, 2, 4 of 5 persons: precision 1 up to a recall of 0.4, then 3/4 up to 0.6."""
    scores, right = np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([True, True, False, True, False])
    recall, precision, levels = curve(scores, right, 5)
    np.testing.assert_allclose(recall, [0.2, 0.4, 0.4, 0.6, 0.6])
    np.testing.assert_allclose(precision, [1, 1, 2 / 3, 3 / 4, 3 / 5])
    np.testing.assert_allclose(levels, scores)
    assert average_precision(scores, right, 5) == pytest.approx(0.4 * 1 + 0.2 * 0.75)
    # equal scores are taken together, in whatever order they come
    equal = np.full(2, 0.5)
    for order in ([True, False], [False, True]):
        assert average_precision(equal, np.array(order), 1) == pytest.approx(0.5)


def test_against_scikit_learn_without_interpolation_where_precision_falls():
    """All hits come before all misses from some rank on, so that both definitions agree."""
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(0)
    scores = np.sort(rng.random(60))[::-1]
    right = np.arange(60) < 40
    expected = average_precision_score(right, scores)
    assert average_precision(scores, right, 40) == pytest.approx(expected)
    # 101 points of recall, as COCO's evaluation takes them, on a curve that goes up and down
    right = rng.random(60) < np.linspace(1, 0.2, 60)
    recall, precision, _ = curve(scores, right, 50)
    points = [precision[recall >= r].max(initial=0) for r in np.linspace(0, 1, 101)]
    assert average_precision(scores, right, 50) == pytest.approx(np.mean(points), abs=0.01)


def test_figures_of_examples():
    scorer = BoxesAP()
    context = Context(View("single", "each"))
    sums = scorer.begin(context)
    boxes = np.stack([TRUE, TRUE])[:, None] / 100  # (B, T, M, 4)
    boxed = np.ones((2, 1, 3), bool)
    boxed[1, 0, 2] = False
    batch = {
        "boxes": boxes.astype(np.float32),
        "boxed": boxed,
        "ignored": ~boxed,
        "frames": np.zeros((2, 1, 64, 64, 3), np.uint8),
    }
    perfect = scorer.truth(batch, context)
    assert perfect["centres"].shape == (1, 2, 1, 16, 16) and perfect["extent"].shape == (1, 2, 1, 16, 16, 4)
    for b in range(2):
        example = {key: value[b] for key, value in batch.items()}
        sums.add(example, {key: value[:, b] for key, value in perfect.items()})
    (section,) = sums.sections()
    assert section.scalars == {"ap@0.5": 1.0} and "5 persons in 2 pictures" in section.tiles[0].note
    half = scorer.begin(Context(View("flip", "each"), first=False))
    half.add({key: value[0] for key, value in batch.items()}, {"boxes": boxes[:1, :, :1], "scores": np.ones((1, 1, 1))})
    assert half.sections()[0].scalars == {"ap@0.5/flip": pytest.approx(1 / 3)}
    assert scorer.begin(Context(View("multi", "clips"))) is None and scorer.truth({}, context) == {}
    assert scorer.begin(context).sections() == []
