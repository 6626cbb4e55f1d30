import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jaxhar.cli import main as cli
from jaxhar.data import clips, left_out, transforms
from jaxhar.data.formats import box_pickle, guarded, numbered
from jaxhar.data.formats.video_test import write_video
from jaxhar.data.generate.film import Synth
from jaxhar.data.kinetics.settings import FINETUNE, Kinetics
from jaxhar.host.errors import Problem, Usage

SYNTH = Synth(3, 2, 2, 1, frames=(30, 40), size=(96, 64), clutter=0.0)
SMALL = Kinetics(
    box_folder="boxes", clip_frames=4, image_size=32, side=48, clips_per_batch=4, repeat=2, timeout=0, clips=3
)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("kinetics") / "set"
    SMALL.generate(out, SYNTH)
    return out


def prepared(root: Path, workdir: Path, **changes):
    return replace(SMALL, root=str(root), cache=str(workdir / "cache"), **changes).prepare(workdir)


def bright(root: Path, size: tuple[int, int] = (96, 64), length: int = 30) -> Path:
    """A set of three videos of a bright rectangle on black, with its box in a pickle and as detections."""
    width, height = size
    left, top, right, bottom = width // 4, height // 4, width // 2, height * 3 // 4
    image = np.zeros((height, width, 3), np.uint8)
    image[top:bottom, left:right] = 255
    for split, names in (("train", ("a", "b")), ("val", ("c",))):
        (root / "boxes" / split).mkdir(parents=True)
        (root / f"{split}.csv").write_text("".join(f"{name}.mp4 0\n" for name in names))
        for name in names:
            write_video(root / f"{name}.mp4", [image] * length)
            scale = box_pickle.side_of(width, height)[0] / width
            box = np.array([[left * scale, top * scale, right * scale - 1, bottom * scale - 1, 0.9]])
            box_pickle.write(root / "boxes" / split / f"{name}.pkl", [box] * length)
    detections = [{"image_id": n, "bbox": [left, top, right - left - 1, bottom - top - 1]} for n in range(length)]
    (root / "boxes" / "train" / "b.pkl").unlink()
    (root / "boxes" / "train" / "b.json").write_text(json.dumps(detections))
    return root


@pytest.mark.parametrize("size", [(96, 64), (64, 96)])
def test_the_cover_lies_on_the_person_in_every_crop(tmp_path, size):
    data = prepared(bright(tmp_path / "set", size), tmp_path)
    stream = data.train_stream(0)
    batches = [next(stream)["clips"] for _ in range(2)]
    stream.close()
    batches += data.eval_stream(view="multi", batch=9)
    shares = []
    for batch in batches:
        lit, covered = batch["frames"].mean(-1) > 127, batch["cover"] > 0.5
        shares.append((lit & covered).sum((1, 2, 3)) / (lit | covered).sum((1, 2, 3)))
        assert batch["cover"].shape == batch["frames"].shape[:-1] and (batch["cover"].max((1, 2, 3)) == 1).all()
    assert np.concatenate(shares).min() > 0.9
    assert (np.concatenate(shares) > 0.95).mean() > 0.6


def test_several_clips_of_each_video_in_a_batch(root, tmp_path):
    data = prepared(root, tmp_path, augment=FINETUNE, box_folder="")
    stream = data.train_stream(0)
    first = next(stream)["clips"]
    state, after = json.loads(json.dumps(stream.get_state())), next(stream)["clips"]
    stream.close()
    assert first["frames"].shape == (4, 4, 32, 32, 3) and first["sequence"][0] == first["sequence"][1]
    assert not np.array_equal(first["frames"][0], first["frames"][1])
    again = data.train_stream(0)
    again.set_state(state)
    for key, value in next(again)["clips"].items():
        np.testing.assert_array_equal(value, after[key])
    again.close()
    parts = [data.train_stream(0, index, 2) for index in range(2)]  # two processes have the rows of one
    np.testing.assert_array_equal(np.concatenate([next(part)["clips"]["frames"] for part in parts]), first["frames"])
    for part in parts:
        part.close()
    with pytest.raises(Usage, match="data.box_folder decides which records are packed"):
        data.changed(box_folder="boxes")
    assert data.changed(box_folder="", repeat=1).config.repeat == 1
    with pytest.raises(Usage, match="data.clips_per_batch is 3, of which .* a multiple of the 2 clips"):
        data.changed(clips_per_batch=3).train_stream(0)


def test_every_video_is_seen_in_all_views_by_one_reading(root, tmp_path, monkeypatch):
    data, calls = prepared(root, tmp_path), []
    read = guarded.call
    monkeypatch.setattr(guarded, "call", lambda *a, **k: calls.append(a[0]) or read(*a, **k))
    batches = list(data.eval_stream(view="multi", batch=4))
    assert calls == [numbered.read] * 2  # of two videos
    merged = {key: np.concatenate([batch[key][batch["mask"]] for batch in batches]) for key in batches[0]}
    assert merged["sequence"].tolist() == [0] * 9 + [1] * 9
    # three crops of each clip, from left to right; the clips from the first frame to the last
    record = data.records("val")[0]
    span = clips.span(4, 4.0, 25.0)
    starts = [clips.fixed_start(record["length"], span, clip, 3, rounded=True) for clip in range(3)]
    assert starts[0] == 0 and starts[2] == round(record["length"] - span)
    lefts = merged["affine"][:3, 0, 0, 2]
    assert lefts[0] == 0 and lefts[0] > lefts[1] > lefts[2]
    expected = numbered.read(
        Path(record["pictures"].path), clips.frames_of(record["length"], starts[1], span, 4), record["times"], 32
    )
    np.testing.assert_array_equal(merged["frames"][4], expected[:, :, 8:40])
    (single,) = data.eval_stream(batch=2)
    assert single["frames"].shape[0] == 2 and single["sequence"].tolist() == [0, 1]


def test_a_short_video_repeats_its_last_frame(tmp_path):
    shades = [np.full((48, 64, 3), 40 * n, np.uint8) for n in range(5)]
    (tmp_path / "set").mkdir()
    write_video(tmp_path / "set" / "a.mp4", shades)
    for split in ("train", "val"):
        (tmp_path / "set" / f"{split}.csv").write_text("a.mp4 0\n")
    (batch,) = prepared(tmp_path / "set", tmp_path, box_folder="").eval_stream(batch=1)
    np.testing.assert_allclose(batch["frames"][0].mean((1, 2, 3)), [0, 160, 160, 160], atol=4)
    assert "cover" not in batch


def test_clips_that_repeat_frames_keep_their_own(tmp_path):
    """At a slow frame rate, or a short step, several clips of one reading may have as many frames as one of them."""
    shades = [np.full((48, 64, 3), 40 + 5 * n, np.uint8) for n in range(40)]
    (tmp_path / "set").mkdir()
    write_video(tmp_path / "set" / "a.mp4", shades)
    for split in ("train", "val"):
        (tmp_path / "set" / f"{split}.csv").write_text("a.mp4 0\n")
    settings = {"box_folder": "", "rate": 1.0, "clip_frames": 16, "augment": transforms.NONE}
    data = prepared(tmp_path / "set", tmp_path, **settings)
    record, equal = data.records("train")[0], 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        numbers = [data.config._random(40, 25.0, rng) for _ in range(2)]
        equal += len(np.unique(numbers)) == 16
        for one, clip in zip(numbers, data.config.train_clips(record, np.random.default_rng(seed)), strict=True):
            np.testing.assert_allclose(clip["frames"].mean((1, 2, 3)), 40 + 5 * one, atol=3)
    assert equal, "the case that is tested comes up"


def test_a_clip_that_turns_out_unreadable(root, tmp_path, capsys):
    """In place of one another is trained on; in evaluation it is masked; both are counted."""
    videos = [*sorted(root.glob("train/*.mp4"))[:1], *sorted(root.glob("val/*.mp4"))[:1]]
    stopping = prepared(root, tmp_path)
    data = prepared(root, tmp_path, skip_broken=True)
    contents = [path.read_bytes() for path in videos]
    left_out.forget()
    try:
        for path in videos:
            path.write_bytes(b"words")
        stream = data.train_stream(0)
        seen = np.concatenate([next(stream)["clips"]["sequence"] for _ in range(4)])
        stream.close()
        assert set(seen.tolist()) == {1, 2}
        batches = list(data.eval_stream(view="multi", batch=9))
        assert batches[0]["sequence"].tolist() == [0] * 9 and not batches[0]["mask"].any()
        assert batches[1]["mask"].all() and batches[1]["sequence"].tolist() == [1] * 9
        total, *lines = left_out.told()
        assert "clips of 2 files could not be read and were left out:" in total and len(lines) == 2
        assert f"left out: {videos[1]}: this file cannot be read" in capsys.readouterr().err
        assert str(videos[0]) in lines[0] and str(videos[1]) in lines[1] and "(9 clips)" in lines[1]
        list(data.eval_stream(view="multi", batch=9))
        assert left_out.told() == [total, *lines], "a clip of evaluation counts once"
        with pytest.raises(Problem, match="this file cannot be read"):
            list(stopping.eval_stream())
    finally:
        for path, content in zip(videos, contents, strict=True):
            path.write_bytes(content)
        left_out.forget()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_left_out_is_counted_once_also_after_resuming(root, tmp_path, capfd, workers):
    """Whoever reads, and however far it has read ahead: the list is that of the batches that were given."""
    data = prepared(root, tmp_path, skip_broken=True, workers=workers)
    (video, *_), numbers = sorted(root.glob("train/*.mp4")), data.sequence_names("train")
    content = video.read_bytes()
    left_out.forget()
    try:
        video.write_bytes(b"words")
        stream = data.train_stream(0)
        whole = [next(stream)["clips"] for _ in range(6)]
        stream.close()
        list_, state = left_out.told(), json.loads(json.dumps(stream.get_state()))
        assert all(left_out.KEY not in batch for batch in whole) and len(numbers) == 3 and len(list_) == 2
        ((reason, count),) = state["clips"]["left_out"].items()
        assert list_[1].removesuffix(f" ({count} clips)") == f"  {reason}" and count > 1

        left_out.forget()
        stream = data.train_stream(0)
        for _ in range(3):
            next(stream)
        state = json.loads(json.dumps(stream.get_state()))
        next(stream)  # more than is saved
        stream.close()
        for _ in range(2):  # twice, in one process
            stream = data.train_stream(0)
            stream.set_state(state)
            np.testing.assert_array_equal(next(stream)["clips"]["frames"], whole[3]["frames"])
            next(stream), next(stream)
            stream.close()
            assert left_out.told() == list_
    finally:
        video.write_bytes(content)
        left_out.forget()
    assert capfd.readouterr().err.count("left out:") == 2, "once by each of both parts, and by no worker"


class Wicked:
    def __reduce__(self):
        return print, ("executed",)


def test_boxes_that_do_not_fit(tmp_path, capsys):
    root = bright(tmp_path / "set")
    path = root / "boxes" / "train" / "a.pkl"
    whole = box_pickle.read(path)
    assert isinstance(whole, list)
    cases = {
        "has boxes of 29 frames, the video has 30": pickle.dumps(whole[1:]),
        "box 0 of frame 0 lies outside of the picture": pickle.dumps([whole[0] + 2000, *whole[1:]]),
        "box 0 of frame 0 is .*; expected x1 <= x2, y1 <= y2 and a score": pickle.dumps(
            [whole[0][:, [2, 1, 0, 3, 4]], *whole[1:]]
        ),
        "box 0 of frame 1 is .* 9.0.; expected": pickle.dumps(
            [whole[0], np.array([[1, 1, 50, 60, 9]], np.float32), *whole[2:]]
        ),
        "names": pickle.dumps({"a.jpg": whole[0]}),
        "a.pkl": pickle.dumps([Wicked()]),
    }
    for words, content in cases.items():
        path.write_bytes(content)
        with pytest.raises(Problem, match=words):
            prepared(root, tmp_path)
    path.unlink()
    with pytest.raises(Problem, match="a.mp4: its boxes are not there"):
        prepared(root, tmp_path)
    left = prepared(root, tmp_path, skip_broken=True)
    assert len(left.entries("train")) == 1 and "its boxes are not there" in capsys.readouterr().err
    box_pickle.write(path, [np.zeros((0, 5))] * 30)  # nobody in sight is no error
    assert len(prepared(root, tmp_path).entries("train")) == 2
    for detection, words in {
        '"image_id": 0': "b.json is no list of COCO's detections",
        '"image_id": Infinity, "bbox": [0, 0, 8, 8]': "b.json is no list of COCO's detections",
        '"image_id": 1e15, "bbox": [0, 0, 8, 8]': r"has boxes of frame 1e\+15, the video has 30",
        '"image_id": -1, "bbox": [0, 0, 8, 8]': "has boxes of frame -1, the video has 30",
    }.items():
        (root / "boxes" / "train" / "b.json").write_text(f"[{{{detection}}}]")
        with pytest.raises(Problem, match=words):
            prepared(root, tmp_path)
    with pytest.raises(Problem, match="persons is no folder of boxes"):
        prepared(root, tmp_path, box_folder="persons")
    assert "executed" not in capsys.readouterr().out


def test_missing_and_slow_videos_and_wrong_settings(tmp_path, capsys):
    root = bright(tmp_path / "set")
    with open(root / "train.csv", "a") as table:
        table.write("gone.mp4 0\n")
    with pytest.raises(Problem, match=r"gone.mp4: the video is not there, .* \(1 such lines\); leave them out"):
        prepared(root, tmp_path)
    assert len(prepared(root, tmp_path, skip_broken=True).entries("train")) == 2
    assert cli.main(["data", "check", "kinetics", "--root", str(root), "--sheet", str(tmp_path / "a.png")]) == 1
    assert "gone.mp4: the video is not there, though train.csv lists it" in capsys.readouterr().out
    (root / "train.csv").write_text("a.mp4 0\nb.mp4 0\n")
    with pytest.raises(Problem, match="decoding takes longer than 1e-06 s"):
        prepared(root, tmp_path, timeout=1e-6, box_folder="")
    for name, value in (
        ("rate", 0),
        ("rate", np.nan),
        ("repeat", 0),
        ("places", 2),
        ("timeout", -1),
        ("timeout", np.inf),
    ):
        with pytest.raises(Usage, match=f"data.{name}"):
            replace(SMALL, **{name: value})
    with pytest.raises(Usage, match="RandAugment, which turns and moves pictures but not their boxes"):
        replace(SMALL, augment=FINETUNE)
    with pytest.raises(Usage, match="clips of Kinetics are square"):
        next(iter(prepared(root, tmp_path, image_size=(32, 48)).eval_stream()))


def test_the_middle_is_seen_without_augmentation(root, tmp_path):
    data = prepared(root, tmp_path, augment=transforms.NONE)
    stream = data.train_stream(0)
    batch = next(stream)["clips"]
    stream.close()
    assert not batch["flipped"].any() and (batch["affine"] == batch["affine"][0, 0]).all()


@pytest.mark.slow
def test_preparing_in_processes(root, tmp_path, capsys):
    words = ["data", "prepare", "kinetics", "--root", str(root), "--workers", "2", "--cache"]
    assert cli.main([*words, str(tmp_path / "a"), "--set", "box_folder=boxes"]) == 0
    assert "5 sequences (train 3, val 2)" in capsys.readouterr().out
    assert (
        cli.main(["data", "synth", "--layout", "kinetics", "--out", str(tmp_path / "b"), "--sequences", "2", "1"]) == 0
    )
    assert len(list((tmp_path / "b" / "boxes").rglob("*.pkl"))) == 3
