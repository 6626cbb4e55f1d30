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
from jaxhar.evaluation.action import ActionFigure, Prediction, head_names
from jaxhar.evaluation.metrics import PCK, AUCh, PCKh, PixelError, State, confusion
from jaxhar.evaluation.pose import PoseFigure, section
from jaxhar.evaluation.results import Published, Results
from jaxhar.evaluation.sections import Matrix, Picture, Section, Table, Tile
from jaxhar.host.errors import Problem
from jaxhar.viz import plots, report, tables
from jaxhar.viz import published as comparison

COUNTS = np.where(np.isin(np.arange(16), [0, 1]), 0, 640)


def heads(view, wrong, rng):
    true = np.repeat(np.arange(15), 8)
    pred = np.where(rng.random(120) < wrong, rng.integers(0, 15, 120), true)
    state = State(np.r_[rng.integers(60, 80, 8), (pred == true).sum()], np.full(9, 120))
    answers = tuple(
        Prediction(f"{n:04d}", int(t), int(p), float(rng.uniform(0.3, 1)))
        for n, (t, p) in enumerate(zip(true, pred, strict=True))
    )
    return ActionFigure(view, head_names(9), state, confusion(true, pred, 15), answers)


def made_up(samples=3, blocks=4, more=()):
    rng = np.random.default_rng(0)
    rates = np.linspace(0.7, 0.93, blocks)[:, None] - np.linspace(0, 0.25, 16)
    counts = np.tile(COUNTS, (blocks, 1))
    pck = PoseFigure(PCK(0.2), State((counts * rates).astype(int), counts), PA16)
    error = PoseFigure(PixelError(), State(counts * rng.uniform(3, 9, counts.shape), counts), PA16)
    single, multi = (heads(*one, rng) for one in (("single", 0.25), ("multi", 0.15)))
    pose = rng.uniform(0.2, 0.8, (samples, 16, 2))
    frames = [np.full((64, 48, 3), 60 + 12 * n, np.uint8) for n in range(samples)]
    names = [name.replace("_", " ") for name in actions.PENN]
    shown = tuple(
        Picture(
            "sample", f, PA16, p, np.full(16, 0.9), p + 0.03, COUNTS > 0, f"{n:04d}",
            answer=names[n or 7], truth=names[n], probability=0.5 + n / 10,
        )
        for n, (f, p) in enumerate(zip(frames, pose, strict=True))
    )  # fmt: skip
    sections = (
        section("Pose", (pck, error), ("Every joint counts.",)),
        single.section(actions.PENN, "“single” is one clip."),
        multi.section(actions.PENN),
        *more,
        Section("Frames", pictures=shown),
    )
    return Results("test", {"single": 120, "multi": 480}, sections, published=("97.4 % action accuracy, multi clip",))


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
    page = report.write(tmp_path, results, "A <title>", console=quiet)
    html = page.read_text()
    assert page == tmp_path / "report.html"
    assert "A &lt;title&gt;" in html and "97.4 % action accuracy, multi clip" in html
    scalars = results.scalars()
    assert f"<b>{scalars['pck@0.2'] * 100:.1f} %</b>" in html
    assert f"<b>{scalars['error']:.2f} px</b>" in html
    assert f"<b>{scalars['accuracy/multi'] * 100:.1f} %</b>" in html
    sums = results.sections[0].json["sums"]["pck@0.2"]
    rates = np.array(sums["total"][-1]) / np.maximum(sums["count"][-1], 1)
    for joint, rate, count in zip(PA16.joints, rates, COUNTS, strict=True):
        assert (f"<th>{joint.replace('_', ' ')}</th>" in html) == bool(count)
        assert not count or f">{rate * 100:.1f}</td>" in html
    for name in actions.PENN:
        assert html.count(name.replace("_", " ")) >= 4
    assert "p1..p4 use only poses, v1..v4 only appearance features" in html
    assert html.count("<h2>Action</h2>") == 1 and html.count("Accuracy by head, %") == 1
    assert "pck@0.2 (evaluation)" in html and html.count("<svg") == 1
    assert html.index("<h2>Pose") < html.index("<h2>Action") < html.index("<h2>Learning") < html.index("<h2>Frames")
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
    figures = (
        PoseFigure(PCK(0.2), State(counts // 2, counts), PA16),
        PoseFigure(PixelError(), State(0 * counts, 0 * counts), PA16),
    )
    frame = Section("Frames", pictures=(Picture("sample", np.zeros((8, 8, 3), np.uint8)),))
    results = Results("test", {"single": 4}, (section("Pose", figures), frame))
    html = report.write(tmp_path, results, "t", console=quiet).read_text()
    assert "<b>50.0 %</b>" in html and "<b>– px</b>" in html
    assert "Confusion" not in html and "Learning curves" not in html and "★</" not in html
    assert "predicted right side" not in html


def test_pictures_need_no_frame_and_frames_no_skeleton(tmp_path, quiet):
    """A skeleton alone, an image alone, a caption alone; files of another kind stay, old pictures go."""
    pose = np.linspace(0.2, 0.8, 32).reshape(16, 2)
    pictures = (
        Picture("skeleton", skeleton=PA16, true=pose, pred=pose[::-1], name="a", answer="bowl", probability=0.8),
        Picture("image", np.full((8, 16, 3), 90, np.uint8), caption="half of it is hidden"),
        Picture("nothing", caption="only words", name="c", truth="squat", answer="bowl"),
    )
    (tmp_path / "pictures").mkdir()
    for name in ("skeleton_07.png", "confusion_x.png"):
        (tmp_path / "pictures" / name).write_bytes(b"old")
    results = Results("test", {"single": 3}, (Section("Look", pictures=pictures),))
    html = report.write(tmp_path, results, "t", console=quiet).read_text()
    names = sorted(p.name for p in (tmp_path / "pictures").iterdir())
    assert names == ["confusion_x.png", "image_01.png", "skeleton_01.png"]
    drawn = cv2.imread(str(tmp_path / "pictures" / "skeleton_01.png"))
    assert drawn.shape == (420, 420, 3) and drawn.std() > 5
    assert cv2.imread(str(tmp_path / "pictures" / "image_01.png")).shape[:2] == (208, 416)
    assert html.count("<figure>") == 3 and html.count("<img") == 2
    assert "half of it is hidden" in html and "only words" in html and "true: squat" in html and "80%" in html


def test_a_section_of_an_unknown_kind_is_shown_and_saved(tmp_path, capsys):
    """Tables, tiles, a matrix and a picture of something that is neither a pose nor an action."""
    made = Section(
        "Reconstruction",
        scalars={"mse": 0.25, "psnr": 31.5, "empty": float("nan")},
        units={"mse": "", "psnr": "dB"},
        tiles=(Tile("PSNR", "31.50 dB", "of 3 clips"),),
        tables=(Table("Error by frame", ("frame", "mse"), (("first", "0.2"), ("last", "0.3")), bars={1: (0.5, 1.0)}),),
        matrices=(Matrix("Patches", "patches", ("a", "b"), np.array([[3, 1], [0, 2]])),),
        pictures=(Picture("reconstruction", np.full((8, 8, 3), 128, np.uint8), caption="clip 1"),),
        about=("Patches that the network did not see.",),
        notes=("Three quarters are hidden.",),
    )
    results = Results("test", {"single": 3}, (made,), published=(Published("psnr", 33.0, "the paper", "dB"),))
    html = report.write(tmp_path, results, "t", console=Console(width=100)).read_text()
    screen = capsys.readouterr().out
    for text in ("Error by frame", "Three quarters are hidden.", "psnr, dB", "33.00", "31.50"):
        assert text in html and text in screen, text
    for text in ("<h2>Reconstruction</h2>", "31.50 dB", "did not see", "clip 1", "a predicted as b: 1"):
        assert text in html, text
    assert {p.name for p in (tmp_path / "pictures").iterdir()} == {"patches.png", "reconstruction_01.png"}
    results.save(tmp_path / "results.json")
    tree = json.loads((tmp_path / "results.json").read_text())
    assert tree["scalars"] == {"mse": 0.25, "psnr": 31.5, "empty": None}
    back = Results.load(tmp_path / "results.json")
    assert back.sections[0].tables == made.tables and back.published == results.published
    assert np.isnan(back.scalars()["empty"])


def test_tables_of_one_title_stand_side_by_side():
    rows = (("p", "1", "10", "u"), ("q", "2", "20", ""))
    a = Table("t", ("x", "n", "a", "note"), rows, soft=(1, 3), best=((1, 2),))
    b = Table(
        "t", ("x", "n", "b", "note"), (("q", "2", "30", "v"), ("r", "3", "40", "")), soft=(1, 3), bars={2: (0.3, 0.4)}
    )
    (both,) = tables.side_by_side([a, b])
    assert both.columns == ("x", "n", "a", "b", "note") and both.soft == (1, 4)
    assert both.rows == (("p", "1", "10", "", "u"), ("q", "2", "20", "30", "v"), ("r", "3", "", "40", ""))
    assert both.best == ((1, 2),) and both.bars == {3: (0.0, 0.3, 0.4)}
    assert tables.side_by_side([a, Table("other", ("x",), ())]) == [a, Table("other", ("x",), ())]


def test_frames_show_truth_and_prediction_apart():
    sample = made_up().sections[-1].pictures[0]
    image = report._draw(sample, np.arange(16))
    enlarged = image.shape[0] // 64
    assert image.shape == (64 * enlarged, 48 * enlarged, 3)
    colours = {tuple(c) for c in image.reshape(-1, 3).tolist()}
    assert report.TRUTH in colours
    for side in ("r_knee", "l_knee"):
        x, y = (sample.pred[PA16.index(side)] * [48 * enlarged, 64 * enlarged]).astype(int)
        red, _, blue = image[y, x].astype(int)
        assert (red > blue) == side.startswith("r")


def test_joints_that_are_never_labelled_are_not_drawn():
    pictures = made_up().sections[-1].pictures
    assert report._labelled_joints(pictures, PA16).tolist() == list(range(2, 16))
    assert report._labelled_joints((), PA16).tolist() == list(range(16))
    sample = replace(pictures[0], true=None)
    moved = replace(sample, pred=sample.pred + np.where(np.arange(16)[:, None] < 2, 0.3, 0))
    drawn = np.arange(2, 16)
    np.testing.assert_array_equal(report._draw(sample, drawn), report._draw(moved, drawn))
    assert (report._draw(sample, np.arange(16)) != report._draw(moved, np.arange(16))).any()


def test_figures_stand_beside_the_published_and_deephars(tmp_path):
    strict = Section(
        "By deephar's rules",
        scalars={"accuracy/multi/deephar": 0.9, "pck@0.2/deephar": 0.4, "pck@0.2/deephar/macro": 0.3},
        units={"pck@0.2/deephar": "%"},
        notes=("10 sequences are too short",),
        variant="deephar",
    )
    published = (
        Published("accuracy/multi", 0.986, "CVPR'18, pose trained on MPII too"),
        Published("mpjpe", 55.1, "single crop", "mm"),
        "a sentence",
    )
    results = replace(made_up(more=(strict,)), notes=("Boxes are made up.",), published=published)
    scalars = results.scalars()
    table = comparison.table(results)
    assert table.columns == ("figure", "ours", "by deephar's rules", "published", "published protocol")
    assert table.rows == (
        (
            "accuracy/multi, %", f"{100 * scalars['accuracy/multi']:.1f}", "90.0", "98.6",
            "CVPR'18, pose trained on MPII too",
        ),
        ("mpjpe, mm", "–", "–", "55.10", "single crop"),
        ("pck@0.2, %", f"{100 * scalars['pck@0.2']:.1f}", "40.0", "", ""),
    )  # fmt: skip
    assert comparison.table(replace(made_up(), published=("a sentence",))) is None
    console = Console(file=io.StringIO(), width=200)
    page = report.write(tmp_path, results, "x", console=console).read_text()
    screen = console.file.getvalue()
    for text in (page.replace("&#39;", "'"), screen):
        for words in (
            "Boxes are made up.",
            "10 sequences are too short",
            "by deephar's rules",
            "98.6",
            "a sentence",
        ):
            assert words in text, words
    assert screen.count("PCK@0.2, %") == 1 and "<h2>By deephar" not in page
    results.save(tmp_path / "results.json")
    assert Results.load(tmp_path / "results.json").scalars() == scalars
    assert Results.load(tmp_path / "results.json").notes == results.notes


def test_screen_tables(capsys):
    results = made_up()
    report.show(results, Console(width=120))
    text = capsys.readouterr().out
    assert "PCK@0.2, %" in text and "r wrist" in text and "golf swing" in text and "97.4 % action accuracy" in text
    assert f"{results.scalars()['pck@0.2'] * 100:.1f}" in text and "confident mistakes" not in text
    assert re.search(r"\bm\b.*\d\d\.\d", text)
    assert "* best prediction block or head" in text and "Every joint counts." in text


def test_actions_that_do_not_occur_are_left_out(capsys):
    true, pred = np.array([2, 2, 5]), np.array([2, 7, 5])
    figures = [
        replace(heads(view, 0.2, np.random.default_rng(0)), confusion=confusion(true, pred, 15)) for view in "ab"
    ]
    results = Results("test", {"a": 3}, tuple(figure.section(actions.PENN) for figure in figures))
    report.show(results)
    shown = capsys.readouterr().out
    names = [name.replace("_", " ") for name in actions.PENN]
    assert [n for n in range(15) if names[n] in shown] == [2, 5, 7]
    assert "12 actions that do not occur are left out" in shown
    figure = plots.matrix_figure(results.sections[0].matrices[0])
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
    pckh = PoseFigure(PCKh(0.5), State(counts // 2, counts), PA16)
    auc = AUCh(0.5, steps=5)
    multi = PoseFigure(auc, State(counts, counts), PA16, "/multi")
    results = Results("valid", {"single": 10}, (section("Pose", (pckh,)), section("Pose", (multi,))))
    console = Console(record=True, width=120)
    report.show(results, console=console)
    text = console.export_text()
    order = ["Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "UBody", "Total"]
    places = [text.index(f" {name} ") for name in order]
    assert places == sorted(places)
    assert "140" in text and "14 " in text.split("multi")[1]  # labelled joints, each counted ten times by the second
    assert "block 2, last *" in text and "AUCh@0.5, %, multi" in text and "r wrist" not in text
