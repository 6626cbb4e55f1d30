"""Human3.6M from generated files to batches, and back to millimetres."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxhar.core import classes as actions
from jaxhar.core.batch import to_image
from jaxhar.core.camera import Camera
from jaxhar.core.skeleton import PA16, PA17, PA20
from jaxhar.data import presets, transforms
from jaxhar.data.generate.film import Synth
from jaxhar.data.h36m import generate as synthetic_h36m
from jaxhar.data.h36m.settings import H36M
from jaxhar.evaluation import evaluate
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.metrics_3d import MPJPE, AbsoluteMPJPE, ProcrustesMPJPE
from jaxhar.evaluation.world import World, in_world
from jaxhar.host.errors import Problem, Usage

SYNTH = Synth(3, 3, 2, 2, frames=(2, 3), size=(120, 124), clutter=0.5, seed=2)
METRICS = (MPJPE(), MPJPE(deephar=True), ProcrustesMPJPE(), AbsoluteMPJPE())


@pytest.fixture(scope="module")
def generated(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("h36m") / "set"
    synthetic_h36m.write(out, SYNTH, progress=False)
    return out


@pytest.fixture(scope="module", params=["authors", "toolbox"])
def prepared(generated, tmp_path_factory, request):
    root = generated if request.param == "authors" else generated / "toolbox"
    return H36M(root=str(root), image_size=48, stills_per_batch=4, prefetch=1).prepare(tmp_path_factory.mktemp("run"))


class Oracle:
    """Knows the truth of every crop: the poses (N, T, J, D) of a view, told apart by the frames."""

    def __init__(self, prepared, view):
        self.known = {}
        for batch in prepared.eval_stream(split="test", view=view, batch=4):
            self.known |= {frames.tobytes(): pose for frames, pose in zip(batch["frames"], batch["pose"], strict=True)}

    def __call__(self, batch):
        return {"pose": np.stack([self.known[frames.tobytes()] for frames in batch["frames"]])[None]}


@pytest.mark.parametrize("view", ["single", "flip", "multi"])
def test_the_truth_comes_back_in_millimetres(prepared, view):
    results = evaluate.run(Oracle(prepared, view), prepared, Eval((view,), (World(METRICS),), batch=5), progress=False)
    found = results.scalars()
    for name in ("mpjpe", "pa-mpjpe", "absolute mpjpe"):
        assert found[name] < 1e-2
    assert 1e-3 < found["mpjpe (deephar's camera)"] < 2
    photos = len(prepared.sequence_names("test"))
    sums = results.sections[0].json["sums"]["mpjpe"]
    assert results.examples == {view: photos} and np.sum(sums["count"]) == 17 * photos
    counts = np.sum(sums["classes"]["count"], (1, 2))
    assert counts[:3].all() and not counts[3:].any() and counts.sum() == 17 * photos
    assert found["mpjpe/directions"] < 1e-2 and np.isnan(found["mpjpe/walking"])


def test_depths_of_batches(prepared):
    stream = prepared.train_stream(seed=0)
    batch = next(stream)["stills"]
    stream.close()
    assert batch["frames"].std() > 12
    assert batch["pose"].shape == batch["valid"].shape == (4, 1, 17, 3)
    assert set(np.round(batch["depth_range"]).tolist()) <= {1600.0, 2000.0, 2400.0}
    root = PA17.index("pelvis")
    np.testing.assert_array_equal(batch["pose"][:, 0, root, 2][batch["valid"][:, 0, root, 2]], 0.5)
    (first, *_) = prepared.eval_stream("test", "single", batch=2)
    assert first["action"].tolist() == [0, 0] and prepared.actions == actions.H36M
    assert prepared.sequence_names()[0] == "a02_s09_e01_c01/00001"
    assert {e["subject"] for e in prepared.entries("train")} <= {1, 5, 6, 7, 8}
    assert {e["subject"] for e in prepared.entries("test")} <= {9, 11}


def test_clips_are_made_of_different_photos(generated, tmp_path):
    config = H36M(root=str(generated), image_size=32, clip_frames=3, clips_per_batch=2, stills_per_batch=0, prefetch=1)
    stream = config.prepare(tmp_path).train_stream(seed=1)
    clips = next(stream)["clips"]
    stream.close()
    assert clips["frames"].shape == (2, 3, 32, 32, 3) and clips["pose"].shape == (2, 3, 17, 3)
    assert (clips["frames"][:, 0] != clips["frames"][:, 1]).any()


def test_the_crop_and_the_depth_are_the_authors(prepared):
    """Their rule, written down once more: side, middle, and depth from the root's."""
    (batch, *_) = prepared.eval_stream("test", "single", batch=1)
    record = prepared.records("test")[0]
    camera = Camera.from_vector(record["camera"])
    u, v, d = record["points"][0, 0].astype(float)
    side = 2.25 * max(120 * camera.f[0] / d, 124 * camera.f[1] / d) * 1000 / 120  # a copy of a photo 1000 wide
    corner = np.trunc([u - side / 2, v + 1 - side / 2])
    size = np.trunc([u + side / 2, v + 1 + side / 2]) - corner
    pose = (record["points"][0, :16, :2] - corner) / size
    names = ["pelvis", "thorax", "neck", "head", "r_shoulder", "l_elbow"]
    index = [PA17.index(n) for n in names]
    np.testing.assert_allclose(batch["pose"][0, 0, index, :2], pose[[0, 1, 2, 3, 4, 7]], atol=1e-5)
    z = (record["points"][0, [0, 1, 2, 3, 4, 7], 2] - (d - 1000)) / 2000
    np.testing.assert_allclose(batch["pose"][0, 0, index, 2], z, atol=1e-5)
    box = transforms.root_bbox(np.array([500, 480, 5000.0]), (1000, 1000), np.array([1145.0, 1144.0]))
    np.testing.assert_allclose(box, [500 - 515.25 / 2, 481 - 515.25 / 2, 500 + 515.25 / 2, 481 + 515.25 / 2])


def test_a_scaled_and_mirrored_crop_is_undone(prepared):
    record = prepared.records("train")[0]
    camera = Camera.from_vector(record["camera"])
    plain = prepared.config.example(record, [0], transforms.Draw(), keep_outside=True)
    drawn = transforms.Draw(angle=10, scale=1.2, trans=(5, -2), flip=True)
    other = prepared.config.example(record, [0], drawn, keep_outside=True)
    assert other["depth_range"] == np.float32(2400) and plain["valid"].all() and other["valid"].all()
    a = in_world(plain, plain["pose"])
    b = in_world(other, other["pose"][:, PA17.flip])
    np.testing.assert_allclose(a, b, atol=1e-2)
    np.testing.assert_allclose(camera.unproject(record["points"][0, :10]), a[0, :10], atol=1e-2)


def test_other_layouts_take_what_the_form_has(generated, tmp_path):
    for root, hands in ((generated, True), (generated / "toolbox", False)):
        config = H36M(root=str(root), skeleton=PA20, image_size=32, cache=str(tmp_path))
        (batch, *_) = config.prepare(tmp_path).eval_stream("test", "single", batch=1)
        valid = batch["valid"][0, 0, :, 0]
        assert valid[PA20.index("l_wrist")] and valid[PA20.index("l_hand")] == hands == valid[PA20.index("r_foot")]
    flat = dataclasses.replace(H36M(root=str(generated), cache=str(tmp_path)), skeleton=PA16, dims=2, image_size=32)
    (batch, *_) = flat.prepare(tmp_path).eval_stream("test", "single", batch=1)
    assert batch["pose"].shape == (1, 1, 16, 2) and "depth" not in batch


def test_crops_of_a_photo_follow_each_other(prepared):
    batches = list(prepared.eval_stream("test", "multi", batch=10))
    photos = len(prepared.sequence_names("test"))
    assert len(batches) == photos == prepared.eval_length("multi", "test", batch=10)
    for n, batch in enumerate(batches):
        assert (batch["sequence"] == n).all() and batch["flipped"].tolist() == [False, True] * 5
        middle = to_image(batch["affine"], np.full((10, 1, 1, 2), 0.5))[:, 0, 0]
        np.testing.assert_allclose(middle[::2], middle[1::2], atol=1.01)
        assert len(np.unique(np.round(middle[::2], 3), axis=0)) == 5
    with pytest.raises(Usage, match="no view 'both' for evaluation; there are single and multi and flip"):
        prepared.eval_stream("test", "both", batch=2)


def test_generated_photos_are_made_by_the_settings(tmp_path):
    config = H36M(synth=dataclasses.replace(SYNTH, train_sequences=1, test_sequences=1, frames=(2, 2)), image_size=32)
    prepared = config.prepare(tmp_path / "run")
    assert len(prepared.sequence_names("train")) == len(prepared.sequence_names("test")) == 8


def test_missing_photos_stop_or_are_left_out(generated, tmp_path, capsys):
    root = tmp_path / "set"
    shutil.copytree(generated, root)
    (root / "images" / "a02_s09_e01_c02" / "00001.jpg").unlink()
    with pytest.raises(Problem, match="a02_s09_e01_c02/00001.jpg: there is no such file"):
        H36M(root=str(root)).prepare(tmp_path / "run")
    before = len(H36M(root=str(generated)).prepare(tmp_path / "run").sequence_names("test"))
    prepared = H36M(root=str(root), skip_broken=True).prepare(tmp_path / "run")
    assert len(prepared.sequence_names("test")) == before - 1
    assert "left out 1 unusable files" in capsys.readouterr().err


def test_the_occluder_is_an_option():
    rng = np.random.default_rng
    assert presets.HUMAN36M.occluder == () and presets.HUMAN36M.draw(rng(0)).occluder is None
    augment = dataclasses.replace(presets.HUMAN36M, occluder=presets.OCCLUDER_SIDES)
    plain, covered = presets.HUMAN36M.draw(rng(0)), augment.draw(rng(0))
    assert dataclasses.replace(covered, occluder=None) == plain and covered.occluder is not None
    x, y, width, height = covered.occluder
    assert 0 <= x <= 1 and 0 <= y <= 1 and 20 <= min(width, height) <= max(width, height) < 90
    photo = np.full((256, 256, 3), 255, np.uint8)
    crop = transforms.plan_crop(np.array([0, 0, 256, 256.0]), (256, 256), 256)
    seen = np.empty((1, 256, 256, 3), np.uint8)
    transforms.crop_images([photo], crop, seen, occluder=(0.5, 0.25, 20, 40))
    black = (seen[0] == 0).all(-1)
    assert black.sum() == 800 and black[44:84, 118:138].all() and (seen[0][~black] == 255).all()
    transforms.crop_images([photo], crop, seen, occluder=(0.0, 1.0, 60, 60))
    assert (seen == 0).all(-1).sum() == 900
