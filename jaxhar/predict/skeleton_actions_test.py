"""Actions by the joints of a video: of each person and of the scene, over time, and what does not fit."""

import csv
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from flax import nnx

import jaxhar
from jaxhar import zoo
from jaxhar.cli import main as cli
from jaxhar.core.skeleton import COCO, PA16, Skeleton
from jaxhar.data.formats.video import Video
from jaxhar.data.formats.writer import write_png
from jaxhar.host.errors import Problem, Usage
from jaxhar.models.poseconv.network import PoseConvConfig
from jaxhar.predict import predictor, skeleton_actions
from jaxhar.predict.data_set_skeletons_test import FINDS, FindsCoco
from jaxhar.predict.joints import Joints
from jaxhar.predict.options import Options
from jaxhar.predict.persons_test import LOWER, UPPER, FindsFigures, film, line
from jaxhar.predict.predictor_test import rows_of
from jaxhar.predict.skeleton_actions import SkeletonActions, person_windows, scene_windows
from jaxhar.predict.task import Task
from jaxhar.weights import checkpoint

CONFIG = PoseConvConfig(base=4, blocks=(1, 1, 1), size=8, eval_size=8, num_frames=6, num_actions=3)
CLASSES = ("right", "left", "together")
SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "poses.schema.json").read_text())


def sees(model, inputs):
    """Stands for a network: two persons are together; one goes to the right or to the left in the window."""
    there = inputs["score"].any(-1)  # (B, T, M)
    x = (inputs["points"][..., 0] * inputs["score"]).sum((2, 3)) / np.maximum(inputs["score"].sum((2, 3)), 1e-9)
    kind = np.where(x[:, -1] > x[:, 0], 0, 1)
    kind = np.where(there.all(-1).any(1), 2, kind)
    return {"action": 0.8 * np.eye(3)[kind][None] + 0.2 / 3}


def network(seconds: float = 1.0) -> SkeletonActions:
    meta = checkpoint.Meta(COCO, CLASSES, CONFIG)
    return SkeletonActions(Path("skeletons"), nnx.Module(), meta, seconds)


def go(source: Path, out: Path, monkeypatch, detector=None, familiar=None, seconds: float = 1.0):
    monkeypatch.setattr(skeleton_actions, "infer", sees)
    finds = FindsCoco()
    meta = checkpoint.Meta(COCO, CLASSES, FINDS)
    settings = {"detector": detector, "familiar": familiar, "skeletons": network(seconds)}
    task = Task(Video(source), source, finds, meta, Options(), **settings)
    summary = predictor.write(task, out, forms=(), made_by=None, progress=None)
    return summary, json.loads((out / "poses.json").read_text())


def test_what_one_person_does_over_time(tmp_path, monkeypatch):
    way = [*line((80, 100), (4, 0), 40), *line((240, 100), (-4, 0), 40)]
    summary, poses = go(film(tmp_path / "a.mp4", way), tmp_path / "out", monkeypatch)
    segments = rows_of(tmp_path / "out" / "segments.csv")
    assert [(row["person"], row["action"]) for row in segments] == [("1", "right"), ("1", "left")]
    assert abs(int(segments[1]["start_frame"]) - 40) <= 10, "half a window"
    rows = rows_of(tmp_path / "out" / "actions.csv")
    starts = [int(row["start_frame"]) for row in rows]
    assert starts == list(range(0, 61, 10)) and all(int(r["end_frame"]) - int(r["start_frame"]) == 19 for r in rows)
    assert rows[0]["action"] == "right" and float(rows[0]["probability"]) == pytest.approx(0.8 + 0.2 / 3, abs=1e-6)
    assert poses["frames"][5]["persons"][0]["action"]["name"] == "right"
    assert poses["frames"][75]["persons"][0]["action"]["name"] == "left"
    assert "scene" not in poses and summary.scene is None
    assert summary.action in ("right", "left") and poses["tracks"][0]["action"] == summary.action


def test_several_persons_and_the_scene(tmp_path, monkeypatch):
    lower = [*LOWER, *[None] * 20]
    upper = [*UPPER, *line((236, 80), (4, 0), 20)]
    source = film(tmp_path / "a.mp4", upper, lower)
    summary, poses = go(source, tmp_path / "out", monkeypatch, FindsFigures())
    jsonschema.validate(poses, SCHEMA)
    assert {who: person[2] for who, person in summary.persons.items()} == {1: "right", 2: "left"}
    assert summary.scene[0] == "together" and poses["scene"]["name"] == "together"
    assert [track["id"] for track in poses["tracks"]] == [1, 2], "the scene is no person"
    named = [[one["action"]["name"] for one in poses["frames"][t]["persons"]] for t in (10, 55)]
    assert named == [["right", "left"], ["right"]]
    assert poses["frames"][10]["scene"]["name"] == "together" and poses["frames"][58]["scene"]["name"] == "right"
    rows = rows_of(tmp_path / "out" / "actions.csv")
    assert {row["person"] for row in rows} == {"1", "2", "scene"}
    segments = [(row["person"], row["action"]) for row in rows_of(tmp_path / "out" / "segments.csv")]
    assert ("scene", "together") in segments and ("scene", "right") in segments and ("2", "left") in segments
    assert Video(tmp_path / "out" / "overlay.mp4").total == 60


def test_who_looks_unfamiliar_has_no_action(tmp_path, monkeypatch):
    source = film(tmp_path / "a.mp4", UPPER)
    summary, poses = go(source, tmp_path / "out", monkeypatch, familiar=lambda crops: np.zeros(len(crops), bool))
    assert summary.action is None and summary.unfamiliar == 40
    assert all("action" not in one for frame in poses["frames"] for one in frame["persons"])
    assert rows_of(tmp_path / "out" / "segments.csv") == [] == rows_of(tmp_path / "out" / "actions.csv")


def test_in_memory_as_in_the_files(tmp_path, monkeypatch):
    monkeypatch.setattr(skeleton_actions, "infer", sees)
    finds = FindsCoco()
    monkeypatch.setattr(predictor, "infer", lambda model, frames: finds(frames))
    monkeypatch.setattr(checkpoint, "sha256", lambda model: "0" * 64)
    meta = checkpoint.Meta(COCO, (), FINDS)
    net = predictor.LoadedNetwork(Path("pose"), nnx.Module(), meta, network())
    source = film(tmp_path / "a.mp4", UPPER)
    result = net.predict(source)
    assert result.action == "right" and result.scene == (None, None) and [s.action for s in result.segments] == [0]
    assert result.made_by["settings"]["actions"] == "skeletons" and result.made_by["settings"]["window"] == 1.0
    result.save(tmp_path / "saved")
    summary = net.write(source, tmp_path / "written", Options())
    assert summary.action == "right"
    for name in ("poses.json", "actions.csv", "segments.csv"):
        assert (tmp_path / "saved" / name).read_bytes() == (tmp_path / "written" / name).read_bytes()


def joints(*there: list[int], frames: int = 60) -> Joints:
    """Persons in the frames from the first to before the last number."""
    score = np.zeros((len(there), frames, 17))
    for m, (start, end) in enumerate(there):
        score[m, start:end] = 0.5 + 0.1 * m
    points = np.ones((*score.shape, 2))
    return Joints(tuple(range(1, len(there) + 1)), points, score, np.zeros(score.shape[:2], bool))


def test_windows_slide_over_those_who_are_there():
    found = joints([0, 60], [25, 40])
    windows = person_windows(found, 20)
    assert [(w.who, w.start, w.end) for w in windows] == [
        *((1, start, start + 20) for start in (0, 10, 20, 30, 40)),
        (2, 25, 40),
    ]
    found.score[0, 22:52] = 0  # away for a while
    assert [(w.who, w.start) for w in person_windows(found, 20)] == [(1, 0), (1, 10), (2, 25)]
    found.strange[1, 25:34] = True
    assert [w.who for w in person_windows(found, 20)] == [1, 1]


def test_the_scene_is_that_of_the_persons_with_the_largest_scores():
    found = joints([0, 60], [0, 60], [30, 60])
    assert [(w.start, w.persons.tolist()) for w in scene_windows(found, 30, 2)] == [
        (0, [0, 1]),
        (15, [0, 1]),
        (30, [1, 2]),
    ]
    found.strange[1] = True
    assert [w.persons.tolist() for w in scene_windows(found, 60, 2)] == [[0, 2]]
    assert not scene_windows(joints([0, 0]), 30, 2)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A pose network with MPII's joints and a PoseConv3D, both with random weights."""
    folder = tmp_path_factory.mktemp("weights")
    pose = zoo.create(zoo.tiny("reception-mpii"), rngs=nnx.Rngs(3))
    checkpoint.save_model(folder / "pose", pose, PA16, ())
    checkpoint.save_model(folder / "few", pose, Skeleton("few", tuple(f"j{i}" for i in range(16))), ())
    checkpoint.save_model(folder / "actions", zoo.create(CONFIG), COCO, CLASSES)
    checkpoint.save_model(folder / "transformer", zoo.create(zoo.tiny("skeleton-transformer-ntu")), None, ())
    film(folder / "a.mp4", UPPER[:24])
    return folder


def test_the_command(weights, tmp_path, capsys):
    words = ["predict", str(weights / "a.mp4"), "--weights", str(weights / "pose"), "--no-progress"]
    out = ["--out", str(tmp_path / "out")]
    assert cli.main([*words, *out, "--actions", str(weights / "actions"), "--window", "0.5"]) == 0
    told = capsys.readouterr().out
    assert "the joints nose, l_eye, r_eye, l_ear, r_ear have score 0: the pose network lacks them" in told
    poses = json.loads((tmp_path / "out" / "poses.json").read_text())
    jsonschema.validate(poses, SCHEMA)
    assert poses["actions"] == list(CLASSES) and poses["made_by"]["settings"]["window"] == 0.5
    with open(tmp_path / "out" / "actions.csv") as file:
        assert {row["action"] for row in csv.DictReader(file)} <= {*CLASSES}
    write_png(tmp_path / "a.png", np.zeros((40, 40, 3), np.uint8))
    wrong = (
        ([*words, "--actions", str(weights / "transformer")], "reads points: actions are named by a network on joints"),
        ([*words, "--actions", str(weights / "gone")], "no model at"),
        ([*words, "--actions", str(weights / "actions"), "--window", "0"], "--window must be"),
        ([*words, "--window", "2"], "--window is the length"),
        ([*words, "--actions", str(weights / "actions"), "--maps"], "predicts no heat maps"),
        (
            [*words[:2], "--weights", str(weights / "few"), "--actions", str(weights / "actions"), "--no-progress"],
            r"the pose network's 16 joints (few) and the 17 of coco have 0 in common, at least 12 are needed",
        ),
        (
            ["predict", str(tmp_path / "a.png"), *words[2:], "--actions", str(weights / "actions")],
            "a.png is none",
        ),
    )
    for call, sentence in wrong:
        assert cli.main([*call, *out]) in (1, 2), call
        error = capsys.readouterr().err
        assert sentence in error and error.count("\n") == 1, error


def test_what_does_not_fit_is_told_from_python(weights):
    with pytest.raises(Usage, match="--window must be a number of seconds above 0"):
        jaxhar.load(weights / "pose", weights / "actions", window=-1)
    with pytest.raises(Problem, match="0 in common"):
        jaxhar.load(weights / "few", weights / "actions")
