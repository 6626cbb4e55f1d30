import base64
import io
import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from rich.console import Console

from jaxhar.core import classes as actions
from jaxhar.core.skeleton import PA16
from jaxhar.evaluation.metrics import State, confusion
from jaxhar.evaluation.results import ActionResult, PoseResult, Prediction, Published, Results, Sample, head_names
from jaxhar.host.errors import Problem
from jaxhar.viz import plots, report
from jaxhar.viz import published as comparison


def made_up(samples=3, blocks=4):
    rng = np.random.default_rng(0)
    labelled = np.where(np.isin(np.arange(16), [0, 1]), 0, 640)
    rates = np.linspace(0.7, 0.93, blocks)[:, None] - np.linspace(0, 0.25, 16)
    counts = np.tile(labelled, (blocks, 1))
    pck = PoseResult("PCK@0.2", "%", State((counts * rates).astype(int), counts))
    error = PoseResult("error", "px", State(counts * rng.uniform(3, 9, counts.shape), counts))
    true = np.repeat(np.arange(15), 8)
    results = []
    for protocol, wrong in (("single", 0.25), ("multi", 0.15)):
        pred = np.where(rng.random(120) < wrong, rng.integers(0, 15, 120), true)
        heads = State(np.r_[rng.integers(60, 80, 8), (pred == true).sum()], np.full(9, 120))
        answers = tuple(
            Prediction(f"{n:04d}", int(t), int(p), float(rng.uniform(0.3, 1)))
            for n, (t, p) in enumerate(zip(true, pred, strict=True))
        )
        results.append(ActionResult(protocol, head_names(9), heads, confusion(true, pred, 15), answers))
    pose = rng.uniform(0.2, 0.8, (samples, 16, 2))
    frames = [np.full((64, 48, 3), 60 + 12 * n, np.uint8) for n in range(samples)]
    shown = tuple(
        Sample(f, f"{n:04d}", p, np.full(16, 0.9), p + 0.03, labelled > 0, n, n if n else 7, 0.5 + n / 10)
        for n, (f, p) in enumerate(zip(frames, pose, strict=True))
    )
    return Results("test", PA16, actions.PENN, {"single": 120, "multi": 480}, (pck, error), tuple(results), shown)


def write_history(path, steps=90):
    with path.open("w") as file:
        for step in range(1, steps + 1):
            file.write(
                json.dumps({"step": step, "clips/pose": 3 / step, "stills/pose": 2 / step, "loss": 5 / step}) + "\n"
            )
            if step % 30 == 0:
                file.write(json.dumps({"step": step, "eval/pck@0.2": step / 100, "eval/pck@0.2/best": 0.9}) + "\n")


@pytest.fixture
def quiet():
    return Console(file=io.StringIO(), width=100)


def test_page_holds_the_numbers_and_the_pictures_decode(tmp_path, quiet):
    write_history(tmp_path / "metrics.jsonl")
    results = made_up()
    page = report.write(
        tmp_path, results, "A <title>", published=("97.4 % action accuracy, multi clip",), console=quiet
    )
    html = page.read_text()
    assert page == tmp_path / "report.html"
    assert "A &lt;title&gt;" in html and "97.4 % action accuracy, multi clip" in html
    scalars = results.scalars()
    assert f"<b>{scalars['pck@0.2'] * 100:.1f} %</b>" in html
    assert f"<b>{scalars['error']:.2f} px</b>" in html
    assert f"<b>{scalars['accuracy/multi'] * 100:.1f} %</b>" in html
    for joint, rate in zip(PA16.joints, results.pose[0].state.compute()[-1], strict=True):
        present = f"<th>{joint.replace('_', ' ')}</th>" in html
        assert present == bool(np.isfinite(rate))
        assert not present or f">{rate * 100:.1f}</td>" in html
    for name in actions.PENN:
        assert html.count(name.replace("_", " ")) >= 4
    assert "pck@0.2 (evaluation)" in html and html.count("<svg") == 1
    assert not re.search(r"(src|href)=[\"'](?!data:|#)", html), "the page must be self-contained"

    embedded = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", html)
    assert len(embedded) == 3
    for text in embedded:
        image = cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR)
        assert image is not None and min(image.shape[:2]) > 300
    names = sorted(p.name for p in (tmp_path / "pictures").iterdir())
    assert names == [
        "confusion_multi.png", "confusion_single.png", "curves.png", "sample_01.png", "sample_02.png", "sample_03.png",
    ]  # fmt: skip
    for name in names:
        picture = cv2.imread(str(tmp_path / "pictures" / name))
        assert picture is not None and picture.std() > 5


def test_a_second_report_leaves_no_frames_of_the_first(tmp_path, quiet):
    report.write(tmp_path, made_up(samples=4), "t", console=quiet)
    report.write(tmp_path, made_up(samples=2), "t", console=quiet)
    names = sorted(p.name for p in (tmp_path / "pictures").glob("sample*"))
    assert names == ["sample_01.png", "sample_02.png"]


def test_pose_only_and_empty_counts(tmp_path, quiet):
    counts = np.zeros((1, 16), int)
    counts[0, 3] = 4
    pose = (
        PoseResult("PCK@0.2", "%", State(counts // 2, counts)),
        PoseResult("error", "px", State(0 * counts, 0 * counts)),
    )
    results = Results("test", PA16, (), {"single": 4}, pose, samples=(Sample(np.zeros((8, 8, 3), np.uint8)),))
    html = report.write(tmp_path, results, "t", console=quiet).read_text()
    assert "<b>50.0 %</b>" in html and "<b>– px</b>" in html
    assert "Confusion" not in html and "Learning curves" not in html and "★</" not in html


def test_frames_show_truth_and_prediction_apart():
    sample = made_up().samples[0]
    image = report._picture(sample, PA16, np.arange(16))
    enlarged = image.shape[0] // 64
    assert image.shape == (64 * enlarged, 48 * enlarged, 3)
    colours = {tuple(c) for c in image.reshape(-1, 3).tolist()}
    assert report.TRUTH in colours
    for side in ("r_knee", "l_knee"):
        x, y = (sample.pred[PA16.index(side)] * [48 * enlarged, 64 * enlarged]).astype(int)
        red, _, blue = image[y, x].astype(int)
        assert (red > blue) == side.startswith("r")


def test_joints_that_are_never_labelled_are_not_drawn():
    results = made_up()
    assert report._labelled_joints(results).tolist() == list(range(2, 16))
    assert report._labelled_joints(replace(results, samples=())).tolist() == list(range(16))
    sample = replace(results.samples[0], true=None)
    moved = replace(sample, pred=sample.pred + np.where(np.arange(16)[:, None] < 2, 0.3, 0))
    drawn = np.arange(2, 16)
    np.testing.assert_array_equal(report._picture(sample, PA16, drawn), report._picture(moved, PA16, drawn))
    assert (report._picture(sample, PA16, np.arange(16)) != report._picture(moved, PA16, np.arange(16))).any()


def test_figures_stand_beside_the_published_and_the_authors(tmp_path, quiet):
    results = made_up()
    pck, error = results.pose
    strict = replace(pck, protocol="authors", state=State(pck.state.total // 2, pck.state.count))
    single, multi = results.action
    multi = replace(multi, short=State(np.full(9, 3), np.full(9, 10)))
    results = replace(results, pose=(pck, error, strict), action=(single, multi), notes=("Boxes are made up.",))
    published = (
        Published("accuracy/multi", 0.986, "CVPR'18, pose trained on MPII too"),
        Published("mpjpe", 55.1, "single crop", "mm"),
        "a sentence",
    )
    scalars = results.scalars()
    right = multi.state.total[-1]
    assert scalars["accuracy/multi/authors"] == (right - 3 + 10) / 120 and scalars["accuracy/multi"] == right / 120
    assert "accuracy/single/authors" not in scalars
    rows = comparison.rows(results, published)
    assert rows == [
        (
            "accuracy/multi, %", f"{right / 1.2:.1f}", f"{(right + 7) / 1.2:.1f}", "98.6",
            "CVPR'18, pose trained on MPII too",
        ),
        ("mpjpe, mm", "–", "–", "55.10", "single crop"),
        ("pck@0.2, %", f"{100 * scalars['pck@0.2']:.1f}", f"{100 * scalars['pck@0.2/authors']:.1f}", "", ""),
    ]  # fmt: skip
    assert scalars["pck@0.2/authors"] < scalars["pck@0.2"]
    console = Console(file=io.StringIO(), width=200)
    page = report.write(tmp_path, results, "x", published=published, console=console).read_text()
    screen = console.file.getvalue()
    for text in (page.replace("&#39;", "'"), screen):
        for words in (
            "Boxes are made up.",
            "10 sequences are too short",
            "by the authors' rules",
            "98.6",
            "a sentence",
        ):
            assert words in text, words
    assert screen.count("PCK@0.2, %") == 1
    results.save(tmp_path / "results.json")
    assert Results.load(tmp_path / "results.json").scalars() == scalars
    assert Results.load(tmp_path / "results.json").notes == results.notes


def test_screen_tables(capsys):
    results = made_up()
    report.show(results, ("89.1 PCKh",), Console(width=120))
    text = capsys.readouterr().out
    assert "PCK@0.2, %" in text and "r wrist" in text and "golf swing" in text and "89.1 PCKh" in text
    assert f"{results.scalars()['pck@0.2'] * 100:.1f}" in text
    assert re.search(r"\bm\b.*\d\d\.\d", text)


def test_actions_that_do_not_occur_are_left_out(tmp_path, capsys):
    results = made_up()
    true, pred = np.array([2, 2, 5]), np.array([2, 7, 5])
    action = tuple(replace(one, confusion=confusion(true, pred, 15)) for one in results.action)
    results = replace(results, action=action)
    report.show(results)
    shown = capsys.readouterr().out
    names = [name.replace("_", " ") for name in results.classes]
    assert [n for n in range(15) if names[n] in shown] == [2, 5, 7]
    assert "12 actions that do not occur are left out" in shown
    figure = plots.confusion_figure(action[0], results.classes)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [names[n] for n in (2, 5, 7)]


def test_history_takes_the_last_of_a_step_and_forgives_a_cut_end(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"step": 2, "loss": 9, "note": "x"}\n{"step": 1, "loss": 8}\n{"step": 2, "loss": 7}\n{"step": 3, "lo'
    )
    curves = plots.read_history(path)
    assert list(curves) == ["loss"]
    assert curves["loss"][0].tolist() == [1, 2] and curves["loss"][1].tolist() == [8, 7]
    assert plots.read_history(tmp_path / "none.jsonl") == {}
    path.write_text('{"step": 1}\nrubbish\n{"step": 2}\n')
    with pytest.raises(Problem, match="line 2 of .*metrics.jsonl"):
        plots.read_history(path)


def test_smoothing_keeps_a_constant_and_starts_at_the_first_value():
    np.testing.assert_allclose(plots._smoothed(np.full(200, 3.0)), 3.0)
    assert plots._smoothed(np.arange(200.0))[0] == 0


def test_only_noisy_curves_are_smoothed():
    steps = np.arange(500)
    noise = np.random.default_rng(0).normal(0, 0.1, 500)
    assert plots._is_noisy(np.exp(-steps / 100) + noise)
    assert not plots._is_noisy(np.where(steps < 300, 1e-3, 1e-4))
    assert not plots._is_noisy(1 + np.cos(steps / 160))
    assert not plots._is_noisy(np.ones(500))


def test_panels_group_the_lines():
    keys = ["loss", "clips/pose", "stills/pose", "eval/pck@0.2", "eval/pck@0.2/best", "eval/accuracy/multi"]
    assert plots._panels(keys) == {
        "pck@0.2 (evaluation)": [("", "eval/pck@0.2"), ("best", "eval/pck@0.2/best")],
        "accuracy (evaluation)": [("multi", "eval/accuracy/multi")],
        "loss": [("", "loss")],
        "pose": [("clips", "clips/pose"), ("stills", "stills/pose")],
    }


def test_mpii_columns_in_the_papers_order():
    counts = np.tile(np.where(np.arange(16) < 2, 0, 10), (2, 1))
    pckh = PoseResult("PCKh@0.5", "%", State(counts // 2, counts), grouped=True)
    multi = PoseResult("PCKh@0.5", "%", State(counts, counts), "multi", grouped=True, terms=10)
    results = Results("valid", PA16, (), {"single": 10}, (pckh, multi))
    console = Console(record=True, width=120)
    report.show(results, console=console)
    text = console.export_text()
    order = ["Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "UBody", "Total"]
    places = [text.index(f" {name} ") for name in order]
    assert places == sorted(places)
    assert "140" in text and "14 " in text.split("multi")[1]  # labelled joints, each counted ten times by the second
    assert "block 2, last *" in text and "PCKh@0.5, %, multi" in text
