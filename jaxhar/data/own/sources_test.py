"""Clips of one source are on one side when we divide a folder; a given division with a source on both sides is told."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from jaxhar.data.own import folder as own_folder
from jaxhar.finetune import folds


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


UCF = [f"{c}/v_{c}_g{g:02}_c{k:02}.avi" for c in ("Jump", "Wave") for g in range(1, 6) for k in range(1, 5)]
#: names of clips, and the source of each
NAMES = {
    "ucf": (UCF, lambda name: name.split("/")[1].rsplit("_", 1)[0]),
    "ucf pictures": (
        [n.replace(".avi", f"_{i:04}.jpg") for n in UCF for i in (1, 20)],
        lambda name: name.split("_c")[0],
    ),
    "a last number": (
        [
            f"{c}/{p}{sep}{k}.mp4"
            for c, sep in (("jump", "_"), ("wave", "-"), ("sit", " ("))
            for p in "anna ben carl".split()
            for k in (1, 2, 30)
        ],
        lambda name: name.split("/")[1].split("_")[0].split("-")[0].split(" ")[0],
    ),
    "parts": (
        [
            f"{c}/{p}{part}{k}.mp4"
            for c in ("jump", "wave")
            for p in ("x1", "x2", "y1")
            for part in ("_take", "-c", " Part ")
            for k in (1, 12)
        ],
        lambda name: name.split("/")[1][:2],
    ),
    "kinetics": (
        [f"{c}/{c}yt{v}_{s:06}_{s + 10:06}.mp4" for c in "ab" for v in range(4) for s in (0, 30, 60)],
        lambda name: name.split("/")[1].split("_")[0],
    ),
    "hmdb": (
        [
            f"{c}/Film{v}_{c}_f_cm_np1_{d}_bad_{k}.avi"
            for c in ("hug", "run")
            for v in range(4)
            for k, d in enumerate(("ba", "fr"))
        ],
        lambda name: name.split("/")[1].split("_")[0] + name.split("/")[0],
    ),
    "ntu": (
        [
            f"{c}/S001C{v:03}P{p:03}R001A{a:03}_rgb.avi"
            for a, c in enumerate("ab", 1)
            for p in range(1, 5)
            for v in (1, 2)
        ],
        lambda name: name.split("P")[1][:3],
    ),
}


@pytest.mark.parametrize("form", NAMES)
def test_clips_of_one_source_are_on_one_side(form, tmp_path):
    names, source = NAMES[form]
    folder = own_folder.folder(touch(tmp_path, *names))
    items = folder.scan(False)[0]
    sides, persons = defaultdict(set), defaultdict(set)
    for item in items:
        group = source(item.path.relative_to(tmp_path).as_posix())
        sides[group].add(item.split)
        persons[group].add(item.person)
    assert len(items) == len(names) and all(len(side) == 1 for side in sides.values())
    assert all(len(person) == 1 for person in persons.values()) and len(
        {p for ps in persons.values() for p in ps}
    ) == len(sides)
    assert {"test", "train"} == {item.split for item in items} and not folder.notes and not folder.doubts


@pytest.mark.parametrize(
    ("names", "first"),
    [
        ([f"{c}/IMG_{n}.mp4" for c, k in (("a", 0), ("b", 50)) for n in range(k, k + 8)], "IMG_0.mp4"),
        ([f"{c}/{c}_{n}.mp4" for c in ("walk", "sit") for n in range(8)], "sit_0.mp4"),
        ([f"{c}/{n:04}.mp4" for c in "ab" for n in range(8)], "0000.mp4"),
        ([f"{c}/anna_{n}.mp4" for c in "ab" for n in range(8)], "anna_0.mp4"),
        ([f"{c}/take{n}.mp4" for c in "ab" for n in range(8)], "take0.mp4"),
    ],
)
def test_numbers_that_tell_no_source_are_told(names, first, tmp_path):
    folder = own_folder.folder(touch(tmp_path, *names))
    items = folder.scan(False)[0]
    assert len({item.person for item in items}) == 16 and sum(item.split == "test" for item in items) == 4
    (note,) = folder.notes
    assert f"16 videos, as {first}, count as a source each" in note and not folder.doubts


def test_given_persons_count_and_not_the_names(tmp_path):
    touch(tmp_path, *UCF)
    rows = "".join(f"{n},{n[:4]},p{k % 4}\n" for k, n in enumerate(UCF))
    (tmp_path / "t.csv").write_text(f"file,label,person\n{rows}")
    folder = own_folder.folder(tmp_path / "t.csv")
    assert {item.person for item in folder.scan(False)[0]} == {"p0", "p1", "p2", "p3"} and not folder.notes


@pytest.mark.parametrize(
    ("train", "test", "leaks"),
    [
        ("a/v_a_g01_c01.avi a/v_a_g02_c01.avi b/v_b_g01_c01.avi", "a/v_a_g01_c02.avi b/v_b_g02_c01.avi", ["v_a_g01"]),
        ("a/v_a_g01_c01.avi b/v_b_g01_c01.avi", "a/v_a_g02_c02.avi b/v_b_g02_c01.avi", []),
        ("a/anna_1.mp4 b/ben_1.mp4", "a/anna_2.mp4 b/carl_7.mp4", ["anna"]),
        ("a/film1_0001.jpg b/film2_0001.jpg", "a/film1_0009.jpg b/film2_0009.jpg", ["film1", "film2"]),
        ("a/1.mp4 b/1.mp4", "a/1.mp4 b/2.mp4", []),
        ("a/1.jpg b/x.jpg", "a/1.jpg b/x.jpg", []),
        ("a/IMG_1.jpg b/frame_2.jpg", "a/IMG_5.jpg b/frame_3.jpg", []),
        ("a/IMG_1.mp4 b/IMG_2.mp4", "a/IMG_3.mp4 b/IMG_4.mp4", []),
        ("a/P_1.mp4 b/P_2.mp4", "a/P_3.mp4 b/P_4.mp4", []),
    ],
)
def test_a_source_on_both_given_sides_is_told(train, test, leaks, tmp_path):
    names = [f"{split}/{name}" for split, words in (("train", train), ("test", test)) for name in words.split()]
    folder = own_folder.folder(touch(tmp_path, *names))
    items = folder.scan(False)[0]
    assert [item.split for item in items] == ["train"] * len(train.split()) + ["test"] * len(test.split())
    assert len(folder.doubts) == bool(leaks)
    if leaks:
        assert f"{len(leaks)} source videos, as {leaks[0]}, have files in both given splits" in folder.doubts[0]


def test_folds_keep_sources_together(tmp_path):
    folder = own_folder.folder(touch(tmp_path, *UCF))
    items = folder.scan(False)[0]
    persons = sorted({item.person for item in items})
    labels = np.array([folder.actions.index(item.label) for item in items])
    groups = np.array([persons.index(item.person) for item in items])
    parts, fewer = folds.split(labels, groups, 5, folder.actions)
    assert not fewer
    where = [{k for k, part in enumerate(parts) for n in part if groups[n] == g} for g in range(len(persons))]
    assert all(len(folds_of) == 1 for folds_of in where)
