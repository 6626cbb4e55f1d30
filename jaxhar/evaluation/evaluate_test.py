import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from rich.console import Console

from jaxhar.core import geometry
from jaxhar.core.pixels import Pixels
from jaxhar.core.prepared import View
from jaxhar.core.skeleton import PA16
from jaxhar.evaluation import evaluate
from jaxhar.evaluation.action import Action, ActionFigure, describe_heads, head_names
from jaxhar.evaluation.deephar import Deephar
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.metrics import AUC, PCK, PCKh, PixelError, State, by_group
from jaxhar.evaluation.pose import Pose, PoseFigure
from jaxhar.evaluation.results import Results
from jaxhar.evaluation.samples import Samples
from jaxhar.evaluation.scorer import Context
from jaxhar.evaluation.views import average_crops
from jaxhar.host.errors import Problem, Usage
from jaxhar.viz import report

CLASSES = ("bowl", "squat", "situp")
JOINTS = len(PA16)


def dyadic(values):
    """Multiples of 1/128: the fake network's sums of products are exact in float32, in whatever order they are done."""
    return (np.round(np.asarray(values) * 128) / 128).astype(np.float32)


class Reads:
    pixels = Pixels.SIGNED
    """The settings of a network that reads frames."""

    reads = ("frames",)


class FakeModel(nnx.Module):
    """Two pose blocks and three heads computed from the frames; in training mode its answers are spoilt."""

    traces = 0
    config = Reads()

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
    eval_split = "test"
    notes = ()
    short = ()

    def __init__(self, sequences=10, clips=3, frames=2, seed=0):
        rng = np.random.default_rng(seed)
        self.sequences, self.examples = sequences, {}
        labels = rng.integers(0, len(CLASSES), sequences)
        for view, count in (("single", sequences), ("multi", sequences * clips)):
            sequence = np.arange(count) % sequences
            valid = np.repeat(rng.random((count, frames, JOINTS, 1)) > 0.2, 2, -1)
            valid[..., 1, :] = False
            affine = np.tile(np.eye(3, dtype=np.float32), (count, frames, 1, 1))
            affine[..., 0, 0], affine[..., 1, 1] = rng.uniform(0.004, 0.01, (2, count, 1))
            affine[..., :2, 2] = rng.uniform(-0.5, 0.5, (count, 1, 2))
            self.examples[view] = {
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

    def views(self, split):
        kinds = {"single": "each", "multi": "clips", "flip": "crops"}
        return {name: View(name, kinds[name]) for name in self.examples}

    def too_short(self, split):
        return set(self.short)

    def eval_length(self, view, split, batch):
        return -(-len(self.examples[view]["affine"]) // batch)

    def eval_stream(self, split, view, batch):
        whole = self.examples[view]
        count = len(whole["affine"])
        for start in range(0, count, batch):
            index = np.arange(start, start + batch)
            # Padding repeats real examples, so that counting it would change the figures.
            yield {k: v[index % count] for k, v in whole.items()} | {"mask": index < count}


METRICS = (PCK(0.2), AUC(), PixelError())


def evaluated(model, data, metrics=METRICS, views=("single",), batch=8, classes=(), samples=12, more=()) -> Results:
    plan = Eval(views, (Pose(metrics), Action(), *more, Samples(samples)), batch=batch)
    return evaluate.run(model, data, plan, classes=classes, progress=False)


def sums(results, key="pck@0.2") -> State:
    """Of a figure of poses."""
    found = {k: v for section in results.sections for k, v in section.json.get("sums", {}).items()}[key]
    return State(np.array(found["total"]), np.array(found["count"]))


def actions(results) -> list[ActionFigure]:
    return [ActionFigure.from_json(s.json) for s in results.sections if s.title == "Action" and s.json]


def pictures(results):
    return [picture for section in results.sections for picture in section.pictures]


def test_figures_do_not_depend_on_the_batch_size(tmp_path):
    model, data = FakeModel(), FakeData()
    texts = []
    for batch in (1, 3, 7):
        evaluated(model, data, batch=batch, views=("single", "multi")).save(tmp_path / "r.json")
        texts.append((tmp_path / "r.json").read_text())
    assert texts[0] == texts[1] == texts[2]
    assert 0 < json.loads(texts[0])["scalars"]["pck@0.2"] < 1


def test_pose_is_scored_in_image_pixels_with_a_stretched_crop():
    model, data = FakeModel(), FakeData()
    results = evaluated(model, data)
    whole = data.examples["single"]
    colour = whole["frames"][:, :, 0, 0].astype(np.float64)
    hits, counts = np.zeros((2, JOINTS), int), np.zeros(JOINTS, int)
    for n, t, j in np.ndindex(whole["valid"].shape[:3]):
        if not whole["valid"][n, t, j, 0]:
            continue
        counts[j] += 1
        scale = np.array([whole["affine"][n, t, 0, 0], whole["affine"][n, t, 1, 1]], np.float64)
        for k in range(2):
            pred = 0.5 + colour[n, t] @ np.asarray(model.pose[...], np.float64)[k].reshape(3, JOINTS, 2)[:, j]
            away = np.linalg.norm((pred - whole["pose"][n, t, j]) / scale)
            hits[k, j] += away <= 0.2 * whole["norm"][n, t]
    first = sums(results)
    np.testing.assert_array_equal(first.total, hits)
    np.testing.assert_array_equal(first.count, np.stack([counts, counts]))
    assert counts[1] == 0 and np.isnan(first.compute()[0, 1])
    scalars = results.scalars()
    assert scalars["pck@0.2"] == hits[1].sum() / counts.sum()
    assert scalars["pck@0.2/best"] == max(hits.sum(1)) / counts.sum()
    means = sums(results, "error").pooled()
    assert scalars["error/best"] == means.min()


def test_single_clip_accuracy_per_head():
    model, data = FakeModel(), FakeData()
    (result,) = actions(evaluated(model, data))
    whole = data.examples["single"]
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
    whole = data.examples["multi"]
    logits = np.einsum("btc,kca->kba", whole["frames"][:, :, 0, 0].astype(float), np.asarray(model.action[...], float))
    shifted = logits - logits.max(-1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    products = np.stack([np.exp(logs[:, whole["sequence"] == s]).prod(1) for s in range(3)], 1)
    assert (products == 0).all(), "the plain product must underflow here, else the test shows nothing"
    sums = np.stack([logs[:, whole["sequence"] == s].sum(1) for s in range(3)], 1)
    (result,) = actions(evaluated(model, data, views=("multi",)))
    assert result.state.count.tolist() == [3, 3, 3]
    assert [p.predicted for p in result.predictions] == sums[-1].argmax(-1).tolist()
    assert result.state.total.tolist() == (sums.argmax(-1) == whole["action"][:3]).sum(-1).tolist()
    assert all(0 < p.probability <= 1 for p in result.predictions)


def test_sequences_without_a_clip_are_named_not_counted_as_right():
    data = FakeData()
    whole = data.examples["multi"]
    keep = whole["sequence"] != 4
    data.examples["multi"] = {k: v[keep] for k, v in whole.items()}
    (result,) = actions(evaluated(FakeModel(), data, views=("multi",)))
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
    results = evaluated(FakeModel(), FakeData(), views=("single", "multi"), more=(Deephar(pose=METRICS),))
    path = tmp_path / "deep" / "results.json"
    results.save(path)
    back = Results.load(path)
    assert back.scalars() == results.scalars() and back.units() == results.units()
    assert back.examples == {"single": 10, "multi": 30}
    assert len(back.sections) == len(results.sections) == 6
    for a, b in zip(back.sections, results.sections, strict=True):
        for name in ("title", "tiles", "tables", "about", "notes", "variant", "if_true", "if_learned"):
            assert getattr(a, name) == getattr(b, name), name
        for one, other in zip(a.matrices, b.matrices, strict=True):
            assert (one.title, one.file, one.names) == (other.title, other.file, other.names)
            np.testing.assert_array_equal(one.counts, other.counts)
    np.testing.assert_array_equal(sums(back).total, sums(results).total)
    for x, y in zip(actions(back), actions(results), strict=True):
        assert (x.view, x.heads, x.predictions, x.missing) == (y.view, y.heads, y.predictions, y.missing)
    kept = {"results.json", *(f"scores_{view}.npz" for view in results.examples)}
    assert {p.name for p in path.parent.iterdir()} == kept
    back.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


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
    few, many = (pictures(evaluated(model, data, batch=b, samples=4)) for b in (2, 10))
    assert [s.name for s in few] == [s.name for s in many] == sorted({s.name for s in few})
    assert len(few) == 4 and few[0].image.shape == (8, 6, 3) and few[0].image.dtype == np.uint8
    example = data.examples["single"]["frames"][int(few[0].name), 1, 0, 0]
    np.testing.assert_allclose(few[0].image[0, 0] / 127.5 - 1, example, atol=1 / 127)


def test_stills_without_action_or_sequence():
    data = FakeData(frames=1)
    for key in ("action", "sequence", "flipped"):
        del data.examples["single"][key]
    results = evaluated(FakeModel(), data)
    assert not actions(results) and sums(results).count.sum() > 0
    assert pictures(results)[0].truth is None


def test_deephar_leaves_out_what_the_crop_does_not_show():
    model, data = FakeModel(), FakeData()
    whole = data.examples["single"]
    whole["pose"][:, :, 5, 0] = 1.2
    whole["pose"][:, :, 6, 1] = 0.0
    results = evaluated(model, data, more=(Deephar(pose=METRICS),))
    both = [sums(results, key).count[-1] for key in ("pck@0.2", "pck@0.2/deephar")]
    assert both[0].tolist() == whole["valid"][..., 0].sum((0, 1)).tolist()
    assert both[1][5] == both[1][6] == 0 and both[0][5] > 0
    assert both[1][7:].tolist() == both[0][7:].tolist()


def test_disagreements_are_problems():
    data = FakeData()
    with pytest.raises(Problem, match="predicts 13 joints and the data has 16"):
        evaluated(FakeModel(joints=13), data)
    data.examples["single"]["action"][2] = 7
    with pytest.raises(Problem, match="0002 has the action label 7"):
        evaluated(FakeModel(), data)
    broken = FakeModel()
    broken.action[...] = broken.action[...] * np.nan
    with pytest.raises(Problem, match="not finite"):
        evaluated(broken, FakeData())


def test_a_network_of_other_actions_is_scored_by_pose_alone(tmp_path):
    results = evaluated(FakeModel(num_classes=4), FakeData(), views=("single", "multi"))
    assert not actions(results) and sums(results).count.sum() > 0
    left_out = "Actions are not scored: the network's 4 classes are not the 3 of this data."
    assert left_out in results.sentences() and not any(key.startswith("accuracy") for key in results.scalars())
    assert all(sample.answer is None for sample in pictures(results))
    # as many of another name are others, too
    same, others = (evaluated(FakeModel(), FakeData(), classes=names) for names in (CLASSES, ("a", "b", "c")))
    assert actions(same) and not any("not scored" in line for line in same.sentences())
    assert not actions(others) and any("3 classes are not the 3" in line for line in others.sentences())
    data = FakeData()
    data.actions = ()
    for whole in data.examples.values():
        del whole["action"]
    quiet = evaluated(FakeModel(), data)
    assert not any("not scored" in line for line in quiet.sentences()) and pictures(quiet)[0].answer is None
    report.write(tmp_path, quiet, "stills", console=Console(quiet=True))


def test_of_several_sets_of_actions_the_datas_is_scored():
    model, data = FakeModel(), FakeData()

    class Two(FakeModel):
        def __call__(self, batch):
            preds = super().__call__(batch)
            return preds | {"action": (preds["action"][..., :2], preds["action"])}

    (alone,), (both,) = actions(evaluated(model, data)), actions(evaluated(Two(), data))
    assert both.predictions == alone.predictions
    (named,) = actions(evaluated(Two(), data, classes=(("x", "y"), CLASSES)))
    assert named.predictions == alone.predictions
    assert not actions(evaluated(Two(), data, classes=(("x", "y"), ("a", "b", "c"))))


def test_too_short_sequences_are_counted_both_ways():
    """By a network that is always wrong: deephar's rule finds it right wherever it had nothing to look at."""
    model, data = FakeModel(), FakeData()
    data.short = (1, 4, 7)
    multi = data.examples["multi"]
    logits = np.einsum("btc,kca->kba", multi["frames"][:, :, 0, 0], np.asarray(model.action[...]))[-1]
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    worst = np.stack([logs[multi["sequence"] == s].sum(0) for s in range(10)]).argmin(-1)
    multi["action"] = worst[multi["sequence"]].astype(np.int32)
    results = evaluated(model, data, metrics=(), views=("single", "multi"), more=(Deephar(),))
    scalars = results.scalars()
    assert scalars["accuracy/multi"] == 0 and scalars["accuracy/multi/deephar"] == 0.3
    assert "accuracy/single/deephar" not in scalars
    (section,) = (s for s in results.sections if s.variant == "deephar")
    assert section.json["short"]["count"] == [3, 3, 3] and section.json["state"]["total"][-1] == 3
    assert "3 sequences are too short for a clip of “multi”" in section.notes[0]


def test_sums_do_not_depend_on_order_or_on_who_counts():
    """The set in another order, and dealt to three machines whose sums are merged."""
    model = FakeModel()

    def counted(indices):
        data = FakeData(sequences=30)
        data.examples["single"] = {k: v[indices] for k, v in data.examples["single"].items()}
        results = evaluated(model, data, batch=4, more=(Deephar(pose=METRICS),))
        keys = [key for section in results.sections for key in section.json.get("sums", {})]
        assert len(keys) == 6
        return [sums(results, key) for key in keys] + [actions(results)[0].state]

    whole = counted(np.arange(30))
    shuffled = counted(np.random.default_rng(5).permutation(30))
    dealt = [counted(np.arange(30)[start::3]) for start in (2, 0, 1)]
    merged = [a.merge(b).merge(c) for a, b, c in zip(*dealt, strict=True)]
    for one, other, third in zip(whole, shuffled, merged, strict=True):
        np.testing.assert_array_equal(one.total, other.total)
        np.testing.assert_array_equal(one.total, third.total)
        np.testing.assert_array_equal(one.count, third.count)


def test_nothing_to_evaluate_is_a_problem():
    data = FakeData()
    data.examples["single"] = {k: v[:0] for k, v in data.examples["single"].items()}
    with pytest.raises(Problem, match="test split has nothing to evaluate in the single view"):
        evaluated(FakeModel(), data)
    with pytest.raises(Problem, match="nothing to evaluate"):
        evaluate.check(Eval(scorers=(Pose(),)), data)


def test_the_best_of_equals_is_the_last():
    counts = np.array([[4], [4], [4]])
    assert PoseFigure(PCK(0.2), State(np.array([[2], [3], [3]]), counts), PA16).best == 2
    assert PoseFigure(PixelError(), State(np.array([[2], [2], [3]]), counts), PA16).best == 1
    assert PoseFigure(PCK(0.2), State(counts, 0 * counts), PA16).best == 2


@pytest.mark.parametrize(
    ("count", "names"),
    [(1, "m"), (2, "head1 head2"), (3, "p1 v1 m"), (9, "p1 p2 p3 p4 v1 v2 v3 v4 m")],
)
def test_head_names(count, names):
    assert " ".join(head_names(count)) == names


def test_names_of_heads_are_explained():
    assert "p1..p4 use only poses, v1..v4 only appearance" in describe_heads(head_names(9))
    assert "p1 use only poses, v1 only appearance" in describe_heads(head_names(3))
    assert not describe_heads(("m",)) and not describe_heads(("head1", "head2"))


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
    merged = list(average_crops(iter(pairs), PA16))
    assert len(merged) == 2
    for n, (example, preds) in enumerate(merged):
        assert example is pairs[3 * n][0]
        back = geometry.apply(geometry.invert(example["affine"]), preds["pose"])
        np.testing.assert_allclose(back, expected[n], atol=1e-9)
        np.testing.assert_allclose(preds["visible"][2, 0], np.linspace(0, 1, JOINTS))


def test_a_view_of_crops_is_scored_beside_the_first(tmp_path):
    """Two identical crops of each picture: the averaged figures are those of the first view."""
    data = FakeData(sequences=6, clips=1)
    data.examples["flip"] = {k: np.repeat(v, 2, axis=0) for k, v in data.examples["single"].items()}
    results = evaluated(FakeModel(), data, metrics=(PCK(0.2), PCKh(0.5)), views=("single", "flip"), batch=5)
    scalars = results.scalars()
    assert results.examples == {"single": 6, "flip": 6}
    for name in ("pck@0.2", "pckh@0.5"):
        assert scalars[f"{name}/flip"] == scalars[name]
        assert scalars[f"{name}/flip/best"] == scalars[f"{name}/best"]
    groups = by_group(sums(results, "pckh@0.5"), PA16)
    assert scalars["pckh@0.5/flip/knee"] == groups["Knee"][-1] and "pck@0.2/knee" not in scalars
    results.save(tmp_path / "r.json")
    assert Results.load(tmp_path / "r.json").scalars() == scalars


@pytest.mark.parametrize(
    ("reduce", "clips", "winner"),
    [
        ("product", [[9.0, 5.0, 0.0], [0.0, 5.4, 6.0], [-20.0, 4.4, 5.0]], 1),  # never the first, always near it
        ("sum", [[9.0, 5.0, 0.0], [9.0, 5.0, 0.0], [-20.0, 4.4, 5.0]], 0),  # two clips of three are certain
        ("mean", [[9.0, 5.0, 0.0], [0.0, 5.4, 6.0], [-20.0, 4.4, 35.0]], 2),
    ],
)
def test_clips_of_a_sequence_vote(reduce, clips, winner):
    sums = Action(reduce).begin(Context(View("multi", "clips"), classes=CLASSES, names=("x",)))
    for logits in np.array(clips, np.float32):
        sums.add({"action": np.int32(winner), "sequence": 0}, {"action": logits[None]})
    figure = sums.figure
    assert figure.state.total.tolist() == [1] and figure.predictions[0].predicted == winner
    probabilities = np.exp(clips) / np.exp(clips).sum(-1, keepdims=True)
    expected = {
        "product": (p := np.exp(np.log(probabilities).mean(0))) / p.sum(),
        "sum": probabilities.mean(0),
        "mean": (q := np.exp(np.mean(clips, 0))) / q.sum(),
    }[reduce]
    np.testing.assert_allclose(figure.predictions[0].probability, expected[winner], rtol=1e-6)
    assert {"product": "multiplies", "sum": "adds", "mean": "averages"}[reduce] in sums.sections()[0].about[0]


def test_only_what_a_scorer_reads_is_fetched_and_in_its_own_type():
    """A network that also gives maps: they stay on the device unless a scorer asks for them."""
    fetched = []

    class Watch:
        def __init__(self, reads):
            self.reads = reads

        def begin(self, context):
            return self

        def truth(self, batch, context):
            return {}

        def add(self, example, preds):
            fetched.append({key: value.dtype.name for key, value in preds.items()})

        def sections(self):
            return []

    class Maps(FakeModel):
        def __call__(self, batch):
            pose = super().__call__(batch)["pose"]
            return {"pose": pose.astype(jnp.bfloat16), "maps": jnp.zeros((1, *pose.shape[1:]), jnp.float16)}

    for scorers in ((Watch(("maps",)),), (Watch(("pose",)), Watch(("visible",)))):
        evaluate.run(Maps(), FakeData(), Eval(scorers=scorers), progress=False)
    assert fetched[0] == {"maps": "float16"} and fetched[-1] == {"pose": "bfloat16"}


def test_a_network_that_changes_over_its_training_gets_the_step_of_its_weights():
    class Moving(Reads):
        moves = True

    class Aging(FakeModel):
        config = Moving()

        def __call__(self, batch):
            return {"action": 0 * super().__call__(batch)["action"] + batch.get("step", -1)}

    for step, found in ((None, -1), (3, 3), (9, 9)):
        pairs = evaluate.predictions(
            Aging(), FakeData(), "test", View("single", "each"), ("action",), progress=False, step=step
        )
        assert {float(preds["action"].max()) for _, preds in pairs} == {found}


def test_predictions_of_another_form_are_a_problem():
    with pytest.raises(Problem, match=r"the network's pose is \(8, 2, 16, 2\); it must be \(K, B, \.\.\.\)"):
        evaluated(lambda batch: {"pose": np.asarray(batch["pose"])}, FakeData())


def test_views_and_parts_that_do_not_exist_are_named():
    with pytest.raises(Usage, match="no view 'tripled'; it has single, multi"):
        evaluated(FakeModel(), FakeData(), views=("single", "tripled"))
    data = FakeData()
    data.parts = {"a": data}
    with pytest.raises(Usage, match="no part 'b' to evaluate; it has a"):
        evaluate.run(FakeModel(), data, Eval(part="b"))
    assert evaluate.run(FakeModel(), data, Eval(part="a", scorers=(Pose(),)), progress=False).scalars()


def test_mistakes_are_found_before_training():
    data = FakeData()
    plan = Eval(("single", "multi"), (Pose(METRICS), Action(), Samples()))
    evaluate.check(plan, data, "accuracy/single/balanced")
    with pytest.raises(Problem, match="train.best is 'pck@0.3', but the evaluation gives accuracy/single"):
        evaluate.check(plan, data, "pck@0.3")
    for whole in data.examples.values():
        del whole["norm"]
    with pytest.raises(Problem, match="PCK@0.2 needs a reference length"):
        evaluate.check(plan, data)


def test_the_truth_scores_what_the_sections_say_it_must():
    data = FakeData()
    for whole in data.examples.values():
        whole["visible"] = whole["valid"][..., 0].astype(np.float32)
    data.examples["flip"] = {k: np.repeat(v, 2, axis=0) for k, v in data.examples["single"].items()}
    plan = Eval(("single", "flip", "multi"), (Pose(METRICS), Action(), Deephar(METRICS)))
    context = evaluate.context_of(data, "test", [View("single", "each")], View("single", "each"))

    def truth(batch):
        return {key: value for scorer in plan.scorers for key, value in scorer.truth(batch, context).items()}

    results = evaluate.run(truth, data, plan, progress=False)
    bounds = {key: bound for section in results.sections for key, bound in section.if_true.items()}
    assert set(bounds) >= {"pck@0.2", "auc@0.5/flip", "error/deephar", "accuracy/single", "accuracy/multi/deephar"}
    for key, (low, high) in bounds.items():
        assert low <= results.scalars()[key] <= high, key
    learned = {key: bound for section in results.sections for key, bound in section.if_learned.items()}
    assert learned["pck@0.2"] == learned["accuracy/multi"] == (1, 1) and "auc@0.5" not in learned
    worse = evaluate.run(FakeModel(), data, plan, progress=False).scalars()
    assert not all(low <= worse[key] <= high for key, (low, high) in bounds.items())


def test_processes_with_the_same_examples_are_a_problem():
    batch = {"sequence": np.arange(2, dtype=np.int32), "mask": np.ones(2, bool), "pose": np.zeros((2, 1, 3, 2))}
    with pytest.raises(Problem, match="all 2 processes evaluate the same examples: eval_stream of the data"):
        evaluate._check_apart([batch, dict(batch)])
    evaluate._check_apart([batch, {**batch, "sequence": np.arange(2, 4, dtype=np.int32)}])
    padding = {**batch, "mask": np.zeros(2, bool)}
    evaluate._check_apart([padding, padding])
