"""Every form of calibration gives the same cameras, and every wrong one a sentence."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from jaxhar.core.camera import Camera
from jaxhar.data.formats import calibration
from jaxhar.data.formats.calibration import Rig
from jaxhar.host.errors import Problem

POINTS = np.random.default_rng(1).normal(0, 300, (20, 3)) + [0, 0, 900]


def camera(n: int) -> Camera:
    turn = cv2.Rodrigues(np.array([1.3 + 0.1 * n, 0.9, -0.7]))[0]
    centre = -turn.T @ np.array([100.0 * n, 200.0, 4000.0])
    return Camera(turn, centre, [1500.0, 1490.0], [640.5, 362.5], [-0.2, 0.05, 0.001], [1e-3, -2e-3])


RIG = Rig(("cam_a", "cam_b"), (camera(0), camera(1)), ((1280, 720), None))
K = [[1500.0, 0, 640.0], [0, 1490.0, 362.0], [0, 0, 1]]
BENT = [-0.2, 0.05, 1e-3, -2e-3, 0.001]


def same(rig: Rig) -> None:
    for found, true in zip(rig.cameras, RIG.cameras, strict=True):
        np.testing.assert_allclose(found.project(POINTS), true.project(POINTS), atol=1e-6)


def toml(n: int, scale: float = 1e-3) -> str:
    true = camera(n)
    turn, shift = cv2.Rodrigues(true.R)[0].ravel().tolist(), (-true.R @ true.t * scale).tolist()
    head = f'[cam_{n}]\nname = "cam_{"ab"[n]}"\nsize = [1280.0, 720.0]\nfisheye = false\n'
    return f"{head}matrix = {K}\ndistortions = {BENT}\nrotation = {turn}\ntranslation = {shift}\n\n"


def test_our_json_keeps_everything(tmp_path):
    calibration.write(tmp_path / "cams.json", RIG)
    found = calibration.read([tmp_path / "cams.json"])
    assert (found.names, found.sizes, found.notes) == (RIG.names, RIG.sizes, ())
    same(found)
    # OpenCV projects alike, with pixel centres at integers
    true = camera(0)
    turn, shift = cv2.Rodrigues(true.R)[0], -true.R @ true.t
    pixels = cv2.projectPoints(POINTS, turn, shift, np.array(K), np.array(BENT))[0][:, 0]
    np.testing.assert_allclose(found.cameras[0].project(POINTS)[:, :2], pixels + 0.5, atol=1e-6)


@pytest.mark.parametrize("scale, unit, stated", [(1e-3, "m", ""), (1.0, "mm", ""), (0.1, "cm", 'unit = "cm"')])
def test_toml_of_pose2sim_and_anipose(tmp_path, scale, unit, stated):
    path = tmp_path / "calib.toml"
    path.write_text(toml(0, scale) + toml(1, scale) + f"[metadata]\nerror = 0.0\n{stated}\n")
    found = calibration.read([path])
    assert found.names == RIG.names and found.sizes == ((1280, 720),) * 2
    # these two cameras are closer than 100 mm, which looks like metres
    same(found if unit != "mm" else calibration.read([path], "mm"))
    assert bool(found.notes) is not bool(stated)


def test_opencvs_files_one_for_each_camera(tmp_path):
    paths = []
    for n in range(2):
        paths.append(tmp_path / f"cam_{'ab'[n]}.{('yml', 'xml')[n]}")
        store = cv2.FileStorage(str(paths[-1]), cv2.FILE_STORAGE_WRITE)
        true = camera(n)
        values = {"K": np.array(K), "D": np.array(BENT), "T": -true.R @ true.t}
        for name, value in {**values, "R": (true.R, cv2.Rodrigues(true.R)[0])[n]}.items():
            store.write(name, value)
        store.write("image_width", 1280)
        store.write("image_height", 720)
        store.release()
    found = calibration.read(paths, "mm")
    assert found.names == RIG.names and found.sizes == ((1280, 720),) * 2
    same(found)


def test_panoptics_json_is_in_cm(tmp_path):
    cameras = [
        {"name": name, "K": K, "distCoef": BENT, "R": c.R.tolist(), "t": [[v / 10] for v in -c.R @ c.t]}
        for name, c in zip(RIG.names, RIG.cameras, strict=True)
    ]
    for content in ({"calibration": cameras}, {"calibDataSource": "160906_calib_norm", "cameras": cameras}):
        (tmp_path / "c.json").write_text(json.dumps(content))
        same(calibration.read([tmp_path / "c.json"]))


def test_cameras_are_matched_by_name_or_order():
    rig, how = calibration.match(RIG, ["CamB", "trial1_cam-a"])
    assert rig.names == ("cam_b", "cam_a") and rig.sizes == (None, (1280, 720)) and "CamB is cam_b" in how
    rig, how = calibration.match(RIG, ["x", "y"])
    assert rig.names == RIG.names and how == "cameras in order: x is cam_a, y is cam_b"
    with pytest.raises(Problem, match="1 views .x. and 2 cameras .cam_a, cam_b."):
        calibration.match(RIG, ["x"])
    assert calibration.match(RIG, ["cam_b"])[0].names == ("cam_b",)


def test_cameras_at_one_place_are_refused():
    """Unless they are not chosen; a pair that is close is a rig of its own."""
    places = {"left": 0.0, "left2": 0.2, "right": 900.0, "left3": 0.0}
    at = tuple(replace(camera(0), t=[4000.0 + x, 0, 0]) for x in places.values())
    rig = Rig(tuple(places), at, (None,) * 4)
    for views in (["left", "right"], ["left", "left2"], ["left2"]):
        assert calibration.match(rig, views)[0].names == tuple(views)
    for views, pair in ((["left", "right", "left2"], "left and left2"), (["left3", "left"], "left3 and left")):
        with pytest.raises(Problem, match=f"cameras {pair} stand at the same place; no depth"):
            calibration.match(rig, views)


def test_a_missing_distortion_is_said(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("\n".join(line for line in toml(0).splitlines() if "distortions" not in line))
    found = calibration.read([path], "m")
    assert found.notes == ("no lens distortion is given for cam_a; none is assumed",) and not found.cameras[0].k.any()


WRONG = {
    "c.toml": {
        "[a\n": "is not TOML",
        "x = 1\n": "holds no camera",
        "[a]\nmatrix = 3\n": "the matrix of camera 'a' of the calibration .* is not 9 finite numbers",
        toml(0).replace("1490.0", "nan"): "is not 9 finite numbers",
        toml(0).replace("1490.0", "-1490.0"): "with fx, fy > 0",
        toml(0).replace("rotation", "turned"): "has no rotation",
        toml(0).replace("translation", "moved"): "has no translation",
        toml(0).replace("false", "true"): "fisheye",
        toml(0).replace("0.001]", "0.001, 0.2, 0.0, 0.0]"): "more than five distortion",
        toml(0) + toml(1).replace("cam_b", "cam_a"): "two cameras of one name",
        toml(0) + '[metadata]\nunit = "inch"\n': "has the unit inch",
        toml(0).replace("rotation = [", "rotation = [1, 0, 0, 0, 1, 0, 0, 0, -1]\nx = ["): "is no rotation",
        toml(0).replace("rotation = [", "rotation = [90, 0, 0]\nx = ["): "longer than 2 pi; give it in radians",
        toml(0).replace("rotation = [", "rotation = [1e300, 0, 0]\nx = ["): "is not 3 or 9 finite numbers",
        toml(0).replace("translation = [", f"translation = [{10**400}, 0, 0]\nx = ["): "is not 3 finite numbers",
        toml(0).replace("1500.0", "1.2").replace("1490.0", "1.2"): "has fx or fy below 10 pixels",
        "a = " + "[" * 100_000: "is not TOML",
        **{
            toml(0).replace("[1280.0, 720.0]", size): "the size of camera 'cam_a' of the calibration .* is not "
            for size in ("[inf, 720]", "[nan, 720]", "[-5, 720]", "[0, 0]", "[1.5, 720]", "[9, 9, 9]", "'160x120'")
        },
    },
    "c.json": {
        "[": "is not JSON",
        "[]": "no list of cameras",
        '{"cameras": [3]}': "no list of cameras",
        '{"format": "jaxhar cameras", "version": 9, "cameras": []}': "has version 9, but 1 is read; update jaxhar",
    },
    "c.yml": {"hello": "is not a file of OpenCV", "%YAML:1.0\n---\nK: 3\n": "has no matrix"},
    "c.txt": {"": "ends in .txt"},
}


@pytest.mark.parametrize("name, text", [(name, text) for name, texts in WRONG.items() for text in texts])
def test_a_wrong_file_is_one_sentence(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(Problem, match=WRONG[name][text]):
        calibration.read([tmp_path / name])


def test_no_file(tmp_path):
    with pytest.raises(Problem, match="cannot be read"):
        calibration.read([tmp_path / "none.toml"])
