import dataclasses

import numpy as np
import pytest

from jaxhar import zoo
from jaxhar.core.prepared import View
from jaxhar.core.skeleton import MPII, Skeleton
from jaxhar.evaluation import evaluate
from jaxhar.evaluation.detection import Detection
from jaxhar.evaluation.pckh_rows import PCKhRows
from jaxhar.evaluation.scorer import Context

TWO = Skeleton("two", ("head", "pelvis"))


def example(shift, hidden=None):
    """Two views of two joints in crops of 100 pixels; the first prediction is right, the last is off by `shift` px."""
    true = np.full((2, 2, 2), 0.5)
    pred = np.stack([true, true + np.array(shift)[:, None, None] / 100])
    found = {"pose": true, "valid": np.ones((2, 2, 2), bool), "affine": np.tile(np.diag([0.01, 0.01, 1]), (2, 1, 1))}
    return found | ({} if hidden is None else {"hidden": np.array(hidden)}), {"pose": pred}


def figures(scorer, pairs, skeleton=TWO):
    sums = scorer.begin(Context(View("single", "each"), skeleton=skeleton))
    for pair in pairs:
        sums.add(*pair)
    (section,) = sums.sections()
    return section


def test_joints_within_the_threshold_count_and_both_predictions_are_shown():
    section = figures(Detection((12.8, 4.0)), [example([0, 9.0])])  # 0 and 12.7 px
    assert section.scalars["jdr@12.8px"] == 1 and section.scalars["jdr@4px"] == 0.5
    assert section.scalars["jdr@4px/raw"] == 1 and section.scalars["jdr@4px/head"] == 0.5
    assert [column for column in section.tables[0].columns][2:] == ["raw", "fused"]


def test_hidden_joints_have_a_rate_of_their_own():
    section = figures(Detection((4.0,)), [example([0, 9.0], [[False, False], [True, False]])])
    assert section.scalars["jdr@4px/hidden"] == 0 and section.scalars["jdr@4px/hidden/raw"] == 1


def test_published_rates_stand_beside_ours():
    table = figures(Detection((4.0,), (("paper", (("head", 97.0), ("mean", 95.5))),)), [example([0, 0])]).tables[0]
    assert table.columns[-1] == "paper" and [row[-1] for row in table.rows] == ["97.0", "–"]
    assert table.foot[0][-1] == "95.5"


def test_rows_of_simple_baselines_leave_pelvis_and_thorax_out_of_the_mean():
    rng = np.random.default_rng(0)
    true = rng.uniform(0.2, 0.8, (1, 16, 2))
    pred = true.copy()
    pred[0, [MPII.index("pelvis"), MPII.index("thorax")]] += 0.5
    pred[0, MPII.index("l_wrist")] += 0.5
    batch = {
        "pose": true,
        "valid": np.ones((1, 16, 2), bool),
        "affine": np.diag([0.01, 0.01, 1])[None],
        "norm": np.array([10.0]),
    }
    section = figures(PCKhRows(), [(batch, {"pose": pred[None]})], MPII)
    assert section.scalars["pckh_rows/mean"] == pytest.approx(13 / 14)
    assert section.scalars["pckh_rows/wrist"] == 0.5 and section.scalars["pckh_rows/head"] == 1
    assert PCKhRows().begin(Context(View("single", "each"), skeleton=TWO)) is None


def test_groups_that_are_no_views_of_one_moment_are_not_fused_in_evaluation():
    config = dataclasses.replace(zoo.tiny("multiview-h36m"), image_size=32)
    predict = evaluate._predict(zoo.create(config))
    frames = np.random.default_rng(0).integers(0, 256, (2, 4, 32, 32, 3), np.uint8)
    maps = np.asarray(predict({"frames": frames, "together": np.array([True, False])})["maps"])
    assert (maps[0, 1] == maps[1, 1]).all() and (maps[0, 0] != maps[1, 0]).any()
