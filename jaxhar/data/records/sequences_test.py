import numpy as np
import pytest

from jaxhar.data.records import sequences

ENTRIES = [
    {"name": f"é{i}", "split": "ab"[i % 2], "length": i, "action": -1, "subject": i, "view": 2, "stored": i}
    for i in range(5)
]


def test_entries_come_back_and_are_chosen(tmp_path):
    made = sequences.of([ENTRIES[:2], [], ENTRIES[2:]])
    sequences.write(tmp_path, made)
    read = sequences.read(tmp_path, made.splits)
    assert list(read) == ENTRIES and read[-1] == ENTRIES[4] and read[1:3] == ENTRIES[1:3] and read == made
    assert read.column("first").tolist() == [0, 0, 1, 3, 6]
    assert read.of_splits(name for name in ("b", "a", "c")).tolist() == [0, 1, 2, 3, 4]
    odd = read.taken(read.of_splits(["b"]))
    assert list(odd) == [ENTRIES[1], ENTRIES[3]] and odd[-1] == ENTRIES[3] and odd.column("length").tolist() == [1, 3]
    assert list(odd.taken([1])) == [ENTRIES[3]] and odd.of_splits(["a"]).tolist() == []
    for index in (2, -3):
        with pytest.raises(IndexError):
            odd[index]


def test_files_that_do_not_belong_together(tmp_path):
    sequences.write(tmp_path, sequences.of([ENTRIES]))
    np.save(tmp_path / sequences.NAMES, np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match="do not belong together"):
        sequences.read(tmp_path, ("a", "b"))
