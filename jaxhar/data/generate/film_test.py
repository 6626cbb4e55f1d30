import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import loadmat

from jaxhar.core import classes as actions
from jaxhar.core import skeleton
from jaxhar.data.generate import film as synthetic
from jaxhar.data.generate.body import SKELETON, bend, mirror, perform
from jaxhar.data.generate.figure import Clothes
from jaxhar.data.generate.film import Synth, plan
from jaxhar.data.generate.motions import MOTIONS
from jaxhar.data.penn import generate as penn_generate
from jaxhar.data.penn.generate import write as write_penn
from jaxhar.host.errors import Problem

SMALL = Synth(3, 2, 2, 1, frames=(4, 6), size=(96, 80), seed=3)


def _digest(root: Path) -> dict[str, str]:
    files = (p for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("synth") / "penn"
    write_penn(out, SMALL, progress=False)
    return out


def test_layout_is_penn_actions(small):
    assert sorted(p.name for p in small.iterdir()) == ["frames", "labels", "synthetic.json"]
    assert sorted(p.name for p in (small / "labels").iterdir()) == [f"{i:04d}.mat" for i in range(1, 6)]
    for planned in plan(SMALL):
        label = loadmat(small / "labels" / f"{planned.number:04d}.mat")
        n = int(label["nframes"].item())
        assert 4 <= n <= 6
        names = sorted(p.name for p in (small / "frames" / f"{planned.number:04d}").iterdir())
        assert names == [f"{t:06d}.jpg" for t in range(1, n + 1)]
        assert label["action"].tolist() == [planned.action]
        assert label["pose"].item() in ("front", "back", "left", "right")
        assert label["train"].item() == (1 if planned.train else -1)
        assert label["dimensions"].tolist() == [[80, 96, n]]
        assert label["x"].shape == label["y"].shape == label["visibility"].shape == (n, 13)
        assert label["x"].dtype == label["y"].dtype == label["bbox"].dtype == np.float64
        assert set(np.unique(label["visibility"])) <= {0, 1}
        box = label["bbox"]
        assert box.shape == (n, 4)
        assert (box[:, :2] < box[:, 2:]).all()
        assert (box >= 0).all() and (box[:, 2:] <= [95, 79]).all()
        inside = (label["x"] >= 0) & (label["x"] <= 95) & (label["y"] >= 0) & (label["y"] <= 79)
        assert not (label["visibility"].astype(bool) & ~inside).any()
        frame = cv2.imread(str(small / "frames" / f"{planned.number:04d}" / "000001.jpg"))
        assert frame is not None and frame.shape == (80, 96, 3) and frame.std() > 5


def test_same_settings_give_the_same_bytes(small, tmp_path):
    write_penn(tmp_path / "again", SMALL, progress=False)
    assert _digest(tmp_path / "again") == _digest(small)
    write_penn(tmp_path / "other", replace(SMALL, seed=4), progress=False)
    assert _digest(tmp_path / "other")["frames/0001/000001.jpg"] != _digest(small)["frames/0001/000001.jpg"]


def test_plan_is_balanced_and_splits_performers():
    sequences = plan(Synth(90, 30, 7, 3))
    assert [s.number for s in sequences] == list(range(1, 121))
    for train, each in ((True, 6), (False, 2)):
        count = Counter(s.action for s in sequences if s.train == train)
        assert count == dict.fromkeys(actions.PENN, each)
    people = [{s.performer for s in sequences if s.train == train} for train in (True, False)]
    assert people == [set(range(7)), {7, 8, 9}]


def test_an_interrupted_folder_is_completed(small, tmp_path, monkeypatch):
    out = tmp_path / "penn"
    encode, calls = cv2.imencode, []

    def dies(*args):
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return encode(*args)

    monkeypatch.setattr(synthetic.cv2, "imencode", dies)
    with pytest.raises(KeyboardInterrupt):
        write_penn(out, SMALL, progress=False)
    assert not (out / "synthetic.json").exists()
    assert len(list((out / "labels").iterdir())) == 1
    (out / "labels" / "0001.mat").unlink()  # as if the crash had come between the frames and the label
    monkeypatch.undo()
    write_penn(out, SMALL, progress=False)
    assert _digest(out) == _digest(small)


def test_a_folder_interrupted_before_its_first_video_is_completed(tmp_path):
    (tmp_path / ".synthetic.unfinished.json").write_text("{")
    write_penn(tmp_path, replace(SMALL, train_sequences=1, test_sequences=0), progress=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["frames", "labels", "synthetic.json"]


def test_a_finished_folder_is_left_alone(small, monkeypatch):
    monkeypatch.setattr(penn_generate, "_write_sequence", lambda *_: pytest.fail("generated again"))
    before = _digest(small)
    write_penn(small, SMALL, progress=False)
    assert _digest(small) == before


def test_foreign_folders_are_refused(small, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(Problem, match="not an empty folder"):
        write_penn(tmp_path, SMALL, progress=False)
    with pytest.raises(Problem, match="not an empty folder"):
        write_penn(tmp_path / "mine.txt", SMALL, progress=False)
    assert (tmp_path / "mine.txt").read_text() == "precious"
    with pytest.raises(Problem, match="other settings"):
        write_penn(small, replace(SMALL, seed=9), progress=False)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "synthetic.json").write_text("{")
    with pytest.raises(Problem, match="damaged"):
        write_penn(damaged, SMALL, progress=False)


def test_a_folder_that_cannot_be_made_is_a_problem(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Problem, match="cannot write generated data"):
        write_penn(tmp_path / "file" / "penn", SMALL, progress=False)


@pytest.mark.parametrize(
    "wrong",
    [{"train_sequences": -1}, {"test_performers": 0}, {"frames": (9, 3)}, {"size": (8, 80)}, {"train_sequences": 9999}],
)
def test_impossible_settings_are_problems(tmp_path, wrong):
    with pytest.raises(Problem):
        write_penn(tmp_path / "penn", replace(SMALL, **wrong), progress=False)
    assert not (tmp_path / "penn").exists()


def test_marker_lists_the_settings(small):
    settings = json.loads((small / "synthetic.json").read_text())
    assert settings["seed"] == 3 and settings["size"] == [96, 80] and settings["version"] == synthetic.VERSION


def test_there_is_a_motion_for_every_action():
    assert set(MOTIONS) == set(actions.PENN)


@pytest.mark.parametrize("action", actions.PENN)
def test_bones_keep_their_length_and_bodies_stay_above_ground(action):
    person = synthetic.performer(0, 4)
    body = person.body
    performance = perform(MOTIONS[action], body, 30, np.random.default_rng(2))
    joints = performance.joints
    assert joints.shape == (30, 21, 3) and np.isfinite(joints).all()
    for side in "lr":
        for a, b, length in (
            ("shoulder", "elbow", body.upper_arm),
            ("elbow", "wrist", body.forearm),
            ("hip", "knee", body.thigh),
            ("knee", "ankle", body.shank),
        ):
            bone = joints[:, SKELETON.index(f"{side}_{a}")] - joints[:, SKELETON.index(f"{side}_{b}")]
            np.testing.assert_allclose(np.linalg.norm(bone, axis=-1), length, rtol=1e-6)
    assert joints[..., 2].min() > -0.02
    # video, not teleportation, even of the hand in a swing
    assert np.linalg.norm(np.diff(joints, axis=0), axis=-1).max() < 0.9
    np.testing.assert_allclose(np.linalg.norm(performance.face, axis=-1), 1, rtol=1e-6)


def test_bend_reaches_its_target_on_the_side_of_the_pole():
    base, target = np.zeros((1, 3)), np.array([[0.0, 0.0, -0.8]])
    knee, ankle = bend(base, target, 0.5, 0.5, np.array([[0.0, 1.0, 0.0]]))
    np.testing.assert_allclose(ankle, target, atol=1e-9)
    np.testing.assert_allclose(knee, [[0, 0.3, -0.4]], atol=1e-9)


def test_mirror_exchanges_left_and_right():
    performance = perform(MOTIONS["bowl"], synthetic.performer(0, 1).body, 8, np.random.default_rng(0))
    other = mirror(performance)
    left, right = SKELETON.index("l_wrist"), SKELETON.index("r_wrist")
    np.testing.assert_allclose(other.joints[:, left], performance.joints[:, right] * [-1, 1, 1])
    np.testing.assert_allclose(mirror(other).joints, performance.joints)


def test_joints_lie_where_they_are_drawn(monkeypatch):
    """Limbs painted in one pure colour cover their joints, over a plain background."""
    colours = dict.fromkeys(("skin", "hair", "shirt", "sleeve", "forearm", "thigh", "shank", "shoe"), (0.0, 0.0, 0.0))
    monkeypatch.setattr(synthetic.scenery, "background", lambda w, h, rng, clutter: np.full((h, w, 3), 255, np.uint8))
    monkeypatch.setattr(synthetic.scenery, "props", lambda *_: [])
    monkeypatch.setattr(
        synthetic.scenery, "occluder", lambda w, h, rng: (np.zeros((h, w, 3), np.uint8), np.zeros((h, w), np.uint8))
    )
    person = replace(synthetic.performer(0, 2), clothes=Clothes(colours, "patch", (0.0, 0.0, 0.0)))
    for i, action in enumerate(actions.PENN):
        rng = np.random.default_rng(i)
        performance, _ = synthetic.stage(action, person, 6, rng)
        footage = synthetic.film(action, person, performance, (160, 120), rng)
        which = skeleton.mapping(SKELETON, skeleton.PENN)
        for image, xy, visible in zip(footage.frames, footage.joints, footage.visible, strict=True):
            for (x, y), seen in zip(np.round(xy[which]).astype(int), visible[which], strict=True):
                if seen:
                    assert image[y, x].max() < 130, (action, x, y)
        assert footage.visible.mean() > 0.5


def test_people_differ_in_build_and_clothes():
    people = [synthetic.performer(0, i) for i in range(8)]
    assert len({p.body for p in people}) == 8
    assert len({p.clothes.colours["shirt"] for p in people}) == 8
    assert synthetic.performer(0, 1) == people[1]
