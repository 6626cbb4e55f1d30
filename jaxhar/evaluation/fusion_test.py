"""Fused class scores against plain NumPy, and runs that do not fit each other."""

import itertools
import pickle
import re
from dataclasses import replace

import numpy as np
import pytest

from jaxhar.cli import main as cli
from jaxhar.core.prepared import View
from jaxhar.evaluation import fusion
from jaxhar.evaluation.action import Action
from jaxhar.evaluation.fusion import Scores
from jaxhar.evaluation.results import Results
from jaxhar.evaluation.scorer import Context
from jaxhar.host.errors import Problem, Usage

N, A = 40, 6


def made(seed: int) -> Scores:
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.ones(A), N)
    names = tuple(f"video {i}" for i in range(N))
    return Scores(tuple("abcdef"), names, np.arange(N) % (A - 1), scores)  # the last class never occurs


def shuffled(one: Scores) -> Scores:
    return one.in_order_of([one.names[i] for i in np.random.default_rng(9).permutation(N)])


def test_the_sum_and_its_figures_are_those_of_numpy():
    a, b = made(0), made(1)
    total = fusion.fuse([a, shuffled(b)], [1.0, 0.5], ["a", "b"])
    expected = a.scores + 0.5 * b.scores
    np.testing.assert_allclose(total.scores, expected, rtol=0, atol=1e-12)
    found = fusion.section([a, b], total, [1.0, 0.5], ["a", "b"])
    right = expected.argmax(1) == a.labels
    assert abs(found.scalars["accuracy/fused"] - right.mean()) < 1e-12
    of_class = [right[a.labels == n].mean() for n in range(A - 1)]
    assert abs(found.scalars["accuracy/fused/balanced"] - np.mean(of_class)) < 1e-12
    assert (expected.argmax(1) == A - 1).any(), "a class that is only predicted counts 0 by mmaction2's rule"
    assert abs(found.scalars["accuracy/fused/seen"] - np.mean([*of_class, 0])) < 1e-12
    table = found.tables[0]
    assert [row[0] for row in table.rows] == ["a", "b"] and table.foot[0][0] == "sum"
    five = np.sort(expected)[:, -5] <= expected[np.arange(N), a.labels]
    assert abs(found.scalars["accuracy/fused/top5"] - five.mean()) < 1e-12
    assert table.columns[2:4] == ("top-1", "top-5") and table.foot[0][3] == f"{100 * five.mean():.1f}"


def test_of_five_classes_there_is_no_top_5():
    few = [replace(one, classes=one.classes[:5], scores=one.scores[:, :5]) for one in (made(0), made(1))]
    found = fusion.section(few, fusion.fuse(few, [1, 1], ["a", "b"]), [1, 1], ["a", "b"])
    assert "top-5" not in found.tables[0].columns and "accuracy/fused/top5" not in found.scalars


def test_what_does_not_fit_is_a_sentence():
    a, b = made(0), made(1)
    wrong = {
        "they have 6 and 5 classes": replace(b, classes=b.classes[1:], scores=b.scores[:, 1:]),
        "e.g. 'a' where the second has 'z'": replace(b, classes=("z", *b.classes[1:])),
        "they have 40 and 39 samples": replace(b, names=b.names[1:], labels=b.labels[1:], scores=b.scores[1:]),
        "1 samples of the first are not in the second, e.g. video 3": replace(
            b, names=tuple(name.replace("video 3", "x") if name == "video 3" else name for name in b.names)
        ),
        "samples of b have the same name": replace(b, names=("video 1", *b.names[1:])),
        "1 samples have another label, e.g. video 0": replace(b, labels=np.r_[1, b.labels[1:]]),
    }
    for sentence, other in wrong.items():
        with pytest.raises(Problem, match=f"^a and b cannot be added.*{sentence}"):
            fusion.fuse([a, other], [1, 1], ["a", "b"])
    for weights in ([1], [0, 0], [1, np.nan]):
        with pytest.raises(Usage, match="--weights must be 2 numbers"):
            fusion.fuse([a, b], weights, ["a", "b"])


@pytest.mark.parametrize("reduce", ["sum", "product"])
def test_an_evaluation_keeps_the_scores_of_its_videos(tmp_path, reduce):
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(3, 4, 2, 5))  # videos, clips, heads, classes
    sums = Action(reduce).begin(Context(View("multi", "clips"), classes=tuple("vwxyz"), names=tuple("abc")))
    for n, clip in np.ndindex(3, 4):
        sums.add({"action": n, "sequence": n}, {"action": logits[n, clip]})
    Results("test", {"multi": 12}, tuple(sums.sections())).save(tmp_path / "results.json")
    kept = fusion.read(tmp_path / "scores_multi.npz")
    last = logits[:, :, 1]
    probabilities = np.exp(last) / np.exp(last).sum(-1, keepdims=True)
    expected = probabilities.mean(1) if reduce == "sum" else np.exp(np.log(probabilities).mean(1))
    np.testing.assert_allclose(kept.scores, expected / expected.sum(-1, keepdims=True), rtol=0, atol=1e-12)
    assert kept.names == tuple("abc") and kept.classes == tuple("vwxyz") and kept.labels.tolist() == [0, 1, 2]
    assert Results.load(tmp_path / "results.json").scalars() == {
        key: v for key, v in sums.sections()[0].scalars.items()
    }


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("scores", np.full((4, 3), np.nan), "scores of shape .4, 3., which are not finite"),
        ("scores", np.full((4, 3), np.inf), ".*not finite"),
        ("scores", np.full((4, 3), "1"), ".*not finite"),
        ("scores", np.full((4, 3), 1j), ".*not finite"),
        ("scores", np.array(2.0), "scores of shape .., which"),
        ("scores", np.zeros((4, 0)), "scores of shape .4, 0., which"),
        ("labels", np.array([0, 1, 2, 7]), "labels that are not one whole number from 0 to 2 for each of 4 samples"),
        ("labels", np.array([0, 1, -1, 0]), "labels that"),
        ("labels", np.array([0, 1, 2.5, 0]), "labels that"),
        ("labels", np.array(list("abca")), "labels that"),
        ("labels", np.array(3), "labels that"),
        ("labels", np.zeros((4, 2), int), "labels that"),
        ("names", np.full((4, 2), "a"), "names that are not one text for each of 3 classes and 4 samples"),
        ("names", np.array(4), "names that"),
        ("classes", np.array("abc"), "names that"),
        ("classes", np.arange(3), "names that"),
    ],
)
def test_arrays_that_are_no_scores_are_refused(tmp_path, key, value, sentence):
    arrays = {"classes": np.array(list("abc")), "names": np.array(list("wxyz")), "labels": np.array([0, 1, 2, 0])}
    arrays["scores"] = np.ones((4, 3), np.float16)
    np.savez(tmp_path / "scores.npz", **arrays)
    assert fusion.read(tmp_path / "scores.npz").scores.dtype == np.float64
    np.savez(tmp_path / "scores.npz", **arrays | {key: value})
    with pytest.raises(Problem, match=f"scores.npz holds {sentence}.*; evaluate again"):
        fusion.read(tmp_path / "scores.npz")


def test_one_array_is_no_score_file(tmp_path):
    np.save(tmp_path / "scores.npy", np.ones(3))
    with pytest.raises(Problem, match="holds no class scores"):
        fusion.read((tmp_path / "scores.npy").rename(tmp_path / "scores.npz"))


def run(*words) -> int:
    return cli.main(["evaluate", *map(str, words)])


def write(folder, scores: Scores, view: str = "multi"):
    folder.mkdir(exist_ok=True)
    np.savez(folder / f"scores_{view}.npz", **scores.arrays())
    return folder


def test_the_command_adds_runs_and_score_files(tmp_path, capsys):
    a, b = write(tmp_path / "joint", made(0)), write(tmp_path / "limb", made(1))
    assert run("--runs", a, b, "--weights", 2, 1, "--out", tmp_path / "sum") == 0
    table = capsys.readouterr().out
    assert "joint" in table and "limb" in table and "sum" in table
    total = fusion.read(tmp_path / "sum" / "scores_fused.npz")
    np.testing.assert_allclose(total.scores, 2 * made(0).scores + made(1).scores, rtol=0, atol=1e-12)
    assert (tmp_path / "sum" / "report.html").is_file()

    dumped = [
        {"gt_label": label[None], "pred_score": score}
        for label, score in zip(made(1).labels, made(1).scores, strict=True)
    ]
    (tmp_path / "mm.pkl").write_bytes(pickle.dumps(dumped))
    assert run("--runs", a, tmp_path / "mm.pkl") == 0
    assert run("--runs", tmp_path / "sum" / "scores_fused.npz", tmp_path / "mm.pkl", "--weights", 1, -1) == 0


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    a, b = write(tmp_path / "joint", made(0)), write(tmp_path / "limb", made(1), "single")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    whole = (a / "scores_multi.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    for name, content in {
        "list": [1, 2],
        "dict": {"a": 1},
        "label": [{"gt_label": 7, "pred_score": np.ones(3) / 3}],
        **{f"label{n}": [{"gt_label": one, "pred_score": np.ones(3)}] for n, one in enumerate(("a", {"a": 1}, 1.7))},
        **{f"score{n}": [{"gt_label": 0, "pred_score": one}] for n, one in enumerate(("a", ["1"], [[1], [2, 3]]))},
    }.items():
        (tmp_path / f"{name}.pkl").write_bytes(pickle.dumps(content))
    wrong = {
        (a, b): "no view in common: multi, single",
        (a, tmp_path / "empty"): "empty holds no class scores; evaluate it with python launch.py",
        (a, "--view", "flip"): "has no scores of the view 'flip'; it has multi",
        (a, a): "names a run twice",
        (a, tmp_path / "gone"): "there is no run or score file",
        (a, tmp_path / "cut.npz"): "cut.npz holds no class scores of an evaluation",
        (a, tmp_path / "bad.npz"): "holds no class scores of an evaluation",
        (a, tmp_path / "list.pkl"): "sample 0 of .*list.pkl has no pred_score",
        (a, tmp_path / "dict.pkl"): "holds no list of scores",
        (a, tmp_path / "label.pkl"): "sample 0 of .*label.pkl has no pred_score",
        **{
            (a, tmp_path / f"{key}{n}.pkl"): f"sample 0 of .*{key}{n}.pkl has no pred_score"
            for key, n in itertools.product(("label", "score"), range(3))
        },
        (a, "--weights", 1, 2): "--weights must be 1 numbers",
    }
    for words, sentence in wrong.items():
        assert run("--runs", *words) in (1, 2), words
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
        assert re.search(sentence, error), error
