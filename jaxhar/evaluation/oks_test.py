"""Similarity, matching and average precision against hand values and against figures of COCO's own code."""

import numpy as np
import pytest

from jaxhar.core.prepared import View
from jaxhar.core.skeleton import COCO, PA16
from jaxhar.evaluation.oks import OKSAP, average_precision, match, oks
from jaxhar.evaluation.scorer import Context


def test_the_similarity_is_its_formula():
    sigmas = np.array([0.05, 0.1])
    true, valid = np.array([[[10.0, 10], [50, 50]]]), np.array([[True, True]])
    pred = np.array([[[13.0, 14], [50, 50]], [[10, 10], [50, 70]]])
    found = oks(pred, true, valid, np.array([2500.0]), sigmas)
    # 5 px at sigma 0.05: exp(-25 / (2 * 2500 * 0.01)); 20 px at sigma 0.1: exp(-400 / (2 * 2500 * 0.04))
    np.testing.assert_allclose(found, [[(np.exp(-0.5) + 1) / 2], [(1 + np.exp(-2)) / 2]])
    np.testing.assert_allclose(
        oks(pred, true, valid & [True, False], np.array([2500.0]), sigmas)[:, 0], [np.exp(-0.5), 1]
    )


def test_each_person_is_taken_once_by_the_most_certain_prediction():
    similarity = np.array([[0.9, 0.6], [0.95, 0.7], [0.2, 0.55]])
    assert match(similarity, np.array([0.9, 0.8, 0.7]), 0.5).tolist() == [True, True, False]
    assert match(similarity, np.array([0.9, 0.8, 0.7]), 0.75).tolist() == [True, False, False]


def test_average_precision_of_known_values():
    """Hits at ranks 1 and 3 of 4 persons: precision 1 at 26 recalls (0 to 0.25), 2/3 at 25 (to 0.5), 0 above."""
    scores, right = np.array([0.9, 0.8, 0.7]), np.array([True, False, True])
    assert average_precision(scores, right, 4) == pytest.approx((26 + 25 * 2 / 3) / 101)
    assert np.isnan(average_precision(scores, right, 0))


def persons(count: int = 300):
    """Random persons of one to four a picture, some joints unlabelled, with predictions off by up to a third."""
    rng = np.random.default_rng(5)
    for number in range(count):
        for k in range(1 + number % 4):
            low, side = rng.uniform(0, 60, 2), rng.uniform(40, 120)
            true = low + side * rng.random((17, 2))
            pred = true + side * rng.choice([0.01, 0.05, 0.1, 0.3]) * rng.normal(size=(17, 2))
            yield f"val/{number}.jpg#{k}", true, pred, rng.random(17) < 0.7, side**2, rng.random(17)


def scored() -> dict[str, float]:
    names = [name for name, *_ in persons()]
    sums = OKSAP().begin(Context(View("single", "each"), skeleton=COCO, names=tuple(names)))
    for n, (_, true, pred, valid, area, confidence) in enumerate(persons()):
        valid = valid | (np.arange(17) == 5)  # so that everybody has a joint
        example = {"pose": true[None], "valid": np.repeat(valid[None, :, None], 2, -1)}
        example |= {"affine": np.eye(3)[None], "area": np.array([area]), "sequence": n}
        sums.add(example, {"pose": pred[None, None], "visible": confidence[None, None]})
    (section,) = sums.sections()
    return dict(section.scalars)


def test_figures_are_those_of_cocos_code():
    """pycocotools 2.0.11 on the same persons."""
    expected = {"oks_ap": 0.27808007251176264, "oks_ap@0.5": 0.5586742326474795, "oks_ap@0.75": 0.25313313192453374}
    assert scored() == pytest.approx(expected, abs=1e-9)


def test_joints_that_coco_lacks_are_not_scored():
    index = [COCO.joints.index(joint) if joint in COCO.joints else 0 for joint in PA16.joints]
    sums = OKSAP().begin(Context(View("single", "each"), skeleton=PA16, names=("a#1",)))
    rng = np.random.default_rng(0)
    true = 100 * rng.random((17, 2))[index]
    pred = true.copy()
    pred[:4] += 50  # pelvis, thorax, neck and head, which COCO lacks
    example = {"pose": true[None], "valid": np.ones((1, 16, 2), bool), "affine": np.eye(3)[None]}
    sums.add(
        {**example, "area": np.array([900.0]), "sequence": 0},
        {"pose": pred[None, None], "visible": np.ones((1, 1, 16))},
    )
    assert sums.sections()[0].scalars["oks_ap"] == 1
    assert OKSAP().begin(Context(View("multi", "clips"))) is None
