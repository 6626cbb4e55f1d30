import csv
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from jaxhar.data.generate.film import Synth
from jaxhar.data.own import folder as own_folder
from jaxhar.data.own import generate as synthetic_own
from jaxhar.data.own.settings import Own
from jaxhar.host.errors import Problem

SYNTH = Synth(30, 15, 3, 2, frames=(4, 6), size=(64, 48), clutter=0.2)


def picture(path: Path, value: int = 90, size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), value, np.uint8)).save(path)
    return path


def table(root: Path, *rows: str, header: str = "file,label,person,split,x1,y1,x2,y2") -> Path:
    (root / "list.csv").write_text("\n".join([header, *rows]))
    return root


def items(root):
    return own_folder.folder(root).scan(False)[0]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    out = tmp_path_factory.mktemp("own") / "videos"
    synthetic_own.write(out, SYNTH, progress=False)
    return out


def test_generated_videos_are_read_back(videos, tmp_path):
    settings = Own(root=str(videos), clip_frames=4, image_size=32, clips_per_batch=2, cache=str(tmp_path))
    prepared = settings.prepare(tmp_path)
    assert len(prepared.actions) == 15 and prepared.actions[0] == "baseball_pitch"
    assert (len(prepared.sequence_names("train")), len(prepared.sequence_names("test"))) == (30, 15)
    with open(videos / synthetic_own.CSV) as file:
        rows = {Path(row["file"]).stem: row for row in csv.DictReader(file)}
    for split in ("train", "test"):
        for entry in prepared.entries(split):
            row = rows[Path(entry["name"].split()[0]).stem]
            assert entry["name"].split(" line ")[0] == row["file"]
            assert sorted({r["person"] for r in rows.values()})[entry["subject"]] == row["person"]
            assert prepared.actions[entry["action"]] == row["label"] and row["split"] == split
            assert 4 <= entry["length"] <= 6
    (batch,) = prepared.eval_stream("test", "single", batch=16)
    assert batch["frames"].shape == (16, 4, 32, 32, 3)
    assert not batch["valid"].any() and not batch["visible"].any() and not batch["pose"].any()
    assert sorted(batch["action"][:15].tolist()) == list(range(15))
    stream = prepared.train_stream(0)
    assert next(stream)["clips"]["frames"].shape == (2, 4, 32, 32, 3)
    stream.close()


def test_the_box_decides_the_crop(tmp_path):
    """A white square in a black picture fills the crop of its box."""
    for n, label in enumerate("abababab"):
        image = np.zeros((240, 400, 3), np.uint8)
        image[40:120, 200:280] = 255
        (tmp_path / label).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / label / f"{n}.png")
    splits = ["train"] * 6 + ["test"] * 2
    rows = [f"{label}/{n}.png,{label},p{n},{splits[n]},200,40,280,120" for n, label in enumerate("abababab")]
    for side in (640, 200):  # the second shrinks the picture to its half
        settings = Own(root=str(table(tmp_path, *rows)), image_size=32, clip_frames=1, side=side)
        prepared = settings.prepare(tmp_path / "run")
        (batch,) = prepared.eval_stream("test", "single", batch=2)
        assert batch["frames"].mean() > 240
    shutil.copy(tmp_path / "list.csv", tmp_path / "keep.txt")
    (tmp_path / "list.csv").unlink()
    (batch,) = Own(root=str(tmp_path), image_size=32, clip_frames=1).prepare(tmp_path / "run").eval_stream(batch=2)
    assert batch["frames"].mean() < 25


def test_classes_are_folders_and_splits_are_whole_videos(tmp_path):
    for label in ("run", "jump"):
        for video in range(8):
            for frame in range(3):
                picture(tmp_path / label / f"{label}{video}_{frame:04d}.jpg")
    found = items(tmp_path)
    assert len(found) == 48
    sides = {item.person: set() for item in found}
    for item in found:
        sides[item.person].add(item.split)
    assert len(sides) == 16 and all(len(side) == 1 for side in sides.values())
    tests = [person for person, side in sides.items() if side == {"test"}]
    assert sorted(person[:3] for person in tests) == ["jum", "jum", "run", "run"]
    assert [(i.path, i.split) for i in items(tmp_path)] == [(i.path, i.split) for i in found]


def test_images_of_one_video_in_two_classes_stay_together(tmp_path):
    for n in range(6):
        picture(tmp_path / "sit" / f"film{n}_0001.jpg")
        picture(tmp_path / "stand" / f"film{n}_0500.jpg")
    found = items(tmp_path)
    for n in range(6):
        assert len({item.split for item in found if item.path.name.startswith(f"film{n}_")}) == 1


def test_given_splits_are_kept(tmp_path):
    for split, names in (("train", "abc"), ("test", "d")):
        for label in ("x", "y"):
            for name in names:
                picture(tmp_path / split / label / f"{name}.png")
    splits = {item.path.stem: item.split for item in items(tmp_path)}
    assert splits == {"a": "train", "b": "train", "c": "train", "d": "test"}


def test_phone_photos_stand_upright(tmp_path):
    for label in "ab":
        for n in range(4):
            image = Image.fromarray(np.arange(30 * 60 * 3, dtype=np.uint32).astype(np.uint8).reshape(30, 60, 3))
            exif = image.getexif()
            exif[0x0112] = 6
            (tmp_path / label).mkdir(exist_ok=True)
            image.save(tmp_path / label / f"{n}.jpg", exif=exif)
    folder = own_folder.folder(tmp_path)
    record, _ = folder.load(folder.scan(False)[0][0], False)
    assert record.size == (30, 60)
    assert cv2.imdecode(np.frombuffer(record.pictures[0], np.uint8), cv2.IMREAD_COLOR).shape == (60, 30, 3)


@pytest.fixture
def four(tmp_path):
    for label in "ab":
        for n in range(2):
            picture(tmp_path / label / f"{n}.png")
    return tmp_path


GOOD = ("a/0.png,a,p1,train", "a/1.png,a,p2,test", "b/0.png,b,p3,train", "b/1.png,b,p4,test")


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (("a/0.png,,p1,train",), "line 2 of .*list.csv has no label"),
        ((",a,p1,train",), "line 2 of .* has no file"),
        (("a/9.png,a,p1,train",), "the file .*a/9.png of line 2 .* does not exist"),
        (("list.csv,a,p1,train",), "is neither a video nor an image"),
        (("a/0.png,a,p1,valid",), "has the split 'valid'; there are train and test"),
        (("a/0.png,a,p1,train,1,2,3",), "has the box 1, 2, 3, ; four numbers"),
        (("a/0.png,a,p1,train,5,5,5,9",), "has a box without an area, 5, 5, 5, 9"),
        (("a/0.png,a,p1,train,nan,5,7,9",), "has a box without an area"),
        (("a/0.png,a,p1,train", "a/0.png,a,p2,train"), "line 3 of .* and line 2 have the same file 0.png"),
        (
            ("a/0.png,a,p1,train,1,1,9,9", "a/0.png,b,p2,test,9,9,20,20"),
            "line 3 of .* and line 2 have the same file 0.png.*the same split",
        ),
    ],
)
def test_bad_rows_are_named(four, rows, sentence):
    with pytest.raises(Problem, match=sentence):
        items(table(four, *rows, *GOOD[1:]))
    if "the same file" not in sentence:
        found, skipped = own_folder.folder(four).scan(True)
        assert len(found) == 3 and len([entry for entry in skipped if not entry.expected]) == 1


def test_two_people_with_a_box_each(four):
    rows = ("a/0.png,a,p1,train,1,1,9,9", "a/0.png,b,p9,train,9,9,20,20")
    folder = own_folder.folder(table(four, *rows, *GOOD[1:]))
    records = [folder.load(item, False)[0] for item in folder.scan(False)[0]]
    assert len({record.name for record in records}) == 5
    assert [r.fields["box"].tolist() for r in records[:2]] == [[1, 1, 9, 9], [9, 9, 20, 20]]


def test_a_table_of_training_alone_is_refused(four):
    rows = (",".join((*line.split(",")[:3], "train", *line.split(",")[4:])) for line in GOOD)
    with pytest.raises(Problem, match="all files of .* are given the split train: give some of them test, or no split"):
        items(table(four, *rows))


def test_a_person_on_both_sides_is_refused(four):
    with pytest.raises(Problem, match="line 3 of .* puts p1 into test, another line puts it into train"):
        items(table(four, GOOD[0], GOOD[1].replace("p2", "p1"), *GOOD[2:]))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda root: None, "holds no such files; expected CLASS.*found nothing in it"),
        (lambda root: root.rmdir(), "does not exist; expected CLASS"),
        (lambda root: picture(root / "a" / "0.png"), r"has 1 class \(a\)"),
        (
            lambda root: (picture(root / "a" / "0.png"), picture(root / "b" / "0.jpg")),
            "nobody in .* can be used for testing",
        ),
        (lambda root: table(root, "a.png,a", header="path,label"), "columns path, label; file and label are needed"),
        (lambda root: table(root, header="file,label"), "list.csv has no rows"),
        (lambda root: (root / "list.csv").write_bytes(b"file,label\n\xff\xfe,a"), "not a CSV file in UTF-8"),
        (lambda root: [(root / f"{n}.csv").write_text("") for n in "ab"], "holds 2 .csv files; give the path"),
    ],
)
def test_bad_folders_are_named(tmp_path, make, sentence):
    root = tmp_path / "root"
    root.mkdir()
    make(root)
    with pytest.raises(Problem, match=sentence):
        own_folder.folder(root)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a/0.png", b"words", "0.png: this image cannot be read"),
        ("a/0.jpg", b"words", "0.jpg: this image cannot be read"),
        ("a/0.mp4", b"words", "0.mp4: this file cannot be read: it holds no video"),
    ],
)
def test_broken_files_are_named(four, name, content, sentence):
    (four / name).write_bytes(content)
    folder = own_folder.folder(four)
    (item,) = [item for item in folder.scan(False)[0] if item.path == four / name]
    with pytest.raises(Problem, match=sentence):
        folder.load(item, False)
    record, (skipped,) = folder.load(item, True)
    assert record is None and Path(skipped.path).name == Path(name).name


def test_a_box_outside_of_the_picture(four):
    folder = own_folder.folder(table(four, "a/0.png,a,p1,train,500,5,600,40", *GOOD[1:]))
    with pytest.raises(Problem, match="line 2 of .* has a box outside of the picture of 40x30"):
        folder.load(folder.scan(False)[0][0], False)


def test_a_video_that_breaks_off_is_told(tmp_path):
    """Cut in the middle, an .avi still says its whole length in the header."""
    path = tmp_path / "v.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    rng = np.random.default_rng(0)
    for _ in range(20):
        writer.write(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8))
    writer.release()
    data = path.read_bytes()
    assert len(own_folder._read(path, 640)[0]) == 20
    assert own_folder._read(path, 32)[1:] == ((32, 24), 0.5)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(Problem, match="v.avi: the video ends after frame (9|10), but its header says 20 frames"):
        own_folder._read(path, 640)


def test_missing_splits_fill_up_beside_given_ones(four):
    rows = ("a/0.png,a,p1,test", "a/1.png,a,p2,", "b/0.png,b,p3,", "b/1.png,b,p4,")
    splits = {item.person: item.split for item in items(table(four, *rows))}
    assert splits["p2"] == "train" and sorted((splits["p3"], splits["p4"])) == ["test", "train"]
