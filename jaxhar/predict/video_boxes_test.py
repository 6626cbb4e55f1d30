"""Boxes of persons for a folder of videos, in dmae_st's pickles and ours, and the pickles of the original."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from jaxhar.cli import main as cli
from jaxhar.data.formats import box_pickle
from jaxhar.data.formats.picture import read_image
from jaxhar.data.formats.video import Frame, Video
from jaxhar.host.errors import Problem
from jaxhar.predict import video_boxes
from jaxhar.predict.box_files import BoxFile
from jaxhar.predict.persons_test import LOWER, UPPER, FindsFigures, film

GOLDEN = Path(__file__).parents[2] / "parity_tests" / "golden_video"


@pytest.mark.parametrize("name", ["kinetics_boxes", "kinetics_boxes_numpy1"])
def test_the_pickle_of_the_original_has_the_persons_that_its_detector_found(name):
    said = json.loads((GOLDEN / "kinetics_boxes.json").read_text())
    found = box_pickle.read(GOLDEN / f"{name}.pkl")
    assert len(found) == len(said["detector"])
    for boxes, frame in zip(found, said["detector"], strict=True):
        kept = [
            [*box, score]
            for box, label, score in zip(frame["boxes"], frame["labels"], frame["scores"], strict=True)
            if label == 1 and score >= box_pickle.LEAST
        ]
        np.testing.assert_allclose(boxes, np.reshape(kept, (-1, 5)), atol=1e-4)


def test_pickles_of_tensors_by_picture_are_read():
    found = BoxFile(GOLDEN / "imagenet_boxes_n01440764.pkl")
    image = np.zeros((4000, 4000, 3), np.uint8)
    boxes, scores = found.at(Frame(0, 0.0, Path("n01440764_0.JPEG"), image))
    assert boxes.shape == (4, 4) and scores.shape == (4,)
    assert found.at(Frame(1, 0.0, Path("n01440764_1.JPEG"), image))[0].shape == (0, 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("boxes") / "videos"
    (root / "val" / "run").mkdir(parents=True)
    film(root / "val" / "run" / "two.mp4", UPPER[:6], [*LOWER[:3], None, None, None])
    film(root / "val" / "run" / "none.mp4", [None] * 3)
    film(root / "upper.mp4", UPPER[:4])
    (root / "upper.avi").write_bytes(b"no video")
    return root


def test_both_forms_say_the_same(folder, tmp_path):
    told = video_boxes.run(folder, tmp_path / "p", FindsFigures(), sheets=3, progress=False)
    assert told.made == 3 and len(told.broken) == 1 and "upper.avi" in told.broken[0]
    video_boxes.run(folder, tmp_path / "j", FindsFigures(), form="json", sheets=0, progress=False)
    place = Path("val/run/two")
    theirs, ours = BoxFile(tmp_path / "p" / f"{place}.pkl"), BoxFile(tmp_path / "j" / f"{place}.json")
    detector = FindsFigures()
    for frame in Video(folder / f"{place}.mp4").frames():
        (a, scores), (b, same) = theirs.at(frame), ours.at(frame)
        expected, sure = detector.boxes(frame.image)
        assert len(a) == len(expected) == (2 if frame.index < 3 else 1)
        for boxes, score in ((a, scores), (b, same)):
            np.testing.assert_allclose(boxes, expected, atol=0.02)
            np.testing.assert_allclose(score, sure, atol=1e-6)
    theirs.check(6, set())
    with pytest.raises(Problem, match="two.pkl has boxes of 6 frames, the source has 5"):
        theirs.check(5, set())
    plain = pickle.loads((tmp_path / "p" / f"{place}.pkl").read_bytes())
    assert [one.dtype.name for one in plain] == ["float32"] * 6 and plain[0].shape == (2, 5)
    assert plain[5][0, 3] - plain[5][0, 1] == pytest.approx(96 * 540 / 400, abs=0.1), "at a shorter side of 540"
    assert [one.shape for one in pickle.loads((tmp_path / "p" / "val/run/none.pkl").read_bytes())] == [(0, 5)] * 3
    assert {path.name for path in (tmp_path / "p").iterdir()} == {"val", "upper.mp4.pkl"}
    sheet = read_image(tmp_path / "p" / "val/run/two.png")
    assert sheet.shape[1] > 4 * 320 and (sheet == 235).any()

    again = video_boxes.run(folder, tmp_path / "p", FindsFigures(), sheets=3, progress=False)
    assert again.made == 0 and again.kept == 3
    (tmp_path / "p" / f"{place}.pkl").unlink()
    parts = [video_boxes.run(folder, tmp_path / "p", FindsFigures(), part=(k, 2), progress=False) for k in (1, 2)]
    assert sum(told.made for told in parts) == 1 and sum(told.kept for told in parts) == 2


def test_a_score_at_the_limit_is_kept(tmp_path):
    class Limit:
        def boxes(self, image):
            return np.tile([10.0, 20, 50, 90], (3, 1)), np.array([0.9, 0.8, 0.79])

    film(tmp_path / "a.mp4", [None] * 2)
    video_boxes.run(tmp_path, tmp_path / "out", Limit(), sheets=0, progress=False)
    assert [len(one) for one in box_pickle.read(tmp_path / "out" / "a.pkl")] == [2, 2]


def test_files_that_are_no_boxes_are_a_sentence(tmp_path):
    for content, sentence in (
        ({"a.jpg": [1, 2]}, "picture a.jpg of .*bad.pkl has a list in place of boxes"),
        ([np.zeros((2, 4), np.float32)], r"frame 0 of .*bad.pkl has shape \(2, 4\)"),
        (3, "bad.pkl holds no boxes"),
        ([np.array([[5, 5, 1, 9, 0.9]], np.float32)], "box 0 of 0: the box has no area"),
        ([np.array([[1, 1, np.nan, 9, 0.9]], np.float32)], "box 0 of 0: the box has no area"),
    ):
        (tmp_path / "bad.pkl").write_bytes(pickle.dumps(content))
        with pytest.raises(Problem, match=sentence):
            BoxFile(tmp_path / "bad.pkl")


def test_the_command(folder, tmp_path, capsys):
    words = ["data", "boxes", "--videos", str(folder), "--out", str(tmp_path / "out"), "--no-progress"]
    assert cli.main([*words, "--detector", "own", "--shard", "1/2", "--least", "0.5"]) in (0, 1)
    assert "videos: " in capsys.readouterr().out and list((tmp_path / "out").rglob("*.pkl"))
    for more, sentence in (
        (["penn"], "leave out the data set"),
        (["--shard", "3/2"], "is not K/N"),
        (["--least", "2"], "--least must be"),
        (["--detector", str(folder / "upper.avi")], "upper.avi"),
    ):
        assert cli.main([*words, *more]) in (1, 2)
        assert sentence in capsys.readouterr().err
    assert cli.main(["data", "boxes", "--out", str(tmp_path / "out")]) == 2
