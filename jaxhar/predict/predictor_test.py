import argparse
import csv
import json
import re
import threading
import weakref
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

from jaxhar import port, zoo
from jaxhar.cli import predict as predict_command
from jaxhar.core import classes as actions
from jaxhar.core.batch import Batch
from jaxhar.core.pixels import Pixels
from jaxhar.core.skeleton import PA16, Skeleton
from jaxhar.data.formats.picture import read_image
from jaxhar.data.formats.source import open_source
from jaxhar.data.formats.video import Frame, Video
from jaxhar.data.formats.writer import VideoWriter
from jaxhar.host.errors import Problem, Usage
from jaxhar.models.reception.network import ReceptionConfig
from jaxhar.predict import data_set, data_set_boxes
from jaxhar.predict import poses as pose_file
from jaxhar.predict import predictor as predict
from jaxhar.predict.options import Options
from jaxhar.predict.summary import write
from jaxhar.predict.task import Task
from jaxhar.weights import checkpoint, store

COLOURS = {
    "head": (255, 0, 0),
    "pelvis": (0, 255, 0),
    "r_wrist": (0, 0, 255),
    "l_wrist": (255, 255, 0),
    "r_ankle": (255, 0, 255),
}
DOTS = Skeleton("dots", tuple(COLOURS))
ACTIONS = ("rest", "jump", "run")
#: Of the joints about the figure's centre, pixels.
OFFSETS = np.array([[0, -40], [0, 0], [-30, -10], [30, -10], [-10, 40]], float)


class FindsDots:
    """Stands for a network: a joint is where its colour is, the action is the red light in the first frame."""

    def __init__(self, actions: bool = False):
        self.actions = actions
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        assert frames.dtype == np.uint8
        frames = Pixels.SIGNED(Batch(frames=frames))
        self.shapes.append(frames.shape)
        batch, time, side = frames.shape[:3]
        grid = (np.arange(side) + 0.5) / side
        pose = np.zeros((batch, time, len(DOTS), 2), np.float32)
        visible = np.zeros((batch, time, len(DOTS)), np.float32)
        for j, colour in enumerate(COLOURS.values()):
            near = np.abs(frames - (np.array(colour) / 127.5 - 1)).max(-1) < 0.6  # (B, T, S, S)
            count = near.sum((-1, -2))
            visible[..., j] = np.minimum(1, count / 4)
            pose[..., j, 0] = (near.sum(-2) * grid).sum(-1) / np.maximum(count, 1)
            pose[..., j, 1] = (near.sum(-1) * grid).sum(-1) / np.maximum(count, 1)
        preds = {"pose": np.stack([pose * 0, pose]), "visible": np.stack([visible * 0, visible])}
        if self.actions:
            logits = np.stack([frames.mean((1, 2, 3, 4)), pose[:, 0, 1, 0], pose[:, 0, 1, 1]], axis=-1)
            preds["action"] = np.stack([logits * 0 + 1 / 3, np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)])
        return preds


def meta(num_frames: int | None = None) -> SimpleNamespace:
    config = ReceptionConfig(image_size=96, num_frames=num_frames, num_joints=len(DOTS))
    return SimpleNamespace(skeleton=DOTS, actions=ACTIONS if num_frames else (), config=config)


def draw(centre: tuple[float, float], size: tuple[int, int] = (320, 240), scale: float = 1.0) -> np.ndarray:
    """A picture of (width, height) with a dot of every colour around `centre`."""
    y, x = np.mgrid[: size[1], : size[0]] + 0.5
    image = np.full((size[1], size[0], 3), 110, np.uint8)
    for (dx, dy), colour in zip(OFFSETS * scale, COLOURS.values(), strict=True):
        image[(x - centre[0] - dx) ** 2 + (y - centre[1] - dy) ** 2 < 36] = colour
    return image


def path_of(n: int) -> list[tuple[float, float]]:
    return [(100 + 2.0 * i, 110 + 0.5 * i) for i in range(n)]


def write_video(path: Path, n: int, size: tuple[int, int] = (320, 240)) -> Path:
    with VideoWriter(path, Fraction(20), *size) as writer:
        for i, centre in enumerate(path_of(n)):
            writer.write(draw(centre, size), i / 20)
    return path


def go(source: Path, out: Path, num_frames: int | None = None, infer=None, **settings):
    infer = infer or FindsDots(actions=num_frames is not None)
    opened = open_source(source, settings.pop("skip_broken", False))
    options = Options(**{name: settings.pop(name) for name in ("bbox", "batch", "stride") if name in settings})
    words = {name: settings.pop(name) for name in ("forms", "made_by") if name in settings}
    summary = write(Task(opened, source, infer, meta(num_frames), options, **settings), out, **words)
    return summary, json.loads((out / "poses.json").read_text()), infer


def joints_of(frame: dict) -> np.ndarray:
    return np.array(frame["persons"][0]["joints"])


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("bbox", [None, (60.0, 50.0, 240.0, 190.0)])
@pytest.mark.parametrize("num_frames, n, stride", [(None, 37, 1), (8, 37, 2), (8, 37, 1), (8, 5, 2), (4, 1, 2)])
def test_video_joints_are_found_where_they_are(tmp_path: Path, num_frames, n, stride, bbox):
    source = write_video(tmp_path / "a.mp4", n)
    summary, poses, infer = go(source, tmp_path / "out", num_frames, bbox=bbox, stride=stride)
    assert summary.frames == n and [f["index"] for f in poses["frames"]] == list(range(n))
    np.testing.assert_allclose([f["time"] for f in poses["frames"]], np.arange(n) / 20, atol=1e-5)
    for centre, frame in zip(path_of(n), poses["frames"], strict=True):
        np.testing.assert_allclose(joints_of(frame), OFFSETS + centre, atol=1.5)
        assert frame["persons"][0]["confidence"] == [1] * len(DOTS) and frame["persons"][0]["unseen"] == []
    assert len(set(infer.shapes)) == 1, "one compilation"
    assert poses["fps"] == 20 and (poses["width"], poses["height"]) == (320, 240)
    assert poses["skeleton"]["joints"] == list(DOTS.joints) and poses["model"]["image_size"] == 96
    overlay = list(Video(tmp_path / "out" / "overlay.mp4").frames())
    assert len(overlay) == n and overlay[0].image.shape == (240, 320, 3)
    assert Video(tmp_path / "out" / "overlay.mp4").fps == 20
    np.testing.assert_allclose([f.time for f in overlay], np.arange(n) / 20, atol=1e-3)
    assert not list((tmp_path / "out").glob(".*"))


def test_overlay_is_drawn_on_the_frame_that_it_belongs_to(tmp_path: Path):
    source = write_video(tmp_path / "a.mp4", 20)
    go(source, tmp_path / "out")
    before, after = Video(source), Video(tmp_path / "out" / "overlay.mp4")
    for old, new, centre in zip(before.frames(), after.frames(), path_of(20), strict=True):
        assert old.image is not None and new.image is not None
        # the box of the fast figure tells the frames apart: its left edge is at 1.5 * 80 / 2 left of the middle
        changed = (np.abs(new.image.astype(int) - old.image) > 60).any(-1).sum(0)
        assert abs(int(changed[:160].argmax()) - (centre[0] - 60)) < 8


def test_the_panel_of_an_upright_video_lies_below_the_picture(tmp_path: Path):
    with VideoWriter(tmp_path / "a.mp4", Fraction(20), 240, 320) as writer:
        for i in range(12):
            writer.write(draw((120, 120), (240, 320)) if i < 8 else np.zeros((320, 240, 3), np.uint8), i / 20)
    _, poses, _ = go(tmp_path / "a.mp4", tmp_path / "out", 4)
    frames = list(Video(tmp_path / "out" / "overlay.mp4").frames())
    assert len(frames) == 12 and {frame.image.shape for frame in frames} == {(320 + 66, 240, 3)}
    assert (poses["width"], poses["height"]) == (240, 320)
    assert frames[2].image[325:].max() > 200 > frames[11].image[325:].max(), "nobody is there at the end"
    go(tmp_path / "a.mp4", tmp_path / "poses")
    assert next(Video(tmp_path / "poses" / "overlay.mp4").frames()).image.shape == (320, 240, 3)


def test_actions_are_those_of_the_clips(tmp_path: Path):
    source = write_video(tmp_path / "a.mp4", 30)
    summary, poses, _ = go(source, tmp_path / "out", 8, stride=1, bbox=(60, 50, 240, 190))
    rows = rows_of(tmp_path / "out" / "actions.csv")
    assert [(int(r["start_frame"]), int(r["end_frame"])) for r in rows] == [
        (s, s + 7) for s in (0, 4, 8, 12, 16, 20, 22)
    ]
    assert float(rows[1]["start_time"]) == 0.2 and rows[1]["source"] == "a.mp4"
    table = np.array([[float(r[a]) for a in ACTIONS] for r in rows])
    np.testing.assert_allclose(table.sum(1), 1, atol=1e-5)
    for row, values in zip(rows, table, strict=True):
        assert row["action"] == ACTIONS[values.argmax()] and float(row["probability"]) == values.max()
    # frame 5 lies in the clips that begin at 0 and 4
    joined = np.sqrt(table[0] * table[1])
    frame = poses["frames"][5]["persons"][0]["action"]
    assert frame["probability"] == pytest.approx((joined / joined.sum()).max(), abs=1e-3)
    whole = np.exp(np.log(table).mean(0))
    whole /= whole.sum()
    assert summary.action == ACTIONS[whole.argmax()] and summary.probability == pytest.approx(whole.max(), abs=1e-5)
    (track,) = poses["tracks"]
    assert track == {"id": 1, "first": 0, "last": 29, "action": summary.action, "probability": track["probability"]}
    assert track["probability"] == pytest.approx(whole.max(), abs=1e-4)


def test_pose_network_writes_no_actions(tmp_path: Path):
    summary, poses, _ = go(write_video(tmp_path / "a.mp4", 3), tmp_path / "out")
    assert summary.action is None and poses["tracks"] == [{"id": 1, "first": 0, "last": 2}]
    assert "action" not in poses["frames"][0]["persons"][0]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["overlay.mp4", "poses.json"]


@pytest.mark.parametrize("num_frames", [None, 1, 8])
def test_folder_of_images(tmp_path: Path, num_frames):
    folder = tmp_path / "in"
    folder.mkdir()
    centres = {"a.png": (100.0, 100.0), "b.jpg": (200.5, 140.0), "c.png": (60.0, 150.0), "c.bmp": (250.0, 60.0)}
    for name, centre in centres.items():
        Image.fromarray(draw(centre)).save(folder / name, **({"quality": 98} if "jpg" in name else {}))
    summary, poses, infer = go(folder, tmp_path / "out", num_frames, batch=3)
    assert summary.frames == 4 and summary.action is None
    assert [f["file"] for f in poses["frames"]] == ["a.png", "b.jpg", "c.bmp", "c.png"]
    for frame in poses["frames"]:
        np.testing.assert_allclose(joints_of(frame), OFFSETS + centres[frame["file"]], atol=1.5)
    assert set(infer.shapes) == {(3, 1, 96, 96, 3)}
    written = {"a.png", "b.png", "c.bmp.png", "c.png.png", "poses.json"} | (
        {"actions.csv"} if num_frames == 1 else set()
    )
    assert {p.name for p in (tmp_path / "out").iterdir()} == written
    assert read_image(tmp_path / "out" / "b.png").shape == (240, 320, 3)
    if num_frames == 1:
        assert [r["source"] for r in rows_of(tmp_path / "out" / "actions.csv")] == ["a.png", "b.jpg", "c.bmp", "c.png"]


def test_one_image_with_alpha(tmp_path: Path):
    Image.fromarray(draw((90, 120))).convert("RGBA").save(tmp_path / "a.png")
    summary, poses, infer = go(tmp_path / "a.png", tmp_path / "out", 8)
    np.testing.assert_allclose(joints_of(poses["frames"][0]), OFFSETS + (90, 120), atol=1.5)
    assert summary.action is None, "a still says nothing of an action to a network of clips"
    assert "action" not in poses["frames"][0]["persons"][0] and set(infer.shapes) == {(1, 1, 96, 96, 3)}
    assert go(tmp_path / "a.png", tmp_path / "stills", 1)[0].action in ACTIONS


def test_a_box_that_leaves_the_picture(tmp_path: Path):
    Image.fromarray(draw((20, 120))).save(tmp_path / "a.png")
    _, poses, _ = go(tmp_path / "a.png", tmp_path / "out", bbox=(-60.0, 60, 80, 180))
    found, expected = joints_of(poses["frames"][0]), OFFSETS + (20, 120)
    inside = expected[:, 0] > 5
    np.testing.assert_allclose(found[inside], expected[inside], atol=1.5)
    # the longer side decides
    assert poses["frames"][0]["persons"][0]["box"] == [-60, 50, 80, 190]


def test_a_picture_without_a_person_has_none(tmp_path: Path):
    Image.fromarray(np.zeros((50, 100, 3), np.uint8)).save(tmp_path / "a.png")
    summary, poses, _ = go(tmp_path / "a.png", tmp_path / "out", 1, forms=["coco"])
    assert poses["frames"][0]["persons"] == [] and poses["tracks"] == []
    assert summary.empty == 1 and summary.action is None
    assert json.loads((tmp_path / "out" / "coco.json").read_text())["annotations"] == []
    assert rows_of(tmp_path / "out" / "actions.csv") == []
    np.testing.assert_array_equal(read_image(tmp_path / "out" / "a.png"), 0)


def test_clips_without_a_person_have_no_vote(tmp_path: Path):
    with VideoWriter(tmp_path / "a.mp4", Fraction(8), 320, 240) as writer:
        for i in range(24):
            writer.write(draw((160, 120)) if i < 10 else np.zeros((240, 320, 3), np.uint8), i / 8)
    summary, poses, _ = go(tmp_path / "a.mp4", tmp_path / "out", 8, stride=1)
    assert [int(row["start_frame"]) for row in rows_of(tmp_path / "out" / "actions.csv")] == [0, 4]
    assert summary.empty == 14 and summary.action is not None
    assert [len(frame["persons"]) for frame in poses["frames"]] == [1] * 10 + [0] * 14
    assert (poses["tracks"][0]["first"], poses["tracks"][0]["last"]) == (0, 9)


def test_what_looks_unfamiliar_is_marked_and_names_no_action(tmp_path: Path):
    with VideoWriter(tmp_path / "a.mp4", Fraction(8), 320, 240) as writer:
        for i in range(24):
            image = draw((160, 120))
            image[(image == 110).all(-1)] = 110 if i < 12 else 170
            writer.write(image, i / 8)

    def familiar(crops):
        assert crops.shape[1:] == (96, 96, 3) and crops.dtype == np.uint8
        return crops.mean((1, 2, 3)) < 140

    summary, content, _ = go(tmp_path / "a.mp4", tmp_path / "out", 4, stride=1, batch=8, familiar=familiar)
    marked = [frame["persons"][0]["unfamiliar"] for frame in content["frames"]]
    assert marked[:10] == [False] * 10 and marked[13:] == [True] * 11 and summary.unfamiliar == sum(marked)
    named = ["action" in frame["persons"][0] for frame in content["frames"]]
    assert all(named[:10]) and not any(named[14:])
    assert max(int(row["end_frame"]) for row in rows_of(tmp_path / "out" / "actions.csv")) < 14
    few = go(
        tmp_path / "a.mp4", tmp_path / "few", 4, stride=1, batch=16, familiar=lambda crops: np.arange(len(crops)) < 1
    )
    assert few[0].action is None and "action" not in few[1]["tracks"][0]


def test_heads_that_no_label_has_trained_name_no_action(tmp_path: Path, capsys):
    config = replace(zoo.tiny("reception-penn"), num_frames=2)
    net = zoo.create(config)
    trained = {"step": 3, "steps": 9, "actions": False, "unseen_classes": [], "unseen_joints": ["pelvis", "neck"]}
    description = {**checkpoint.describe(config, PA16, actions.PENN), "trained": trained}
    kept = store.Store(tmp_path / "run")
    kept.save(store.Saved(3, port.to_flat(net), {}, {}), description)
    kept.close()
    source = write_video(tmp_path / "a.mp4", 3, (64, 48))
    summary = predict.run(source, tmp_path / "run", tmp_path / "out", progress=False)
    assert summary.action is None and not (tmp_path / "out" / "actions.csv").exists()
    assert re.search(
        r"no action is named: the action heads of .*run are not trained yet \(3 of 9 steps", summary.notes[0]
    )
    assert summary.notes[1].endswith("so that their places mean nothing: pelvis, neck")
    content = pose_file.read(tmp_path / "out" / "poses.json")
    done = checkpoint.Meta(PA16, ("run", "jump"), config, {**trained, "actions": True, "unseen_classes": ["jump"]})
    assert done.unseen_classes() == "training has seen no example of these actions: jump"
    assert done.untrained_actions(tmp_path) is None
    assert content["made_by"]["trained"] == trained and len(content["made_by"]["weights_sha256"]) == 64


@dataclass(frozen=True)
class Wide:
    """Settings of a network of wide frames; `joints` 0 for one that predicts no pose."""

    joints: int = len(DOTS)
    reads: tuple[str, ...] = ("frames",)
    predicts = ("pose",)

    @property
    def pose_shape(self) -> tuple[int, int] | None:
        return (self.joints, 2) if self.joints else None

    def inputs(self, batch, frames=None):
        return {"frames": jax.ShapeDtypeStruct((batch, frames or 1, 64, 128, 3), np.uint8)}


def test_a_network_of_wide_frames_without_confidences(tmp_path: Path):
    def infer(frames):
        assert frames.shape[2:] == (64, 128, 3)
        pose = FindsDots()(frames.repeat(2, axis=2)[:, :, :, :])["pose"]
        return {"pose": pose}

    source = write_video(tmp_path / "a.mp4", 5)
    described = SimpleNamespace(skeleton=DOTS, actions=(), config=Wide())
    task = Task(open_source(source), source, infer, described, Options(bbox=(20, 30, 220, 190)))
    write(task, tmp_path / "out", forms=["coco"])
    frames = json.loads((tmp_path / "out" / "poses.json").read_text())["frames"]
    assert {score for frame in frames for score in frame["persons"][0]["confidence"]} == {None}
    for centre, frame in zip(path_of(5), frames, strict=True):
        np.testing.assert_allclose(joints_of(frame), OFFSETS + centre, atol=3)
        x1, y1, x2, y2 = frame["persons"][0]["box"]
        assert x2 - x1 == pytest.approx(2 * (y2 - y1), abs=3)
    (annotation, *_) = json.loads((tmp_path / "out" / "coco.json").read_text())["annotations"]
    assert "score" not in annotation


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            Wide(joints=0),
            "the network of w predicts no joints: `jaxhar predict` needs a pose network that reads frames",
        ),
        (Wide(reads=("points",)), "the network of w reads points, not only frames"),
    ],
)
def test_a_network_that_predicts_no_pose_is_refused(tmp_path: Path, monkeypatch, config, sentence):
    described = SimpleNamespace(skeleton=None, actions=(), config=config)
    monkeypatch.setattr(checkpoint, "load_model", lambda path: (None, described))
    source = write_video(tmp_path / "a.mp4", 1)
    for act in (
        lambda: predict.run(source, Path("w"), tmp_path / "out"),
        lambda: data_set.run("penn", tmp_path, Path("w"), tmp_path / "out"),
        lambda: data_set_boxes.run("penn", tmp_path, Path("w"), tmp_path / "boxes.json", changes={}),
    ):
        with pytest.raises(Problem, match=sentence):
            act()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (7, 5)])
def test_tiny_pictures(tmp_path: Path, size):
    Image.fromarray(np.zeros((*size, 3), np.uint8)).save(tmp_path / "a.png")
    summary, _, _ = go(tmp_path / "a.png", tmp_path / "out", 8)
    assert summary.frames == 1 and read_image(tmp_path / "out" / "a.png").shape == (*size, 3)


def test_a_missed_frame_gets_its_box_from_its_neighbours(tmp_path: Path):
    with VideoWriter(tmp_path / "a.mp4", Fraction(8), 320, 240) as writer:
        for i in range(12):
            image = draw((160, 120)) if i not in (4, 5) else np.zeros((240, 320, 3), np.uint8)
            writer.write(image, i / 8)
    _, poses, _ = go(tmp_path / "a.mp4", tmp_path / "out")
    boxes = np.array([f["persons"][0]["box"] for f in poses["frames"] if f["persons"]])
    np.testing.assert_allclose(boxes, np.tile([100, 60, 220, 180], (10, 1)), atol=3)
    assert poses["frames"][4]["persons"] == poses["frames"][5]["persons"] == []


def test_a_long_video_is_never_held(tmp_path: Path, monkeypatch):
    source = write_video(tmp_path / "a.mp4", 300, (160, 120))
    alive, most = set(), 0
    original = Video.frames

    def counted(self, every: int = 1):
        nonlocal most
        for frame in original(self, every):
            if frame.image is not None:
                image = frame.image.copy()
                key = id(image)
                alive.add(key)
                weakref.finalize(image, alive.discard, key)
                most = max(most, len(alive))
                frame = Frame(frame.index, frame.time, frame.path, image)
                del image
            yield frame

    monkeypatch.setattr(Video, "frames", counted)
    go(source, tmp_path / "out", 8)
    assert 0 < most < 25
    assert not alive


def failing(infer: FindsDots, after: int):
    def call(frames: np.ndarray) -> dict[str, np.ndarray]:
        if len(infer.shapes) >= after:
            raise FloatingPointError("the network broke")
        return infer(frames)

    return call


@pytest.mark.parametrize("after", [0, 4, 8])
def test_a_failure_leaves_nothing_half_written(tmp_path: Path, after: int):
    source = write_video(tmp_path / "a.mp4", 100)
    before = threading.active_count()
    with pytest.raises(FloatingPointError):
        go(source, tmp_path / "out", 8, infer=failing(FindsDots(True), after))
    out = tmp_path / "out"
    assert not out.exists() or not list(out.iterdir())
    assert threading.active_count() == before


@pytest.mark.parametrize("key", ["pose", "visible", "action"])
def test_a_network_that_gives_nan_is_told(tmp_path: Path, key: str):
    good = FindsDots(actions=True)

    def infer(frames: np.ndarray) -> dict[str, np.ndarray]:
        preds = good(frames)
        return preds | {key: preds[key] * np.nan}

    with pytest.raises(Problem, match="not finite; its weights"):
        go(write_video(tmp_path / "a.mp4", 5), tmp_path / "out", 4, infer=infer)
    assert not list((tmp_path / "out").iterdir())


def test_earlier_results_stay_when_a_run_fails(tmp_path: Path):
    source = write_video(tmp_path / "a.mp4", 30)
    go(source, tmp_path / "out", 8)
    kept = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    with pytest.raises(FloatingPointError):
        go(source, tmp_path / "out", 8, infer=failing(FindsDots(True), 3))
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == kept


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch):
    def full(self, image, time):
        raise OSError(28, "No space left on device")

    source = write_video(tmp_path / "a.mp4", 5)
    monkeypatch.setattr(VideoWriter, "write", full)
    with pytest.raises(Problem, match="cannot be written there: No space left on device"):
        go(source, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_an_out_that_cannot_be_a_folder(tmp_path: Path):
    (tmp_path / "file").write_text("")
    Image.fromarray(draw((90, 120))).save(tmp_path / "a.png")
    for out in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(Problem, match="cannot be written"):
            go(tmp_path / "a.png", out)


def test_the_source_is_never_overwritten(tmp_path: Path):
    Image.fromarray(draw((90, 120))).save(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(Usage, match="would overwrite"):
        go(tmp_path / "a.png", tmp_path)
    source = write_video(tmp_path / "overlay.mp4", 3)
    with pytest.raises(Usage, match="would overwrite"):
        go(source, tmp_path)
    assert (tmp_path / "a.png").read_bytes() == before and sorted(p.name for p in tmp_path.iterdir()) == [
        "a.png",
        "overlay.mp4",
    ]


def test_broken_images_of_a_folder(tmp_path: Path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.png", "c.png"):
        Image.fromarray(draw((90, 120))).save(folder / name)
    (folder / "b.jpg").write_text("text")
    with pytest.raises(Problem, match="b.jpg"):
        go(folder, tmp_path / "out")
    summary, poses, _ = go(folder, tmp_path / "out", skip_broken=True)
    assert [f["file"] for f in poses["frames"]] == ["a.png", "c.png"] and summary.frames == 2
    assert len(summary.broken) == 1 and "b.jpg" in summary.broken[0]
    (folder / "a.png").write_text("text")
    (folder / "c.png").write_text("text")
    with pytest.raises(Problem, match="no picture"):
        go(folder, tmp_path / "out", skip_broken=True)


@pytest.mark.parametrize("bbox", [(400.0, 10, 500, 90), (10.0, -90, 50, -10)])
def test_a_box_outside_of_the_picture(tmp_path: Path, bbox):
    source = write_video(tmp_path / "a.mp4", 3)
    with pytest.raises(Usage, match="lies outside of .*a.mp4, which has 320x240 pixels"):
        go(source, tmp_path / "out", bbox=bbox)


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "1,2,3,4,5", ""])
def test_bbox_that_is_not_four_numbers(text: str):
    with pytest.raises(Usage, match="four numbers"):
        predict_command.parse_bbox(text)


@pytest.mark.parametrize("bbox", [(5.0, 5, 5, 9), (9.0, 5, 2, 9), (0.0, 0, float("nan"), 9), (0.0, 0, float("inf"), 9)])
def test_bbox_that_is_no_box(tmp_path: Path, bbox):
    with pytest.raises(Usage, match="is not a box"):
        predict.run(tmp_path / "a.mp4", tmp_path, tmp_path / "out", bbox=bbox)
    with pytest.raises(Usage, match="--bbox 0.1,0.1,0.9,1 lies within one pixel: give pixels, not fractions"):
        predict.run(tmp_path / "a.mp4", tmp_path, tmp_path / "out", bbox=(0.1, 0.1, 0.9, 1.0))


def test_a_video_without_frames(tmp_path: Path):
    source = write_video(tmp_path / "a.mp4", 3)
    data = source.read_bytes()
    source.write_bytes(data[: data.index(b"mdat") + 4])  # the header promises frames that are not there
    with pytest.raises(Problem, match="a.mp4: no frame of this video can be decoded: .* its header says 3 frames"):
        go(tmp_path / "a.mp4", tmp_path / "out")


def test_arguments():
    parser = argparse.ArgumentParser()
    predict_command.add_arguments(parser)
    args = parser.parse_args(["a.mp4", "--weights", "w", "--out", "o", "--bbox", "1,2,3.5,4", "--stride", "1"])
    assert (
        predict_command.parse_bbox(args.bbox) == (1, 2, 3.5, 4) and args.stride == 1 and args.source == [Path("a.mp4")]
    )
    with pytest.raises(Problem, match="no such file"):
        predict_command.main(args)
    args.batch = 0
    with pytest.raises(Usage, match="--batch"):
        predict_command.main(args)
