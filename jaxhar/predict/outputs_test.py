import json
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from jaxhar.core.skeleton import PENN
from jaxhar.data.formats.source import Images
from jaxhar.data.formats.video import Frame, Video
from jaxhar.data.formats.writer import VideoWriter
from jaxhar.models.reception.network import ReceptionConfig
from jaxhar.predict import outputs as results
from jaxhar.predict.frame_result import Clip, FrameResult, normalised
from jaxhar.viz import draw as viz

META = SimpleNamespace(skeleton=PENN, actions=("a", "b"), config=ReceptionConfig())


def result(index: int, probability: float) -> FrameResult:
    action = np.array([probability, 1 - probability])
    clip = Clip(np.array([index]), action)
    return FrameResult(index, np.array([0.0, 0, 9, 9]), np.full((13, 2), 4.0), np.ones(13), action, [clip])


def frame(index: int, path: Path) -> Frame:
    return Frame(index, index / 10, path, np.zeros((20, 30, 3), np.uint8))


def video_source(folder: Path) -> Video:
    with VideoWriter(folder / "in.mp4", Fraction(10), 30, 20) as writer:
        writer.write(np.zeros((20, 30, 3), np.uint8), 0.0)
    return Video(folder / "in.mp4")


def test_nothing_has_its_name_before_the_end(tmp_path: Path):
    source, out = video_source(tmp_path), tmp_path / "out"
    with results.Outputs(out, source, source.path, META) as outputs:
        outputs.begin([0.0, 0.1])
        for i in range(2):
            outputs.add(frame(i, source.path), [result(i, 0.8)])
            assert all(p.name.endswith(".tmp") for p in out.iterdir())
        outputs.finish()
    assert sorted(outputs.files) == sorted(out.iterdir())
    assert sorted(p.name for p in outputs.files) == ["actions.csv", "overlay.mp4", "poses.json", "segments.csv"]
    tracks = json.loads((out / "poses.json").read_text())["tracks"]
    assert tracks == [{"id": 1, "first": 0, "last": 1, "action": "a", "probability": pytest.approx(0.8)}]


def test_left_without_finish_it_removes_what_it_began(tmp_path: Path):
    source = video_source(tmp_path)
    with results.Outputs(tmp_path / "out", source, source.path, META) as outputs:
        outputs.begin([0.0])
        outputs.add(frame(0, source.path), [result(0, 0.5)])
    assert outputs.files == () and not list((tmp_path / "out").iterdir())


def test_missing_numbers_are_null_in_the_json(tmp_path: Path):
    Image.new("RGB", (30, 20)).save(tmp_path / "x.png")
    source = Images([tmp_path / "x.png"])
    lost = result(0, 0.5)
    lost.pose[3] = np.nan
    with results.Outputs(tmp_path / "out", source, tmp_path, META) as outputs:
        outputs.begin([0.0])
        outputs.add(frame(0, tmp_path / "x.png"), [lost])
        outputs.finish()
    entry = json.loads((tmp_path / "out" / "poses.json").read_text())["frames"][0]
    assert entry["persons"][0]["joints"][3:5] == [[None, None], [4.0, 4.0]] and (entry["width"], entry["height"]) == (
        30,
        20,
    )


def test_depth_is_not_rounded_like_pixels(tmp_path: Path):
    Image.new("RGB", (30, 20)).save(tmp_path / "x.png")
    source = Images([tmp_path / "x.png"])
    deep = result(0, 0.5)
    deep.pose = np.tile([4.126, 5.0, 0.51239], (13, 1))
    with results.Outputs(tmp_path / "out", source, tmp_path, META) as outputs:
        outputs.begin([0.0])
        outputs.add(frame(0, tmp_path / "x.png"), [deep])
        outputs.finish()
    entry = json.loads((tmp_path / "out" / "poses.json").read_text())["frames"][0]
    assert entry["persons"][0]["joints"][0] == [4.13, 5.0, 0.5124]


def test_joints_that_are_not_seen_are_marked_and_not_drawn(tmp_path: Path):
    Image.new("RGB", (30, 20)).save(tmp_path / "x.png")
    source = Images([tmp_path / "x.png"])
    partly = result(0, 0.5)
    partly.pose[:] = np.random.default_rng(0).uniform(2, 18, (13, 2))
    partly.confidence[5:] = 0.2
    with results.Outputs(tmp_path / "out", source, tmp_path, META) as outputs:
        outputs.begin([0.0])
        outputs.add(frame(0, tmp_path / "x.png"), [partly])
        outputs.finish()
    (person,) = json.loads((tmp_path / "out" / "poses.json").read_text())["frames"][0]["persons"]
    assert person["unseen"] == list(PENN.joints[5:]) and person["confidence"] == [1.0] * 5 + [0.2] * 8
    all_drawn = viz.draw_skeleton(np.zeros((20, 30, 3), np.uint8), partly.pose, PENN, np.ones(13))
    drawn = np.asarray(Image.open(tmp_path / "out" / "x.png"))
    x, y = np.round(partly.pose[12]).astype(int)
    assert all_drawn[y, x].any() and outputs.tally.empty == 0
    assert (drawn > 0).sum() != (all_drawn > 0).sum()


def test_opposite_clips_cancel_out_and_certain_ones_do_not_overflow():
    logs = np.log(np.array([[0.9, 0.1], [0.1, 0.9]]))
    np.testing.assert_allclose(normalised(logs.mean(0)), [0.5, 0.5])
    np.testing.assert_allclose(normalised(np.array([-2000.0, 0])), [0, 1])
