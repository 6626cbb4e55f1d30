import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.optimize import least_squares
from scipy.spatial import procrustes as scipy_procrustes
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from jaxhar.core.skeleton import PA17
from jaxhar.evaluation.metrics_3d import MPJPE, AbsoluteMPJPE, ProcrustesMPJPE, pa_mpjpe, procrustes

ALL = np.ones(17, bool)
ROOT = PA17.index("pelvis")


def poses(seed: int, noise: float = 60.0) -> tuple[np.ndarray, np.ndarray]:
    """A pose and a worse copy of it, turned, scaled and moved; (17, 3) mm each."""
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 400, (17, 3)) + [100, 200, 5000]
    turned = (true - true.mean(0)) @ Rotation.random(random_state=rng).as_matrix() * rng.uniform(0.5, 2)
    return turned + rng.normal(0, noise, (17, 3)) + rng.normal(0, 1000, 3), true


@pytest.mark.parametrize("seed", range(5))
def test_alignment_is_scipys(seed):
    pred, true = poses(seed)
    moved = procrustes(pred, true, ALL)
    a, b = pred - pred.mean(0), true - true.mean(0)
    turn, size = orthogonal_procrustes(a, b)
    assert np.linalg.det(turn) > 0
    np.testing.assert_allclose(moved, a @ turn * size / (a**2).sum() + true.mean(0), rtol=0, atol=1e-8)
    disparity = scipy_procrustes(true, pred)[2]
    np.testing.assert_allclose(((moved - true) ** 2).sum() / (b**2).sum(), disparity, rtol=1e-10)
    total, count = pa_mpjpe(pred, true, ALL)
    np.testing.assert_allclose(total, np.linalg.norm(a @ turn * size / (a**2).sum() - b, axis=1), rtol=0, atol=2e-7)
    assert count.tolist() == [1] * 17


@pytest.mark.parametrize("seed", range(5))
def test_the_error_is_scipys(seed):
    """Each pose on its own root, the diagonal of all distances."""
    pred, true = poses(seed)
    own = [cdist(p - p[ROOT], t - t[ROOT]).diagonal() for p, t in ((pred, true), (true, pred))]
    found = MPJPE().get(np.stack([pred, true])[:, None], true[None], ALL[None], None, PA17)
    np.testing.assert_allclose(found.total[0], own[0], rtol=0, atol=2e-7)
    assert found.pooled()[0] == pytest.approx(own[1].mean(), abs=2e-7) and found.pooled()[1] == 0
    plain = AbsoluteMPJPE().get(pred[None, None], true[None], ALL[None], None, PA17)
    np.testing.assert_allclose(plain.total[0], cdist(pred, true).diagonal(), rtol=0, atol=2e-7)


def test_a_mirrored_pose_is_not_mirrored_back():
    pred, true = poses(0, noise=20)
    pred = pred * [-1, 1, 1]
    assert np.linalg.det(orthogonal_procrustes(pred - pred.mean(0), true - true.mean(0))[0]) < 0
    moved = procrustes(pred, true, ALL)

    def residual(x):  # turn, log scale, movement
        return ((pred - pred.mean(0)) @ Rotation.from_rotvec(x[:3]).as_matrix().T * np.exp(x[3]) + x[4:] - true).ravel()

    starts = [np.concatenate([r, [0], true.mean(0)]) for r in Rotation.random(12, random_state=1).as_rotvec()]
    best = min((least_squares(residual, s) for s in starts), key=lambda found: found.cost)
    np.testing.assert_allclose(((moved - true) ** 2).sum(), 2 * best.cost, rtol=1e-6)


def test_alignment_takes_valid_joints_only_and_any_leading_axes():
    pairs = [poses(seed) for seed in range(6)]
    pred, true = (np.stack(p).reshape(2, 3, 17, 3) for p in zip(*pairs, strict=True))
    valid = np.random.default_rng(0).uniform(size=(2, 3, 17)) < 0.7
    spoiled = np.where(valid[..., None], true, np.nan)
    moved = procrustes(pred, spoiled, valid)
    for i in np.ndindex(2, 3):
        np.testing.assert_allclose(
            moved[i][valid[i]], procrustes(pred[i][valid[i]], true[i][valid[i]], ALL[: valid[i].sum()]), atol=1e-8
        )
    np.testing.assert_array_equal(procrustes(pred, true, np.zeros((2, 3, 17), bool)), pred)
    same = np.zeros((17, 3))
    np.testing.assert_allclose(procrustes(same, true[0, 0], ALL), np.tile(true[0, 0].mean(0), (17, 1)))


def test_the_metrics_by_hand():
    true = np.random.default_rng(0).normal(0, 300, (1, 17, 3))
    pred = np.stack([true + [30, 40, 0], true * 1.1 + 5])
    valid = np.ones((1, 17), bool)
    absolute = AbsoluteMPJPE().get(pred, true, valid, None, PA17).pooled()
    np.testing.assert_allclose(absolute[0], 50)
    rooted = MPJPE().get(pred, true, valid, None, PA17)
    np.testing.assert_allclose(rooted.pooled()[0], 0, atol=1e-12)
    relative = 0.1 * np.linalg.norm(true[0] - true[0, PA17.index("pelvis")], axis=-1)
    np.testing.assert_allclose(rooted.total[1], relative)
    np.testing.assert_allclose(rooted.pooled()[1], relative.sum() / 17)  # the root counts, and adds nothing
    np.testing.assert_allclose(ProcrustesMPJPE().get(pred, true, valid, None, PA17).pooled(), 0, atol=1e-10)
    valid[0, PA17.index("pelvis")] = False
    assert not MPJPE().get(pred, true, valid, None, PA17).count.any()
    names = [m.name for m in (MPJPE(), MPJPE(deephar=True), ProcrustesMPJPE(), AbsoluteMPJPE(name="x"))]
    assert names == ["MPJPE", "MPJPE (deephar's camera)", "PA-MPJPE", "x"]
