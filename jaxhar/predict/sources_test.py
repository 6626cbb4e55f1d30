"""What several arguments mean, and how the folders of their results are called."""

import os
from pathlib import Path

import pytest

from jaxhar.host.errors import Problem, Usage
from jaxhar.predict import sources


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name in (
        "a.mp4",
        "b/10.mp4",
        "b/9.mov",
        "b/notes.txt",
        "b/._9.mov",
        "c/x.mov",
        "c/y.MOV",
        "c/z.mp4",
        "p/1.jpg",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "p" / "film.mp4").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def expand(*words, out="out"):
    return [str(path) for path in sources.expand([Path(word) for word in words], Path(out))]


def test_files_folders_and_patterns(tree):
    assert expand("a.mp4", "b", "c/*.mov", "p") == ["a.mp4", "b/9.mov", "b/10.mp4", "c/x.mov", "p"]
    assert expand("c/?.m*", "c/z.mp4", "./a.mp4", "a.mp4") == ["c/x.mov", "c/z.mp4", "a.mp4"]
    assert set(expand("**")) == {
        "a.mp4",
        "b/9.mov",
        "b/10.mp4",
        "c/x.mov",
        "c/y.MOV",
        "c/z.mp4",
        "p/1.jpg",
        "p/film.mp4",
    }
    Path("odd[1].mp4").write_bytes(b"")
    assert expand("odd[1].mp4") == ["odd[1].mp4"]


def test_one_source_needs_no_folder_of_its_own(tree):
    for word, one in (("a.mp4", True), ("p", True), ("b", False), ("c/*.mov", False), ("empty", True), ("none", True)):
        assert sources.is_one([Path(word)]) == one, word
    assert not sources.is_one([Path("a.mp4"), Path("p")])


def test_what_means_nothing_is_refused(tree):
    for words, kind, sentence in (
        (("a.mp4", "d.mp4"), Problem, "d.mp4: there is no such file or folder"),
        (("d/*.mp4",), Problem, "no video or picture fits this as a pattern"),
        (("b/*.txt",), Problem, "no video or picture fits this as a pattern"),
        (("empty", "a.mp4"), Problem, "this folder holds no videos and no pictures"),
        (("b",), Usage, "results would lie among the sources"),
        (("b/*",), Usage, "results would lie among the files of b/"),
    ):
        with pytest.raises(kind, match=sentence):
            expand(*words, out="b")


def test_every_nth(tree):
    ten = [Path(str(n)) for n in range(10)]
    parts = [sources.shard(ten, f"{k}/3") for k in (1, 2, 3)]
    assert [str(path) for path in parts[1]] == ["1", "4", "7"] and sorted(sum(parts, [])) == ten
    for wrong in ("0/3", "4/3", "1", "1/0", "a/b", "-1/3", "1/3/5"):
        with pytest.raises(Usage, match="is not K/N"):
            sources.shard(ten, wrong)


def test_names_of_results_are_short_and_differ(tmp_path):
    given = [
        "a.mp4",
        "b/x.mp4",
        "c/x.mov",
        "d/x.mov",
        "e/X.mov",
        "d/y/x.mov",
        "photos",
        "summary.mp4",
        "summary.csv.mp4",
    ]
    for name in given:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name == "photos" else path.write_bytes(b"")
    os.makedirs(tmp_path / "f" / "d" / "y")
    (tmp_path / "f" / "d" / "y" / "x.mov").write_bytes(b"")
    paths = [tmp_path / name for name in (*given, "f/d/y/x.mov")]
    names = sources.names(paths, ("summary.csv",))
    assert names[:6] == ["a", "x.mp4", "c_x.mov", "d_x.mov", "e_X.mov", "y_x.mov_2"] and names[-1] == "y_x.mov_3"
    assert names[6:9] == ["photos", "summary", "summary.csv.mp4"]
    assert len({name.lower() for name in names}) == len(names)
