import dataclasses

import numpy as np
import pytest
from flax import nnx

from jaxhar import zoo
from jaxhar.core import gaussian
from jaxhar.core.gaussian import Decoding
from jaxhar.core.skeleton import MPII as MPII_JOINTS
from jaxhar.data import centre_crop
from jaxhar.data.generate.film import Synth
from jaxhar.data.mpii.settings import MPII
from jaxhar.evaluation import evaluate
from jaxhar.evaluation.views import average_crops
from jaxhar.inference import infer

RNG = np.random.default_rng(3)
SIZE = (12, 16)  # (h, w)
MIRROR = np.array([[-1.0, 0, 1], [0, 1, 0], [0, 0, 1]])


def pair(sequence: int, maps: np.ndarray, flipped: bool, affine: np.ndarray):
    pose, visible = gaussian.joints(maps)
    example = {"sequence": sequence, "flipped": flipped, "affine": (MIRROR @ affine if flipped else affine)[None]}
    return example, {"maps": maps, "pose": np.asarray(pose), "visible": np.asarray(visible)}


def crop(x: float) -> np.ndarray:
    """The affine map of a crop of 100 pixels from (x, 0)."""
    return np.array([[0.01, 0, -0.01 * x], [0, 0.01, 0], [0, 0, 1]])


def by_hand(maps: np.ndarray, mirrored: np.ndarray, shift: bool) -> np.ndarray:
    """The mean of maps (K, 1, h, w, J), cell by cell."""
    mean = maps.copy()
    width = maps.shape[-2]
    for u in range(width):
        source = width - 1 - (max(u - 1, 0) if shift else u)
        for j in range(maps.shape[-1]):
            mean[..., u, j] = (maps[..., u, j] + mirrored[..., source, MPII_JOINTS.flip[j]]) / 2
    return mean


@pytest.mark.parametrize("shift", [True, False])
def test_maps_of_mirror_images_are_averaged_before_the_joints_are_decoded(shift):
    both = [RNG.random((2, 1, *SIZE, 16), np.float32) for _ in range(4)]
    pairs = [pair(n // 2, maps, bool(n % 2), crop(0)) for n, maps in enumerate(both)]
    merged = list(average_crops(iter(pairs), MPII_JOINTS, Decoding.ARGMAX, shift))
    assert [example["sequence"] for example, _ in merged] == [0, 1]
    for n, (_, preds) in enumerate(merged):
        mean = by_hand(both[2 * n], both[2 * n + 1], shift)
        np.testing.assert_allclose(preds["maps"], mean, rtol=1e-6)
        peak = mean.reshape(2, 1, -1, 16).argmax(2)
        cells = np.stack([peak % SIZE[1], peak // SIZE[1]], -1)
        np.testing.assert_allclose(preds["pose"], cells / SIZE[::-1], atol=1e-6)
        np.testing.assert_allclose(preds["visible"], mean.max((2, 3)), rtol=1e-6)


def test_the_shift_brings_maps_of_one_joint_together():
    """Targets of the same joints in a crop and its mirror image, and in another crop, in whose frame they are moved."""
    pose = RNG.uniform(0.2, 0.8, (1, 1, 16, 2)).astype(np.float32)
    cells = np.round(pose * SIZE[::-1])
    mirrored = np.stack([SIZE[1] - cells[..., 0], cells[..., 1]], -1)[..., MPII_JOINTS.flip, :]

    def maps(at):
        return np.asarray(gaussian.encode(at, np.ones((1, 1, 16)), SIZE, 1.0)[0])

    pairs = [pair(0, maps(cells), False, crop(0)), pair(0, maps(mirrored), True, crop(0))]
    other = pair(0, maps(cells), False, crop(7))  # its joints are 7 pixels further right
    merged, moved = (average_crops(iter(p), MPII_JOINTS, Decoding.ARGMAX) for p in (pairs, [*pairs, other]))
    ((example, preds),) = merged
    np.testing.assert_allclose(preds["pose"] * SIZE[::-1], cells, atol=1e-5)
    np.testing.assert_allclose(preds["visible"], 1)
    ((_, preds),) = moved
    # the mean over two places, of which the second says 7 pixels of 100: the two crops of one place count once
    np.testing.assert_allclose(preds["pose"][..., 0], cells[..., 0] / SIZE[1] + 0.035, atol=1e-5)
    np.testing.assert_allclose(preds["maps"][..., 1:, :], pairs[0][1]["maps"][..., 1:, :], atol=1e-6)
    assert example is pairs[0][0]


def test_the_flip_view_averages_the_maps_of_a_network(tmp_path):
    """Also where no scorer reads maps; with both kinds of shift, against the network on crop and mirror image."""
    config = dataclasses.replace(zoo.tiny("simple-baseline-mpii"), decoding="quarter")
    model = zoo.create(config, rngs=nnx.Rngs(0))
    data = MPII(
        synth=Synth(4, 2, 3, 2, size=(96, 72), clutter=0.0),
        crop="simple_baselines",
        separate=False,
        skeleton=MPII_JOINTS,
        augment=centre_crop.SIMPLE_BASELINES,
        image_size=64,
    )
    prepared = data.prepare(tmp_path)
    views = prepared.views()
    assert views["flip"].shift and not views["flip_unshifted"].shift
    batch = next(prepared.eval_stream(view="flip", batch=2))
    assert batch["flipped"].tolist() == [False, True]
    upright, mirrored = infer(model, batch["frames"])["maps"].swapaxes(0, 1)
    for name in ("flip", "flip_unshifted"):
        _, found = next(evaluate.predictions(model, prepared, "valid", views[name], ("pose",), 2, progress=False))
        mean = by_hand(upright, mirrored, views[name].shift)
        np.testing.assert_allclose(found["pose"], gaussian.joints(mean, "quarter")[0], atol=1e-5)
