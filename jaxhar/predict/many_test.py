"""Many sources in one call, with a network that finds dots of colour."""

import csv
import dataclasses
import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from jaxhar.cli import main as cli
from jaxhar.host.errors import Problem, Usage
from jaxhar.predict import many, predictor
from jaxhar.predict.onnx_detector_test import BOXES, raw, save
from jaxhar.predict.options import Options
from jaxhar.predict.predictor_test import ACTIONS, draw, write_video
from jaxhar.predict.result_test import dots_network


@pytest.fixture
def dots(monkeypatch):
    return dots_network(monkeypatch)


@pytest.fixture
def films(tmp_path, monkeypatch) -> Path:
    """Two videos, two photos, a file that is none, and an empty picture."""
    monkeypatch.chdir(tmp_path)
    for name, frames in (("a.mp4", 9), ("b/c.mp4", 5)):
        Path(name).parent.mkdir(exist_ok=True)
        write_video(Path(name), frames, (160, 120) if frames == 5 else (320, 240))
    Path("b/broken.mp4").write_bytes(b"no video")
    Path("p").mkdir()
    Image.fromarray(draw((90, 120))).save("p/1.png")
    Image.fromarray(np.zeros((40, 30, 3), np.uint8)).save("p/2.png")
    return tmp_path


def go(dots, *words, **settings):
    said: list[str] = []
    options = Options(**settings.pop("options", {}))
    report = many.run(dots, [Path(word) for word in words], Path("out"), options, tell=said.append, **settings)
    return report, said


def rows(path: str = "out/summary.csv") -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_every_source_has_its_folder_and_its_row(dots, films):
    report, said = go(dots, "a.mp4", "b", "p")
    table = rows()
    assert [row["source"] for row in table] == ["a.mp4", "b/broken.mp4", "b/c.mp4", "p"]
    assert [row["results"] for row in table] == ["a", "", "c", "p"]
    assert [(row["frames"], row["persons"]) for row in table] == [("9", "1"), ("", ""), ("5", "1"), ("2", "1")]
    assert [row["action"] in ACTIONS for row in table] == [True, False, True, False]
    assert 0.3 < float(table[0]["probability"]) < 1
    assert "broken.mp4" in table[1]["warnings"] and "nobody in 1 of the frames" in table[3]["warnings"]
    assert table[0]["warnings"] == "" and not Path("out/broken").exists()
    assert [line.split("]")[0] for line in said] == ["[1/4", "[2/4", "[3/4", "[4/4"] and "failed" in said[1]
    (first, *_) = json.loads(Path("out/a/poses.json").read_text())["tracks"]
    assert first["action"] == table[0]["action"]
    # the same files as alone, and a sheet of four cells with the pictures in them
    dots.write(Path("a.mp4"), Path("alone"), Options())
    for file in Path("alone").iterdir():
        assert file.read_bytes() == (Path("out/a") / file.name).read_bytes(), file.name
    sheet = np.asarray(Image.open("out/contact.jpg"))
    assert sheet.shape == (2 * (264 + 4) + 4, 2 * (320 + 4) + 4, 3) and report.files[-1] == Path("out/contact.jpg")
    assert sheet[100:200, 20:300].mean() > 80 and sheet[100:200, 350:640].mean() < 40


def test_what_is_done_is_not_done_again(dots, films, monkeypatch):
    words = ("a.mp4", "b/c.mp4", "p")
    _, _ = go(dots, *words)
    first = rows()
    done = []
    original = predictor.LoadedNetwork.write
    monkeypatch.setattr(
        predictor.LoadedNetwork,
        "write",
        lambda *given, **named: done.append(given[1].name) or original(*given, **named),
    )

    def again(**settings) -> list[str]:
        done.clear()
        report, said = go(dots, *words, **settings)
        assert report.skipped == len(words) - len(done) == sum("done before" in line for line in said)
        return list(done)

    assert again() == [] and rows() == first
    assert Path("out/contact.jpg").is_file()
    assert again(options={"stride": 1}) == ["a.mp4", "c.mp4", "p"], "other settings"
    assert again(options={"stride": 1}, forms=["mot"]) == ["a.mp4", "c.mp4"] + ["p"], "other files"
    os.utime("p/1.png", (0, 0))
    assert again(options={"stride": 1}, forms=["mot"]) == ["p"], "a source that has changed"
    Path("out/c/overlay.mp4").unlink()
    assert again(options={"stride": 1}, forms=["mot"]) == ["c.mp4"], "a file that is missing"
    Path("out/a/summary.json").write_text("{")
    assert again(options={"stride": 1}, forms=["mot"]) == ["a.mp4"], "a damaged record"
    assert again(options={"stride": 1}, forms=["mot"], again=True) == ["a.mp4", "c.mp4", "p"]


def test_other_weights_under_the_same_name_are_other_settings(dots, monkeypatch):
    monkeypatch.setattr(predictor.checkpoint, "sha256", str)

    def of(model: str, actions: str) -> dict[str, object]:
        skeletons = SimpleNamespace(path=Path("joint"), seconds=1.0, model=actions)
        return dataclasses.replace(dots, model=model, skeletons=skeletons).fingerprint(Options())

    assert of("a", "b") == of("a", "b") != of("a", "c") and of("a", "b") != of("c", "b")


def test_another_detector_under_the_same_name_is_another_setting(dots, tmp_path):
    def of(score: float) -> dict[str, object]:
        save(tmp_path / "yolox.onnx", {"output": raw(BOXES, [score] * len(BOXES))})
        return dots.fingerprint(Options(detector=tmp_path / "yolox.onnx"))

    assert of(0.5) == of(0.5) != of(0.6)


def test_results_of_another_source_are_not_overwritten(dots, films):
    go(dots, "a.mp4", "p")
    os.makedirs("other")
    write_video(Path("other/a.mp4"), 3)
    before = Path("out/a/poses.json").read_bytes()
    report, said = go(dots, "other/a.mp4", "p")
    assert "out/a holds the results of" in said[0] and report.rows[0].results == "" and report.skipped == 1
    assert Path("out/a/poses.json").read_bytes() == before
    report, _ = go(dots, "other/a.mp4", "p", again=True)
    assert report.rows[0].frames == 3


def test_shards_share_the_work(dots, films):
    words = ("a.mp4", "b/c.mp4", "p")
    for part in ("1/2", "2/2"):
        go(dots, *words, shard=part)
    assert [row["source"] for row in rows("out/summary_1_of_2.csv")] == ["a.mp4", "p"]
    assert [row["source"] for row in rows("out/summary_2_of_2.csv")] == ["b/c.mp4"]
    report, _ = go(dots, *words)
    assert report.skipped == 3 and [row["results"] for row in rows()] == ["a", "c", "p"]


def test_a_shard_without_a_source_has_a_table_without_a_row(dots, films):
    report, _ = go(dots, "a.mp4", shard="3/3")
    assert report.rows == [] and report.files == [Path("out/summary_3_of_3.csv")]
    assert rows("out/summary_3_of_3.csv") == []


def test_what_is_not_for_many_sources(dots, films):
    with pytest.raises(Usage, match="--boxes holds the boxes of one source"):
        go(dots, "a.mp4", "p", options={"boxes": "boxes.txt"})
    Path("out").write_text("")
    with pytest.raises(Problem, match="out"):
        go(dots, "a.mp4", "p")


def test_the_command_goes_on_and_ends_with_an_exit_code(dots, films, monkeypatch, capsys):
    loaded = []
    monkeypatch.setattr(predictor, "load", lambda *given: loaded.append(given) or dots)
    words = ["--weights", "w", "--out", "out", "--no-progress"]
    assert cli.main(["predict", "a.mp4", "b/", *words]) == 1
    said = capsys.readouterr()
    assert "2 of 3 sources predicted, 0 done before, 1 failed: out/summary.csv, out/contact.jpg" in said.out
    assert said.err.count("\n") == 1 and said.err.startswith("failed: b/broken.mp4")
    assert cli.main(["predict", "a.mp4", "b/c.mp4", *words]) == 0
    assert "0 of 2 sources predicted, 2 done before, 0 failed" in capsys.readouterr().out
    assert len(loaded) == 2
    assert cli.main(["predict", "b/*.mp4", *words, "--shard", "2/2", "--again"]) == 0
    assert cli.main(["predict", "a.mp4", "none.mp4", *words]) == 1 and len(loaded) == 3
    assert cli.main(["predict", "a.mp4", "p", *words, "--data", "penn"]) == 2
    capsys.readouterr()
    Path("cut.mp4").write_bytes(Path("a.mp4").read_bytes()[:-200])
    assert cli.main(["predict", "cut.mp4", "p", *words]) == cli.main(["predict", "cut.mp4", "p", *words]) == 1
    said = capsys.readouterr()
    assert said.err == 2 * "not all could be read: cut.mp4\n" and "0 of 2 sources predicted, 2 done before" in said.out
    assert "the video is cut off in its last frame" in rows()[0]["warnings"]
    assert cli.main(["predict", "cut.mp4", "p", *words, "--skip-broken"]) == 0
