from pathlib import Path

import pytest

from jaxhar.data import listing
from jaxhar.data.records.record import Skipped


@pytest.mark.parametrize(
    "names",
    [
        ["1.jpg", "2.jpg", "10.jpg"],
        ["a1b2.png", "a1b10.png", "a2.png"],
        ["7.jpg", "a.jpg", "b.jpg"],
        ["01.jpg", "1.jpg", "2.jpg"],
        ["frame-9", "frame-10", "frames"],
    ],
)
def test_names_are_sorted_by_their_numbers(names):
    assert [path.name for path in listing.ordered(map(Path, reversed(names)))] == names


def test_hidden_files_and_those_of_the_system():
    hidden = [".DS_Store", "._a.mp4", ".ipynb_checkpoints", "Thumbs.db", "desktop.ini", "__MACOSX"]
    assert all(listing.is_hidden(Path(name)) for name in hidden)
    assert [p.name for p in listing.shown(map(Path, [*hidden, "b", "a"]))] == ["a", "b"]


def test_one_line_for_a_reason():
    skipped = [Skipped(f"/r/{n}.x", "why") for n in range(5)] + [Skipped("/other/y", "because")]
    assert listing.told(skipped, Path("/r")) == ["5 files, 0.x, 1.x, 2.x and 2 more: why", "/other/y: because"]
