import dataclasses
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from jaxhar.data.formats import jpeg
from jaxhar.data.formats.writer import VideoWriter
from jaxhar.data.records import packing, pictures, store
from jaxhar.data.records.reader import Records
from jaxhar.data.records.record import Field, Folder, PackOptions, Record, Skipped, VideoClip, joint_fields
from jaxhar.host.errors import Problem

COUNT = 10


def load(root: Path, number: int, skip_broken: bool):
    """A made-up sequence; it says in a file that it was read, and obeys files that say how it fares."""
    with open(root / "log", "a") as log:
        log.write(f"{number}\n")
    if (root / f"slow{number}").exists():
        time.sleep(60)
    if (root / f"die{number}").exists() or take(root / f"die{number}once"):
        os.kill(os.getpid(), signal.SIGKILL)
    if (root / f"broken{number}").exists():
        if not skip_broken:
            raise Problem(f"sequence {number} is broken")
        return None, [Skipped(str(number), "broken")]
    kind = (root / "kind").read_text() if (root / "kind").exists() else "jpeg"
    frames = [jpeg.encode(np.full((6, 8, 3), 20 * number + t, np.uint8)) for t in range(number % 3 + 1)]
    points = np.full((len(frames), 2, 2), number, np.float32)
    labelled = np.ones((len(frames), 2), bool)
    fields = {"points": points, "labelled": labelled, "box": np.arange(4)}
    if kind == "none":
        return Record(f"s{number}", "train", len(frames), fields), []
    if kind == "video":
        clip = VideoClip(str(root / "film.mp4"), number / 10, (number + len(frames)) / 10)
        length, size = pictures.measure(clip)
        assert length == len(frames)
        return Record(f"s{number}", "train", length, fields, clip, size), []
    return Record(f"s{number}", "train", len(frames), fields, frames, (8, 6)), []


def take(path: Path) -> bool:
    """Whether a file was there, which is removed."""
    there = path.exists()
    path.unlink(missing_ok=True)
    return there


def fingerprint(root: Path):
    yield f"{root}"


def scan(skip_broken: bool):
    return list(range(COUNT)), []


def make(root: Path) -> Folder:
    return Folder(
        "made-up",
        "made",
        root,
        partial(fingerprint, root),
        scan,
        partial(load, root),
        joint_fields(2) | {"box": Field((4,))},
    )


def content(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def read(root: Path) -> list[int]:
    log = root / "log"
    numbers = [int(word) for word in log.read_text().split()] if log.exists() else []
    log.unlink(missing_ok=True)
    return sorted(numbers)


def grey(number: int) -> np.ndarray:
    return np.full((6, 8, 3), 20 * number + 10, np.uint8)


def become(root: Path, kind: str) -> None:
    """Make the records of another kind: "none" without pictures, "video" parts of one film of ten frames a second."""
    (root / "kind").write_text(kind)
    with VideoWriter(root / "film.mp4", Fraction(10), 8, 6) as writer:
        for t in range(12):
            writer.write(grey(t), t / 10)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(packing, "_FEWEST_SEQUENCES", 3)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def whole(root, tmp_path):
    """What an uninterrupted run gives."""
    found = content(store.pack(make(root), tmp_path / "whole"))
    read(root)
    return found


def test_records_come_back_in_order(root, tmp_path):
    path, index = store.packed(make(root), tmp_path)
    assert [entry["name"] for entry in index["sequences"]] == [f"s{i}" for i in range(COUNT)]
    assert len(list(path.rglob("*.array_record*"))) == 2 * 4
    source = Records(path, [9, 2])
    assert (
        source[0]["name"] == b"s9" and source[1]["points"][0, 0, 0] == 2 and source[1]["box"].tolist() == [0, 1, 2, 3]
    )
    assert [p.name for p in tmp_path.glob("made-*") if p.suffix != ".lock"] == [path.name]


def test_frames_are_read_one_by_one_and_are_those_of_their_record(root, tmp_path):
    path, index = store.packed(make(root), tmp_path)
    source = pickle.loads(pickle.dumps(Records(path, list(range(COUNT)))))
    for number in (7, 0, 8):
        frames, packed = source[number]["pictures"], load(root, number, False)[0].pictures
        assert len(frames) == index["sequences"][number]["length"] == len(packed)
        assert [*frames] == packed and frames[-1] == packed[-1] and frames[np.int64(0)] == packed[0]
        with pytest.raises(IndexError):
            frames[len(packed)]


def test_records_without_pictures(root, tmp_path):
    become(root, "none")
    path, index = store.packed(make(root), tmp_path)
    source = pickle.loads(pickle.dumps(Records(path, list(range(COUNT)))))
    assert all(entry["stored"] == 0 for entry in index["sequences"])
    record = source[4]
    assert record["pictures"] is None and record["length"] == 2 and record["points"].shape == (2, 2, 2)
    with pytest.raises(Problem, match="sequence s4 has no pictures"):
        list(pictures.frames(record, [0]))


def test_videos_are_read_where_they_lie(root, tmp_path):
    become(root, "video")
    path, index = store.packed(make(root), tmp_path)
    source = pickle.loads(pickle.dumps(Records(path, list(range(COUNT)))))
    for number in range(COUNT):
        record = source[number]
        assert record["pictures"] == VideoClip(str(root / "film.mp4"), number / 10, (number + number % 3 + 1) / 10)
        assert record["length"] == number % 3 + 1 and record["size"].tolist() == [8, 6]
        chosen = [record["length"] - 1, 0, 0]
        for t, frame in zip(chosen, pictures.frames(record, chosen), strict=True):
            assert np.abs(frame.astype(int) - grey(number + t)).max() < 9, (number, t)
    (root / "film.mp4").rename(root / "moved.mp4")
    with pytest.raises(Problem, match="film.mp4: there is no such file"):
        list(pictures.frames(source[3], [0]))
    with VideoWriter(root / "film.mp4", Fraction(10), 8, 6) as writer:
        writer.write(grey(0), 0.0)
    with pytest.raises(Problem, match="sequence s5 needs frame 2 of .*film.mp4, which now has fewer"):
        list(pictures.frames(source[5], [2]))
    with pytest.raises(Problem, match="film.mp4: this video has no frame between 5.0 and 6.0 s"):
        pictures.measure(VideoClip(str(root / "film.mp4"), 5.0, 6.0))


@pytest.mark.parametrize("kind", ["none", "video"])
def test_a_packed_set_without_pictures_that_breaks_later(root, tmp_path, kind):
    become(root, kind)
    path, _ = store.packed(make(root), tmp_path)
    for shard in path.rglob("packed_sequences-*.array_record*"):
        content = bytearray(shard.read_bytes())
        content[: len(content) // 2] = bytes(len(content) // 2)
        shard.write_bytes(content)
    with pytest.raises(Problem, match=f"the packed records in {path} are damaged"):
        source = Records(path, list(range(COUNT)))
        [source[i] for i in range(COUNT)]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"length": 2}, "of 2 frames has 'points' of shape .1, 2, 2., declared as .None, 2, 2."),
        ({"fields": {}}, "has no 'points', which its folder declares"),
        ({"pictures": []}, "of 1 frames has 0 pictures"),
    ],
)
def test_a_record_must_be_of_the_declared_form(root, tmp_path, changes, sentence):
    def other(number, skip_broken):
        record, skipped = load(root, number, skip_broken)
        return dataclasses.replace(record, **(changes if number == 3 else {})), skipped

    folder = dataclasses.replace(make(root), load=other)
    with pytest.raises(Problem, match=f"sequence s3 of .* {sentence}"):
        store.pack(folder, tmp_path)
    _, index = store.packed(folder, tmp_path, skip_broken=True)
    assert len(index["sequences"]) == COUNT - 1 and index["skipped"][0][0] == "s3"


@pytest.mark.parametrize("hard", [4096, 40])
def test_more_files_than_a_process_may_open_at_first(root, tmp_path, monkeypatch, hard):
    monkeypatch.setattr(packing, "_FEWEST_SEQUENCES", 1)
    path, _ = store.packed(make(root), tmp_path)
    code = (
        "import resource, sys; from pathlib import Path; from jaxhar.data.records.reader import Records\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, (min({hard}, 60), {hard}))\n"
        f"sources = [Records(Path(sys.argv[1]), list(range({COUNT}))) for _ in range(4)]\n"
        "for source in sources:\n"
        f"    print(sum(len(source[i]['pictures'][0]) for i in range({COUNT})))"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    if hard > 60:
        assert done.returncode == 0 and len(done.stdout.split()) == 4, done.stderr
    else:
        assert f"packed records in {path} needs more open files than this process may have" in done.stderr


def test_processes_give_the_same_bytes_and_a_killed_one_costs_its_part_only(root, tmp_path, whole):
    (root / "die4once").touch()
    assert content(store.pack(make(root), tmp_path / "c", options=PackOptions(workers=2))) == whole
    assert read(root) == sorted([*range(COUNT), 3, 4])  # part 1 is packed again as far as it came


def killed(root: Path, cache: Path, workers: int = 0) -> subprocess.Popen:
    code = (
        "import sys; from pathlib import Path; from jaxhar.data.records import packing, packing_test, record, store\n"
        "packing._FEWEST_SEQUENCES = 3; packing._THREADS = 1\n"
        "if __name__ == '__main__':\n"
        "    root, cache, workers = sys.argv[1:]\n"
        "    options = record.PackOptions(int(workers))\n"
        "    store.pack(packing_test.make(Path(root)), Path(cache), options=options)\n"
    )
    return subprocess.Popen([sys.executable, "-c", code, root, cache, str(workers)], stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("kind", ["jpeg", "none", "video"])
def test_a_killed_run_goes_on_from_its_finished_parts(root, tmp_path, kind):
    become(root, kind)
    whole = content(store.pack(make(root), tmp_path / "whole"))
    read(root)
    (root / "die7").touch()
    assert killed(root, tmp_path / "c").wait(60) == -signal.SIGKILL
    assert set(range(6)) <= set(read(root)) and not list(tmp_path.glob("c/made-*/index.json"))
    (root / "die7").unlink()
    assert content(store.pack(make(root), tmp_path / "c")) == whole
    assert read(root) == [6, 7, 8, 9]
    assert not list(tmp_path.glob("c/*.parts"))


def test_workers_end_with_a_killed_parent(root, tmp_path, whole):
    for number in range(COUNT):
        (root / f"slow{number}").touch()
    parent = killed(root, tmp_path / "c", workers=2)
    wait_for(lambda: (root / "log").exists())
    lists = Path(f"/proc/{parent.pid}/task").glob("*/children")  # of its threads
    children = [int(pid) for each in lists for pid in each.read_text().split()]
    parent.kill()
    parent.wait()
    assert len(children) >= 2
    wait_for(lambda: not any(alive(pid) for pid in children))


def wait_for(condition, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("kind", ["sequences", "pictures"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "no note", "half a note"])
def test_a_part_that_is_not_whole_is_made_again(root, tmp_path, whole, damage, kind):
    (root / "broken9").touch()
    with pytest.raises(Problem, match="sequence 9 is broken"):
        store.pack(make(root), tmp_path / "c")
    read(root)
    (shard,) = tmp_path.glob(f"c/*.parts/set/**/packed_{kind}-*-00001-of-00004")
    (note,) = tmp_path.glob("c/*.parts/notes/00001.json")
    data = shard.read_bytes()
    if damage == "cut":
        shard.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        shard.write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])
    elif damage == "gone":
        shard.unlink()
    elif damage == "no note":
        note.unlink()
    else:
        note.write_text(note.read_text()[:50])
    (shard.parent / f".{shard.name}.123.tmp").write_bytes(data[:100])
    (root / "broken9").unlink()
    assert content(store.pack(make(root), tmp_path / "c")) == whole
    assert read(root) == [3, 4, 5, 9]


def test_what_was_packed_before_a_broken_file_is_not_lost(root, tmp_path):
    (root / "broken4").touch()
    with pytest.raises(Problem, match="sequence 4 is broken"):
        store.pack(make(root), tmp_path)
    read(root)
    path, index = store.packed(make(root), tmp_path, skip_broken=True)
    assert read(root) == list(range(3, COUNT)) and index["skipped"] == [["4", "broken"]]
    assert len(index["sequences"]) == COUNT - 1 and Records(path, [4])[0]["name"] == b"s5"


def test_parts_with_gaps_serve_no_strict_run(root, tmp_path):
    for number in (0, 1, 2, 9):
        (root / f"broken{number}").touch()
    (root / "die9").touch()
    records_of_lenient = make(root)
    interrupted = Folder(**{**vars(records_of_lenient), "load": partial(interrupt, root)})
    with pytest.raises(KeyboardInterrupt):
        store.pack(interrupted, tmp_path, skip_broken=True)
    (root / "die9").unlink()
    with pytest.raises(Problem, match="sequence 0 is broken"):
        store.pack(make(root), tmp_path)
    path, index = store.packed(make(root), tmp_path, skip_broken=True)  # a part may hold nothing at all
    assert [entry["name"] for entry in index["sequences"]] == [f"s{i}" for i in range(3, 9)]
    assert [Records(path, [i])[0]["name"] for i in (0, 5)] == [b"s3", b"s8"]


def interrupt(root: Path, number: int, skip_broken: bool):
    if number == 9:
        raise KeyboardInterrupt
    return load(root, number, skip_broken)


def test_no_room_is_a_sentence_and_nothing_is_lost(root, tmp_path, whole):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(Problem, match="packing .*root into .* failed: .+"):
            store.pack(make(root), tmp_path / "c")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert content(store.pack(make(root), tmp_path / "c")) == whole


def test_a_part_that_kills_every_worker_is_a_sentence_and_the_others_are_kept(root, tmp_path, whole):
    (root / "die4").touch()
    sentence = "a packing process was killed 2 times at the same sequences .part 2 of 4."
    with pytest.raises(Problem, match=sentence):
        store.pack(make(root), tmp_path / "c", options=PackOptions(workers=1))
    read(root)
    (root / "die4").unlink()
    assert content(store.pack(make(root), tmp_path / "c")) == whole
    assert read(root) == [3, 4, 5]


def test_a_set_without_anything_usable(root, tmp_path):
    for number in range(COUNT):
        (root / f"broken{number}").touch()
    with pytest.raises(Problem, match="no usable sequence; 10 unusable files were left out"):
        store.pack(make(root), tmp_path, skip_broken=True)


def test_unfinished_parts_of_other_files_are_mentioned(root, tmp_path, capsys):
    (tmp_path / "made-0123.parts").mkdir()
    store.pack(make(root), tmp_path)
    assert "delete them if unused: " + str(tmp_path / "made-0123.parts") in capsys.readouterr().err


def test_beam_is_asked_for_where_it_is_missing(root, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(Problem, match=r"Apache Beam cannot be imported.*pip install 'jaxhar\[beam\]'"):
        store.pack(make(root), tmp_path, options=PackOptions(beam="--runner=DirectRunner", open=partial(make, root)))


@pytest.fixture
def beam():
    reason = "Apache Beam, a large package, is not installed: pip install 'jaxhar[beam]'"
    return pytest.importorskip("apache_beam", reason=reason)


@pytest.mark.filterwarnings("default")
def test_beam_gives_the_same_bytes_and_sentences(root, tmp_path, whole, beam):
    options = PackOptions(beam="--runner=DirectRunner", open=partial(make, root))
    (root / "broken9").touch()
    with pytest.raises(Problem, match="^sequence 9 is broken$"):
        store.pack(make(root), tmp_path / "c", options=options)
    (root / "broken9").unlink()
    read(root)
    assert content(store.pack(make(root), tmp_path / "c", options=options)) == whole
    assert read(root) == [9]
    with pytest.raises(Problem, match="pipeline '--runner=None of them' failed: ValueError"):
        store.pack(make(root), tmp_path / "d", options=PackOptions(beam="--runner=None of them", open=options.open))
    assert json.loads(whole["index.json"])["skipped"] == []
