import numpy as np
import pytest

from jaxhar.core.skeleton import PA16
from jaxhar.evaluation.action import Prediction
from jaxhar.finetune import folds
from jaxhar.finetune import joint_regression as baseline
from jaxhar.host.errors import Problem, Usage

CLASSES = ("a", "b")


def test_nobody_is_in_two_folds_and_every_class_is_in_every_training_part():
    rng = np.random.default_rng(0)
    labels, groups = np.repeat([0, 1], 30), rng.integers(0, 12, 60)
    parts, fewer = folds.split(labels, groups, 5, CLASSES)
    assert len(parts) == 5 and not fewer
    assert sorted(n for part in parts for n in part) == list(range(60))
    for part in parts:
        rest = np.setdiff1d(np.arange(60), part)
        assert not set(groups[[*part]]) & set(groups[rest])
        assert set(labels[rest]) == {0, 1}
    assert folds.split(labels, groups, 5, CLASSES)[0] == parts
    assert folds.split(labels, groups, 5, CLASSES, seed=1)[0] != parts


def test_too_few_people_make_fewer_folds():
    parts, fewer = folds.split(np.array([0, 1, 0, 1, 0, 1]), np.array([0, 0, 1, 1, 2, 2]), 5, CLASSES)
    assert len(parts) == 3 and "3 folds instead of 5: the 6 clips are of 3 persons" in fewer
    # b has two people: were both tested on at once, nobody of b would be left to train on
    labels, groups = np.array([0] * 8 + [1] * 2), np.arange(10)
    parts, _ = folds.split(labels, groups, 10, CLASSES)
    assert all(not {8, 9} <= set(part) for part in parts)


@pytest.mark.parametrize(
    ("labels", "groups", "count", "error", "sentence"),
    [
        ([0, 0, 1, 1], [0, 1, 2, 2], 2, Problem, "all clips of the class b are of one person"),
        ([0, 1, 1], [0, 1, 2], 2, Problem, "3 clips of 2 classes are too few"),
        ([0, 0, 1, 1], [0, 1, 2, 3], 1, Usage, "at least 2"),
    ],
)
def test_what_cannot_be_divided(labels, groups, count, error, sentence):
    with pytest.raises(error, match=sentence):
        folds.split(np.array(labels), np.array(groups), count, CLASSES)


def test_answers_of_all_folds_together(tmp_path, capsys):
    def fold(*answers):
        network = folds.result("network", ("m",), [Prediction(*a, 0.9) for a in answers], 2)
        plain = folds.result("baseline", ("m",), [Prediction(name, true, 0, 0.6) for name, true, _ in answers], 2)
        return plain, network

    names = ["a/1.mp4", "a/2.mp4", "a/3.mp4", "b/1.mp4"]
    found = [fold(("a/2.mp4", 0, 0), ("b/1.mp4", 1, 0)), fold(("a/1.mp4", 0, 0), ("a/3.mp4", 0, 0))]
    for k, figures in enumerate(found):
        folds.save(tmp_path / str(k) / "answers.json", figures)
    loaded = [folds.load(tmp_path / str(k) / "answers.json") for k in range(2)]
    plain, network = folds.pooled(loaded, names)
    assert [p.sequence for p in network.predictions] == names
    assert network.confusion.tolist() == [[3, 0], [1, 0]] and network.state.total.tolist() == [3]
    assert network.balanced == 0.5 and plain.state.count.tolist() == [4]
    # Wilson's interval of 3 in 4, by its formula
    z, n, p = 1.959964, 4, 0.75
    middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    np.testing.assert_allclose(network.interval, np.array([middle - half, middle + half]) / (1 + z * z / n), rtol=1e-6)

    persons = ["anna", "ben", "anna", "ben"]
    folds.write_predictions(tmp_path / "p.csv", (plain, network), CLASSES, [(1, 3), (0, 2)], persons)
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert lines[0] == "file,person,class,fold,predicted,probability,right,baseline"
    assert lines[1] == "a/1.mp4,anna,a,2,a,0.900,1,a" and lines[4] == "b/1.mp4,ben,b,1,a,0.900,0,a"
    table = folds.by_person((plain, network), persons)
    assert table.columns == ("person", "clips", "baseline", "network")
    assert table.rows == (("anna", "2", "100.0", "100.0"), ("ben", "2", "50.0", "50.0"))
    assert folds.by_person((network,), ["a", "b", "c", "d"]) is None
    folds.print_figures((plain, network), CLASSES, tmp_path, persons)
    said = capsys.readouterr().out
    assert "by person or source video: ben 50.0 % of 2, anna 100.0 % of 2" in said
    assert "network: accuracy 75.0%" in said and "balanced accuracy (mean of the classes' accuracies) 50.0%" in said
    assert f"{tmp_path / 'b' / '1.mp4'}: true b, predicted a" in said
    folds.print_figures((plain, network), CLASSES, tmp_path / "p.csv", persons)  # its paths count from its folder
    assert f"{tmp_path / 'b' / '1.mp4'}: true b, predicted a" in capsys.readouterr().out
    (tmp_path / "0" / "answers.json").write_text("[{}]")
    with pytest.raises(Problem, match="answers.json does not hold the results of a fold"):
        folds.load(tmp_path / "0" / "answers.json")


def test_features_do_not_depend_on_place_and_size():
    rng = np.random.default_rng(0)
    pose = rng.uniform(0.3, 0.7, (8, 16, 2))
    np.testing.assert_allclose(
        baseline.features(pose, PA16), baseline.features(0.5 * pose + 0.1, PA16), rtol=1e-6, atol=1e-9
    )
    assert not np.allclose(baseline.features(pose, PA16), baseline.features(pose[::2], PA16))
    assert np.isfinite(baseline.features(np.full((1, 16, 2), 0.5), PA16)).all()


def test_baseline_learns_and_knows_classes_it_never_saw():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 2], 20)
    vectors = rng.normal(size=(40, 5)) + 3 * labels[:, None] * [1, 0, 0, 0, 0]
    found = baseline.probabilities(baseline.fit(vectors, labels), vectors, 3)
    assert (found.argmax(1) == labels).all() and not found[:, 1].any()
    np.testing.assert_allclose(found.sum(1), 1)
