"""Persons whose tracks have other names in every view, break off and cross."""

import json
from dataclasses import replace

import ezc3d
import numpy as np
import pytest

from jaxhar.cli import main as cli
from jaxhar.core.camera import Camera
from jaxhar.core.skeleton import PA16
from jaxhar.data.formats import calibration
from jaxhar.data.formats.calibration import Rig
from jaxhar.data.generate.film import axes_towards
from jaxhar.host.errors import Problem
from jaxhar.predict import across_views, poses, views

FRAMES, NAMES = 20, ("a", "b", "c")


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """A folder with cams.json and a poses.json for each view; and the true points (F, 3 persons, J, 3) in mm.

    Person 0 is called 7 in view a, 1 in view b and, lost for frames 8 and 9, first 2 and then 5 in view c. Person 1 is
    called 1, 2 and 3 and stands 0.6 m beside person 0; person 2, who is called 9, is only in view b.
    """
    folder = tmp_path_factory.mktemp("crowd")
    rng = np.random.default_rng(0)
    body = rng.uniform((-250, -250, 0), (250, 250, 1700), (3, 1, len(PA16), 3))
    walk = np.arange(FRAMES)[:, None, None] * np.array([10.0, 4, 0])
    truth = np.moveaxis(body + walk + np.array([[[[0.0, 0, 0]]], [[[600, 100, 0]]], [[[-900, 600, 0]]]]), 0, 1)
    eyes = np.array([[-3000.0, 4000, 1500], [500, 4500, 1800], [4000, 2500, 1200]])
    cameras = [
        Camera(axes_towards(eye, np.array([0, 0, 900.0])), eye, (900, 900), (500, 400), (0, 0, 0), (0, 0))
        for eye in eyes
    ]
    calibration.write(folder / "cams.json", Rig(NAMES, tuple(cameras), (None,) * 3))
    called = [{0: [7] * FRAMES, 1: [1] * FRAMES}, {0: [1] * FRAMES, 1: [2] * FRAMES, 2: [9] * FRAMES}]
    called.append({0: [2] * 8 + [None] * 2 + [5] * 10, 1: [3] * FRAMES})
    for name, camera, ids in zip(NAMES, cameras, called, strict=True):
        frames = []
        for n in range(FRAMES):
            persons = []
            for person, listed in ids.items():
                if listed[n] is not None:
                    pixels = camera.project(truth[n, person])[:, :2] + rng.normal(0, 0.5, (len(PA16), 2))
                    entry = poses.person(1, np.array([0.0, 0, 9, 9]), pixels, np.ones(len(PA16)), PA16, None)
                    persons.append(entry | {"id": listed[n]})
            frames.append({"index": n, "time": n / 10, "persons": persons[:: 1 if n % 2 else -1]})
        content = {"version": 2, "skeleton": poses.skeleton(PA16), "fps": 10, "frames": frames, "tracks": []}
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder, truth


def files(folder):
    return [folder / f"{name}.json" for name in NAMES]


def test_every_person_has_a_skeleton_in_all_files(crowd, tmp_path, capsys):
    folder, truth = crowd
    words = ["--cameras", folder / "cams.json", "--out", tmp_path, "--poses", *files(folder)]
    assert cli.main(["reconstruct", *map(str, words)]) == 0
    said = capsys.readouterr().out
    assert "1 persons are left out, as no other view has them: b 9" in said
    assert f"{FRAMES * 32} of {FRAMES * 32} joints of 2 persons of {FRAMES} frames" in said
    content = json.loads((tmp_path / "space.json").read_text())
    assert [one["tracks"] for one in content["persons"]] == [
        {"a": [1], "b": [2], "c": [3]},
        {"a": [7], "b": [1], "c": [2, 5]},
    ]
    points = np.array([[person["joints"] for person in frame["persons"]] for frame in content["frames"]])
    expected = truth[:, [1, 0]]
    assert np.linalg.norm(points - expected, axis=-1).max() < 20
    used = np.array(content["frames"][8]["persons"][1]["used"])
    assert used[:2].all() and not used[2].any()
    c3d = ezc3d.c3d(str(tmp_path / "space.c3d"))
    labels = c3d["parameters"]["POINT"]["LABELS"]["value"]
    assert labels == [f"p{n}_{joint}" for n in (1, 2) for joint in PA16.joints]
    np.testing.assert_allclose(c3d["data"]["points"][:3].T, points.reshape(FRAMES, -1, 3), atol=0.01)
    trc = (tmp_path / "space.trc").read_text().splitlines()
    assert "\tp2_head\t" in trc[3] and trc[2].split("\t")[3] == "32"
    rows = (tmp_path / "space.csv").read_text().splitlines()
    assert len(rows) == 1 + FRAMES * 32 and rows[17].startswith("0,0.000000,2,pelvis,")
    page = (tmp_path / "space.html").read_text()
    assert np.shape(json.loads(page.split("const content = ")[1].split(";\n")[0])["frames"]) == (FRAMES, 2, 16, 3)


def test_nobody_who_matches_is_one_sentence(crowd):
    folder, _ = crowd
    rig, read = calibration.read([folder / "cams.json"]), views.read(files(folder))
    away = [replace(view, pixels=view.pixels + [0, 400.0 * n]) for n, view in enumerate(read)]
    with pytest.raises(Problem, match="no person of one view matches one of another to within 40 px"):
        across_views.match(rig.cameras, away, 0.2)
    alone = [replace(view, ids=view.ids[:1], pixels=view.pixels[:, :1]) for view in away]
    assert across_views.match(rig.cameras, alone, 0.2) == ([[[0], [0], [0]]], [])  # one person each: it is the same one
