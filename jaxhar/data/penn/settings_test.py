import dataclasses
import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io

from jaxhar.core import classes as actions
from jaxhar.core.batch import to_image
from jaxhar.core.skeleton import PA16, PA17, PENN
from jaxhar.data import dataset as sequences
from jaxhar.data import presets, transforms
from jaxhar.data.dataset import PreparedSet
from jaxhar.data.generate.film import Synth
from jaxhar.data.penn import folder as penn_folder
from jaxhar.data.penn.settings import Penn
from jaxhar.data.records import store
from jaxhar.host.errors import Problem, Usage

SIZE = (80, 60)
LENGTHS = {"0001": 20, "0002": 5, "0003": 12, "0004": 30, "0005": 1}
TRAIN = {"0001", "0002", "0004"}


def joints(n: int) -> np.ndarray:
    """A figure of 13 joints walking to the right, (n, 13, 2)."""
    figure = np.stack([np.tile([30.0, 50.0], 7)[:13], np.linspace(8, 52, 13)], axis=-1)
    return figure + np.arange(n)[:, None, None] * [0.5, 0.0]


def write_label(path: Path, n: int, train: int, **fields) -> None:
    points = joints(n)
    mat = {
        "action": "bowling",
        "pose": "back",
        "x": points[..., 0],
        "y": points[..., 1],
        "visibility": np.ones((n, 13)),
        "train": train,
        "bbox": np.tile([1.0, 1, 80, 60], (n, 1)),
        "dimensions": [60, 80, n],
        "nframes": n,
    }
    scipy.io.savemat(path, {**mat, **fields})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "Penn"
    (root / "labels").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, n in LENGTHS.items():
        (root / "frames" / name).mkdir(parents=True)
        write_label(root / "labels" / f"{name}.mat", n, 1 if name in TRAIN else -1)
        for i in range(n):
            image = cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), SIZE)
            cv2.imwrite(str(root / "frames" / name / f"{i + 1:06d}.jpg"), image)
    return root


def small(root: Path, **settings) -> Penn:
    values = dict(
        augment=presets.PENN_CLIPS, clip_frames=4, image_size=32, clips_per_batch=2, stills_per_batch=3, prefetch=1
    )
    return Penn(root=str(root), **{**values, **settings})


@pytest.fixture
def prepared(root: Path, tmp_path: Path) -> PreparedSet:
    return small(root).prepare(tmp_path / "run")


def same(a: dict, b: dict) -> None:
    assert set(a) == set(b)
    for name in a:
        assert set(a[name]) == set(b[name])
        for key in a[name]:
            np.testing.assert_array_equal(a[name][key], b[name][key])


def test_training_batches_have_the_contract_shapes(prepared):
    stream = prepared.train_stream(seed=0)
    batch = next(stream)
    stream.close()
    clips, stills = batch["clips"], batch["stills"]
    assert clips["frames"].shape == (2, 4, 32, 32, 3) and clips["frames"].dtype == np.uint8
    assert stills["frames"].shape == (3, 1, 32, 32, 3) and "action" not in stills
    assert clips["pose"].shape == (2, 4, 16, 2) and clips["pose"].dtype == np.float32
    assert clips["valid"].shape == (2, 4, 16, 2) and clips["valid"].dtype == bool
    assert clips["affine"].shape == (2, 4, 3, 3) and clips["norm"].shape == (2, 4)
    assert clips["action"].tolist() == [actions.PENN.index("bowl")] * 2 and clips["mask"].all()
    assert clips["power"].shape == (2, 4, 3) and ((0.9 <= clips["power"]) & (clips["power"] <= 1.1)).all()
    for joint in ("pelvis", "thorax", "neck"):
        assert not clips["valid"][..., PA16.index(joint), :].any()
    assert (clips["pose"][~clips["valid"]] == 0).all()


def test_stream_is_deterministic_and_resumes_exactly(prepared):
    stream = prepared.train_stream(seed=3)
    for _ in range(3):
        next(stream)
    state = json.loads(json.dumps(stream.get_state()))
    expected = [next(stream) for _ in range(4)]
    stream.close()
    again = prepared.train_stream(seed=3)
    again.set_state(state)
    for batch in expected:
        same(next(again), batch)
    again.close()
    other = prepared.train_stream(seed=4)
    assert not np.array_equal(next(other)["clips"]["frames"], expected[0]["clips"]["frames"])
    with pytest.raises(Problem, match="seed = "):
        other.set_state(state)
    other.close()


def test_streams_go_to_worker_processes(prepared):
    records, load = pickle.loads(pickle.dumps((prepared.records("train"), sequences._TrainClip(prepared.config, True))))
    assert len(records) == 3 and records[2]["name"] == b"0004" and records[2]["index"] == 2
    example = load(records[2], np.random.default_rng(0))
    np.testing.assert_array_equal(
        example["pose"], sequences._TrainClip(prepared.config, True)(records[2], np.random.default_rng(0))["pose"]
    )


def test_other_layouts_hold_what_penn_labels(root, tmp_path):
    wide = small(root, skeleton=PA17, dims=3).prepare(tmp_path / "run")
    plain = small(root).prepare(tmp_path / "run")
    assert wide.folder == plain.folder and wide.skeleton == PA17
    (a,), (b,) = (list(p.eval_stream("test", "single", batch=2)) for p in (wide, plain))
    assert a["pose"].shape == (2, 4, 17, 3) and a["visible"].shape == (2, 4, 17) and "depth" not in a
    np.testing.assert_array_equal(a["pose"][..., :16, :2], b["pose"])
    np.testing.assert_array_equal(a["valid"][..., :16, :2], b["valid"])
    assert not a["valid"][..., 2].any() and not a["valid"][..., 16, :].any() and not a["pose"][..., 2].any()


def test_single_protocol_is_exact_and_padded(prepared):
    batches = list(prepared.eval_stream("test", "single", batch=3))
    assert prepared.sequence_names("test") == ["0003", "0005"]
    assert len(batches) == 1 == prepared.eval_length("single", batch=3)
    batch = batches[0]
    assert batch["mask"].tolist() == [True, True, False] and batch["sequence"].tolist()[:2] == [0, 1]
    assert not batch["flipped"].any()
    frames = transforms.clip_frames(12, 2, 4)
    pixels = to_image(batch["affine"], batch["pose"])
    truth = joints(12)[frames]
    for name in PENN.joints:
        np.testing.assert_allclose(pixels[0, :, PA16.index(name)], truth[:, PENN.index(name)], atol=1e-3)
    torso = np.linalg.norm(truth[:, PENN.index("l_shoulder")] - truth[:, PENN.index("r_hip")], axis=-1)
    np.testing.assert_allclose(batch["norm"][0], torso, rtol=1e-6)


def test_multi_protocol_covers_all_clips_and_flips(prepared):
    batches = list(prepared.eval_stream("train", "multi", batch=4))
    seen = [
        (int(s), bool(f)) for b in batches for s, f, m in zip(b["sequence"], b["flipped"], b["mask"], strict=True) if m
    ]
    clips = {0: len(transforms.multi_clips(20, 2, 4)), 1: 1, 2: len(transforms.multi_clips(30, 2, 4))}
    assert seen == [(i, flip) for i, n in clips.items() for _ in range(n) for flip in (False, True)]
    assert len(batches) == prepared.eval_length("multi", "train", batch=4)
    first, mirrored = batches[0]["frames"][0], batches[0]["frames"][1]
    np.testing.assert_array_equal(first[:, :, ::-1], mirrored)
    pose, flipped = batches[0]["pose"][0], batches[0]["pose"][1]
    shoulder = [PA16.index("l_shoulder"), PA16.index("r_shoulder")]
    np.testing.assert_allclose(pose[:, shoulder, 0], 1 - flipped[:, shoulder[::-1], 0], atol=1e-6)


def test_sequences_too_short_for_a_clip_are_known(prepared):
    """Those whose only clip is the centred one: a clip takes 4 times 2 frames."""
    assert prepared.config.augment.fixed_subsampling == 2
    assert prepared.too_short("test") == {1} and prepared.too_short("train") == {1}
    assert prepared.notes == ("Boxes are from the labels.",)
    odd = dataclasses.replace(prepared.config, boxes="b.json", joint_order="authors").notes()
    assert "b.json" in odd[0] and "stored order" in odd[1]


def test_processes_share_the_items(prepared):
    seen = []
    for process in range(2):
        batches = list(prepared.eval_stream("train", "single", batch=1, process_index=process, process_count=2))
        assert len(batches) == 2 == prepared.eval_length("single", "train", batch=1, process_count=2)
        seen += [int(b["sequence"][0]) for b in batches if b["mask"][0]]
    assert sorted(seen) == [0, 1, 2]


def test_packing_is_done_once_and_again_when_a_file_changes(root, tmp_path, prepared, monkeypatch):
    calls = []
    pack = store._pack

    def counted(*args):
        calls.append(args)
        pack(*args)

    monkeypatch.setattr(store, "_pack", counted)
    assert small(root).prepare(tmp_path / "other").folder == prepared.folder and not calls
    write_label(root / "labels" / "0001.mat", 20, 1, action="squats")
    changed = small(root).prepare(tmp_path / "other")
    assert len(calls) == 1 and changed.folder != prepared.folder
    assert changed.entries("train")[0]["action"] == actions.PENN.index("squat")


def test_records_of_a_killed_run_are_packed_again(root, tmp_path, prepared):
    leftover = prepared.folder.with_suffix(".tmp")
    prepared.folder.rename(leftover)
    (leftover / "index.json").unlink()
    again = small(root).prepare(tmp_path / "run")
    assert again.index == prepared.index and not leftover.exists()


def test_a_cache_that_cannot_be_made_is_a_problem(root, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Problem, match="file/cache cannot be written"):
        small(root, cache=str(tmp_path / "file" / "cache")).prepare(tmp_path / "run")


def test_generated_videos_pass_through_the_same_reader(tmp_path):
    synth = Synth(3, 2, train_performers=2, test_performers=1, frames=(9, 12), size=(64, 48))
    config = Penn(synth=synth, clip_frames=4, image_size=32, clips_per_batch=2, augment=transforms.NONE)
    prepared = config.prepare(tmp_path / "run")
    assert prepared.folder.is_relative_to(tmp_path / "run" / "data")
    assert len(prepared.sequence_names("train")) == 3 and len(prepared.sequence_names("test")) == 2
    (batch,) = prepared.eval_stream("test", "single", batch=2)
    assert batch["mask"].all() and batch["visible"].any() and batch["frames"].std() > 6
    assert config.prepare(tmp_path / "run").folder == prepared.folder


def test_a_missing_split_or_an_unknown_protocol_is_named(root, tmp_path):
    for name in ("0003", "0005"):
        (root / "labels" / f"{name}.mat").unlink()
    prepared = small(root).prepare(tmp_path / "run")
    with pytest.raises(Problem, match="no test sequence"):
        prepared.eval_stream("test", "single", batch=2)
    with pytest.raises(Usage, match="no view 'all' for evaluation; there are single and multi"):
        prepared.eval_stream("train", "all", batch=2)
    with pytest.raises(Usage, match="nothing to train on"):
        small(root, clips_per_batch=0, stills_per_batch=0).prepare(tmp_path / "run").train_stream(0)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (dict(x=np.ones((20, 12))), "12 joints, expected 13"),
        (dict(y=np.full((20, 13), np.nan)), "'y' .* NaN"),
        (dict(action="juggling"), "unknown action 'juggling'"),
        (dict(nframes=21), "nframes = 21 but labels 20"),
        (dict(y=np.ones((19, 13))), "20 frames in 'x' but 19 in 'y'"),
        (dict(x=np.full((20, 13), 1e9)), "puts a joint at 1000000000"),
    ],
)
def test_a_bad_label_file_is_named(root, tmp_path, fields, sentence):
    write_label(root / "labels" / "0001.mat", 20, 1, **fields)
    with pytest.raises(Problem, match=sentence) as caught:
        small(root).prepare(tmp_path / "run")
    assert "0001" in str(caught.value) and "\n" not in str(caught.value)
    assert not [p for p in (tmp_path / "jaxhar_data").glob("*") if p.suffix != ".lock"]


def test_a_damaged_label_file_is_named(root, tmp_path):
    (root / "labels" / "0003.mat").write_text("not a MATLAB file")
    with pytest.raises(Problem, match="0003.mat cannot be read"):
        small(root).prepare(tmp_path / "run")


def test_missing_frames_are_noticed(root, tmp_path):
    (root / "frames" / "0004" / "000030.jpg").unlink()
    with pytest.raises(Problem, match="labels 30 frames but .*0004 holds 29"):
        small(root).prepare(tmp_path / "run")


def test_broken_frames_stop_or_are_skipped_with_a_list(root, tmp_path, capsys):
    text, cut = root / "frames" / "0001" / "000003.jpg", root / "frames" / "0004" / "000002.jpg"
    text.write_text("no image")
    cut.write_bytes(cut.read_bytes()[:-200])
    (root / "labels" / "0002.mat").write_text("no label")
    with pytest.raises(Problem, match="0002.mat"):
        small(root).prepare(tmp_path / "run")
    (root / "labels" / "0002.mat").unlink()
    with pytest.raises(Problem, match="000003.jpg: this image cannot be read: it is no picture"):
        small(root).prepare(tmp_path / "run")
    (root / "labels" / "0002.mat").write_text("no label")
    prepared = small(root, skip_broken=True).prepare(tmp_path / "run")
    assert [Path(path).name for path, _ in prepared.index["skipped"]] == ["0002.mat", "000003.jpg", "000002.jpg"]
    assert [e["length"] for e in prepared.entries("train")] == [19, 29]
    assert "left out 3 unusable files" in capsys.readouterr().err
    record = prepared.records("train")[0]
    np.testing.assert_allclose(record["points"], np.delete(joints(20), 2, axis=0), atol=1e-5)


def test_invisible_and_zero_joints_are_unlabelled(root):
    visibility, x = np.ones((20, 13)), joints(20)[..., 0]
    visibility[0, 3], x[1, 4] = 0, 0
    write_label(root / "labels" / "0001.mat", 20, 0, visibility=visibility, x=x)
    sequence = penn_folder.read_sequence(root, "0001")
    assert not sequence.labelled[0, 3] and not sequence.labelled[1, 4] and sequence.labelled.sum() == 258
    assert (sequence.points[~sequence.labelled] == 0).all() and not sequence.train


def test_wrong_roots_say_what_was_found(tmp_path, monkeypatch):
    with pytest.raises(Problem, match="nowhere does not exist"):
        Penn(root=str(tmp_path / "nowhere")).prepare(tmp_path)
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "a.txt").write_text("")
    with pytest.raises(Problem, match=r"expected a folder with frames/0001/000001.jpg .* found a.txt"):
        Penn(root=str(tmp_path / "some")).prepare(tmp_path)
    monkeypatch.delenv("JAXHAR_DATA", raising=False)
    with pytest.raises(Problem, match="JAXHAR_DATA"):
        Penn().prepare(tmp_path)
    monkeypatch.setenv("JAXHAR_DATA", str(tmp_path))
    with pytest.raises(Problem, match="Penn_Action does not exist"):
        Penn().prepare(tmp_path)


def test_joints_outside_of_the_crop_are_kept_only_when_asked(root, tmp_path):
    config = small(root, augment=dataclasses.replace(transforms.NONE, fixed_subsampling=1), clip_frames=8)
    prepared = config.prepare(tmp_path / "run")
    record = prepared.records("test")[0]
    draw = transforms.Draw(trans=(25.0, 0.0))
    ours = config.example(record, list(range(8)), draw, keep_outside=True)
    theirs = config.example(record, list(range(8)), draw)
    labelled = np.isin(PA16.joints, PENN.joints)
    assert ours["valid"][:, labelled].all() and not theirs["valid"][:, labelled].all()
    np.testing.assert_array_equal(theirs["valid"][..., 0], theirs["visible"] > 0)
    np.testing.assert_array_equal(ours["visible"], theirs["visible"])


def test_frames_are_in_the_order_of_their_numbers(root):
    frames = root / "frames" / "0001"
    for path in sorted(frames.iterdir()):
        path.rename(path.with_name(f"{int(path.stem)}.jpg"))
    found = penn_folder.read_sequence(root, "0001")
    assert [path.name for path in found.frames] == [f"{n}.jpg" for n in range(1, 21)]
    (frames / "20.jpg").rename(frames / "007.jpg")
    with pytest.raises(Problem, match="007.jpg and another frame in that folder have one number"):
        penn_folder.read_sequence(root, "0001")


def test_hidden_files_and_frames_without_labels_are_no_sequences(root):
    (root / "labels" / "._0001.mat").write_bytes(b"\0\5\x16\7")
    (root / "frames" / "0001" / "._000001.jpg").write_bytes(b"\0\5\x16\7")
    (root / "labels" / "0005.mat").unlink()
    sequences, left = penn_folder.scan(root)
    assert [s.name for s in sequences] == ["0001", "0002", "0003", "0004"] and len(sequences[0].frames) == 20
    assert [(Path(s.path).name, s.reason, s.expected) for s in left] == [
        ("0005", "has no label file labels/0005.mat", True)
    ]


def test_joints_in_fractions_of_the_frame_are_refused(root, tmp_path):
    points = joints(12) / SIZE
    write_label(root / "labels" / "0003.mat", 12, -1, x=points[..., 0], y=points[..., 1])
    with pytest.raises(Problem, match="sequence 0003 of .* has 13 joints within 0.73 pixels; are they in fractions"):
        small(root).prepare(tmp_path / "run")
    prepared = small(root, skip_broken=True).prepare(tmp_path / "run")
    assert [name for name, _ in prepared.index["skipped"]] == ["0003"]
