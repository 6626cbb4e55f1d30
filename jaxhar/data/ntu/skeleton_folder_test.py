"""A folder of .skeleton files with damaged ones among them: a sentence with file and place, or a list."""

from pathlib import Path

import pytest

from jaxhar.data.ntu.skeleton_file_test import JOINT, skeleton_file
from jaxhar.data.ntu.skeletons import NTUSkeleton
from jaxhar.host.errors import Problem

NAMES = [f"S001C001P001R001A{action:03d}" for action in (1, 2, 3)]


def whole(path: Path) -> str:
    """A file of 20 frames with one body, as text; it walks, so that it is a person."""
    return skeleton_file(path, [{7: 0.01 * t} for t in range(20)]).read_text()


def cut(text: str) -> str:
    return text[: len(text) // 2]


def with_nan(text: str) -> str:
    return text.replace(JOINT, JOINT.replace("0.1725972", "nan", 1), 1)


#: What is wrong -> the file, from a whole one, and the sentence.
WRONG = {
    "no body": (lambda text: "2\r\n0\r\n0\r\n", "A002.skeleton has no body in any frame"),
    "no frame": (lambda text: "0\r\n", "A002.skeleton has no body in any frame"),
    "empty": (lambda text: "", "A002.skeleton ends after line 0, before its first frame"),
    "truncated": (cut, "A002.skeleton, line .* values; expected|A002.skeleton ends after line"),
    "NaN": (with_nan, "frame 1 of .*A002.skeleton has a joint at NaN"),
    "too many frames told": (lambda text: "21" + text[2:], "A002.skeleton ends after line .*, within frame 21 of 21"),
    "too few frames told": (lambda text: "19" + text[2:], "A002.skeleton, line .* follows the last of its 19 frames"),
    "too many bodies told": (lambda text: text.replace("20\r\n1\r\n", "20\r\n2\r\n", 1), "A002.skeleton, line "),
    "seven bodies told": (
        lambda text: text.replace("20\r\n1\r\n", "20\r\n7\r\n", 1),
        "line 2, has '7'; expected a number",
    ),
}


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("preparation", ["pyskl", "reference"])
def test_a_damaged_file_is_a_sentence_or_listed(what, preparation, tmp_path):
    edit, sentence = WRONG[what]
    sentence = "A002.skeleton has a joint at NaN" if what == "NaN" and preparation == "reference" else sentence
    root = tmp_path / "nturgbd"
    root.mkdir()
    for name in NAMES:
        text = whole(root / f"{name}.skeleton")
    (root / f"{NAMES[1]}.skeleton").write_text(edit(text.replace("\n", "\r\n") if "\r\n" not in text else text))
    data = NTUSkeleton(root=str(root), cache=str(tmp_path / "cache"), preparation=preparation)
    with pytest.raises(Problem, match=sentence) as caught:
        data.prepare(tmp_path)
    assert "\n" not in str(caught.value)
    skipping = NTUSkeleton(root=str(root), cache=str(tmp_path / "cache"), preparation=preparation, skip_broken=True)
    kept = skipping.prepare(tmp_path)
    assert [entry["name"] for entry in kept.index["sequences"]] == [NAMES[0], NAMES[2]]
    ((where, reason),) = kept.index["skipped"]
    assert where.endswith("A002.skeleton") and reason


@pytest.mark.parametrize(("preparation", "persons"), [("pyskl", 2), ("mmaction2", 2), ("reference", 3)])
def test_three_bodies_are_read(preparation, persons, tmp_path):
    skeleton_file(tmp_path / f"{NAMES[0]}.skeleton", [{i: 0.1 * i * t for i in (1, 2, 3)} for t in range(20)])
    data = NTUSkeleton(root=str(tmp_path), cache=str(tmp_path / "c"), preparation=preparation)
    (item,), _ = data.open(tmp_path).scan(False)
    found, _ = data.open(tmp_path).load(item, False)
    assert found.fields["skeletons"].shape == (20, persons, 25, 3)
    assert found.fields["skeletons"].any((0, 2, 3)).all()
