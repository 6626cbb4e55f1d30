import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from rich.console import Console

from jaxhar.core import geometry
from jaxhar.core.pixels import Pixels
from jaxhar.core.skeleton import PA16
from jaxhar.evaluation import evaluate
from jaxhar.evaluation.metrics import AUC, PCK, PCKh, PixelError, State, by_group
from jaxhar.evaluation.results import PoseResult, Results, head_names
from jaxhar.host.errors import Problem
from jaxhar.viz import report

CLASSES = ("bowl", "squat", "situp")
JOINTS = len(PA16)


def dyadic(values):
    """Multiples of 1/128: the fake network's sums of products are exact in float32, in whatever order they are done."""
    return (np.round(np.asarray(values) * 128) / 128).astype(np.float32)


class FakeModel(nnx.Module):
    """Two pose blocks and three heads computed from the frames; in training mode its answers are spoilt."""

    traces = 0

    def __init__(self, num_classes=3, joints=JOINTS):
        rng = np.random.default_rng(3)
        self.pose = nnx.Param(jnp.asarray(dyadic(rng.normal(0, 0.3, (2, 3, joints * 2)))))
        self.action = nnx.Param(jnp.asarray(dyadic(rng.normal(0, 3, (3, 3, num_classes)))))
        self.dropout = nnx.Dropout(0.9, rngs=nnx.Rngs(0))

    def __call__(self, batch):
        frames = Pixels.SIGNED(batch)
        FakeModel.traces += 1
        colour = self.dropout(frames[:, :, 0, 0])  # (B, T, 3)
        pose = 0.5 + jnp.einsum("btc,kcj->kbtj", colour, self.pose[...])
        logits = jnp.einsum("btc,kca->kba", colour, self.action[...])
        return {
            "pose": pose.reshape(*pose.shape[:-1], -1, 2),
            "visible": jnp.ones((*pose.shape[:-1], JOINTS)),
            "action": logits,
        }


class FakeData:
    """Sequences of random colour; `multi` has several clips of each, in an order that mixes the sequences."""

    skeleton = PA16
    actions = CLASSES

    def __init__(self, sequences=10, clips=3, frames=2, seed=0):
        rng = np.random.default_rng(seed)
        self.sequences, self.protocols = sequences, {}
        labels = rng.integers(0, len(CLASSES), sequences)
        for protocol, count in (("single", sequences), ("multi", sequences * clips)):
            sequence = np.arange(count) % sequences
            valid = np.repeat(rng.random((count, frames, JOINTS, 1)) > 0.2, 2, -1)
            valid[..., 1, :] = False
            affine = np.tile(np.eye(3, dtype=np.float32), (count, 1, 1))
            affine[:, 0, 0], affine[:, 1, 1] = rng.uniform(0.004, 0.01, (2, count))
            affine[:, :2, 2] = rng.uniform(-0.5, 0.5, (count, 2))
            self.protocols[protocol] = {
                "frames": np.tile(dyadic(rng.uniform(-1, 1, (count, frames, 1, 1, 3))), (1, 1, 8, 6, 1)),
                "pose": rng.uniform(0.2, 0.8, (count, frames, JOINTS, 2)).astype(np.float32) * valid,
                "valid": valid,
                "action": labels[sequence].astype(np.int32),
                "affine": affine,
                "norm": rng.uniform(60, 400, (count, frames)).astype(np.float32),
                "sequence": sequence.astype(np.int32),
                "flipped": np.zeros(count, bool),
            }

    def sequence_names(self, split):
        return tuple(f"{i:04d}" for i in range(self.sequences))

    def eval_length(self, protocol, split, batch):
        return -(-len(self.protocols[protocol]["frames"]) // batch)

    def eval_stream(self, split, protocol, batch):
        whole = self.protocols[protocol]
        count = len(whole["frames"])
        for start in range(0, count, batch):
            index = np.arange(start, start + batch)
            # Padding repeats real examples, so that counting it would change the figures.
            yield {k: v[index % count] for k, v in whole.items()} | {"mask": index < count}


METRICS = (PCK(0.2), AUC(), PixelError())


def evaluated(model, data, metrics=METRICS, **options) -> Results:
    return evaluate.run(model, data, metrics=metrics, progress=False, **options)


def test_figures_do_not_depend_on_the_batch_size(tmp_path):
    model, data = FakeModel(), FakeData()
    texts = []
    for batch in (1, 3, 7):
        evaluated(model, data, batch=batch, protocols=("single", "multi")).save(tmp_path / "r.json")
        texts.append((tmp_path / "r.json").read_text())
    assert texts[0] == texts[1] == texts[2]
    assert 0 < json.loads(texts[0])["scalars"]["pck@0.2"] < 1


def test_pose_is_scored_in_image_pixels_with_a_stretched_crop():
    model, data = FakeModel(), FakeData()
    results = evaluated(model, data)
    whole = data.protocols["single"]
    colour = whole["frames"][:, :, 0, 0].astype(np.float64)
    hits, counts = np.zeros((2, JOINTS), int), np.zeros(JOINTS, int)
    for n, t, j in np.ndindex(whole["valid"].shape[:3]):
        if not whole["valid"][n, t, j, 0]:
            continue
        counts[j] += 1
        scale = np.array([whole["affine"][n, 0, 0], whole["affine"][n, 1, 1]], np.float64)
        for k in range(2):
            pred = 0.5 + colour[n, t] @ np.asarray(model.pose[...], np.float64)[k].reshape(3, JOINTS, 2)[:, j]
            away = np.linalg.norm((pred - whole["pose"][n, t, j]) / scale)
            hits[k, j] += away <= 0.2 * whole["norm"][n, t]
    first = results.pose[0]
    np.testing.assert_array_equal(first.state.total, hits)
    np.testing.assert_array_equal(first.state.count, np.stack([counts, counts]))
    assert counts[1] == 0 and np.isnan(first.state.compute()[0, 1])
    scalars = results.scalars()
    assert scalars["pck@0.2"] == hits[1].sum() / counts.sum()
    assert scalars["pck@0.2/best"] == max(hits.sum(1)) / counts.sum()
    means = results.pose[2].state.pooled()
    assert scalars["error/best"] == means.min() and results.pose[2].best == means.argmin()


def test_single_clip_accuracy_per_head():
    model, data = FakeModel(), FakeData()
    (result,) = evaluated(model, data).action
    whole = data.protocols["single"]
    choice = np.einsum("btc,kca->kba", whole["frames"][:, :, 0, 0], np.asarray(model.action[...])).argmax(-1)
    assert result.heads == ("p1", "v1", "m")
    assert result.state.total.tolist() == (choice == whole["action"]).sum(1).tolist()
    assert result.state.count.tolist() == [10] * 3
    assert result.confusion.sum() == 10 and np.trace(result.confusion) == result.state.total[-1]
    assert result.per_class.count.tolist() == np.bincount(whole["action"], minlength=3).tolist()
    assert [p.predicted for p in result.predictions] == choice[-1].tolist()


def test_many_clips_do_not_underflow():
    data = FakeData(sequences=3, clips=200)
    model = FakeModel()
    model.action[...] = model.action[...] * 64
    whole = data.protocols["multi"]
    logits = np.einsum("btc,kca->kba", whole["frames"][:, :, 0, 0].astype(float), np.asarray(model.action[...], float))
    shifted = logits - logits.max(-1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    products = np.stack([np.exp(logs[:, whole["sequence"] == s]).prod(1) for s in range(3)], 1)
    assert (products == 0).all(), "the plain product must underflow here, else the test shows nothing"
    sums = np.stack([logs[:, whole["sequence"] == s].sum(1) for s in range(3)], 1)
    (result,) = evaluated(model, data, protocols=("multi",)).action
    assert result.state.count.tolist() == [3, 3, 3]
    assert [p.predicted for p in result.predictions] == sums[-1].argmax(-1).tolist()
    assert result.state.total.tolist() == (sums.argmax(-1) == whole["action"][:3]).sum(-1).tolist()
    assert all(0 < p.probability <= 1 for p in result.predictions)


def test_sequences_without_a_clip_are_named_not_counted_as_right():
    data = FakeData()
    whole = data.protocols["multi"]
    keep = whole["sequence"] != 4
    data.protocols["multi"] = {k: v[keep] for k, v in whole.items()}
    (result,) = evaluated(FakeModel(), data, protocols=("multi",)).action
    assert result.missing == 1
    assert result.state.count.tolist() == [9] * 3


def test_the_model_keeps_its_mode_and_weights_and_is_compiled_once():
    model, data = FakeModel(), FakeData()
    first = evaluated(model, data).scalars()
    assert not model.dropout.deterministic
    traces = FakeModel.traces
    model.pose[...] = model.pose[...] * 0.5
    assert evaluated(model, data).scalars() != first
    assert FakeModel.traces == traces


def test_results_survive_the_disk(tmp_path):
    results = evaluated(FakeModel(), FakeData(), protocols=("single", "multi"))
    path = tmp_path / "deep" / "results.json"
    results.save(path)
    back = Results.load(path)
    assert back.scalars() == results.scalars()
    assert (back.skeleton, back.classes, back.examples) == (PA16, CLASSES, {"single": 10, "multi": 30})
    for a, b in zip(back.pose, results.pose, strict=True):
        assert (a.name, a.unit) == (b.name, b.unit)
        np.testing.assert_array_equal(a.state.total, b.state.total)
    for x, y in zip(back.action, results.action, strict=True):
        assert (x.protocol, x.heads, x.predictions, x.missing) == (y.protocol, y.heads, y.predictions, y.missing)
        np.testing.assert_array_equal(x.confusion, y.confusion)
    assert [p.name for p in path.parent.iterdir()] == ["results.json"]


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff\xfe"])
def test_a_damaged_results_file_is_a_problem(tmp_path, content):
    (tmp_path / "results.json").write_bytes(content)
    with pytest.raises(Problem, match="results.json is not a results file"):
        Results.load(tmp_path / "results.json")


def test_an_unwritable_place_is_a_problem(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Problem, match="cannot write"):
        evaluated(FakeModel(), FakeData()).save(tmp_path / "file" / "results.json")


def test_samples_are_the_same_for_every_batch_size():
    model, data = FakeModel(), FakeData()
    few, many = (evaluated(model, data, batch=b, samples=4).samples for b in (2, 10))
    assert [s.sequence for s in few] == [s.sequence for s in many] == sorted({s.sequence for s in few})
    assert len(few) == 4 and few[0].frame.shape == (8, 6, 3) and few[0].frame.dtype == np.uint8
    example = data.protocols["single"]["frames"][int(few[0].sequence), 1, 0, 0]
    np.testing.assert_allclose(few[0].frame[0, 0] / 127.5 - 1, example, atol=1 / 127)


def test_stills_without_action_or_sequence():
    data = FakeData(frames=1)
    for key in ("action", "sequence", "flipped"):
        del data.protocols["single"][key]
    results = evaluated(FakeModel(), data)
    assert not results.action and results.pose[0].state.count.sum() > 0
    assert results.samples[0].action is None


def test_the_authors_leave_out_what_the_crop_does_not_show():
    model, data = FakeModel(), FakeData()
    whole = data.protocols["single"]
    whole["pose"][:, :, 5, 0] = 1.2
    whole["pose"][:, :, 6, 1] = 0.0
    results = evaluated(model, data, protocols=("single", "authors"))
    by_name = {metric.key: metric.state.count[-1] for metric in results.pose}
    both = [by_name["pck@0.2"], by_name["pck@0.2/authors"]]
    assert both[0].tolist() == whole["valid"][..., 0].sum((0, 1)).tolist()
    assert both[1][5] == both[1][6] == 0 and both[0][5] > 0
    assert both[1][7:].tolist() == both[0][7:].tolist()


def test_disagreements_are_problems():
    data = FakeData()
    with pytest.raises(Problem, match="predicts 13 joints and the data has 16"):
        evaluated(FakeModel(joints=13), data)
    data.protocols["single"]["action"][2] = 7
    with pytest.raises(Problem, match="0002 has action number 7"):
        evaluated(FakeModel(), data)
    broken = FakeModel()
    broken.action[...] = broken.action[...] * np.nan
    with pytest.raises(Problem, match="not finite"):
        evaluated(broken, FakeData())


def test_a_network_of_other_actions_is_scored_by_pose_alone(tmp_path):
    results = evaluated(FakeModel(num_classes=4), FakeData(), protocols=("single", "multi"))
    assert not results.action and results.pose[0].state.count.sum() > 0
    assert results.notes == ("Action is left out: the network's 4 classes are not the 3 of this data.",)
    assert all(sample.predicted is None for sample in results.samples)
    # as many of another name are others, too
    same, others = (evaluated(FakeModel(), FakeData(), actions=names) for names in (CLASSES, ("a", "b", "c")))
    assert same.action and not same.notes
    assert not others.action and "3 classes are not the 3" in others.notes[0]
    data = FakeData()
    data.actions = ()
    for whole in data.protocols.values():
        del whole["action"]
    quiet = evaluated(FakeModel(), data)
    assert not quiet.notes and quiet.samples[0].predicted is None
    report.write(tmp_path, quiet, "stills", console=Console(quiet=True))


def test_of_several_sets_of_actions_the_datas_is_scored():
    model, data = FakeModel(), FakeData()

    class Two(FakeModel):
        def __call__(self, batch):
            preds = super().__call__(batch)
            return preds | {"action": (preds["action"][..., :2], preds["action"])}

    (alone,), (both,) = evaluated(model, data).action, evaluated(Two(), data).action
    assert both.predictions == alone.predictions
    named = evaluated(Two(), data, actions=(("x", "y"), CLASSES))
    assert named.action[0].predictions == alone.predictions
    assert not evaluated(Two(), data, actions=(("x", "y"), ("a", "b", "c"))).action


def test_too_short_sequences_are_counted_both_ways():
    """By a network that is always wrong: the authors' rule finds it right wherever it had nothing to look at."""

    class Short(FakeData):
        def too_short(self, split):
            return {1, 4, 7}

    model, data = FakeModel(), Short()
    multi = data.protocols["multi"]
    logits = np.einsum("btc,kca->kba", multi["frames"][:, :, 0, 0], np.asarray(model.action[...]))[-1]
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    worst = np.stack([logs[multi["sequence"] == s].sum(0) for s in range(10)]).argmin(-1)
    multi["action"] = worst[multi["sequence"]].astype(np.int32)
    results = evaluated(model, data, metrics=(), protocols=("single", "multi"))
    single, multi = results.action
    assert single.short is None and multi.short.count.tolist() == [3, 3, 3]
    assert multi.state.total[-1] == 0 and multi.authors.total[-1] == 3
    assert results.scalars()["accuracy/multi"] == 0 and results.scalars()["accuracy/multi/authors"] == 0.3


def test_sums_do_not_depend_on_order_or_on_who_counts():
    """The set in another order, and dealt to three machines whose sums are merged."""
    model = FakeModel()

    def sums(indices):
        data = FakeData(sequences=30)
        data.protocols["single"] = {k: v[indices] for k, v in data.protocols["single"].items()}
        results = evaluated(model, data, protocols=("single", "authors"), batch=4)
        return [m.state for m in results.pose] + [results.action[0].state]

    whole = sums(np.arange(30))
    shuffled = sums(np.random.default_rng(5).permutation(30))
    dealt = [sums(np.arange(30)[start::3]) for start in (2, 0, 1)]
    merged = [a.merge(b).merge(c) for a, b, c in zip(*dealt, strict=True)]
    for one, other, third in zip(whole, shuffled, merged, strict=True):
        np.testing.assert_array_equal(one.total, other.total)
        np.testing.assert_array_equal(one.total, third.total)
        np.testing.assert_array_equal(one.count, third.count)


def test_nothing_to_evaluate_is_a_problem():
    data = FakeData()
    data.protocols["single"] = {k: v[:0] for k, v in data.protocols["single"].items()}
    with pytest.raises(Problem, match="test split has nothing to evaluate by the single protocol"):
        evaluated(FakeModel(), data)


def test_the_best_of_equals_is_the_last():
    counts = np.array([[4], [4], [4]])
    assert PoseResult("PCK@0.2", "%", State(np.array([[2], [3], [3]]), counts)).best == 2
    assert PoseResult("error", "px", State(np.array([[2], [2], [3]]), counts)).best == 1
    assert PoseResult("PCK@0.2", "%", State(counts, 0 * counts)).best == 2


@pytest.mark.parametrize(
    ("count", "names"),
    [(1, "m"), (2, "head1 head2"), (3, "p1 v1 m"), (9, "p1 p2 p3 p4 v1 v2 v3 v4 m")],
)
def test_head_names(count, names):
    assert " ".join(head_names(count)) == names


def test_crops_of_one_picture_are_averaged_in_the_image():
    rng = np.random.default_rng(4)
    true = rng.uniform(20, 80, (2, 1, JOINTS, 2))  # image pixels of two pictures
    pairs, expected = [], []
    for n, image in enumerate(true):
        found = []
        for flipped in (False, True, False):
            shift = geometry.translation(*rng.uniform(-9, 9, 2))
            mirror = geometry.translation(1, 0) @ geometry.scaling(-1, 1) if flipped else np.eye(3)
            affine = mirror @ geometry.scaling(0.01, 0.01) @ shift
            noisy = image + rng.normal(0, 2, (3, *image.shape))  # three blocks
            found.append(noisy)
            pose = geometry.apply(affine, noisy)[..., PA16.flip if flipped else slice(None), :]
            seen = np.linspace(0, 1, JOINTS)[PA16.flip if flipped else slice(None)]
            example = {"sequence": n, "affine": affine, "flipped": flipped, "pose": geometry.apply(affine, image)}
            pairs.append((example, {"pose": pose, "visible": np.broadcast_to(seen, (3, 1, JOINTS))}))
        expected.append(np.mean(found, 0))
    merged = list(evaluate.average_crops(iter(pairs), PA16.flip))
    assert len(merged) == 2
    for n, (example, preds) in enumerate(merged):
        assert example is pairs[3 * n][0]
        back = geometry.apply(geometry.invert(example["affine"]), preds["pose"])
        np.testing.assert_allclose(back, expected[n], atol=1e-9)
        np.testing.assert_allclose(preds["visible"][2, 0], np.linspace(0, 1, JOINTS))


def test_a_protocol_of_crops_is_scored_beside_the_first(tmp_path):
    """Two identical crops of each picture: the averaged figures are the first protocol's."""
    data = FakeData(sequences=6, clips=1)
    single = data.protocols["single"]
    data.protocols["flip"] = {k: np.repeat(v, 2, axis=0) for k, v in single.items()}
    data.crop_protocols = ("flip",)
    results = evaluated(FakeModel(), data, metrics=(PCK(0.2), PCKh(0.5)), protocols=("single", "flip"), batch=5)
    scalars = results.scalars()
    assert results.examples == {"single": 6, "flip": 6}
    for name in ("pck@0.2", "pckh@0.5"):
        assert scalars[f"{name}/flip"] == scalars[name]
        assert scalars[f"{name}/flip/best"] == scalars[f"{name}/best"]
    groups = by_group(results.pose[1].state, PA16)
    assert scalars["pckh@0.5/flip/knee"] == groups["Knee"][-1] and "pck@0.2/knee" not in scalars
    results.save(tmp_path / "r.json")
    assert Results.load(tmp_path / "r.json").scalars() == scalars
