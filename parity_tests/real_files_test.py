"""Small real files of other people, read and counted: LIP's annotations, persons of MPII, rigs of several cameras.

They may not be passed on: the tests run where JAXHAR_REAL names a folder that has them in lip/, mpii/ and multiview/.
"""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jaxhar.core.camera import H36M, Camera
from jaxhar.core.skeleton import MPII, PA16
from jaxhar.core.triangulate import triangulate
from jaxhar.data.formats import calibration
from jaxhar.data.lip import folder as lip
from jaxhar.data.mpii import folder as mpii


def real(name: str) -> Path:
    """A file or folder of the real ones; without it the test is skipped."""
    place = os.environ.get("JAXHAR_REAL")
    if not place or not (Path(place) / name).exists():
        pytest.skip(f"JAXHAR_REAL names no folder with {name}, which may not be passed on")
    return Path(place) / name


def test_the_validation_rows_of_lip():
    path = real("lip/lip_val_set.csv")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest == "8c08f4ec019d098e03ee3320e26d0561bfb3968ce99dba47321505e590803509"
    persons = [person for person in lip.read(path, path.parent, "val") if isinstance(person, lip.Person)]
    names = [person.image.name for person in persons]
    assert len(persons) == 10_000 and names == sorted({*names})
    assert (names[0], names[-1]) == ("100034_483681.jpg", "99938_471406.jpg")
    assert len({name.partition("_")[0] for name in names}) == 9_486
    labelled = np.stack([person.labelled for person in persons])
    points, occluded = (np.stack([vars(person)[key] for person in persons]) for key in ("points", "occluded"))
    assert labelled.sum() == 144_448 and occluded.sum() == 11_920
    assert points.sum((0, 1)).tolist() == [14_153_467, 21_920_211]
    low, high = points[labelled].min(0).tolist(), points[labelled].max(0).tolist()
    assert (low, high) == ([1, 1], [610, 651])
    missing = [3249, 2058, 519, 577, 2144, 3315, 188, 114, 156, 257, 642, 438, 144, 185, 673, 893]
    assert (~labelled).sum(0).tolist() == missing
    counts = {9: 2, 10: 658, 11: 350, 12: 1420, 13: 408, 14: 1226, 15: 484, 16: 5452}
    assert dict(zip(*map(np.ndarray.tolist, np.unique(labelled.sum(1), return_counts=True)), strict=True)) == counts


def test_five_persons_of_mpii():
    root = real("mpii")
    persons, entries = mpii.read(root), json.loads((root / "annotations.json").read_text())
    assert len(persons) == len(entries) == 5
    for person, entry in zip(persons, entries, strict=True):
        for name in PA16.joints:
            shown = bool(entry["joints_vis"][MPII.index(name)]) if name in MPII.joints else True
            assert person.labelled[PA16.index(name)] == shown
    lacking = [{PA16.joints[j] for j in np.flatnonzero(~person.labelled)} for person in persons]
    assert sum("r_ankle" in one or "l_ankle" in one for one in lacking) == 2


def test_cameras_of_human36m_see_the_joints_where_they_were_published():
    folder = real("multiview/h36m")
    rigs, poses = (json.loads((folder / f"{name}.json").read_text()) for name in ("cameras", "poses"))
    assert len(rigs) == 28
    for pose, far in zip(poses.values(), (0.19, 0.07, 0.40, 0.38), strict=True):
        lens = rigs[pose["camera"]]
        camera = Camera(np.eye(3), np.zeros(3), lens["f"], lens["c"], lens["k"], lens["p"], H36M)
        world, pixels = 1000 * np.array(pose["joints_3d_m"])[:, :3], np.array(pose["joints_2d_px"])[:, :2]
        off = [np.abs(one.project(world)[:, :2] - pixels).max() for one in (camera, camera.original_lens())]
        assert off[0] < 2e-4 and off[1] == pytest.approx(far, abs=0.006)


#: Of OpenPose's 25 points those that pose2sim triangulated, by the names of its markers; it has no point at the head.
BODY_25 = {
    **{"RHip": 9, "RKnee": 10, "RAnkle": 11, "RBigToe": 22, "RSmallToe": 23, "RHeel": 24},
    **{"LHip": 12, "LKnee": 13, "LAnkle": 14, "LBigToe": 19, "LSmallToe": 20, "LHeel": 21},
    **{"RShoulder": 2, "RElbow": 3, "RWrist": 4, "LShoulder": 5, "LElbow": 6, "LWrist": 7, "Neck": 1, "Nose": 0},
}


def test_points_of_pose2sim_from_its_own_detections():
    folder = real("multiview/pose2sim_single")
    rig = calibration.read([folder / "Calib_qualisys.toml"])
    seen = json.loads((folder / "keypoints_2d.json").read_text())["associated"]
    nobody = [np.nan] * 75
    found = np.array([[next(filter(None, persons), nobody) for persons in seen[name]] for name in sorted(seen)])
    found = found.reshape(4, 100, 25, 3)[:, :, list(BODY_25.values())]
    lines = (folder / "points_3d.trc").read_text().splitlines()
    titles = [title for title in lines[3].split("\t")[2:] if title]
    points = np.array([line.split("\t")[2 : 2 + 3 * len(titles)] for line in lines[5:] if line.strip()], float)
    points = points.reshape(100, -1, 3)[:, [titles.index(name) for name in BODY_25]][..., [2, 0, 1]]  # z, x, y
    # pose2sim corrects no distortion; its pixels count from the middle of the first one
    cameras = [replace(camera, k=np.zeros(3), p=np.zeros(2)) for camera in rig.cameras]
    ours = triangulate(cameras, found[..., :2] + 0.5, found[..., 2], unit=1000.0)
    agree = (ours.errors < 15).all(0)
    off = np.linalg.norm(ours.points / 1000 - points, axis=-1)[agree]
    assert len(off) > 100 and np.median(off) < 1e-6


def test_cameras_and_bodies_of_panoptic():
    folder = real("multiview/panoptic")
    rig = calibration.read([folder / "calibration_160906_band1.json"])
    names = sorted(path.name for path in folder.glob("body3DScene_*.json"))
    assert len(names) == 2 and len(rig.cameras) == len({*rig.names})
    for name in names:
        bodies = json.loads((folder / name).read_text())["bodies"]
        joints = np.array([body["joints19"] for body in bodies]).reshape(-1, 4)
        world = 10 * joints[joints[:, 3] > 0, :3]  # cm
        inside = []
        for camera, size in zip(rig.cameras, rig.sizes, strict=True):
            u, v, depth = camera.project(world).T
            inside.append(((u >= 0) & (u < size[0]) & (v >= 0) & (v < size[1]) & (depth > 0)).mean())
        assert np.mean(inside) > 0.5, "all cameras look at the middle of the dome"
