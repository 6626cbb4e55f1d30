import math

import numpy as np
import pytest

from jaxhar.core.skeleton import PA16
from jaxhar.evaluation import metrics
from jaxhar.evaluation.metrics import AUC, PCK, AUCh, PCKh, PixelError, State
from jaxhar.host.errors import Problem


@pytest.fixture
def points():
    rng = np.random.default_rng(1)
    true = rng.uniform(0, 200, (5, 4, 16, 2))
    pred = true + rng.normal(0, 12, true.shape)
    valid = rng.random((5, 4, 16)) > 0.3
    norm = rng.uniform(20, 90, (5, 4))
    norm[0, 1], norm[2, 3], norm[4, 0] = 0.0, -1.0, np.nan
    return pred, true, valid, norm


def pck_one_by_one(pred, true, valid, norm, threshold):
    hits, counts = [0] * pred.shape[-2], [0] * pred.shape[-2]
    for b, t, j in np.ndindex(valid.shape):
        if valid[b, t, j] and norm[b, t] > 0:
            counts[j] += 1
            hits[j] += math.dist(pred[b, t, j], true[b, t, j]) <= threshold * norm[b, t]
    return hits, counts


@pytest.mark.parametrize("threshold", [0.05, 0.2, 0.5])
def test_pck_equals_a_count_by_hand(points, threshold):
    pred, true, valid, norm = points
    hits, counts = metrics.pck(pred, true, valid, norm, threshold)
    expected = pck_one_by_one(pred, true, valid, norm, threshold)
    assert (hits.tolist(), counts.tolist()) == expected
    assert 0 < hits.sum() < counts.sum() or threshold == 0.5
    assert hits.dtype == counts.dtype == np.int64


def test_pck_threshold_is_inclusive_and_nan_predictions_miss():
    true = np.zeros((1, 3, 2))
    pred = np.array([[[2.0, 0.0], [2.0000001, 0.0], [np.nan, 0.0]]])
    hits, counts = metrics.pck(pred, true, np.ones((1, 3), bool), np.array([10.0]), 0.2)
    assert hits.tolist() == [1, 0, 0]
    assert counts.tolist() == [1, 1, 1]


def test_inputs_are_left_alone(points):
    before = [x.copy() for x in points]
    for x in points:
        x.flags.writeable = False
    pred, true, valid, norm = points
    metrics.pck(pred, true, valid, norm, 0.2)
    metrics.auc(pred, true, valid, norm, [0.1, 0.2])
    metrics.mpjpe(pred, true, valid, root=0)
    for x, y in zip(points, before, strict=True):
        np.testing.assert_array_equal(x, y)


def test_auc_is_the_trapezoidal_integral_of_pck(points):
    pred, true, valid, norm = points
    thresholds = [0.1, 0.2, 0.3, 0.4]
    rate = State(*metrics.auc(pred, true, valid, norm, thresholds)).compute()
    rates = [State(*metrics.pck(pred, true, valid, norm, t)).compute() for t in thresholds]
    np.testing.assert_allclose(rate, np.trapezoid(rates, thresholds, axis=0) / 0.3, rtol=1e-14)


def test_auc_object_spaces_its_thresholds_from_zero_to_the_last(points):
    pred, true, valid, norm = (x[0] for x in points)
    state = AUC(threshold=0.4, steps=4).get(pred[None], true, valid, norm, PA16)
    expected = metrics.auc(pred, true, valid, norm, [0.0, 0.1, 0.2, 0.3, 0.4])
    np.testing.assert_array_equal(state.total[0], expected[0])
    np.testing.assert_array_equal(state.count[0], expected[1])


def official_table(pred, gt, head_box, limit):
    """MPII's columns and AUC as its evaluation code defines them: percent, gt (N, 14, 2) with NaN where missing.

    Joints in its order: right ankle, knee, hip, left hip, knee, ankle, right wrist, elbow, shoulder, left shoulder,
    elbow, wrist, neck, head top.
    """
    size = 0.6 * np.linalg.norm(head_box[:, 2:] - head_box[:, :2], axis=1)
    pred = np.where(np.isnan(pred), np.inf, pred)
    dist = np.sqrt(((pred - gt) ** 2).sum(-1)) / size[:, None]

    def rate(joints, threshold):
        some = dist[:, joints].ravel()
        return 100 * np.mean(some[~np.isnan(some)] <= threshold)

    pairs = {"Head": (12, 13), "Shoulder": (8, 9), "Elbow": (7, 10), "Wrist": (6, 11), "Hip": (2, 3), "Knee": (1, 4)}
    table = {k: (rate([a], limit) + rate([b], limit)) / 2 for k, (a, b) in (pairs | {"Ankle": (0, 5)}).items()}
    table |= {"UBody": rate(list(range(6, 12)), limit), "Total": rate(list(range(14)), limit)}
    grid = np.arange(0, 0.501, 0.01)
    curve = [rate(list(range(14)), threshold) for threshold in grid]
    return table, np.trapezoid(curve, grid / 0.5)


def test_mpii_columns_are_the_official_ones():
    rng = np.random.default_rng(8)
    names = "r_ankle r_knee r_hip l_hip l_knee l_ankle r_wrist r_elbow r_shoulder l_shoulder l_elbow l_wrist neck head"
    order = [PA16.index(name) for name in names.split()]
    box = rng.uniform(0, 50, (60, 4)) + np.array([0, 0, 60, 80])
    true = rng.uniform(0, 400, (60, 16, 2))
    pred = true + rng.normal(0, 18, true.shape) * rng.uniform(0.3, 2, (1, 16, 1))
    pred[3, 5] = np.nan
    valid = rng.random((60, 16)) > 0.2
    norm = 0.6 * np.hypot(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1])
    for limit in (0.5, 0.2):
        expected, auc = official_table(pred[:, order], np.where(valid[..., None], true, np.nan)[:, order], box, limit)
        state = PCKh(limit).get(pred[None], true, valid, norm, PA16)
        found = metrics.by_group(state, PA16)
        assert list(found) == ["Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "UBody", "Total"]
        for name, value in found.items():
            assert 100 * value[0] == pytest.approx(expected[name], abs=1e-11), name
    area = AUCh().get(pred[None], true, valid, norm, PA16).pooled()[0]
    assert 100 * area == pytest.approx(auc, abs=1e-10)


def test_mpjpe_with_and_without_root(points):
    pred, true, valid, _ = points
    totals, counts = metrics.mpjpe(pred, true, valid)
    rooted, rooted_counts = metrics.mpjpe(pred, true, valid, root=3)
    for j in range(16):
        pairs = [(i, k) for i, k in np.ndindex(5, 4) if valid[i, k, j]]
        assert counts[j] == len(pairs)
        assert totals[j] == pytest.approx(sum(math.dist(pred[i, k, j], true[i, k, j]) for i, k in pairs))
        pairs = [(i, k) for i, k in pairs if valid[i, k, 3]]
        offsets = pred - pred[:, :, 3:4] - true + true[:, :, 3:4]
        assert rooted_counts[j] == len(pairs)
        assert rooted[j] == pytest.approx(sum(math.hypot(*offsets[i, k, j]) for i, k in pairs))
    assert rooted[3] == 0


def test_state_merges_to_the_whole_and_marks_the_uncounted():
    a = State(np.array([1, 0, 2]), np.array([2, 0, 2]))
    b = State(np.array([0, 0, 1]), np.array([1, 0, 6]))
    whole = a.merge(b)
    np.testing.assert_array_equal(whole.compute(), [1 / 3, np.nan, 3 / 8])
    assert whole.pooled() == 4 / 11
    assert whole.macro() == pytest.approx((1 / 3 + 3 / 8) / 2)
    assert np.isnan(State(np.zeros(2), np.zeros(2)).pooled())
    np.testing.assert_array_equal(a.total, [1, 0, 2])


def test_accuracy_and_confusion():
    scores = np.array([[[0.1, 0.9], [0.8, 0.2], [0.6, 0.4]], [[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]]])
    labels = np.array([1, 0, 1])
    hits, counts = metrics.accuracy(scores, labels)
    assert hits.tolist() == [2, 2]
    assert counts.tolist() == [3, 3]
    assert metrics.confusion(labels, scores[0].argmax(-1), 2).tolist() == [[1, 0], [1, 1]]


def test_log_softmax_survives_extreme_logits():
    logs = metrics.log_softmax(np.array([[1000.0, 0.0, -1000.0]], np.float32))
    np.testing.assert_array_equal(logs, [[0.0, -1000.0, -2000.0]])
    np.testing.assert_allclose(np.exp(metrics.log_softmax(np.array([0.3, -0.2, 2.0]))).sum(), 1, rtol=1e-15)


def test_names_follow_the_threshold():
    assert PCK().name == "PCK@0.2"
    assert PCKh().name == "PCKh@0.5"
    assert AUC().name == "AUC@0.5"
    assert PCK(0.1, name="strict").name == "strict"


def test_pckh_leaves_out_pelvis_and_thorax(points):
    pred, true, valid, norm = (x[1] for x in points)
    state = PCKh().get(np.stack([pred, true]), true, np.ones_like(valid), norm, PA16)
    assert state.count[:, :2].sum() == 0
    assert state.count[:, 2:].tolist() == [[4] * 14] * 2
    assert np.nanmin(state.compute()[1]) == 1


def test_pixel_error_and_missing_norm(points):
    pred, true, valid, _ = (x[1] for x in points)
    state = PixelError().get(pred[None], true, valid, None, PA16)
    np.testing.assert_array_equal(state.total[0], metrics.mpjpe(pred, true, valid)[0])
    with pytest.raises(Problem, match="PCK@0.2 needs a reference length"):
        PCK().get(pred[None], true, valid, None, PA16)
