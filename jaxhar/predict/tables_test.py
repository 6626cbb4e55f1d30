import csv
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from jaxhar.cli.predict import formats
from jaxhar.host.errors import Usage
from jaxhar.predict.persons_test import HALF, LOWER, UPPER, FindsFigures, film
from jaxhar.predict.predictor_test import ACTIONS, OFFSETS, go


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    source = film(folder / "a.mp4", UPPER, LOWER)
    forms = ["mot", "trajectories", "pyskl"]
    summary, _, _ = go(source, folder / "out", 4, detector=FindsFigures(), forms=forms)
    written = {path.name for path in summary.files}
    assert written >= {"mot.txt", "trajectories.csv", "pyskl.pkl", "segments.csv", "actions.csv", "poses.json"}
    return folder / "out"


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_trajectories(results):
    found = rows(results / "trajectories.csv")
    assert len(found) == 40 * 2 * 5
    one = next(row for row in found if row["frame"] == "7" and row["person"] == "2")
    np.testing.assert_allclose([float(one["x"]), float(one["y"])], OFFSETS[0] + LOWER[7], atol=1.5)
    assert one["time"] == "0.350000" and float(one["confidence"]) == 1 and one["z"] == ""


def test_mot(results):
    lines = [[float(v) for v in line.split(",")] for line in (results / "mot.txt").read_text().splitlines()]
    assert len(lines) == 80 and all(len(line) == 10 for line in lines)
    frame, who, x, y, width, height, score, *_ = lines[1]
    assert (frame, who, score) == (1, 2, 1)
    middle = OFFSETS.min(0) / 2 + OFFSETS.max(0) / 2 + LOWER[0]
    np.testing.assert_allclose([x + width / 2, y + height / 2], middle, atol=1.5)
    np.testing.assert_allclose([width, height], 2 * np.array(HALF))  # the detector's box, not one about the joints


def test_pyskl(results):
    content = pickle.loads((results / "pyskl.pkl").read_bytes())
    (one,) = content["annotations"]
    assert content["split"] == {"all": ["a"]} and one["frame_dir"] == "a" and one["total_frames"] == 40
    assert one["keypoint"].shape == (2, 40, 5, 2) and one["keypoint_score"].shape == (2, 40, 5)
    np.testing.assert_allclose(one["keypoint"][0, 9], OFFSETS + UPPER[9], atol=1.5)


def test_segments_cover_what_each_person_does(results):
    found = rows(results / "segments.csv")
    poses = json.loads((results / "poses.json").read_text())
    for who in (1, 2):
        mine = [row for row in found if row["person"] == str(who)]
        assert mine[0]["start_frame"] == "0" and mine[-1]["end_frame"] == "39"
        for row, following in zip(mine, mine[1:], strict=False):
            assert int(following["start_frame"]) == int(row["end_frame"]) + 1 and following["action"] != row["action"]
        for row in mine:
            assert row["action"] in ACTIONS
            span = poses["frames"][int(row["start_frame"]) : int(row["end_frame"]) + 1]
            shown = [p["action"] for frame in span for p in frame["persons"] if p["id"] == who]
            assert {action["name"] for action in shown} == {row["action"]}
            mean = np.mean([action["probability"] for action in shown])
            assert float(row["probability"]) == pytest.approx(mean, abs=1e-3)


def test_words_of_the_option():
    assert formats("json, mot") == ["json", "mot"]
    with pytest.raises(Usage, match="--format 'xml' is not known; there are json, coco, trajectories, mot, pyskl"):
        formats("xml")
