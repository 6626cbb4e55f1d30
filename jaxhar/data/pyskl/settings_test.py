"""Pickles of skeletons as a data set: Kinetics' form, and files that are damaged or do not fit."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from jaxhar.data.pyskl import folder
from jaxhar.data.pyskl.settings import Pyskl
from jaxhar.data.records.reader import Records
from jaxhar.host.errors import Problem

GOLDEN = Path(__file__).parents[3] / "parity_tests" / "golden_skeleton"


def sample(name: str = "a", label: int = 0, **changes) -> dict:
    rng = np.random.default_rng(0)
    plain = {
        "frame_dir": name,
        "label": label,
        "img_shape": (100, 200),
        "original_shape": (100, 200),
        "total_frames": 5,
        "keypoint": rng.uniform(1, 99, (1, 5, 17, 2)).astype(np.float16),
        "keypoint_score": np.ones((1, 5, 17), np.float16),
    }
    return {key: value for key, value in (plain | changes).items() if value is not None}


def write(path: Path, *samples: dict, split: dict | None = None) -> Path:
    names = [one["frame_dir"] for one in samples]
    content = {"split": {"xsub_train": names, "xsub_val": names[:1]} if split is None else split}
    path.write_bytes(pickle.dumps(content | {"annotations": list(samples)}))
    return path


def prepared(path: Path, tmp_path: Path, **settings):
    return Pyskl(root=str(path), cache=str(tmp_path / "cache"), **settings).prepare(tmp_path)


class Code:
    def __reduce__(self):
        return os.system, ("touch ran",)


#: What is wrong -> the changes to a sample, and the sentence, which tells the file and the sample.
WRONG = {
    "another layout": (
        {"keypoint": np.zeros((5, 17, 2), np.float32)},
        r"keypoint of sample b .* is of shape \(5, 17, 2\)",
    ),
    "no keypoint": ({"keypoint": None}, "keypoint of sample b of .* is missing"),
    "a label beyond the classes": ({"label": 7}, "label of sample b of .* is 7; there are 2 classes"),
    "a negative label": ({"label": -3}, "label of sample b of .* is -3"),
    "no frame": (
        {"keypoint": np.zeros((1, 0, 17, 2), np.float32), "keypoint_score": np.zeros((1, 0, 17)), "total_frames": 0},
        "sample b of .* has no valid joint in its 0 frames",
    ),
    "all zero": (
        {"keypoint": np.zeros((1, 5, 17, 2), np.float32)},
        "sample b of .* has no valid joint in its 5 frames",
    ),
    "no score": ({"keypoint_score": np.zeros((1, 5, 17))}, "sample b of .* has no valid joint"),
    "all NaN": ({"keypoint": np.full((1, 5, 17, 2), np.nan, np.float32)}, "sample b of .* has no valid joint"),
    "outside": ({"keypoint": np.full((1, 5, 17, 2), 900, np.float32)}, "every joint of sample b of .* lies outside"),
    "high scores": ({"keypoint_score": np.full((1, 5, 17), 80.0)}, "sample b of .* has scores from 80 to 80"),
    "other scores": ({"keypoint_score": np.ones((1, 4, 17))}, r"scores of sample b of .* are of shape \(1, 4, 17\)"),
    "a count that lies": ({"total_frames": 9}, "sample b of .* says 9 frames, but its keypoint has 5"),
    "no picture": ({"img_shape": None}, "sample b of .* has no img_shape"),
    "25 joints": (
        {"keypoint": np.ones((1, 5, 25, 2), np.float32), "keypoint_score": np.ones((1, 5, 25))},
        "sample b of .* has 25 joints in 2 coordinates; the network reads 17 in 2",
    ),
    "joints in space": (
        {"keypoint": np.ones((1, 5, 17, 3), np.float32)},
        "sample b of .* has 17 joints in 3 coordinates; the network reads 17 in 2",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_sample_is_a_sentence_or_listed(what, tmp_path):
    changes, sentence = WRONG[what]
    path = write(tmp_path / "set.pkl", sample("a"), sample("b", **({"label": 1} | changes)), sample("c", 1))
    with pytest.raises(Problem, match=sentence) as caught:
        prepared(path, tmp_path, num_actions=2)
    assert "set.pkl" in str(caught.value) and "\n" not in str(caught.value)
    kept = prepared(path, tmp_path, num_actions=2, skip_broken=True)
    assert [entry["name"] for entry in kept.index["sequences"]] == ["a", "c"]
    ((where, reason),) = kept.index["skipped"]
    assert where.endswith("set.pkl: b") and reason


def test_a_wrong_file_is_a_sentence(tmp_path):
    path = tmp_path / "set.pkl"
    wrong = {
        "names 1 samples that it lacks, e.g. zz": {"split": {"xsub_train": ["zz"]}, "annotations": [sample()]},
        "has another layout: a dict of data": {"data": [1, 2]},
        "annotation 0 of .* is a dict of label without frame_dir": [{"label": 1}],
        "has no annotation": [],
        "it contains": [sample(keypoint=np.array([Code()], object))],
        "it contains .*system": {"split": {}, "annotations": [sample(), Code()]},
    }
    for sentence, content in wrong.items():
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(Problem, match=sentence) as caught:
            prepared(path, tmp_path)
        assert "set.pkl" in str(caught.value)
    assert not Path("ran").exists()


def test_a_label_that_tells_too_many_classes_is_named(tmp_path):
    for label, words in ((10**9, "1000000000"), (10**5000, "a number of too many digits")):
        path = write(tmp_path / "set.pkl", sample("a"), sample("b", label))
        with pytest.raises(Problem, match=f"the label of sample b of .*set.pkl is {words}; .* below 100,000"):
            folder.folder(path, None)
    assert len(folder.folder(path, 2).actions) == 2  # the sample is refused, or left out


def test_samples_in_both_sides_of_a_division_are_doubts(tmp_path):
    split = {"xsub_train": ["a", "b"], "xsub_val": ["b", "c"], "xview_train": ["c"], "train1": ["a"], "test1": ["a"]}
    path = write(tmp_path / "set.pkl", sample("a"), sample("b"), sample("c"), split=split)
    first, second = folder.folder(path, None).doubts
    assert "1 samples of" in first and "as b, are in both xsub_train and xsub_val" in first
    assert "as a, are in both train1 and test1" in second


def kinetics(tmp_path: Path, **changes) -> Path:
    """A table of one clip, with the golden case's persons in a file beside it."""
    golden = np.load(GOLDEN / "pose_k400_unpack.npz")
    (tmp_path / "kpfiles").mkdir(exist_ok=True)
    (tmp_path / "kpfiles" / "part_0.pkl").write_bytes(pickle.dumps({"clip": {"keypoint": golden["keypoint"]}}))
    apart = {
        "raw_file": "data/k400/kpfiles/part_0.pkl",
        "frame_inds": golden["frame_inds"],
        "box_score": golden["box_score"],
        "valid": {0.5: 7},
        "total_frames": 9,
        "img_shape": (1080, 1920),
        "keypoint": None,
        "keypoint_score": None,
    }
    return write(tmp_path / "k400.pkl", sample("clip", **(apart | changes)), split={"train": ["clip"], "val": ["clip"]})


def test_joints_of_kinetics_come_from_the_files_of_its_clips(tmp_path):
    golden = np.load(GOLDEN / "pose_k400_unpack.npz")
    data = prepared(kinetics(tmp_path), tmp_path, division="", least_box=0.7, num_actions=1)
    (record,) = Records(data.folder, [0])
    expected = golden["thr0.7_squeeze/keypoint"], golden["thr0.7_squeeze/score"]
    np.testing.assert_array_equal(record["skeletons"].swapaxes(0, 1), expected[0])
    np.testing.assert_array_equal(record["score"].swapaxes(0, 1), expected[1])


def test_damage_in_the_form_of_kinetics_is_a_sentence(tmp_path):
    wrong = {
        "joints of sample clip of .*k400.pkl are not there: gone.pkl": {"raw_file": "gone.pkl"},
        r"has frame_inds \(3,\) and box_score \(3,\), but .*part_0.pkl has 15 persons": {
            "frame_inds": np.arange(3),
            "box_score": np.ones(3),
        },
        "frame_inds or box_score that are no numbers": {"frame_inds": [[1], [1, 2]]},
        "has no person with a box of score 0.5 or more": {"box_score": np.zeros(15)},
        "part_0.pkl has no keypoint .* of sample other": {"frame_dir": "other"},
    }
    for sentence, changes in wrong.items():
        path = kinetics(tmp_path, **changes)
        if "frame_dir" in changes:
            path = write(path, {**pickle.loads(path.read_bytes())["annotations"][0]}, split={"train": ["other"]})
        with pytest.raises(Problem, match=sentence):
            prepared(path, tmp_path, division="", num_actions=1)


def test_the_size_of_a_file(tmp_path):
    path = write(tmp_path / "set.pkl", sample("a"), sample("b", 3), split={"train": ["a", "b"]})
    assert folder.size(path, "train") == (2, 4)
    (tmp_path / "classes.txt").write_text("sit\nstand\n")
    assert folder.size(path, "train") == (2, 2)
    with pytest.raises(Problem, match="has no samples in a split 'val'; it has train"):
        folder.size(path, "val")
