from pathlib import Path

import pytest

from jaxhar.data.kinetics import lists
from jaxhar.data.kinetics.folder import boxes_of, folder
from jaxhar.host.errors import Problem

HEADER = "label,youtube_id,time_start,time_end,split,is_cc\n"


def files(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def table(root: Path, name: str, text: str) -> None:
    files(root, name)
    (root / name).write_text(text)


def test_the_official_form(tmp_path):
    """Labels with commas and quotes, videos in several places, parts of longer ones, and what is missing."""
    files(tmp_path, "train/abc-_de_000010_000020.mp4", "val_288px/xyz_000000_000010.mkv", "train/whole.mp4")
    table(
        tmp_path,
        "annotations/train.csv",
        HEADER
        + '"playing ""kazoo"", loudly",abc-_de,10,20,train,0\n'
        + "air drumming,whole,3,13,train,0\nair drumming,gone,0,10,train,1\nair drumming,,0,10,train,0\n",
    )
    table(tmp_path, "annotations/val.csv", HEADER + "zumba,xyz,0,10,val,0\nair drumming,xyz,0,10,val,0\n")
    found = lists.read(tmp_path)
    assert found.classes == ("air drumming", 'playing "kazoo", loudly', "zumba")  # one order for all splits
    first, second, third, fourth = found.videos
    assert first.name == "abc-_de_000010_000020" and first.start is None and found.number(first.label) == 1
    assert (second.path.name, second.start, second.end) == ("whole.mp4", 3, 13)
    assert third.split == "val" and found.number(third.label) == 2 and found.number(fourth.label) == 0
    reasons = {one.path: one.reason for one in found.missing}
    assert "the video is in no folder of train, though train.csv lists it" in reasons["gone_000000_000010"]
    assert f"line 5 of {tmp_path / 'annotations/train.csv'}" in reasons


def test_a_header_of_paths(tmp_path):
    files(tmp_path, "a/1.mp4", "val/2.mp4")
    table(
        tmp_path, "lists/train.csv", 'path,label,start,end\na/1.mp4,"sit, down",,\na/1.mp4,run,2,4.5\na/1.mp4,run,5,1\n'
    )
    table(tmp_path, "lists/val.csv", "label,file\nrun,2.mp4\n,2.mp4\n")
    found = lists.read(tmp_path)
    assert [(v.label, v.start, v.end) for v in found.videos[:2]] == [("sit, down", None, None), ("run", 2, 4.5)]
    assert [v.name for v in found.videos] == ["1", "1_000002_000004", "2", "2"]
    assert found.number("") == -1 and len(found.missing) == 1


@pytest.mark.parametrize(
    "text", ["a b/1.mp4 2\n1.mp4 0\n", "a b/1.mp4,2\n1.mp4,0\n", "1.mp4 0 2.5 2\n", "1.mp4,0,2.5,2\n"]
)
def test_no_header(tmp_path, text):
    files(tmp_path, "a b/1.mp4", "1.mp4")
    table(tmp_path, "train.csv", text)
    found = lists.read(tmp_path)
    assert not found.missing and found.classes == ("0", "1", "2") and found.number(found.videos[0].label) == 2
    assert len(found.videos) == text.count("\n") and found.videos[-1].path == tmp_path / "1.mp4"
    assert found.videos[0].end == (2.5 if "2.5" in text else None)
    table(tmp_path, "classes.txt", "run\nsit\nstand\n")
    assert lists.read(tmp_path).classes == ("run", "sit", "stand")
    table(tmp_path, "classes.txt", "run\n")
    with pytest.raises(Problem, match="classes.txt has 1 names, but the lists have the label 2"):
        _ = lists.read(tmp_path).classes


def test_a_video_listed_twice_has_two_names(tmp_path):
    files(tmp_path, "1.mp4", "1 2.mp4")
    table(tmp_path, "train.csv", "1.mp4,0\n1.mp4,0\n1 2.mp4,0\n1.mp4,0\n1.mp4,1\n")
    assert [v.name for v in lists.read(tmp_path).videos] == ["1", "1 2", "1 2 2", "1 3", "1"]


@pytest.mark.parametrize("times", ["nan,4", "inf,", "0,inf", ",-1", ",0", "-1,2", "3,3", "1,1e999"])
def test_times_that_are_none(tmp_path, times):
    files(tmp_path, "a.mp4", "id.mp4")
    for header, line in (("path,label,start,end", f"a.mp4,run,{times}"), (HEADER.strip(), f"run,id,{times},train,0")):
        table(tmp_path, "train.csv", f"{header}\n{line}\n")
        with pytest.raises(Problem, match=f"line 2 of {tmp_path / 'train.csv'}: the line has no path .* no times"):
            lists.read(tmp_path)


def test_what_is_no_list(tmp_path):
    files(tmp_path, "a.mp4")
    table(tmp_path, "train.csv", 'path,label\na.mp4,"run\na.mp4,sit\na.mp4,stand\n')
    with pytest.raises(
        Problem, match="train.csv is no list of videos: .*; a label with commas stands in a pair of quot"
    ):
        lists.read(tmp_path)  # else the lines after the quote would be part of a label
    table(tmp_path, "train.csv", f"{'long' * 200}.mp4 0\na\0b.mp4 0\na.mp4 {'9' * 5000}\n")
    found = lists.read(tmp_path)
    assert len(found.missing) == 2 and len(found.videos) == 1
    with pytest.raises(
        Problem, match="must be those of classes, from 0 and below 100,000, unlike 9{20} in .*train.csv"
    ):
        _ = found.classes


@pytest.mark.parametrize("label", ["-1", "1.5", "1e3", "100000"])
def test_numbers_that_are_no_classes(tmp_path, label):
    files(tmp_path, "a.mp4")
    table(tmp_path, "train.csv", f"path,label\na.mp4,0\na.mp4,{label}\n")
    with pytest.raises(Problem, match=f"must be those of classes, from 0 and below 100,000, unlike {label} in .*train"):
        _ = lists.read(tmp_path).classes
    table(tmp_path, "train.csv", f"path,label\na.mp4,run\na.mp4,{label}\n")
    assert lists.read(tmp_path).classes == (label, "run")


def test_videos_in_two_splits_or_with_two_labels_are_doubts(tmp_path):
    files(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    table(tmp_path, "train.csv", "path,label,start,end\na.mp4,run,,\nb.mp4,run,0,2\nb.mp4,sit,2,4\n")
    table(tmp_path, "val.csv", "path,label\nc.mp4,run\n")
    table(tmp_path, "test.csv", "path,label\nc.mp4,\n")
    assert not folder(tmp_path).doubts
    with open(tmp_path / "train.csv", "a") as file:
        file.write("a.mp4,sit,,\n./c.mp4,run,,\n")
    leak, labels = folder(tmp_path).doubts
    assert f"1 videos, as {tmp_path / 'c.mp4'}, are in train and in another split" in leak
    assert f"1 videos, as {tmp_path / 'a.mp4'}, are listed with several labels" in labels


def test_boxes_lie_as_the_videos_or_by_class(tmp_path):
    files(
        tmp_path, "x/a.mp4", "y/a.mp4", "boxes/x/a.pkl", "boxes/y/a.json", "boxes/train/b 2.pkl", "b.mp4", "secret.pkl"
    )
    rows = [("x/a.mp4", "0"), ("y/a.mp4", "0"), ("b.mp4", "../"), ("b.mp4", "../")]
    table(tmp_path, "train.csv", "".join(f"{path},{label}\n" for path, label in rows))
    place, videos = tmp_path / "boxes", lists.read(tmp_path).videos
    found = [boxes_of(place, video).relative_to(place).as_posix() for video in (*videos[:2], videos[3])]
    assert found == ["x/a.pkl", "y/a.json", "train/b 2.pkl"]
    for label in ("..", str(tmp_path), "../boxes/.."):
        with pytest.raises(Problem, match="its boxes are not there"):
            boxes_of(place, lists.Listed("train", label, tmp_path / "secret.mp4", "secret"))


def test_no_lists(tmp_path):
    with pytest.raises(Problem, match="has no list of videos; expected are train.csv and val.csv"):
        lists.read(tmp_path)
    table(tmp_path, "train.csv", "gone.mp4 0\n")
    with pytest.raises(Problem, match="name no video that is there; gone.mp4: the video is not there"):
        lists.read(tmp_path)
