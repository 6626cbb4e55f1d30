"""Joints in space from generated people whose true points are known, and what is said of wrong input."""

import csv
import json
import sys
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import ezc3d
import numpy as np
import pytest
from PIL import Image

from jaxhar.cli import main as cli
from jaxhar.core.camera import Camera
from jaxhar.core.skeleton import PA21
from jaxhar.data.formats import calibration
from jaxhar.data.formats.calibration import Rig
from jaxhar.data.formats.source import open_source
from jaxhar.data.formats.writer import VideoWriter
from jaxhar.data.generate.body import perform
from jaxhar.data.generate.film import axes_towards, performer
from jaxhar.data.generate.motions import MOTIONS
from jaxhar.host.errors import Problem, Usage
from jaxhar.models.multiview.network import MultiViewConfig
from jaxhar.nn.maps import MapsConfig
from jaxhar.predict import poses, reconstruct
from jaxhar.viz.draw import draw_skeleton
from jaxhar.weights import checkpoint

FRAMES, FPS, SIZE = 12, 25, (160, 120)
NAMES = ("left", "middle", "right")


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A folder with cams.json, three videos and their exact poses, and the true points (F, J, 3) in mm."""
    folder = tmp_path_factory.mktemp("scene")
    motion = MOTIONS["squat"]
    truth = 1000 * perform(motion, performer(0, 0).body, FRAMES, np.random.default_rng(0)).joints
    middle = truth.mean((0, 1))
    cameras = []
    for x, y in ((-3000, 3500), (200, 4600), (3200, 3000)):
        eye = middle + np.array([x, y, 400.0])
        lens = {"k": np.array([-0.1, 0.02, 0.0]), "p": np.array([1e-3, -5e-4])}
        cameras.append(Camera(axes_towards(eye, middle), eye, np.full(2, 190.0), np.array([80.0, 61.0]), **lens))
    calibration.write(folder / "cams.json", Rig(NAMES, tuple(cameras), (SIZE,) * 3))
    for name, camera in zip(NAMES, cameras, strict=True):
        pixels = camera.project(truth)[..., :2]
        with VideoWriter(folder / f"{name}.mp4", Fraction(FPS), *SIZE) as writer:
            for n, pose in enumerate(pixels):
                writer.write(draw_skeleton(np.full((SIZE[1], SIZE[0], 3), 60, np.uint8), pose, PA21), n / FPS)
        write_poses(folder / f"{name}.json", pixels)
    return folder, truth


def write_poses(path, pixels, rate=FPS, confidence=1.0):
    box, sure = np.array([0.0, 0, *SIZE]), np.full(len(PA21), confidence)
    persons = [[] if np.isnan(p).all() else [poses.person(1, box, p, sure, PA21, None)] for p in pixels]
    frames = [{"index": n, "time": n / FPS, "persons": one} for n, one in enumerate(persons)]
    content = {"version": 2, "skeleton": poses.skeleton(PA21), "fps": rate, "frames": frames, "tracks": []}
    path.write_text(poses.dumps(content))
    return path


def files_of(folder, ending):
    return [str(folder / f"{name}.{ending}") for name in NAMES]


def run(folder, out, *words, given=None):
    given = files_of(folder, "json") if given is None else given
    words = [*words, "--cameras", folder / "cams.json", "--out", out, "--no-progress", "--poses", *given]
    return cli.main(["reconstruct", *map(str, words)])


def test_points_are_where_they_are_in_all_files(scene, tmp_path, capsys):
    folder, truth = scene
    assert run(folder, tmp_path, *files_of(folder, "mp4")) == 0
    said = capsys.readouterr().out
    assert f"{truth.shape[0] * truth.shape[1]} of {truth.shape[0] * truth.shape[1]} joints of 12 frames" in said
    assert "cameras by name: left is left, middle is middle" in said
    content = json.loads((tmp_path / "space.json").read_text())
    points = np.array([frame["persons"][0]["joints"] for frame in content["frames"]])
    assert np.linalg.norm(points - truth, axis=-1).max() < 1
    assert all(camera["error"]["max"] < 0.02 for camera in content["cameras"])
    assert np.array([frame["persons"][0]["used"] for frame in content["frames"]]).all()
    with open(tmp_path / "space.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    listed = np.array([[row[f"{axis}_mm"] for axis in "xyz"] for row in rows], float).reshape(truth.shape)
    assert np.abs(listed - truth).max() < 1 and {row["views"] for row in rows} == {"3"}
    lines = (tmp_path / "space.trc").read_text().splitlines()
    assert lines[2].split("\t")[:5] == ["25", "25", "12", "21", "mm"]
    table = np.array([line.split("\t") for line in lines[6:]], float)
    assert np.abs(table[:, 2:].reshape(truth.shape) - truth).max() < 1
    np.testing.assert_allclose(table[:, 1], np.arange(FRAMES) / FPS, atol=1e-6)
    assert_c3d(tmp_path / "space.c3d", truth, PA21.joints)


def assert_c3d(path, truth, labels):
    """The file as another program reads it; NaN in `truth` (F, N, 3) are missing points."""
    content = ezc3d.c3d(str(path))
    point = content["parameters"]["POINT"]
    assert point["RATE"]["value"] == [FPS] and point["UNITS"]["value"] == ["mm"]
    assert point["LABELS"]["value"] == list(labels)
    np.testing.assert_allclose(content["data"]["points"][:3].T, truth, atol=1)
    missing = content["data"]["meta_points"]["residuals"][0].T < 0
    np.testing.assert_array_equal(missing, np.isnan(truth).any(-1))


def test_overlays_and_the_page(scene, tmp_path):
    folder, truth = scene
    assert run(folder, tmp_path, *files_of(folder, "mp4")) == 0
    for name in NAMES:
        shown = list(open_source(tmp_path / name / "overlay_space.mp4").frames())
        plain = list(open_source(folder / f"{name}.mp4").frames())
        assert len(shown) == FRAMES and shown[0].image.shape == plain[0].image.shape
        # the projected skeleton covers the drawn one, and the crosses in it are white
        assert (shown[5].image.min(-1) > 150).sum() > (plain[5].image.min(-1) > 150).sum() + 10
    page = (tmp_path / "space.html").read_text()
    assert "http" not in page and "/*CONTENT*/" not in page
    content = json.loads(page.split("const content = ")[1].split(";\n")[0])
    shown = np.array(content["frames"])[:, 0]
    assert [camera["name"] for camera in content["cameras"]] == list(NAMES)
    np.testing.assert_allclose(shown[..., 2], truth[..., 2], atol=1)  # up is up
    lengths = [np.linalg.norm(np.diff(p[:, list(PA21.limbs[3])], axis=1), axis=-1) for p in (shown, truth)]
    np.testing.assert_allclose(lengths[0], lengths[1], atol=1)


def test_ransac_leaves_a_wrong_view_out_and_gaps_stay_empty(scene, tmp_path, capsys):
    folder, truth = scene
    content = poses.read(folder / "middle.json")
    content["frames"][3]["persons"][0]["joints"][5][0] += 60
    content["frames"][4]["persons"] = []
    (tmp_path / "middle.json").write_text(json.dumps(content))
    content = poses.read(folder / "right.json")
    content["frames"][4]["persons"] = []
    (tmp_path / "right.json").write_text(json.dumps(content))
    given = [folder / "left.json", tmp_path / "middle.json", tmp_path / "right.json"]
    assert run(folder, tmp_path / "all", given=given) == 0
    assert run(folder, tmp_path / "out", "--method", "ransac", "--threshold", 3, given=given) == 0
    said = capsys.readouterr().out
    assert f"{len(PA21)} were seen with confidence in fewer than two views that agree" in said
    off = []
    for out in ("all", "out"):
        content = json.loads((tmp_path / out / "space.json").read_text())
        frames = [frame["persons"][0] for frame in content["frames"]]
        off.append(np.linalg.norm(np.array(frames[3]["joints"][5]) - truth[3, 5]))
        assert frames[4]["joints"] == [None] * len(PA21)
    assert off[0] > 50 and off[1] < 1 and not frames[3]["used"][1][5] and frames[3]["errors"][1][5] > 50
    assert_c3d(
        tmp_path / "out" / "space.c3d", np.where(np.arange(FRAMES)[:, None, None] == 4, np.nan, truth), PA21.joints
    )
    assert ",,,,,0" not in (tmp_path / "out" / "space.csv").read_text().splitlines()[1]
    assert not (tmp_path / "out" / "left").exists(), "no videos, no overlays"


def test_a_network_predicts_every_view(scene, tmp_path, monkeypatch):
    """`jaxhar predict` of each video, here with the exact poses in place of a network, then points."""
    folder, truth = scene
    asked = []

    def predict(path, weights, out, **settings):
        asked.append(settings["boxes"])
        out.mkdir(parents=True)
        (out / "poses.json").write_bytes(path.with_suffix(".json").read_bytes())
        return reconstruct.predictor.Summary(FRAMES, (), None, None, 2, 0, (), 0.0, ("a note",))

    config = MultiViewConfig(**{**MapsConfig.TINY, "fusion": False})
    network = SimpleNamespace(config=config), checkpoint.Meta(PA21, (), config, {"step": 7})
    monkeypatch.setattr(reconstruct.predictor, "run", predict)
    monkeypatch.setattr(reconstruct.checkpoint, "load_model", lambda path: network)
    monkeypatch.setattr(reconstruct.checkpoint, "sha256", lambda model: "abc")
    videos = [folder / f"{name}.mp4" for name in NAMES]
    found = reconstruct.run(videos, [folder / "cams.json"], tmp_path, weights=tmp_path, progress=False)
    assert found.found.all() and found.frames == FRAMES
    assert "left: a note" in found.notes and "right: nobody was found in 2 of 12 frames" in found.notes
    assert tmp_path / "right" / "overlay_space.mp4" in found.files and all(path.is_file() for path in found.files)
    made_by = json.loads((tmp_path / "space.json").read_text())["made_by"]
    assert made_by["weights_sha256"] == "abc" and made_by["trained"] == {"step": 7}
    assert made_by["settings"]["method"] == "triangulate" and made_by["settings"]["fused"] is False

    boxes = [folder / f"{name}.json" for name in NAMES]
    again = {"weights": tmp_path, "progress": False, "boxes": boxes}
    found = reconstruct.run(videos, [folder / "cams.json"], tmp_path / "boxes", **again)
    assert found.found.all() and asked == [None, None, None, *boxes]
    (tmp_path / "two.txt").write_text("1,1,10,10,40,60,1\n1,2,60,10,40,60,1\n")
    again["boxes"] = [*boxes[:2], tmp_path / "two.txt"]
    other = {"boxes": "1,1,10,10,40,60,1\n99,1,10,10,40,60,1\n", "side": "3,1,300,10,40,60,1\n"}
    for name, sentence in (("boxes", "line 2: there is no frame 98"), ("side", "lies outside of the picture, 160x120")):
        (tmp_path / f"{name}.txt").write_text(other[name])
        with pytest.raises(Problem, match=sentence):
            reconstruct.run(
                videos, [folder / "cams.json"], tmp_path, **{**again, "boxes": [*boxes[:2], tmp_path / f"{name}.txt"]}
            )
    with pytest.raises(Usage, match="--smooth 12.5 must be below half of the 25 frames"):
        reconstruct.run(videos, [folder / "cams.json"], tmp_path, reconstruct.Settings(smooth=12.5), **again)
    with pytest.raises(Problem, match="left.mp4 is given for two views"):
        reconstruct.run([*videos[:2], videos[0]], [folder / "cams.json"], tmp_path, **again)
    method = reconstruct.Settings("structures")
    with pytest.raises(Usage, match="--method structures is for one person, and --boxes has 2: give the boxes of one"):
        reconstruct.run(videos, [folder / "cams.json"], tmp_path / "two", method, **again)
    assert len(asked) == 6, "told before the prediction"


def test_every_wrong_input_is_one_sentence(scene, tmp_path, capsys):
    folder, truth = scene
    left, middle, right = given = files_of(folder, "json")
    pixels = np.array([[joint[:2] for joint in f["persons"][0]["joints"]] for f in poses.read(left)["frames"]])
    short = write_poses(tmp_path / "right.json", pixels[:7])
    fast = write_poses(tmp_path / "x" / "right.json" if (tmp_path / "x").mkdir() else tmp_path / "r.json", pixels, 50)
    two = poses.read(left)
    two["frames"][2]["persons"] *= 2
    (tmp_path / "two.json").write_text(json.dumps(two))
    other = poses.read(left)
    other["skeleton"]["joints"][0] = "tail"
    other["skeleton"]["limbs"] = []
    (tmp_path / "other.json").write_text(json.dumps(other))
    broken = poses.read(left)
    del broken["frames"][0]["persons"][0]["confidence"]
    (tmp_path / "broken.json").write_text(json.dumps(broken))
    (tmp_path / "photo.mp4").write_bytes(b"")
    videos = files_of(folder, "mp4")
    wrong = [
        (((), [left, middle, short]), 1, "have 12 and 7 frames; cut the videos"),
        (((), [left, middle, fast]), 1, "have 25 and 50 frames per second"),
        (((), [left, middle]), 0, ""),
        (((), [left]), 1, "at least two are needed"),
        (((), [left, middle, right, short]), 1, "two views have one name (left, middle, right, right); rename a file"),
        (((), [left, middle, left]), 1, "left.json is given for two views; give another file for each"),
        (((), [*given, tmp_path / "two.json"]), 1, "4 views (left, middle, right, two) and 3 cameras"),
        (((), [left, middle, tmp_path / "two.json"]), 1, "has several persons of one id in frame 2"),
        (((), [left, middle, tmp_path / "other.json"]), 1, "different joints"),
        (((), [left, middle, tmp_path / "broken.json"]), 1, "is not a poses.json"),
        (((), [left, middle, tmp_path / "missing.json"]), 1, "cannot be read"),
        (((*videos[:2],), given), 2, "2 videos and 3 files of --poses"),
        (((*videos[:2], tmp_path / "photo.mp4"), given), 1, "photo.mp4"),
        ((("--smooth", 12.5), given), 2, "below half of the 25 frames"),
        ((("--smooth", "1e-9"), given), 2, "must be at least 0.0025 Hz"),
        *(((("--smooth", value), given), 2, "above 0 Hz") for value in (0, "inf", "nan")),
        *(((("--rate", value), given), 2, "above 0 Hz") for value in ("inf", "nan")),
        *(((("--min-confidence", value), given), 2, "must be from 0 to 1") for value in ("nan", "inf", 2, "-0.5")),
        *(((("--threshold", value), given), 2, "--threshold and") for value in ("nan", "inf")),
        ((("--threshold", 0), given), 2, "--threshold and --match-distance above 0"),
        ((("--weights", tmp_path), given), 2, "either --weights"),
        (
            ((*videos, "--boxes", *given[:2]), given),
            2,
            "3 videos and 2 files of --boxes; with --weights give one",
        ),
    ]
    for (words, files), code, sentence in wrong:
        assert run(folder, tmp_path / "out", *words, given=files) == code, (words, files)
        error = capsys.readouterr().err
        assert sentence in error and error.count("\n") == (1 if code else 0), error
    assert run(folder, tmp_path / "out", "--until-shortest", given=[left, middle, short]) == 0
    assert len(json.loads((tmp_path / "out" / "space.json").read_text())["frames"]) == 7


def test_folders_of_pictures_are_views(scene, tmp_path, capsys):
    """Pictures are numbered, 2 before 10; one view is a video, which says the frame rate."""
    folder, truth = scene
    for name in NAMES[:2]:
        (tmp_path / name).mkdir()
        for frame in open_source(folder / f"{name}.mp4").frames():
            Image.fromarray(frame.image).save(tmp_path / name / f"{frame.index}.png")
    views = [*(tmp_path / name for name in NAMES[:2]), folder / "right.mp4"]
    assert run(folder, tmp_path / "out", *views) == 0
    assert "right is right" in capsys.readouterr().out
    shown = Image.open(tmp_path / "out" / "middle" / "overlay_space" / "10.png")
    assert shown.size == SIZE and not (tmp_path / "out" / "middle" / "overlay_space.mp4").exists()
    assert (np.asarray(shown).min(-1) > 150).sum() > 10
    for n in (3, 11):
        (tmp_path / "left" / f"{n}.png").unlink()
    assert run(folder, tmp_path / "out", *views) == 1
    assert "10 and 12 frames; cut the videos" in capsys.readouterr().err
    content = poses.read(folder / "left.json")
    del content["fps"]
    for n, frame in enumerate(content["frames"]):
        frame |= {"time": 0.0, "width": 160 + (n == 5), "height": 120}
    (tmp_path / "left.json").write_text(json.dumps(content))
    given = [tmp_path / "left.json", folder / "middle.json"]
    assert run(folder, tmp_path / "out", given=given) == 1
    assert "have different sizes" in capsys.readouterr().err


def test_a_frame_rate_that_no_file_says(scene, tmp_path, capsys):
    folder, truth = scene
    given = []
    for name in NAMES:
        content = poses.read(folder / f"{name}.json")
        content["fps"] = None
        for frame in content["frames"]:
            frame["time"] = 0.0
        given.append(tmp_path / f"{name}.json")
        given[-1].write_text(json.dumps(content))
    assert run(folder, tmp_path, given=given) == 0
    assert "no file says the frame rate" in capsys.readouterr().out
    assert run(folder, tmp_path, "--smooth", 3, given=given) == 2
    assert "give --rate" in capsys.readouterr().err
    assert run(folder, tmp_path, "--rate", FPS, "--smooth", 3, given=given) == 0
    content = json.loads((tmp_path / "space.json").read_text())
    assert content["fps"] == FPS and content["frames"][10]["time"] == 10 / FPS
    assert "no file says" not in capsys.readouterr().out


def test_without_the_library_there_is_no_c3d_file(scene, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ezc3d", None)
    assert run(scene[0], tmp_path) == 0
    assert "space.c3d is not written, as it needs the library ezc3d" in capsys.readouterr().out
    assert (tmp_path / "space.trc").is_file() and not (tmp_path / "space.c3d").exists()


def test_views_that_lose_frames_are_said(scene, tmp_path, capsys):
    content = poses.read(scene[0] / "middle.json")
    for frame in content["frames"][7:]:
        frame["time"] += 2 / FPS
    (tmp_path / "middle.json").write_text(json.dumps(content))
    given = [scene[0] / "left.json", tmp_path / "middle.json", scene[0] / "right.json"]
    assert run(scene[0], tmp_path, given=given) == 0
    assert "frame 7 of middle is 0.080 s away from that of left" in capsys.readouterr().out


def test_videos_that_do_not_fit_stop_before_the_prediction(scene, tmp_path):
    folder, truth = scene
    rig = calibration.read([folder / "cams.json"])
    calibration.write(tmp_path / "large.json", replace(rig, sizes=((640, 480),) * 3))
    videos = [folder / f"{name}.mp4" for name in NAMES]
    with pytest.raises(Problem, match="has 160x120 pixels, but its camera left was calibrated at 640x480"):
        reconstruct.run(videos, [tmp_path / "large.json"], tmp_path, weights=tmp_path)
    for name, count, rate in (("short", 5, FPS), ("fast", FRAMES, 50)):
        with VideoWriter(tmp_path / f"{name}.mp4", Fraction(rate), *SIZE) as writer:
            for n in range(count):
                writer.write(np.zeros((SIZE[1], SIZE[0], 3), np.uint8), n / rate)
    with pytest.raises(Problem, match="12 and 5 frames"):
        reconstruct.run([*videos[:2], tmp_path / "short.mp4"], [folder / "cams.json"], tmp_path, weights=tmp_path)
    with pytest.raises(Problem, match="25 and 50 frames per second"):
        reconstruct.run([*videos[:2], tmp_path / "fast.mp4"], [folder / "cams.json"], tmp_path, weights=tmp_path)
