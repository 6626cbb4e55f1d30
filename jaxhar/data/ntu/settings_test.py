import dataclasses
import json
import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from jaxhar.core import classes as actions
from jaxhar.core import skeleton
from jaxhar.core.batch import to_image
from jaxhar.data import transforms
from jaxhar.data.formats.video import Video
from jaxhar.data.generate import film as synthetic
from jaxhar.data.generate.film import Synth
from jaxhar.data.ntu import folder as ntu_folder
from jaxhar.data.ntu import generate as synthetic_ntu
from jaxhar.data.ntu import skeleton_file as ntu_skeleton
from jaxhar.data.ntu.settings import NTU, Division, root_depth
from jaxhar.host.errors import Problem

SMALL = Synth(4, 2, 2, 1, frames=(9, 12), size=(128, 72), clutter=0.2, seed=1)
FIRST = "S001C001P001R001A001"


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("synth") / "ntu"
    synthetic_ntu.write(out, SMALL, progress=False)
    return out


@pytest.fixture
def root(written, tmp_path) -> Path:
    """A copy to damage, of two cameras of one performance."""
    for path in written.glob(f"nturgb+d_*/{FIRST.replace('C001', 'C00[12]')}*"):
        target = tmp_path / "ntu" / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return tmp_path / "ntu"


def small(root: Path, **settings) -> NTU:
    values = dict(clip_frames=4, image_size=32, clips_per_batch=2, stills_per_batch=2, prefetch=1)
    return NTU(root=str(root), **{**values, **settings})


def labels_of(root: Path, name: str = FIRST) -> Path:
    return root / "nturgb+d_skeletons" / f"{name}.skeleton"


# --- layouts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "places"),
    [
        ("pa16j", [0, 20, 2, 3, 4, 8, 5, 9, 6, 10, 12, 16, 13, 17, 14, 18]),
        ("pa17j", [0, 20, 2, 3, 4, 8, 5, 9, 6, 10, 12, 16, 13, 17, 14, 18, 1]),
        ("pa20j", [0, 20, 2, 3, 4, 8, 5, 9, 6, 10, 7, 11, 12, 16, 13, 17, 14, 18, 15, 19]),
    ],
)
def test_joints_are_taken_as_the_authors_take_them(layout, places):
    assert skeleton.mapping(skeleton.NTU, skeleton.get(layout)).tolist() == places


def test_divisions_and_classes():
    subjects = ntu_folder.TRAIN_SUBJECTS
    assert len(subjects) == len(set(subjects)) == 53 and max(subjects[:20]) == 38 and subjects[20] == 45
    assert len(set(actions.NTU120)) == 120 and actions.NTU120[:60] == actions.NTU

    def splits(name: str, subject: int, view: int) -> list[str]:
        entry = {"name": name, "split": "", "frames": 9, "action": 0, "subject": subject, "view": view}
        return [NTU(division=division).split_of(entry) for division in Division]

    assert splits("S001C001P001R001A001", 1, 1) == ["train", "test", "test"]
    assert splits("S002C002P003R001A001", 3, 2) == ["test", "train", "train"]


# --- generated files -------------------------------------------------------------------------------------------------


def test_generated_files_are_of_the_true_form(written):
    labels = sorted(p.stem for p in (written / "nturgb+d_skeletons").iterdir())
    assert labels == sorted(p.name.removesuffix("_rgb.avi") for p in (written / "nturgb+d_rgb").iterdir())
    assert len(labels) == 18 and labels[:2] == [FIRST, "S001C001P001R001A003"]
    people = {ntu_folder.number(name, "P") in ntu_folder.TRAIN_SUBJECTS for name in labels}
    assert people == {True, False}
    counts = set()
    for name in labels:
        total, bodies = ntu_skeleton.read_bodies(labels_of(written, name))
        counts.add(len(bodies))
        assert Video(written / "nturgb+d_rgb" / f"{name}_rgb.avi").total == total
        table = np.load(written / "authors" / "nturgb+d_numpy" / f"{name}.npy")
        assert table.shape == (total, 151)
        text, array = ntu_folder.read_labels(labels_of(written, name)), ntu_folder.read_npy
        other = array(written / "authors" / "nturgb+d_numpy" / f"{name}.npy")
        np.testing.assert_array_equal(text.frames, other.frames)
        # the bystander is not whom it is about
        np.testing.assert_allclose(text.points, other.points, rtol=1e-5, atol=1e-2)
    assert counts == {1, 2}


def test_generated_people_are_of_metric_size(written):
    for path in (written / "nturgb+d_skeletons").iterdir():
        _, bodies = ntu_skeleton.read_bodies(path)
        for body in bodies:
            xyz = body.joints[..., :3]

            def bone(a: str, b: str, xyz: np.ndarray = xyz) -> np.ndarray:
                return np.linalg.norm(xyz[:, skeleton.NTU.index(a)] - xyz[:, skeleton.NTU.index(b)], axis=-1)

            leg = bone("l_hip", "l_knee") + bone("l_knee", "l_ankle")
            assert 0.65 < leg.min() and leg.max() < 1.05 and np.ptp(leg) < 1e-4
            assert 0.35 < bone("pelvis", "thorax").min() and bone("pelvis", "thorax").max() < 0.65
            assert 1.5 < xyz[..., 2].min() and xyz[..., 2].max() < 6
            # right of the camera is right in the picture, up is up
            assert np.corrcoef(xyz[..., 0].ravel() / xyz[..., 2].ravel(), body.joints[..., 3].ravel())[0, 1] > 0.999
            assert np.corrcoef(xyz[..., 1].ravel() / xyz[..., 2].ravel(), body.joints[..., 4].ravel())[0, 1] < -0.999


def test_an_interrupted_folder_is_completed_with_the_same_bytes(written, tmp_path, monkeypatch):
    tiny = dataclasses.replace(SMALL, train_sequences=2, test_sequences=0)
    out, calls, write_take = tmp_path / "out", [], synthetic_ntu._write_take

    def dies(*args):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        write_take(*args)

    monkeypatch.setattr(synthetic_ntu, "_write_take", dies)
    with pytest.raises(KeyboardInterrupt):
        synthetic_ntu.write(out, tiny, progress=False)
    assert not (out / "synthetic.json").exists() and labels_of(out).exists()
    synthetic_ntu.write(out, tiny, progress=False)
    assert len(calls) == 3
    synthetic_ntu.write(out, tiny, progress=False)
    assert len(calls) == 3 and len(list((out / "nturgb+d_skeletons").iterdir())) == 6
    for path in out.rglob("*.*"):
        if path.is_file() and path.name != "synthetic.json":
            assert path.read_bytes() == (written / path.relative_to(out)).read_bytes(), path


def test_too_many_performances_are_a_problem():
    with pytest.raises(Problem, match="17 setups"):
        synthetic_ntu.plan(Synth(600, 0, 1, 0))
    names = [take.name(1) for take in synthetic_ntu.plan(Synth(510, 0, 1, 0))]
    assert len(set(names)) == 510


# --- streams ---------------------------------------------------------------------------------------------------------


def test_training_batches_hold_depths(written, tmp_path):
    stream = small(written).prepare(tmp_path / "run").train_stream(seed=0)
    batches = [next(stream) for _ in range(4)]
    stream.close()
    clips = batches[0]["clips"]
    assert clips["pose"].shape == clips["valid"].shape == (2, 4, 20, 3)
    ranges = {float(r) for batch in batches for r in batch["clips"]["depth_range"]}
    assert len(ranges) > 1 and ranges <= {np.float32(2000 * s).item() for s in (0.7, 1.0, 1.3)}
    for batch in batches:
        for stream_name in ("clips", "stills"):
            pose, valid = batch[stream_name]["pose"], batch[stream_name]["valid"]
            assert (pose[~valid] == 0).all() and (pose[valid] > 0).all() and (pose[valid] < 1).all()


def test_millimetres_and_pixels_come_back(written, tmp_path):
    prepared = small(written, skeleton=skeleton.PA17, num_actions=60).prepare(tmp_path / "run")
    records = prepared.records("test")
    seen = 0
    for batch in prepared.eval_stream("test", "multi", batch=4):
        mm = batch["depth"][..., None] + batch["depth_range"][:, None, None] * (batch["pose"][..., 2] - 0.5)
        pixels = to_image(batch["affine"], batch["pose"])
        for i in np.flatnonzero(batch["mask"]):
            record = records[int(batch["sequence"][i])]
            frames = transforms.multi_clips(len(record["points"]), 2, 4)[0]
            if batch["flipped"][i]:
                mm[i], pixels[i] = mm[i][:, skeleton.PA17.flip], pixels[i][:, skeleton.PA17.flip]
            if seen < 2:  # the first clip of the first sequence, and its mirror image
                truth = record["points"][frames][:, skeleton.mapping(skeleton.NTU, skeleton.PA17)]
                np.testing.assert_allclose(mm[i], truth[..., 2], atol=0.02)
                np.testing.assert_allclose(pixels[i], truth[..., :2], atol=1e-3)
            seen += 1
            assert batch["valid"][i].all() and batch["depth_range"][i] == 2000
    assert seen >= 12 and prepared.actions == actions.NTU


def test_both_forms_give_the_same_labels(written, tmp_path):
    ours = small(written).prepare(tmp_path / "run")
    theirs = small(written / "authors").prepare(tmp_path / "run")
    assert ours.sequence_names("test") == theirs.sequence_names("test") and len(ours.entries("train")) == 12
    a, b = ours.records("test")[0], theirs.records("test")[0]
    assert a["size"].tolist() == [128, 72] and b["size"].tolist() == [64, 36]
    np.testing.assert_allclose(a["points"][..., :2], 2 * b["points"][..., :2], atol=1e-3)
    np.testing.assert_allclose(a["points"][..., 2], b["points"][..., 2], atol=0.01)
    views = small(written, division=Division.CROSS_VIEW).prepare(tmp_path / "run")
    assert views.folder == ours.folder and len(views.entries("train")) == 12 and len(views.entries("test")) == 6
    assert {entry["view"] for entry in views.entries("test")} == {1}


def test_frames_are_thinned_and_shrunk(root, tmp_path):
    whole = small(root).prepare(tmp_path / "run").records("train")[0]
    thin = small(root, keep_every=2, frame_side=64).prepare(tmp_path / "run").records("train")[0]
    assert thin["size"].tolist() == [64, 36] and thin["length"] == (whole["length"] + 1) // 2
    np.testing.assert_allclose(2 * thin["points"][..., :2], whole["points"][::2, :, :2], atol=1e-4)
    assert cv2.imdecode(np.frombuffer(thin["pictures"][1], np.uint8), 1).shape == (36, 64, 3)


def test_generated_data_prepare_themselves(tmp_path):
    synth = dataclasses.replace(SMALL, train_sequences=1, test_sequences=1, train_performers=1)
    prepared = NTU(synth=synth, clip_frames=4, image_size=32).prepare(tmp_path / "run")
    assert prepared.folder.is_relative_to(tmp_path / "run" / "data") and len(prepared.entries("train")) == 3
    again = NTU(synth=synth).prepare(tmp_path / "run")
    assert again.folder == prepared.folder
    assert (
        synthetic.VERSION
        == json.loads(next((tmp_path / "run" / "data").glob("*/synthetic.json")).read_text())["version"]
    )


def test_root_depth_falls_back_on_the_other_joints():
    points, labelled = np.zeros((2, 25, 3)), np.zeros((2, 25), bool)
    assert root_depth(points, labelled) == 0
    points[0, 3, 2], points[1, 4, 2], labelled[0, 3], labelled[1, 4] = 3000, 5000, True, True
    assert root_depth(points, labelled) == 4000
    points[1, 0, 2], labelled[1, 0] = 2500, True
    assert root_depth(points, labelled) == 2500


# --- damage ----------------------------------------------------------------------------------------------------------


def test_a_sequence_without_a_body_is_left_out_and_named(root, tmp_path, capsys):
    labels_of(root).write_text("9\n" + "0\n" * 9)
    prepared = small(root).prepare(tmp_path / "run")
    assert prepared.sequence_names("train") == [FIRST.replace("C001", "C002")]
    assert f"{FIRST}.skeleton: has no usable skeleton in any frame" in capsys.readouterr().err
    labels_of(root, FIRST.replace("C001", "C002")).write_text("9\n" + "0\n" * 9)
    with pytest.raises(Problem, match="no usable sequence; 2 unusable files"):
        small(root).prepare(tmp_path / "run")


def test_the_list_of_missing_skeletons_is_obeyed(root):
    (root / "NTU_RGBD_samples_with_missing_skeletons.txt").write_text(f"These lack skeletons:\n\n{FIRST}\n")
    sequences, skipped = ntu_folder.scan(root, 60, False)
    assert [s.name for s in sequences] == [FIRST.replace("C001", "C002")]
    assert [Path(s.path).stem for s in skipped] == [FIRST] and "missing_skeletons.txt" in skipped[0].reason


def damage(root: Path, what: str) -> None:
    video, labels = root / "nturgb+d_rgb" / f"{FIRST}_rgb.avi", labels_of(root)
    if what == "cut video":
        data = video.read_bytes()
        video.write_bytes(data[: len(data) // 2])
    elif what == "no video":
        video.write_bytes(b"nothing")
    elif what == "video gone":
        video.unlink()
    elif what == "action":
        for path in (video, labels):
            path.rename(path.with_name(path.name.replace("A001", "A121")))
    elif what == "frames":
        folder = root / "images" / FIRST
        folder.mkdir(parents=True)
        for i in range(20):
            cv2.imwrite(
                str(folder / f"{i + 1:05d}.jpg"), np.random.default_rng(i).integers(0, 255, (36, 64, 3), np.uint8)
            )
        (folder / "00003.jpg").write_bytes((folder / "00003.jpg").read_bytes()[:-100])
    elif what == "pickle":
        labels.unlink()
        np.save(labels.with_suffix(".npy"), np.array([print], object), allow_pickle=True)
    elif what == "shape":
        labels.unlink()
        np.save(labels.with_suffix(".npy"), np.zeros((9, 150)))
    elif what == "numbers":
        labels.unlink()
        np.save(labels.with_suffix(".npy"), np.ones((9, 151)))


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("cut video", f"{FIRST}_rgb.avi: the video ends after frame ., but its header says"),
        ("no video", f"{FIRST}_rgb.avi: this file cannot be read: it holds no video"),
        ("video gone", f"no {FIRST}_rgb.avi and no folder {FIRST}"),
        ("action", "A121.skeleton is of action 121"),
        ("frames", "00003.jpg: this image cannot be read: it is cut off"),
        ("pickle", f"{FIRST}.npy cannot be read as a numpy array"),
        ("shape", r"of shape \(9, 150\), expected numbers of shape \(frames, 151\)"),
        ("numbers", "do not rise from 1"),
    ],
)
def test_damage_stops_or_is_skipped(root, tmp_path, what, sentence, capsys):
    damage(root, what)
    with pytest.raises(Problem, match=sentence) as caught:
        small(root).prepare(tmp_path / "run")
    assert "\n" not in str(caught.value)
    prepared = small(root, skip_broken=True).prepare(tmp_path / "run")
    assert FIRST.replace("C001", "C002") in prepared.sequence_names("train")
    assert "left out 1 unusable files" in capsys.readouterr().err
    assert (FIRST in prepared.sequence_names("train")) == (what == "frames")


def test_a_video_may_lack_its_last_two_frames(root, tmp_path):
    total = ntu_skeleton.read_bodies(labels_of(root))[0]
    lines = labels_of(root).read_text().splitlines()
    block = (len(lines) - 1) // total
    for more, fine in ((2, True), (3, False)):
        labels_of(root).write_text("\n".join([str(total + more), *lines[1:], *lines[1 : 1 + block] * more]))
        if fine:
            assert small(root).prepare(tmp_path / "run").entries("train")[0]["length"] == total
        else:
            with pytest.raises(Problem, match=f"ends after {total} frames"):
                small(root).prepare(tmp_path / "run")


def test_wrong_roots_say_what_was_found(root, tmp_path, written):
    with pytest.raises(Problem, match="nowhere does not exist; expected S001"):
        small(tmp_path / "nowhere").prepare(tmp_path)
    with pytest.raises(Problem, match="is a file"):
        small(labels_of(root)).prepare(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(Problem, match="no .skeleton and no .npy file .* found nothing in it"):
        small(tmp_path / "empty").prepare(tmp_path)
    shutil.rmtree(root / "nturgb+d_rgb")
    with pytest.raises(Problem, match=r"no video and no folder of frames .* found nturgb\+d_skeletons/"):
        small(root).prepare(tmp_path)
    shutil.copytree(root / "nturgb+d_skeletons", root / "copy")
    with pytest.raises(Problem, match=f"are both named {FIRST}"):
        small(root).prepare(tmp_path)


def test_readers_go_to_other_processes(root):
    folder = ntu_folder.folder(root)
    again = pickle.loads(pickle.dumps(folder))
    sequences, skipped = again.scan(False)
    record, left = again.load(sequences[0], False)
    assert record.action == 0 and record.subject == 1 and record.view == 1 and not skipped and left == []
