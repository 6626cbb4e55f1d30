import dataclasses
import os
import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io

from jaxhar.core import classes as actions
from jaxhar.core.camera import H36M as H36M_LENS
from jaxhar.core.camera import Camera
from jaxhar.core.skeleton import H36M, PA17, PA21, mapping
from jaxhar.data.formats import safe_pickle
from jaxhar.data.generate.film import Synth
from jaxhar.data.h36m import folder as h36m_folder
from jaxhar.data.h36m import generate as synthetic_h36m
from jaxhar.data.mpii import generate as synthetic_mpii
from jaxhar.host.errors import Problem

SMALL = Synth(3, 2, 2, 1, frames=(2, 3), size=(96, 100), clutter=0.5, seed=1)


@pytest.fixture(scope="module")
def generated(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("h36m") / "set"
    synthetic_h36m.write(out, SMALL, progress=False)
    return out


@pytest.fixture
def root(generated, tmp_path) -> Path:
    """A copy to damage."""
    shutil.copytree(generated, tmp_path / "set")
    return tmp_path / "set"


def read(root: Path, **settings):
    return h36m_folder.scan(h36m_folder.check_root(root), **settings)


def edit(path: Path, change) -> None:
    """Let `change` alter the list of a pickle in place."""
    entries = pickle.loads(path.read_bytes())
    change(entries)
    path.write_bytes(pickle.dumps(entries, protocol=2))


def test_the_layouts_are_the_real_ones(generated):
    plan = synthetic_h36m.plan(SMALL)
    assert [t.name(1) for t in plan] == [
        "a02_s01_e01_c01",
        "a03_s05_e01_c01",
        "a04_s01_e01_c01",
        "a02_s09_e01_c01",
        "a03_s09_e01_c01",
    ]
    folders = sorted(p.name for p in (generated / "images").iterdir())
    assert folders == sorted(t.name(c) for t in plan for c in (1, 2, 3, 4))
    assert sorted(p.name for p in (generated / "images" / "a02_s01_e01_c03").iterdir())[:2] == [
        "00001.jpg",
        "00006.jpg",
    ]
    assert sorted(p.name for p in (generated / "images" / "a03_s09_e01_c01").iterdir())[1] == "00065.jpg"
    mat = scipy.io.loadmat(generated / "annotations.mat", struct_as_record=False, squeeze_me=True)
    assert mat["sequences_te"].size == 0 and len(mat["sequences_tr"]) == 12 and len(mat["sequences_val"]) == 8
    sequence = mat["sequences_tr"][0]
    assert sequence.name == "a02_s01_e01_c01" and sequence.frames[1].f == 6 and sequence.frames[1].w == 96
    assert sequence.frames[0].pose3d.shape == (3, 32) and sequence.camera_parameters.R.shape == (3, 3)
    assert all(getattr(sequence.camera_parameters, k).shape == (n,) for k, n in dict(T=3, f=2, c=2, p=2, k=3).items())
    toolbox = generated / "toolbox"
    (entry, *_) = safe_pickle.load(toolbox / "annot" / "h36m_validation.pkl")
    assert entry["image"] == "s_09_act_02_subact_01_ca_01/s_09_act_02_subact_01_ca_01_000001.jpg"
    assert (toolbox / "images" / entry["image"]).is_file() and entry["camera_id"] == 0
    assert entry["joints_2d"].shape == (17, 2) and entry["camera"]["T"].shape == (3, 1)


def test_the_joints_are_the_authors_choice_of_the_32():
    pa20 = [0, 12, 13, 15, 25, 17, 26, 18, 27, 19, 30, 22, 1, 6, 2, 7, 3, 8, 4, 9]
    assert mapping(H36M, PA21).tolist() == [*pa20, 11]
    assert mapping(H36M, PA17).tolist() == [0, 12, 13, 15, 25, 17, 26, 18, 27, 19, 1, 6, 2, 7, 3, 8, 11]


def test_both_forms_say_the_same(generated):
    (ours, none), (theirs, nothing) = read(generated), read(generated / "toolbox")
    assert none == nothing == [] and [f.name for f in ours] == [f.name for f in theirs]
    spine = PA21.index("spine")
    for a, b in zip(ours, theirs, strict=True):
        assert (a.action, a.subject, a.view, a.split) == (b.action, b.subject, b.view, b.split)
        assert a.image.read_bytes() == b.image.read_bytes()
        np.testing.assert_allclose(a.camera.to_vector(), b.camera.to_vector(), rtol=1e-12)
        missing = {PA21.joints[j] for j in np.flatnonzero(~b.labelled)}
        assert a.labelled.all() and missing == {"r_hand", "l_hand", "r_foot", "l_foot"}
        same = b.labelled & (np.arange(len(PA21)) != spine)
        np.testing.assert_allclose(a.joints[same], b.joints[same], atol=1e-9)
        assert np.linalg.norm(a.joints[spine] - b.joints[spine]) < 0.11  # the toolbox leaves out the joint at the hip


def test_activities_are_matched_by_name():
    """The two forms count the activities in different orders; the names are those of the videos."""
    take = synthetic_h36m.H36MTake(subject=1, action=actions.H36M.index("taking_photo"), episode=1, performer=0)
    assert take.name(1) == "a12_s01_e01_c01" and take.toolbox(1) == "s_01_act_07_subact_01_ca_01"
    assert sorted(actions.H36M) == sorted(actions.H36M_TOOLBOX) and len(set(actions.H36M)) == 15


def test_the_joints_are_where_the_generator_put_them(generated):
    frame = next(f for f in read(generated)[0] if f.name == "a03_s05_e01_c02/00006")
    take = synthetic_h36m.plan(SMALL)[1]
    shot = synthetic_h36m.shoot(SMALL, take)[1]
    names = dict(pelvis=0, thorax=12, neck=13, head=15, r_shoulder=25, l_wrist=19, r_hip=1, l_ankle=8, spine=11)
    for name, index in names.items():
        np.testing.assert_allclose(frame.joints[PA21.index(name)], shot.joints[1, index], atol=1e-9)
    np.testing.assert_array_equal(frame.camera.p, shot.camera.p)
    assert frame.camera.w == H36M_LENS
    record, skipped = h36m_folder.load(frame)
    assert not skipped and record is not None and record.size == (96, 100) and record.split == "train"
    np.testing.assert_allclose(record.fields["points"][0], shot.camera.project(frame.joints), rtol=1e-6)
    camera = Camera.from_vector(record.fields["camera"])
    np.testing.assert_allclose(camera.unproject(record.fields["points"][0]), frame.joints, atol=2e-2)


def test_the_person_is_drawn_at_the_joints(generated):
    """Two performances in one room differ where the people are, and hardly elsewhere."""
    frames = {f.name: f for f in read(generated)[0]}
    one, other = (frames[f"{take}_s01_e01_c02/00001"] for take in ("a02", "a04"))
    a, b = (cv2.imread(str(f.image)).astype(float) for f in (one, other))
    difference = np.abs(a - b).mean(-1)
    near = np.zeros(difference.shape, np.uint8)
    for frame in (one, other):
        for u, v in frame.camera.project(frame.joints)[:, :2]:
            cv2.circle(near, (int(u), int(v)), 12, 1, -1)
    inside = one.camera.project(one.joints)[:, :2].astype(int)
    assert difference[near == 0].mean() < 6 < 15 < difference[inside[:, 1], inside[:, 0]].mean()


def test_every_64th_and_every_5th_photo(root):
    path = root / "toolbox" / "annot" / "h36m_validation.pkl"
    before = len(read(root / "toolbox")[0])

    def more(entries):
        extra = [dict(entries[0], image_id=n) for n in (2, 6, 64, 66)]
        extra.append(dict(entries[0], subject=2))
        entries += extra

    edit(path, more)
    assert len(read(root / "toolbox")[0]) == before
    wanted = [n for n in range(1, 200) if h36m_folder.wanted(9, n)]
    assert wanted == [1, 65, 129, 193] and not h36m_folder.wanted(3, 1)
    assert [n for n in range(1, 20) if h36m_folder.wanted(7, n)] == [1, 6, 11, 16]


def test_pickles_may_be_one_for_each_subject(root):
    annot = root / "toolbox" / "annot"
    names = {f.name for f in read(root / "toolbox")[0]}
    entries = [e for path in sorted(annot.iterdir()) for e in pickle.loads(path.read_bytes())]
    for path in list(annot.iterdir()):
        path.unlink()
    for subject in {e["subject"] for e in entries}:
        some = [e for e in entries if e["subject"] == subject]
        (root / "toolbox" / f"S{subject}.pkl").write_bytes(pickle.dumps(some, protocol=4))
    (root / "toolbox" / "camera_data.pkl").write_bytes(pickle.dumps({}))
    assert {f.name for f in read(root / "toolbox")[0]} == names


class Evil:
    def __reduce__(self):
        return os.system, ("touch ran",)


def test_a_pickle_that_runs_code_is_refused(root, monkeypatch):
    monkeypatch.chdir(root)
    path = root / "toolbox" / "annot" / "h36m_train.pkl"
    edit(path, lambda entries: entries[0].update(box=Evil()))
    for skip_broken in (False, True):
        with pytest.raises(Problem, match="h36m_train.pkl is not read: it contains .*system"):
            read(root / "toolbox", skip_broken=skip_broken)
    assert not (root / "ran").exists()


def far(entry):
    entry["joints_3d_camera"] = entry["joints_3d_camera"] * 1e-3
    del entry["joints_2d"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda e: e["joints_3d_camera"].__setitem__((3, 1), np.nan), "pixels off|NaN"),
        (lambda e: e.pop("joints_3d_camera"), "no numbers in 'joints_3d_camera'"),
        (lambda e: e.update(joints_3d_camera=np.zeros((16, 3))), r"shape \(16, 3\), expected \(17, 3\)"),
        (lambda e: e.update(action=17), "action 17; expected 2 to 16"),
        (lambda e: e.update(subject="S1"), "no whole number in 'subject'"),
        (lambda e: e.update(camera=None), "no dict 'camera'"),
        (lambda e: e["camera"].update(fx=np.array([2000.0])), "pixels off its joints_3d_camera"),
        (lambda e: e.update(image=""), "no file name"),
        (far, "mm in front of the camera; expected 500"),
    ],
)
def test_a_bad_entry_of_a_pickle_is_named(root, change, sentence):
    path = root / "toolbox" / "annot" / "h36m_train.pkl"

    def alter(entries):
        entries[1] = dict(entries[1], camera=dict(entries[1]["camera"]))
        change(entries[1])

    whole = len(read(root / "toolbox")[0])
    edit(path, alter)
    with pytest.raises(Problem, match=sentence) as caught:
        read(root / "toolbox")
    assert "entry 1 of" in str(caught.value) and "\n" not in str(caught.value)
    frames, skipped = read(root / "toolbox", skip_broken=True)
    assert len(frames) == whole - 1 and len(skipped) == 1 and "entry 1" in skipped[0].reason


def rewrite(root: Path, change) -> None:
    """Write annotations.mat again with a changed first sequence of training."""
    takes = synthetic_h36m.plan(SMALL)
    sequences = {"tr": [], "val": [], "te": []}
    for take in takes[:1]:
        for shot in synthetic_h36m.shoot(SMALL, take):
            sequences["tr"].append(synthetic_h36m._sequence(shot, SMALL.size))
    change(sequences["tr"])
    (root / "annotations.mat").write_bytes(synthetic_h36m._annotations(sequences))


def set_frame(field, value):
    return lambda found: found[0]["frames"][0, 1].__setitem__(field, value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (set_frame("pose3d", np.full((3, 32), np.nan)), "frame 2 of sequence a02_s01_e01_c01 .* has a joint at NaN"),
        (set_frame("pose3d", np.zeros((3, 17))), "frame 2 .* lacks one of"),
        (set_frame("w", 0.0), "a photo of 0 x 100 pixels"),
        (set_frame("f", 1.0), "both claim the photo .*00001.jpg"),
        (lambda found: found[0].update(name="a20_s01_e01_c01"), "is named 'a20_s01_e01_c01'"),
        (lambda found: found[0]["camera_parameters"].pop("k"), "no camera_parameters"),
        (lambda found: found[0]["camera_parameters"].update(f=np.array([[0.0, 0.0]])), "impossible parameters"),
    ],
)
def test_a_bad_entry_of_the_authors_file_is_named(root, change, sentence):
    rewrite(root, change)
    with pytest.raises(Problem, match=sentence):
        read(root)
    frames, skipped = read(root, skip_broken=True)
    assert frames and len(skipped) in (1, 2)


def test_missing_and_broken_photos(root):
    frames, _ = read(root)
    frames[0].image.unlink()
    frames[1].image.write_bytes(frames[1].image.read_bytes()[:-300])
    cv2.imwrite(str(frames[2].image), np.zeros((50, 50, 3), np.uint8))
    for frame, sentence in zip(frames, ("there is no such file", "cut off", r"says \(96, 100\)"), strict=False):
        with pytest.raises(Problem, match=sentence) as caught:
            h36m_folder.load(frame)
        assert str(frame.image) in str(caught.value)
        record, skipped = h36m_folder.load(frame, skip_broken=True)
        assert record is None and len(skipped) == 1


def test_wrong_roots_and_other_files_say_what_they_are(root, tmp_path):
    with pytest.raises(Problem, match="nowhere is not a folder"):
        read(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(Problem, match="not a Human3.6M folder; expected annotations.mat .* found nothing"):
        read(tmp_path / "empty")
    synthetic_mpii.write(tmp_path / "mpii", Synth(2, 2, 1, 1, size=(64, 64)), progress=False)
    shutil.copy(tmp_path / "mpii" / "authors" / "annotations.mat", root / "annotations.mat")
    with pytest.raises(Problem, match="annotations.mat is deephar's MPII annotations"):
        read(root)
    (root / "annotations.mat").write_bytes(b"no MATLAB file")
    with pytest.raises(Problem, match="annotations.mat cannot be read as a MATLAB file"):
        read(root)
    shutil.rmtree(root / "images")
    with pytest.raises(Problem, match="images does not exist"):
        read(root)


def test_the_same_settings_give_the_same_files(generated, tmp_path):
    again = tmp_path / "again"
    synthetic_h36m.write(again, SMALL, progress=False)
    files = sorted(p.relative_to(generated) for p in generated.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    for path in files:
        assert (generated / path).read_bytes() == (again / path).read_bytes(), path
    synthetic_h36m.write(again, SMALL, progress=False)  # left alone
    with pytest.raises(Problem, match="other settings"):
        synthetic_h36m.write(again, dataclasses.replace(SMALL, seed=5), progress=False)
