"""Evaluation of poses in space: crop and camera undone, sums by activity."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from rich.console import Console
from scipy.spatial.transform import Rotation

from jaxhar.core import geometry
from jaxhar.core.camera import H36M, Camera
from jaxhar.core.pixels import Pixels
from jaxhar.core.prepared import View
from jaxhar.core.skeleton import PA17
from jaxhar.evaluation import evaluate
from jaxhar.evaluation.deephar import Deephar
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.metrics import PCK, State
from jaxhar.evaluation.metrics_3d import MPJPE, AbsoluteMPJPE, ProcrustesMPJPE
from jaxhar.evaluation.pose import Pose
from jaxhar.evaluation.results import Results
from jaxhar.evaluation.samples import Samples
from jaxhar.evaluation.scorer import Context
from jaxhar.evaluation.views import average_crops
from jaxhar.evaluation.world import World
from jaxhar.host.errors import Problem
from jaxhar.viz import report

CLASSES = ("directions", "discussion", "eating")
METRICS = (MPJPE(), MPJPE(deephar=True), ProcrustesMPJPE(), AbsoluteMPJPE())
SCORERS = (World(METRICS), Samples(2))


class People:
    """People before cameras; a frame's first pixel carries its number. "flip" has each photo twice, once mirrored."""

    skeleton, actions, eval_split, notes = PA17, CLASSES, "test", ()

    def __init__(self, count: int = 7, seed: int = 0):
        rng = np.random.default_rng(seed)
        self.count, self.camera, self.world, self.action = count, [], [], rng.integers(0, 2, count)
        examples = []
        for n in range(count):
            camera = Camera(
                Rotation.random(random_state=rng).as_matrix(),
                rng.uniform(-3000, 3000, 3),
                rng.uniform(1140, 1150, 2),
                (510, 515),
                (-0.2, 0.24, -0.003),
                (-1.4e-3, -1e-3),
                H36M,
            )
            seen = rng.normal(0, 350, (1, 17, 3)) + [200, 100, 5000]
            world = seen @ camera.R + camera.t
            uvd = camera.project(world)
            affine = geometry.scaling(1 / 500, 1 / 510) @ geometry.translation(-300, -290)
            mirror = geometry.translation(1, 0) @ geometry.scaling(-1, 1)
            for flip in (False, True):
                to_crop = mirror @ affine if flip else affine
                root = uvd[:, 0, 2]
                z = (uvd[..., 2] - root[:, None]) / 2000 + 0.5
                pose = np.concatenate([geometry.apply(to_crop, uvd[..., :2]), z[..., None]], -1)
                examples.append(
                    {
                        "frames": np.full((1, 8, 8, 3), len(examples) / 64, np.float32),
                        "pose": (pose[:, PA17.flip] if flip else pose).astype(np.float32),
                        "valid": np.ones((1, 17, 3), bool),
                        "affine": to_crop[None].astype(np.float32),
                        "depth": root.astype(np.float32),
                        "depth_range": np.float32(2000),
                        "camera": camera.to_vector()[None].astype(np.float32),
                        "action": np.int32(self.action[n]),
                        "sequence": np.int32(n),
                        "flipped": np.bool_(flip),
                    }
                )
            self.world.append(world)
        self.examples = {"single": examples[::2], "flip": examples}
        self.poses = np.stack([e["pose"] for e in examples])

    def sequence_names(self, split):
        return tuple(f"{i}" for i in range(self.count))

    def views(self, split):
        return {"single": View("single", "each"), "flip": View("flip", "crops")}

    def eval_length(self, view, split, batch):
        return -(-len(self.examples[view]) // batch)

    def eval_stream(self, split, view, batch):
        found = self.examples[view]
        for start in range(0, len(found), batch):
            index = np.arange(start, start + batch)
            chosen = [found[i % len(found)] for i in index]
            yield {k: np.stack([e[k] for e in chosen]) for k in chosen[0]} | {"mask": index < len(found)}


class Reads:
    pixels = Pixels.SIGNED
    """The settings of a network that reads frames."""

    reads = ("frames",)


class Answers(nnx.Module):
    """A network that looks its answers (K, N, T, J, D) up."""

    config = Reads()

    def __init__(self, poses):
        self.poses = nnx.Param(jnp.asarray(poses, jnp.float32))

    def __call__(self, batch):
        frames = Pixels.SIGNED(batch)
        number = jnp.round(frames[:, 0, 0, 0, 0] * 64).astype(jnp.int32)
        pose = self.poses[...][:, number]
        return {"pose": pose, "visible": jnp.ones(pose.shape[:-1])}


def run(poses, world=None, views=("single",), batch=8, scorers=SCORERS):
    return evaluate.run(Answers(poses), world or People(), Eval(views, scorers, batch=batch), progress=False)


def sums(results, key, classes=False) -> State:
    found = {k: v for section in results.sections for k, v in section.json.get("sums", {}).items()}[key]
    found = found["classes"] if classes else found
    return State(np.array(found["total"]), np.array(found["count"]))


def test_the_truth_as_prediction_has_no_error():
    world = People()
    found = run(world.poses[None], world, views=("single", "flip")).scalars()
    for name in ("mpjpe", "pa-mpjpe", "absolute mpjpe"):
        assert found[name] < 1e-2 and found[f"{name}/flip"] < 1e-2
    # deephar's inverse of the lens is not one
    assert 1e-3 < found["mpjpe (deephar's camera)"] < 2


def test_errors_come_out_in_millimetres_and_by_activity():
    world = People()
    rng = np.random.default_rng(1)
    blocks = np.stack([world.poses + rng.normal(0, s, world.poses.shape) for s in (0.04, 0.01)]).astype(np.float32)
    results = run(blocks, world, batch=3)
    state, by_class = sums(results, "mpjpe"), sums(results, "mpjpe", classes=True)
    expected = np.zeros((2, world.count, 17))
    for n, example in enumerate(world.examples["single"]):
        camera = Camera.from_vector(example["camera"][0])
        for k in range(2):
            pose = blocks[k, 2 * n, 0].astype(float)
            uv = geometry.apply(np.linalg.inv(example["affine"][0].astype(float)), pose[:, :2])
            d = example["depth"] + 2000 * (pose[:, 2:] - 0.5)
            pred = camera.unproject(np.concatenate([uv, d], -1))
            true = world.world[n][0]
            expected[k, n] = np.linalg.norm((pred - pred[0]) - (true - true[0]), axis=-1)
    np.testing.assert_allclose(state.pooled(), expected.mean((1, 2)), rtol=1e-4)
    assert results.scalars()["mpjpe/best"] == state.pooled()[1]
    for action in (0, 1):
        mine = expected[:, world.action == action].mean((1, 2))
        np.testing.assert_allclose(by_class.pooled()[action], mine, rtol=1e-4)
        assert results.scalars()[f"mpjpe/{CLASSES[action]}"] == by_class.pooled()[action, -1]
    assert np.isnan(results.scalars()["mpjpe/eating"])
    np.testing.assert_array_equal(by_class.count.sum(0), state.count)
    scalars = results.scalars()
    assert scalars["pa-mpjpe"] < scalars["mpjpe"] and scalars["absolute mpjpe"] != scalars["mpjpe"]
    for batch in (1, 5, 16):
        again = run(blocks, world, batch=batch)
        for key in ("mpjpe", "pa-mpjpe", "absolute mpjpe"):
            for classes in (False, True):
                np.testing.assert_array_equal(sums(results, key, classes).total, sums(again, key, classes).total)


def test_deephars_rules_are_a_scorer():
    """Their camera, and their crop rule for points in the image, beside the same metric without them."""
    world = People()
    for example in world.examples["single"]:
        example["norm"] = np.full(1, 100, np.float32)
    world.examples["single"][0]["pose"][0, 3, 0] = 1.2
    metrics = (PCK(0.2),), (MPJPE(),)
    found = run(world.poses[None], world, scorers=(Pose(metrics[0]), World(metrics[1]), Deephar(*metrics)))
    keys = {key for section in found.sections for key in section.json["sums"]}
    assert keys == {"mpjpe", "pck@0.2", "mpjpe/deephar", "pck@0.2/deephar"}
    assert found.scalars()["mpjpe/deephar"] > 1e-3
    counts = [sums(found, key).count.sum() for key in ("mpjpe", "mpjpe/deephar", "pck@0.2", "pck@0.2/deephar")]
    assert counts[0] == counts[1] == counts[2] == counts[3] + 1


def test_bounds_of_the_truth_and_of_what_was_learned():
    world = People()
    found = run(world.poses[None], world, scorers=(World(METRICS), Deephar(world=METRICS)))
    bounds = {key: bound for section in found.sections for key, bound in section.if_true.items()}
    assert bounds["mpjpe"] == bounds["pa-mpjpe"] == (0, 0.01)
    assert bounds["mpjpe/deephar"] == bounds["mpjpe (deephar's camera)"] == (0, 20)
    assert all(low <= found.scalars()[key] <= high for key, (low, high) in bounds.items())
    learned = {key: bound for section in found.sections for key, bound in section.if_learned.items()}
    assert learned == {"mpjpe": (0, 150)}


def test_joints_that_are_predicted_in_space_need_no_camera():
    rng = np.random.default_rng(0)
    true = rng.normal(0, 300, (17, 3)).astype(np.float32)
    sums = World().begin(Context(View("single", "each"), skeleton=PA17, classes=CLASSES))
    pred = true + np.array([[0, 0, 0]] + [[3, 4, 0]] * 16, np.float32)
    sums.add({"world": true, "action": np.int32(1)}, {"world": np.stack([true, pred])})
    (section,) = sums.sections()
    np.testing.assert_allclose(section.scalars["mpjpe"], 5 * 16 / 17, rtol=1e-5)
    assert section.scalars["mpjpe/best"] == 0 and section.scalars["mpjpe/discussion"] == section.scalars["mpjpe"]


def test_mirrored_crops_are_averaged_in_the_world():
    """An error in x that is the same in a crop and in its mirror image cancels in the mean; one in depth stays."""
    world = People()
    aside, away = world.poses.copy(), world.poses.copy()
    aside[..., 1:, 0] += 0.03
    away[..., 1:, 2] += 0.02
    found = run(aside[None], world, views=("single", "flip")).scalars()
    assert found["mpjpe"] > 20 and found["mpjpe/flip"] < 1e-2
    found = run(away[None], world, views=("single", "flip")).scalars()
    np.testing.assert_allclose(found["mpjpe/flip"], found["mpjpe"], rtol=1e-4)
    assert 37 < found["mpjpe"] < 45


def test_crops_of_another_scale_are_averaged_in_the_same_depths():
    one = {"sequence": 0, "affine": np.eye(3), "depth_range": np.float32(2000)}
    pose = np.full((1, 1, 17, 3), 0.7)
    wide = pose * [1, 1, 0] + [0, 0, 0.6]  # 200 mm behind the root in a crop of 2 m, and of 4 m here
    pairs = [
        (one, {"pose": pose * [1, 1, 0] + [0, 0, 0.6], "visible": np.ones((1, 1, 17))}),
        (one | {"depth_range": np.float32(4000)}, {"pose": wide, "visible": np.zeros((1, 1, 17))}),
    ]
    ((_, found),) = average_crops(iter(pairs), PA17)
    np.testing.assert_allclose(found["pose"][..., 2], 0.5 + (200 + 400) / 2 / 2000)
    np.testing.assert_allclose(found["visible"], 0.5)


def test_tables_show_activities_and_results_are_saved(tmp_path):
    results = run(People().poses[None] + 0.01)
    results.save(tmp_path / "results.json")
    loaded = Results.load(tmp_path / "results.json")
    np.testing.assert_array_equal(sums(loaded, "mpjpe", True).total, sums(results, "mpjpe", True).total)
    assert loaded.scalars().keys() == results.scalars().keys()
    console = Console(record=True, width=100)
    report.show(results, console=console)
    text = console.export_text()
    assert "MPJPE, mm, by activity" in text and "mean of activities" in text and "discussion" in text
    assert "eating" not in text
    page = report.write(tmp_path / "report", results, "Human3.6M", console=Console(quiet=True)).read_text()
    assert "PA-MPJPE, mm, by activity" in page


def test_what_cannot_be_measured_in_the_world_is_said():
    world = People()
    with pytest.raises(Problem, match="a network that predicts depth"):
        run(world.poses[None, ..., :2], world)
    for example in world.examples["single"]:
        del example["camera"]
    with pytest.raises(Problem, match="data with cameras"):
        run(world.poses[None], world)
