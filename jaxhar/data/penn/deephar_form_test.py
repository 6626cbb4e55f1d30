import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from jaxhar.core import classes as actions
from jaxhar.core import geometry, skeleton
from jaxhar.core.skeleton import PA16, PENN
from jaxhar.data import transforms
from jaxhar.data.formats import box_json as penn_boxes
from jaxhar.data.generate import film as synthetic
from jaxhar.data.penn import deephar_form as deephar_form
from jaxhar.data.penn import folder as penn_folder
from jaxhar.data.penn import generate as penn_generate
from jaxhar.data.penn import generate_deephar as generate_deephar
from jaxhar.data.penn.settings import Penn
from jaxhar.host.errors import Problem

SYNTH = synthetic.Synth(3, 2, 1, 1, frames=(3, 4), size=(64, 48), clutter=0.2)
STEP = transforms.Augment()  # every frame, nothing drawn


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """The published layout."""
    out = tmp_path_factory.mktemp("penn") / "labels"
    penn_generate.write(out, SYNTH, progress=False)
    return out


@pytest.fixture(scope="module")
def root(labels):
    out = labels.parent / "authors"
    shutil.copytree(labels, out)
    generate_deephar.write(out, SYNTH, progress=False)
    assert not (out / "labels").exists()
    return out


def test_the_authors_form_says_the_same(labels, root):
    expected = {s.name: s for s in penn_folder.scan(labels)[0]}
    found, skipped = deephar_form.scan(root)
    assert not skipped and [s.train for s in found] == [True] * 3 + [False] * 2
    for sequence in found:
        other = expected[sequence.name]
        assert (sequence.action, sequence.train) == (other.action, other.train)
        assert [p.relative_to(root) for p in sequence.frames] == [p.relative_to(labels) for p in other.frames]
        np.testing.assert_array_equal(sequence.labelled, other.labelled)
        np.testing.assert_array_equal(sequence.points, other.points)


def test_frames_that_are_no_sequence_of_the_file_are_told(root, tmp_path):
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    for name in ("0777", "more", ".cache"):
        (tmp_path / "frames" / name).mkdir()
    _, left = deephar_form.scan(tmp_path)
    assert [(Path(s.path).name, s.reason, s.expected) for s in left] == [
        (name, "is no sequence of annotations.mat", True) for name in ("0777", "more")
    ]


@pytest.mark.parametrize("order", [PENN.joints, PA16.joints[3:], PENN.joints[::-1]])
def test_names_decide_which_joint_is_which(labels, tmp_path, order):
    shutil.copytree(labels, tmp_path, dirs_exist_ok=True)
    (tmp_path / "annotations.mat").write_bytes(generate_deephar.annotations(tmp_path, order))
    expected = {s.name: s.points for s in penn_folder.scan(labels)[0]}
    for sequence in deephar_form.scan(tmp_path)[0]:
        np.testing.assert_array_equal(sequence.points, expected[sequence.name])


def test_the_authors_rule_goes_by_storage(labels, root):
    """Slot 3 + i of pa16j is the i-th stored joint: with left stored first, right and left are exchanged."""
    expected = {s.name: s.points for s in penn_folder.scan(labels)[0]}
    for sequence in deephar_form.scan(root, order="deephar")[0]:
        pa16 = skeleton.convert(sequence.points, PENN, PA16)
        np.testing.assert_array_equal(pa16[:, 3:], expected[sequence.name])
        np.testing.assert_array_equal(sequence.points, expected[sequence.name][:, PENN.flip])


@pytest.mark.parametrize("label", ["Left Shoulder", "left_shoulder", "l-shoulder", "shoulder_left", "L Shoulder"])
def test_spellings_of_joints(label, tmp_path):
    names = [label if joint == "l_shoulder" else joint for joint in PENN.joints]
    assert deephar_form.stored_order({"joint_labels": np.array(names)}, tmp_path).tolist() == list(range(13))


def first(file):
    return file["sequences_tr"][0, 0][0, 0]


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda f: first(f).__setitem__("action_id", 16), "sequence 1 of sequences_tr in .* has action_id 16"),
        (lambda f: first(f).__setitem__("action_id", 0), "has action_id 0; the file names 15 actions"),
        (lambda f: first(f).__setitem__("idx", 77), "folder .*0077 of sequence 1 .* does not exist"),
        (lambda f: first(f).__setitem__("idx", 2), "has the folder 0002, which another sequence has"),
        (lambda f: first(f).__setitem__("frames", np.zeros((0, 0))), "has no frames"),
        (
            lambda f: first(f)["frames"][0, 0][0, 0].__setitem__("pose", np.zeros((2, 16))),
            "frame 1 of sequence 1 .* lacks 'f', 'pose' of 2 x 13",
        ),
        (lambda f: f["joint_labels"][0].__setitem__(2, "tail"), "'joint_labels' of .* tail.*expected the 13 joints"),
        (lambda f: f["action_labels"][0].__setitem__(2, "chess"), "unknown action 'chess'"),
    ],
)
def test_damage_is_named(root, tmp_path, edit, sentence):
    (tmp_path / "frames").symlink_to(root / "frames")
    file = loadmat(root / "annotations.mat")
    edit(file)
    savemat(tmp_path / "annotations.mat", {k: v for k, v in file.items() if not k.startswith("__")})
    with pytest.raises(Problem, match=sentence):
        deephar_form.scan(tmp_path)
    if "labels" not in sentence and "chess" not in sentence:
        found, skipped = deephar_form.scan(tmp_path, skip_broken=True)
        assert len(found) == 4 and len([entry for entry in skipped if not entry.expected]) == 1


def test_a_mat_of_another_kind_is_named(root, tmp_path):
    with pytest.raises(Problem, match="annotations.mat cannot be read as a MATLAB file"):
        deephar_form.scan(tmp_path)
    savemat(tmp_path / "annotations.mat", {"annot_tr": 1, "annot_val": 1})
    with pytest.raises(Problem, match="is deephar's MPII annotations .*expected deephar's Penn"):
        deephar_form.scan(tmp_path)


def test_frame_boxes(tmp_path):
    path = tmp_path / "boxes.json"
    boxes = {"test": {(0, 2): np.array([3, 4, 9, 8]), (0, 3): np.array([1.2, 5, 7, 30])}, "train": {}}
    penn_boxes.write(path, boxes)
    assert json.loads(path.read_text()) == [{"0.2": [3, 4, 9, 8], "0.3": [1, 5, 7, 30]}, {}, {}]
    found = penn_boxes.read(path)
    assert found.clip("test", 0, [2, 3, 3]).tolist() == [1, 4, 9, 30]
    assert found.clip("test", 0, [2, 4]) is None and found.clip("train", 0, [2]) is None


def test_clip_boxes(tmp_path):
    path = tmp_path / "penn_pred_bboxes_16f.json"
    path.write_text(json.dumps({"0012.2.003.1": [1, 2, 3, 4]}))
    found = penn_boxes.read(path)
    assert found.clip("test", 12, [0], step=2, number=3, flip=True).tolist() == [1, 2, 3, 4]
    assert found.clip("test", 12, [0], step=2, number=3) is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is not JSON"),
        ('[{"0.0": [0.1, 0, 0.9, 1], "0.1": [0.2, 0.2, 0.3, 0.4]}, {}, {}]', "all boxes in .* lie between 0 and 1"),
        ("3", "holds neither"),
        ("[]", "holds neither"),
        ('{"0001.2.003.1": [1, 2, 1, 4]}', "'0001.2.003.1'.*expected .* with an area"),
        ('[{"1.2": [1, 2, 3]}, [], []]', r"'1.2' \(test\).* is \[1, 2, 3\]"),
        ('[{}, {"1.2": [1, 2, NaN, 4]}, []]', r"'1.2' \(train\)"),
        ('[{"1": [1, 2, 3, 4]}]', "does not name a frame"),
    ],
)
def test_bad_box_files_are_named(tmp_path, text, sentence):
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(Problem, match=sentence):
        penn_boxes.read(tmp_path / "b.json")
    with pytest.raises(Problem, match="cannot be read"):
        penn_boxes.read(tmp_path / "gone.json")


def test_all_actions_have_a_number(root):
    assert {str(a) for a in loadmat(root / "annotations.mat", squeeze_me=True)["action_labels"]} == set(actions.PENN)


def small(root, cache, **changes):
    settings = {"clip_frames": 2, "image_size": 32, "clips_per_batch": 1, "augment": STEP, "cache": str(cache)}
    return Penn(root=str(root), **(settings | changes))


def test_both_forms_give_the_same_batches(labels, root, tmp_path):
    batches = [next(iter(small(path, tmp_path).prepare(tmp_path).eval_stream(batch=2))) for path in (labels, root)]
    assert batches[0].keys() == batches[1].keys()
    for key, value in batches[0].items():
        np.testing.assert_array_equal(value, batches[1][key], err_msg=key)


def test_joint_order_decides_what_is_packed(root, tmp_path):
    named, stored = (small(root, tmp_path, joint_order=o).prepare(tmp_path) for o in ("names", "deephar"))
    assert named.folder != stored.folder and "as in deephar" in stored.notes[-1]
    assert small(root, tmp_path, joint_order="authors") == stored.config  # the old word
    a, b = (next(iter(prepared.eval_stream(batch=1)))["pose"] for prepared in (named, stored))
    np.testing.assert_array_equal(a[:, :, 3:], b[:, :, PA16.flip][:, :, 3:])


def corners(batch, n):
    """x1, y1, x2, y2 of a crop in image pixels."""
    return geometry.apply(geometry.invert(batch["affine"][n, 0]), np.array([[0.0, 0], [1, 1]])).ravel()


def test_predicted_boxes_are_cropped(root, tmp_path):
    path = tmp_path / "boxes.json"
    boxes = {(0, f): np.array([2 + f, 3, 40, 44 + f]) for f in range(4)}
    penn_boxes.write(path, {"test": boxes})
    prepared = small(root, tmp_path, boxes=str(path)).prepare(tmp_path)
    (batch,) = prepared.eval_stream(batch=2)
    frames = transforms.clip_frames(prepared.entries("test")[0]["length"], 1, 2)
    np.testing.assert_allclose(corners(batch, 0), [2 + frames[0], 3, 40, 44 + frames[-1]], atol=1)
    width, height = SYNTH.size
    np.testing.assert_allclose(corners(batch, 1), [0, (height - width) / 2, width, (height + width) / 2], atol=1)
    clips = {"0000.1.001.1": [5, 6, 39, 40]}
    path.write_text(json.dumps(clips))
    batches = list(small(root, tmp_path, boxes=str(path)).prepare(tmp_path).eval_stream(view="multi", batch=64))
    place = [i for i in np.flatnonzero(batches[0]["sequence"] == 0) if batches[0]["flipped"][i]][1]
    x1, y1, x2, y2 = corners(batches[0], place)
    np.testing.assert_allclose([x2, y1, x1, y2], [5, 6, 39, 40], atol=1)
    with pytest.raises(Problem, match="gone_boxes.json cannot be read"):
        small(root, tmp_path, boxes=str(tmp_path / "gone_boxes.json")).prepare(tmp_path)


def test_boxes_need_the_whole_set(root, tmp_path):
    copy = tmp_path / "set"
    shutil.copytree(root, copy)
    (copy / "frames" / "0002" / "000001.jpg").write_bytes(b"words")
    path = tmp_path / "boxes.json"
    penn_boxes.write(path, {"test": {}, "train": {(0, 0): np.array([1, 2, 3, 4])}})
    with pytest.raises(Problem, match="broken ones were left out"):
        small(copy, tmp_path, boxes=str(path), skip_broken=True).prepare(tmp_path)
