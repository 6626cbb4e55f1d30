"""Damage of a packed set after it was packed: every change of the index or of a file is noticed before it is used."""

import json
import shutil

import numpy as np
import pytest

from jaxhar.data.records import index, packing, sequences, store
from jaxhar.data.records.packing_test import COUNT, make
from jaxhar.data.records.reader import Records
from jaxhar.host.errors import Problem


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Four parts of three sequences."""
    root = tmp_path_factory.mktemp("packed") / "root"
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "_FEWEST_SEQUENCES", 3)
        return store.pack(make(root), root.parent)


@pytest.fixture
def path(packed, tmp_path):
    shutil.copytree(packed, tmp_path / "set")
    return tmp_path / "set"


def shards(path, kind):
    return sorted(path.rglob(f"packed_{kind}-*.array_record*"))


def edited(change):
    """Changes the parsed index and writes it as it would look."""

    def edit(path):
        content = json.loads((path / index.FILE).read_text())
        change(content)
        (path / index.FILE).write_text(json.dumps(content))

    return edit


def entries(change):
    """Changes the rows of the mapped index."""

    def edit(path):
        table = np.load(path / sequences.SEQUENCES)
        change(table)
        np.save(path / sequences.SEQUENCES, table)

    return edit


def entry(number, **changes):
    return entries(lambda table: [table[number].__setitem__(name, value) for name, value in changes.items()])


def exchange(one, other):
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)


def exchanged_entries(table):
    table[[0, 3]] = table[[3, 0]]


def moved_frames(table):
    table["stored"][1] -= 1
    table["stored"][2] += 1


def renamed(path):
    names = np.load(path / sequences.NAMES)
    names[0] += 1
    np.save(path / sequences.NAMES, names)


DAMAGE = {
    "an action": entry(2, action=3),
    "a split": entry(2, split=1),
    "a length": entry(2, length=9),
    "a name": renamed,
    "no entries": lambda path: (path / sequences.SEQUENCES).unlink(),
    "entries exchanged": entries(exchanged_entries),
    "frames moved": entries(moved_frames),
    "a class": edited(lambda content: content["actions"].append("more")),
    "a file left out": edited(lambda content: content["skipped"].append(["a", "b"])),
    "no checksum": edited(lambda content: content.pop("crc32")),
    "a list": lambda path: (path / index.FILE).write_text("[]"),
    "half": lambda path: (path / index.FILE).write_bytes((path / index.FILE).read_bytes()[:300]),
    "no text": lambda path: (path / index.FILE).write_bytes(b"\xff\xfe\x00"),
    "pictures exchanged": lambda path: exchange(*shards(path, "pictures")[:2]),
    "labels copied": lambda path: shutil.copy(*shards(path, "sequences")[:2]),
    "a shard gone": lambda path: shards(path, "pictures")[3].unlink(),
    "a shard cut": lambda path: shards(path, "sequences")[1].write_bytes(
        shards(path, "sequences")[1].read_bytes()[:-5]
    ),
    "the description": lambda path: next(path.rglob("features.json")).write_text("{}"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_noticed_before_the_first_record(damage, path):
    assert len(index.read(path)["sequences"]) == COUNT
    index.verify(path)
    DAMAGE[damage](path)
    for use in (index.read, index.verify, lambda path: Records(path, [0])):
        with pytest.raises(Problem, match=f"the packed records in {path} are damaged.*delete that folder") as caught:
            use(path)
        assert "\n" not in str(caught.value)


def test_no_flipped_bit_of_an_index_is_missed(path):
    whole = (path / index.FILE).read_bytes()
    read = index.read(path)
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 60).tolist():
        data = bytearray(whole)
        data[place] ^= 1 << int(rng.integers(8))
        (path / index.FILE).write_bytes(data)
        try:
            assert index.read(path) == read  # a blank between two words
        except Problem as problem:
            assert "are damaged" in str(problem)


def test_damage_far_inside_a_file_is_found_by_the_whole_check(packed, path):
    """A large file: its beginning and size are those of the index."""
    long = path / "more"
    long.write_bytes(bytes(20_000))
    content = index.read(path)
    (path / index.FILE).unlink()
    index.write(path, content, {})
    long.write_bytes(bytes(15_000) + b"\1" + bytes(4_999))
    index.read(path)
    with pytest.raises(Problem, match="the checksum of more differs"):
        index.verify(path)


def test_a_record_that_is_not_that_of_the_index(path, monkeypatch):
    """As if files of another set with equal beginnings lay there."""
    source = Records(path, list(range(COUNT)))
    assert source[4]["name"] == b"s4"
    labels = source._labels
    monkeypatch.setattr(source, "_labels", {5: labels[6]})
    with pytest.raises(Problem, match="the record s6 is not the one of the index"):
        source[5]


def test_sets_of_the_form_before_are_packed_again(tmp_path, packed, monkeypatch):
    root = tmp_path / "root"
    root.mkdir()
    monkeypatch.setattr(store, "_FORM", 4)
    before = store.pack(make(root), tmp_path)
    monkeypatch.undo()
    assert store.pack(make(root), tmp_path) != before
