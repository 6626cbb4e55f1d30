"""What a user's folder holds beside clips in folders of classes: everything is used, or told with the reason."""

import os
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from jaxhar.checks import data_set
from jaxhar.cli import main as cli
from jaxhar.data.own import folder as own_folder
from jaxhar.data.own import listing
from jaxhar.data.own.settings import Own
from jaxhar.host.errors import Problem


def fill(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".jpg", ".png", ".webp", ".bmp"):
            Image.fromarray(np.full((30, 40, 3), 90, np.uint8)).save(path)
        else:
            path.touch()
    return root


CLASSES = ("jump/a.jpg", "jump/b.jpg", "wave/c.jpg", "wave/d.jpg")


def told(root: Path) -> dict[str, str]:
    """The files left out, by their path, with the reason."""
    items, skipped = own_folder.folder(root).scan(True)
    assert len({item.path for item in items}) == len(items)
    return {str(Path(entry.path).relative_to(root)): entry.reason for entry in skipped}


def check(root: Path, capsys) -> tuple[int, str]:
    code = cli.main(["data", "check", "folder", "--root", str(root), "--sheet", str(root.parent / "sheet.png")])
    return code, capsys.readouterr().out


#: what lies in the folder, a part of the reason, and whether nothing is wrong with it
STRAY = {
    ".ipynb_checkpoints/a-checkpoint.jpg": ("hidden", True),
    "jump/.ipynb_checkpoints/a.jpg": ("hidden", True),
    "jump/._a.mp4": ("hidden", True),
    "jump/.DS_Store": ("hidden", True),
    "__MACOSX/jump/a.jpg": ("hidden", True),
    "jump/Thumbs.db": ("hidden", True),
    "jump/notes.txt": ("files ending in .txt are not read", True),
    "README.md": ("lies in no folder of a class", True),
    "jump/x.heics": ("files ending in .heics are not read; videos and images are read: .mp4 .avi", False),
    "jump/x.zip": ("files ending in .zip are not read", False),
    "jump/x": ("is not read", False),
    "jump/anna/deep.mp4": ("lies deeper than CLASS/FILE", False),
    "jump/2024/06/deep.jpg": ("lies deeper than CLASS/FILE", False),
    "x.mp4": ("lies in no folder of a class", False),
}


@pytest.mark.parametrize("name", STRAY)
def test_what_is_not_used_is_told(name, tmp_path, capsys):
    reason, fine = STRAY[name]
    root = fill(tmp_path / "own", *CLASSES, name)
    assert own_folder.folder(root).actions == ("jump", "wave")
    ((path, found),) = told(root).items()
    assert name.startswith(path) and reason in found
    code, out = check(root, capsys)
    assert "2 classes: jump 2, wave 2" in out and f"{path}: {found}" in out
    assert (code == 0, "nothing is wrong" in out) == (fine, fine)


def test_many_files_of_one_reason_are_one_line(tmp_path, capsys):
    root = fill(tmp_path / "own", *CLASSES, *(f"wave/{n}.rar" for n in range(12)))
    code, out = check(root, capsys)
    assert code == 1 and "12 files, wave/0.rar, wave/1.rar, wave/2.rar and 9 more: files ending in .rar" in out
    assert "12 files or labels are unusable" in out


def test_an_empty_class_and_a_pipe_are_told(tmp_path):
    root = fill(tmp_path / "own", *CLASSES)
    (root / "walk").mkdir()
    os.mkfifo(root / "jump" / "pipe.jpg")
    assert told(root) == {"walk": "this folder of a class holds no file", "jump/pipe.jpg": "is no regular file"}


def test_more_endings_are_read(tmp_path):
    root = fill(tmp_path / "own", "jump/a.webp", "jump/b.bmp", "wave/c.JPG", "wave/d.jpeg")
    Image.fromarray(np.full((30, 40, 3), 90, np.uint8)).save(root / "wave" / "c.JPG", "jpeg")
    Image.fromarray(np.full((30, 40, 3), 90, np.uint8)).save(root / "wave" / "d.jpeg", "jpeg")
    writer = cv2.VideoWriter(str(root / "wave" / "e.mpg"), cv2.VideoWriter.fourcc(*"PIM1"), 25, (64, 48))
    for _ in range(5):
        writer.write(np.full((48, 64, 3), 90, np.uint8))
    writer.release()
    found = data_set.read_all(Own(), root, progress=False)
    assert not found.bad and found.classes == {"jump": 2, "wave": 3} and found.counts["sequences"] == 5


def test_names_of_classes_that_differ_in_case_or_blanks_are_one(tmp_path, capsys):
    root = fill(tmp_path / "own", "jump/a.jpg", "jump/b.jpg", "Jump/c.jpg", "jump /d.jpg", "long  jump/e.jpg")
    fill(root, "Long_Jump/f.jpg", "Long_Jump/g.jpg")
    folder = own_folder.folder(root)
    assert folder.actions == ("Long_Jump", "jump")
    assert "'Jump', 'jump', 'jump ' are taken as one, 'jump'" in folder.doubts[0]
    code, out = check(root, capsys)
    assert code == 1 and "2 classes: Long_Jump 3, jump 4" in out and folder.doubts[1] in out
    assert "nothing is wrong" not in out


def test_accents_are_stored_in_two_ways(tmp_path):
    """Archives of a Mac have the letter and its accent apart."""
    names = [unicodedata.normalize(form, "saut à ski") for form in ("NFC", "NFD")]
    folder = own_folder.folder(fill(tmp_path, f"{names[0]}/a.jpg", f"{names[1]}/b.jpg", "wave/c.jpg", "wave/d.jpg"))
    assert len(folder.actions) == 2 and len(folder.doubts) == 1


def test_the_labels_of_a_csv_are_one_too(tmp_path):
    fill(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    (tmp_path / "t.csv").write_text("file,label\na.jpg,wave\nb.jpg,Wave \nc.jpg,sit\nd.jpg,SIT\n")
    folder = own_folder.folder(tmp_path)
    assert len(folder.actions) == 2 and len(folder.doubts) == 2


@pytest.mark.parametrize(
    "names", [("train", "test"), ("Training", "testing"), ("train", "val"), ("train", "validation")]
)
def test_folders_of_splits(names, tmp_path):
    files = [f"{split}/{label}/{split}{n}.jpg" for split in names for label in ("a", "b") for n in range(2)]
    folder = own_folder.folder(fill(tmp_path, *files))
    items = folder.scan(False)[0]
    assert folder.actions == ("a", "b") and len(items) == 8
    assert all((item.split == "train") == (names[0] in str(item.path)) for item in items)
    assert bool(folder.notes) == (names[1] not in ("test", "testing"))
    if folder.notes:
        assert f"{names[1]} is used for testing, since there is no folder test" in folder.notes[0]


def test_a_third_split_and_what_lies_beside(tmp_path, capsys):
    files = [f"{split}/{label}/{split}.jpg" for split in ("train", "val", "test") for label in ("a", "b")]
    root = fill(tmp_path / "own", *files, "other/x.mp4", "train/x.jpg", "y.jpg")
    assert told(root) == {
        "val/a/val.jpg": "lies in a third split beside train and test",
        "val/b/val.jpg": "lies in a third split beside train and test",
        "other/x.mp4": "lies beside train and test",
        "train/x.jpg": "lies in no folder of a class",
        "y.jpg": "lies in no folder of a class",
    }
    assert len(own_folder.folder(root).scan(False)[0]) == 4
    code, out = check(root, capsys)
    assert code == 1 and "2 files, val/a/val.jpg, val/b/val.jpg: lies in a third split" in out


def test_a_csv_in_a_folder_says_what_is_used(tmp_path, capsys):
    root = fill(tmp_path / "own", *CLASSES, "jump/e.jpg")
    (root / "._list.csv").write_bytes(b"\0\5\x16\7")
    (root / "list.csv").write_text("file,label,person\n" + "".join(f"{n},{n[:4]},p{n[5]}\n" for n in CLASSES))
    code, out = check(root, capsys)
    assert code == 0 and f"{root / 'list.csv'} says which files are used" in out
    assert "jump/e.jpg: is not in list.csv" in out and "nothing is wrong" in out
    assert not own_folder.folder(root / "list.csv").notes


ROWS = ("a.jpg", "b.jpg", "c.jpg", "d.jpg")


def table(root: Path, header: str, *rows: str, encoding: str = "utf-8") -> Path:
    fill(root, *ROWS)
    (root / "t.csv").write_text("\n".join((header, *rows)), encoding=encoding)
    return root / "t.csv"


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_every_separator_is_read(mark, encoding, tmp_path):
    point = "." if mark == "," else ","
    header = mark.join(("File", '"label"', "person", "x1", "y1", "x2", "y2", ""))
    rows = (mark.join((f, "ab"[i % 2], f"p{i}", f"1{point}5", "2", "30", "20", "")) for i, f in enumerate(ROWS))
    items = own_folder.folder(table(tmp_path, header, *rows, "", encoding=encoding)).scan(False)[0]
    assert [(i.path.name, i.label, i.person, i.box) for i in items] == [
        (name, "ab"[n % 2], f"p{n}", (1.5, 2.0, 30.0, 20.0)) for n, name in enumerate(ROWS)
    ]


#: header, rows, and what is said
WRONG = {
    "val": (
        "file,label,split",
        ("a.jpg,x,train", "b.jpg,x,val", "c.jpg,y,train", "d.jpg,y,val"),
        "line 3 of .* split 'val'",
    ),
    "one class left": (
        "file,label",
        ("a.jpg,x", "e.jpg,y"),
        r"e.jpg of line 3 .* does not exist \(1 such lines.*1 class",
    ),
    "two labels": ("file,label,Label", ("a.jpg,x,y",), "has two columns label; remove one"),
    "a cell too many": (
        "file,label",
        ("a.jpg,x", "b,1.jpg,y", "c.jpg,x", "d.jpg,y"),
        "line 3 .* 3 cells, .* 2 columns",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_rows_that_cannot_be_used_are_named_first(case, tmp_path):
    header, rows, sentence = WRONG[case]
    with pytest.raises(Problem, match=sentence):
        own_folder.folder(table(tmp_path, header, *rows)).scan(False)


def test_blank_lines_do_not_shift_the_numbers(tmp_path):
    path = table(tmp_path, "file,label", "a.jpg,x", "", '"b.jpg"," y "', "", "e.jpg,y", "c.jpg,y", "d.jpg,x")
    folder = own_folder.folder(path)
    assert folder.actions == ("x", "y") and len(folder.scan(True)[0]) == 4
    with pytest.raises(Problem, match="e.jpg of line 6"):
        folder.scan(False)


def test_no_ending_is_both_a_video_and_an_image():
    assert not set(listing.VIDEOS) & set(listing.IMAGES)


@pytest.mark.parametrize(
    ("box", "side", "said"),
    [
        ("0.1,0.1,0.9,0.9", 640, "0.8 x 0.8"),
        ("1,1,30,3", 640, "29 x 2"),
        ("1,1,30,3", 20, "29 x 2"),
        ("1,1,30,5.5", 640, None),
        ("1,1,30,5.5", 20, None),
    ],
)
def test_boxes_below_some_pixels_are_refused(box, side, said, tmp_path):
    """In pixels of the file, of which the packed picture may be a smaller copy."""
    folder = own_folder.folder(table(tmp_path, "file,label,x1,y1,x2,y2", f"a.jpg,x,{box}", "b.jpg,x", "c.jpg,y"), side)
    item = folder.scan(False)[0][0]
    if said is None:
        assert folder.load(item, False)[0].fields["box"].shape == (4,)
        return
    with pytest.raises(Problem, match=f"line 2 of .* has a box of {said} pixels; .* not in fractions of it"):
        folder.load(item, False)
    record, (skipped,) = folder.load(item, True)
    assert record is None and said in skipped.reason
