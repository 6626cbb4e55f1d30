"""From a pickle of skeletons to a report and a network, in the forms of pyskl and of DD-Net."""

import csv
import pickle

import numpy as np
import pytest

from jaxhar.cli import main as cli
from jaxhar.core.skeleton import COCO, JHMDB
from jaxhar.data.formats import skeleton_pickle
from jaxhar.data.pyskl import folder
from jaxhar.host.errors import Problem
from jaxhar.weights import checkpoint

CLASSES = ("slow", "swift")


def poses(joints: int, count: int = 12) -> tuple[list[np.ndarray], list[str]]:
    """Clips (T, J, 2) of a figure whose upper half rises fast or slowly."""
    rng = np.random.default_rng(0)
    figure, found, labels = rng.uniform(-1, 1, (joints, 2)), [], []
    for n in range(count):
        clip = np.tile(figure + rng.normal(0, 0.05, figure.shape), (10 + n % 3, 1, 1))
        clip[:, : joints // 2, 1] += np.linspace(0, 1 if n % 2 else 0.1, len(clip))[:, None]
        found.append(clip)
        labels.append(CLASSES[n % 2])
    return found, labels


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    found, labels = poses(len(JHMDB))
    path = tmp_path_factory.mktemp("skeletons") / "set.pkl"
    path.write_bytes(pickle.dumps({"pose": found, "label": labels}))
    return path


def call(file, out, *more: str) -> int:
    words = ("--folds", "2", "--batch", "8", "--copies", "2", "--frames", "4", "--no-progress")
    return cli.main(["finetune", str(file), "--out", str(out), *words, *more])


def test_from_a_pickle_to_a_report(file, tmp_path, capsys):
    assert call(file, tmp_path / "run", "--joint-steps", "0") == 0
    said = capsys.readouterr().out
    assert "12 samples of 2 classes, folds by sample" in said and "total time: " in said
    assert "the most frequent class of the training: accuracy 50.0%" in said
    with open(tmp_path / "run" / "predictions.csv") as text:
        rows = list(csv.DictReader(text))
    assert [row["file"] for row in rows] == [f"{CLASSES[n % 2]}_{n:04d}" for n in range(12)]
    assert [row["class"] for row in rows] == [*CLASSES] * 6
    assert np.mean([row["right"] == "1" for row in rows]) >= 0.8
    assert "“baseline” is a logistic regression" in (tmp_path / "run" / "report.html").read_text()
    assert call(file, tmp_path / "other", "--weights", "pose") == 2
    assert "whose networks start from scratch: leave --weights out" in capsys.readouterr().err
    assert call(tmp_path, tmp_path / "other") == 2
    assert "--weights is needed" in capsys.readouterr().err
    for option in (["--multi"], ["--steps", "7"], ["--turn", "180"], ["--whole-picture"], ["--unfreeze"]):
        assert call(file, tmp_path / "other", *option) == 2
        assert f"{option[0]} is for videos and images, not for skeletons" in capsys.readouterr().err
    # A folder keeps to its first settings.
    assert call(file, tmp_path / "run", "--joint-steps", "0", "--seed", "1") == 1
    assert "holds a run with other settings (seed was 0, now 1)" in capsys.readouterr().err


def test_names_of_classes_are_those_of_their_labels(tmp_path):
    def names(*classes):
        return folder._class_names(tmp_path / "set.pkl", [{"label": n, "class": name} for n, name in classes], None)

    assert names((1, "b"), (0, "a")) == ("a", "b")
    assert names((1, "b"), (2, "c")) == ("class 0", "class 1", "class 2")


@pytest.mark.slow
def test_networks_learn_from_a_pickle(file, tmp_path, capsys):
    assert call(file, tmp_path / "run", "--joint-steps", "40") == 0
    said = capsys.readouterr().out
    with open(tmp_path / "run" / "predictions.csv") as text:
        rows = list(csv.DictReader(text))
    assert np.mean([row["right"] == "1" for row in rows]) >= 0.75, said
    assert rows[0].keys() >= {"predicted", "majority", "baseline", "transformer"}
    assert "“skeleton” is a small PoseConv3D" in (tmp_path / "run" / "report.html").read_text()
    model, meta = checkpoint.load_model(tmp_path / "run")
    assert meta.actions == CLASSES and meta.skeleton == JHMDB and model.config.num_frames == 4


def test_poses_without_a_picture(tmp_path):
    """They keep their shape, and lie in a square picture that holds all of them."""
    found, labels = poses(len(JHMDB), 3)
    file = tmp_path / "set.pkl"
    file.write_bytes(pickle.dumps({"pose": found, "label": labels}))
    annotations, splits = skeleton_pickle.read_all(file)
    assert not splits and [one["label"] for one in annotations] == [0, 1, 0]
    every = np.concatenate([one["keypoint"][0].reshape(-1, 2) for one in annotations])
    assert every.min() == 1 and every.max() == pytest.approx(1000)
    first, given = annotations[0]["keypoint"][0], found[0]
    sizes = np.ptp(first, (0, 1)) / np.ptp(given, (0, 1))
    assert sizes[0] == pytest.approx(sizes[1])
    assert folder.skeleton(file) == JHMDB
    for content, sentence in (
        ({"pose": found, "label": labels[:2]}, "poses and as many labels"),
        ({"pose": found, "label": [0, 1, 2]}, "sample 0 of .* has no pose of numbers, or no name of a class"),
        ({"pose": [one[0] for one in found], "label": labels}, "sample 0 of .* has a pose of shape"),
    ):
        file.write_bytes(pickle.dumps(content))
        with pytest.raises(Problem, match=sentence):
            skeleton_pickle.read_all(file)
    file.write_bytes(pickle.dumps([{"frame_dir": "a", "keypoint": np.ones((1, 4, 9, 2))}]))
    with pytest.raises(Problem, match=f"with the {len(COCO)} joints of COCO or the {len(JHMDB)} of JHMDB"):
        folder.skeleton(file)
