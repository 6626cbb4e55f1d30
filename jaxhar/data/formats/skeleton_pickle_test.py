"""Pickles of skeletons that are damaged, of another layout, or wrong in one sample."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from jaxhar.data.formats import skeleton_pickle
from jaxhar.data.pyskl import folder as pyskl_folder
from jaxhar.data.pyskl.settings import Pyskl
from jaxhar.host.errors import Problem


def sample(name: str = "S001C001P001R001A001", **fields) -> dict:
    rng = np.random.default_rng(0)
    found = {
        "frame_dir": name,
        "label": 1,
        "img_shape": (100, 200),
        "original_shape": (100, 200),
        "total_frames": 4,
        "keypoint": rng.uniform(10, 90, (1, 4, 17, 2)).astype(np.float16),
        "keypoint_score": rng.uniform(0.5, 1, (1, 4, 17)).astype(np.float16),
    }
    return {**found, **fields}


def written(folder: Path, content: object) -> Path:
    path = folder / "set.pkl"
    path.write_bytes(pickle.dumps(content))
    return path


class Evil:
    def __reduce__(self):
        return os.system, ("echo ran",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"pose": [], "label": []}, "must have poses and as many labels"),
        ({"pose": np.zeros((2, 5, 15, 2)), "label": ["a", "b"]}, "must have poses and as many labels"),
        ([], "has no annotation"),
        ([{"keypoint": 1}], "annotation 0 of .* without frame_dir"),
        ([Evil()], "it contains (posix|nt).system"),
        ([np.array([object()])], "is not read: it contains"),
        ([sample(), {"filename": "b"}], "annotation 1 of .* has frame_dir None; expected a name in every one"),
        ([sample(["a"])], r"annotation 0 of .* has frame_dir \['a'\]"),
        ({"split": {"train": 5}, "annotations": [sample()]}, "the split 'train' of .* is a int; expected a list of"),
        ({"split": {"train": "a"}, "annotations": [sample()]}, "the split 'train' of .* is a str; expected a list of"),
        ({"pose": [np.ones((5, 15, 2))] * 2, "label": ["a", "b"]}, "all poses of .* lie in one point, or too far"),
        ({"pose": [np.full((5, 15, 2), np.nan)], "label": ["a"]}, "sample 0 of .* has a pose at infinity, or at NaN"),
        ({"pose": [np.array([[[1, np.inf]]])], "label": ["a"]}, "sample 0 of .* has a pose at infinity, or at NaN"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    with pytest.raises(Problem, match=message):
        skeleton_pickle.read(written(tmp_path, content))


WRONG = [
    ({"label": 7}, "is 7; there are 3 classes, 0 to 2"),
    ({"label": None}, "label of sample S001.* is None"),
    ({"total_frames": 5}, "says 5 frames, but its keypoint has 4"),
    ({"keypoint": np.zeros((1, 4, 17, 2), np.float16)}, "no valid joint in its 4 frames"),
    ({"keypoint": np.full((1, 4, 17, 2), np.nan, np.float16)}, "no valid joint"),
    ({"keypoint": np.full((1, 4, 17, 2), 500, np.float16)}, "outside of its image of 200x100 pixels"),
    ({"keypoint": np.zeros((4, 17, 2))}, "is of shape [(]4, 17, 2[)]; expected"),
    ({"keypoint_score": np.full((1, 4, 17), 30.0)}, "scores from 30 to 30"),
    ({"keypoint_score": np.ones((1, 3, 17))}, "scores of .* are of shape"),
    *(
        ({"img_shape": size}, "has no img_shape .height, width. from 1 to 65,504, but ")
        for size in ((0, 0), 5, "ab", (1, 2, 3), (np.nan, 1), (np.inf, 1), None, (10**9, 10**9), [[1], [1, 2]])
    ),
    ({"label": 10**5000}, "is a number of too many digits; there are 3 classes"),
    ({"total_frames": np.array([4, 4])}, r"says \[4, 4\] frames"),
    ({"keypoint_score": np.full((1, 4, 17), "a")}, "the scores of .* are no numbers"),
    ({"keypoint_score": [[1], [1, 2]]}, "the scores of .* are no numbers"),
    ({"keypoint": [[1], [1, 2]]}, "the keypoint of .* is a list; expected"),
    ({"keypoint": np.ones((1, 4, 25, 2)), "keypoint_score": np.ones((1, 4, 25))}, "has 25 joints"),
]


@pytest.mark.parametrize(("fields", "message"), WRONG)
def test_a_wrong_sample_is_named_or_left_out(tmp_path, fields, message):
    good, bad = sample("S001C001P002R001A001"), sample(**fields)
    path = written(
        tmp_path, {"split": {"xsub_train": [good["frame_dir"], bad["frame_dir"]]}, "annotations": [good, bad]}
    )
    folder = pyskl_folder.folder(path, 3)
    items, _ = folder.scan(False)
    with pytest.raises(Problem, match=message):
        folder.load(items[1], False)
    record, skipped = folder.load(items[1], True)
    assert record is None and bad["frame_dir"] in skipped[0].path and folder.load(items[0], True)[0] is not None


def test_splits_that_name_absent_samples(tmp_path):
    path = written(tmp_path, {"split": {"xsub_train": ["absent"]}, "annotations": [sample()]})
    with pytest.raises(Problem, match="names 1 samples that it lacks, e.g. absent"):
        pyskl_folder.folder(path, None)
    with pytest.raises(Problem, match="names 1 samples"):
        skeleton_pickle.read(path, "xsub_train")
    with pytest.raises(Problem, match="there is no file or folder .*other; expected a pickle"):
        Pyskl().open(tmp_path / "other")


def test_records_and_examples_hold_what_the_file_says(tmp_path):
    one = sample(keypoint=np.repeat(sample()["keypoint"], 2, 0), keypoint_score=np.ones((2, 4, 17), np.float16))
    one["keypoint"] = one["keypoint"].astype(np.float32)
    one["keypoint"][0, 0, 3:6, 0] = np.nan, np.inf, 1e6  # the last is infinite as float16
    splits = {"xsub_train": [one["frame_dir"]], "xview_val": [one["frame_dir"]]}
    path = written(tmp_path, {"split": splits, "annotations": [one]})
    (tmp_path / "classes.txt").write_text("rest\nwave\n")
    folder = Pyskl().open(path)
    record, _ = folder.load(folder.scan(False)[0][0], False)
    assert folder.actions == ("rest", "wave") and record.split == "xsub_train,xview_val"
    assert record.fields["skeletons"].shape == (4, 2, 17, 2) and not record.fields["skeletons"][0, 0, 3:6].any()
    assert not record.fields["score"][0, 0, 3:6].any() and record.fields["score"].sum() == 2 * 4 * 17 - 3
    entry = {"name": record.name, "split": record.split}
    assert Pyskl().split_of(entry) == "train" and Pyskl(division="xview").split_of(entry) == "test"
    data = Pyskl(clip_frames=4, clips=2)
    given = {**record.fields, "length": 4, "index": 0, "action": record.action}
    views = [data.example(given, frames, draw) for frames, draw in data.windows("multi", 4)]
    assert len(views) == 4 and [bool(one["mirrored"]) for one in views] == [False, False, True, True]
    known = views[0]["points"][views[0]["score"] > 0]
    assert views[0]["points"].shape == (4, 2, 17, 2) and 0 <= known.min() and known.max() <= 1
