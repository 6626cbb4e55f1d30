"""Poses in space from several views: cameras undone, raw and fused side by side, joints without a point."""

import numpy as np
import pytest

from jaxhar.core import geometry
from jaxhar.core.camera import Camera
from jaxhar.core.prepared import View
from jaxhar.core.skeleton import H36M17, PA16, UNION20
from jaxhar.core.structures import Structures, tree
from jaxhar.core.triangulate_test import ring
from jaxhar.evaluation import evaluate
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.scorer import Context
from jaxhar.evaluation.space import Space
from jaxhar.host.errors import Problem

CLASSES = ("walking", "sitting")


class Groups:
    """Groups of four views of one person; the last group is not of one moment."""

    skeleton, actions, eval_split, notes = H36M17, CLASSES, "test", ()

    def __init__(self, count: int = 5, seed: int = 0):
        rng = np.random.default_rng(seed)
        self.world = rng.normal(0, 400, (count, 17, 3))
        self.frame(rng)

    def frame(self, rng: np.random.Generator) -> None:
        """Photographs the persons."""
        count, cameras = len(self.world), ring(4, rng)
        pixels = np.stack([c.project(self.world)[..., :2] for c in cameras], 1)
        low, high = pixels.min(2), pixels.max(2)
        boxes = [
            [geometry.scaling(1 / 600, 1 / 600) @ geometry.translation(*-m) for m in g] for g in (low + high) / 2 - 300
        ]
        self.affine = np.array(boxes, np.float32)
        self.pose = geometry.apply(self.affine.astype(np.float64), pixels).astype(np.float32)
        self.camera = np.tile(np.stack([c.to_vector() for c in cameras]), (count, 1, 1)).astype(np.float32)

    def views(self, split):
        return {"single": View("single", "each")}

    def sequence_names(self, split):
        return tuple(f"s{n}" for n in range(len(self.world)))

    def eval_length(self, split, view, batch):
        return -(-len(self.world) // batch)

    def eval_stream(self, split, view, batch):
        count = len(self.world)
        for start in range(0, count, batch):
            index = np.arange(start, start + batch) % count
            yield {
                "frames": np.zeros((batch, 4, 8, 8, 3), np.float32),
                "pose": self.pose[index],
                "visible": np.zeros((batch, 4, 17), np.float32),
                "valid": np.ones((batch, 4, 17, 2), bool),
                "world": self.world[index].astype(np.float32),
                "affine": self.affine[index],
                "camera": self.camera[index],
                "action": (index % 2).astype(np.int32),
                "sequence": index.astype(np.int32),
                "together": index < count - 1,
                "mask": np.arange(start, start + batch) < count,
            }


class People(Groups):
    """Groups with a standing person."""

    def __init__(self, count: int):
        rng = np.random.default_rng(1)
        parents, self.world = tree(H36M17), np.zeros((count, 17, 3))
        for joint in (1, 4, 7, 2, 5, 8, 3, 6, 9, 11, 14, 10, 12, 15, 13, 16):
            way = rng.normal(size=(count, 3))
            way /= np.linalg.norm(way, axis=-1, keepdims=True)
            self.world[:, joint] = self.world[:, parents[joint]] + way * rng.uniform(250, 350)
        self.frame(rng)


def scalars(scorers, change, data=None):
    """Figures of predictions (2 blocks) that `change` makes from the true pose and confidence 1."""
    data = data or Groups()

    def network(batch):
        pose = np.repeat(batch["pose"][None], 2, 0).astype(np.float64)
        return change({"pose": pose, "visible": np.ones(pose.shape[:-1])})

    return evaluate.run(network, data, Eval(scorers=scorers, batch=2), progress=False).scalars()


@pytest.mark.parametrize("method", ["triangulation", "ransac"])
def test_the_truth_is_within_its_bounds(method):
    scorer, context = Space(method), Context(View("single", "each"))
    results = evaluate.run(
        lambda batch: scorer.truth(batch, context), Groups(), Eval(scorers=(scorer,), batch=2), progress=False
    )
    (section,) = results.sections
    suffix = "" if method == "triangulation" else "/ransac"
    assert {f"mpjpe{suffix}", f"relative mpjpe{suffix}", f"pa-mpjpe{suffix}"} <= set(section.if_true)
    for key, (low, high) in section.if_true.items():
        assert low <= section.scalars[key] <= high, key
    assert section.scalars[f"missing{suffix}"] == 0 and section.scalars[f"reprojection{suffix}"] < 1e-3


def test_the_truth_with_the_originals_lens_has_a_wider_bound():
    scorer, context, data = Space(), Context(View("single", "each")), Groups()
    lenses = [[Camera.from_vector(vector).original_lens().to_vector() for vector in group] for group in data.camera]
    data.camera = np.array(lenses, np.float32)
    plan = Eval(scorers=(scorer,), batch=2)
    (section,) = evaluate.run(lambda batch: scorer.truth(batch, context), data, plan, progress=False).sections
    assert 0.01 < section.scalars["mpjpe"] and section.if_true["mpjpe"] == (0.0, 5.0)


def test_raw_and_fused_side_by_side_and_a_wrong_view():
    """Block 1 has one view 60 px off for every joint; RANSAC leaves that view out."""

    def change(preds):
        preds["pose"][0, :, 2, :, 0] += 0.1
        return preds

    found = scalars((Space(), Space("ransac")), change)
    assert found["mpjpe"] < 0.01 < 30 < found["mpjpe/raw"] and found["mpjpe/best"] == found["mpjpe"]
    assert found["mpjpe/ransac/raw"] < 0.01 and found["fell back/ransac"] == 0
    assert found["mpjpe/walking"] < 0.01

    # without weights the confidence does not matter
    def doubt(preds):
        preds["pose"][:, :, 2, :, 0] += 0.1
        preds["visible"][:, :, 2] = 1e-6
        return preds

    assert scalars((Space(),), doubt)["mpjpe"] < 0.01 < 30 < scalars((Space(weighted=False),), doubt)["mpjpe"]


def test_joints_without_a_point_are_counted_and_left_out():
    def change(preds):
        preds["visible"][1, :, 1:, 3] = 0  # the fused block sees joint 3 in one view
        preds["pose"][0, :, :, 3] += 5  # so this error of the raw block is not counted
        return preds

    found = scalars((Space(),), change)
    assert found["missing"] == pytest.approx(1 / 17)
    assert found["mpjpe"] < 0.01 and found["mpjpe/raw"] < 0.01


def test_joints_that_fall_back():
    """No two views agree: all views together give a point all the same."""

    def change(preds):
        preds["pose"][:, :, :, 5] += np.array([[0.2, 0], [0, -0.3], [-0.2, 0.2], [0.1, 0.3]])
        return preds

    found = scalars((Space("ransac", threshold=2),), change)
    assert found["fell back/ransac"] == pytest.approx(1 / 17) and found["missing/ransac"] == 0
    assert 1 < found["mpjpe/ransac"] < 100


def test_pictorial_structures():
    """On the maps of the true pose; wrong joints of a view hardly move them; the oracle variant has own names."""
    data, context = People(3), Context(View("single", "each"))
    small = Structures(bins=12, depth=6)
    own, oracle = (
        Space("structures", structures=small),
        Space("structures", structures=small, limbs="true", center="true"),
    )
    assert own.reads == ("pose", "visible", "maps")

    def network(batch):
        preds = own.truth(batch, context)
        for key in preds:
            preds[key] = preds[key].copy()
        preds["pose"][0, :, 1, 3] += 0.1
        return preds

    results = evaluate.run(network, data, Eval(scorers=(Space(), own, oracle), batch=2), progress=False)
    found = results.scalars()
    assert found["mpjpe"] < 0.01 < 3 < found["mpjpe/raw"]
    assert 1 < found["mpjpe/structures"] < 40 and found["mpjpe/structures-oracle"] < 40
    assert found["fell back/structures"] == found["missing/structures"] == 0
    assert found["mpjpe/structures/raw"] == pytest.approx(found["mpjpe/structures"], abs=3)
    notes = [section for section in results.sections if section.title.endswith("true root or limbs given")]
    assert len(notes) == 1 and "as the original does" in notes[0].notes[-1]
    tall = Space("structures", structures=small, limbs=(0.0, *[5.0] * 16))
    assert (
        scalars((tall,), lambda preds: {**preds, "maps": np.ones((*preds["pose"].shape[:3], 64, 64, 17))}, data)[
            "fell back/structures"
        ]
        == 1.0
    )
    with pytest.raises(Problem, match="predicts heat maps"):
        scalars((own,), lambda preds: preds)
    with pytest.raises(Problem, match="3 limbs; skeleton h36m17 needs 17"):
        evaluate.run(network, data, Eval(scorers=(Space("structures", limbs=(1.0,) * 3),), batch=2), progress=False)
    with pytest.raises(Problem, match="has no thorax"):
        Space("structures", skeleton="pa16j").body(H36M17)
    assert own.body(UNION20)[0] is H36M17 and own.body(PA16)[0] is PA16


def test_groups_that_cannot_be_scored():
    data = Groups(1)  # its only group is not of one moment
    assert scalars((Space(),), lambda preds: preds, data) == {}
    example = next(data.eval_stream("test", "single", 1))
    one = {
        key: value[0][:1] if key in ("camera", "affine", "pose", "valid") else value[0]
        for key, value in example.items()
    }
    sums = Space().begin(Context(View("single", "each"), skeleton=H36M17))
    with pytest.raises(Problem, match="two or more views"):
        sums.add({**one, "together": True}, {"pose": one["pose"][None]})
    assert Space().begin(Context(View("clips", "clips"))) is None
