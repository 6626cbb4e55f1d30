"""What every form of every set does with the files that people really have: one sentence each, or a list."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from jaxhar.data import sets, transforms
from jaxhar.data.formats import jpeg
from jaxhar.data.generate.film import Synth
from jaxhar.data.h36m import generate as synthetic_h36m
from jaxhar.data.mpii import generate as synthetic_mpii
from jaxhar.data.ntu import generate as synthetic_ntu
from jaxhar.data.ntu import skeleton_file as ntu_skeleton
from jaxhar.data.own import generate as synthetic_own
from jaxhar.data.penn import generate as penn_generate
from jaxhar.data.penn import generate_deephar as generate_deephar
from jaxhar.data.records import record as records
from jaxhar.data.records import store
from jaxhar.host.errors import Problem

SYNTH = Synth(4, 2, 2, 1, frames=(3, 4), size=(64, 48))
#: Form -> data set, where in its generated layout it lies, and what of it is not of the form.
FORMS = {
    "penn": ("penn", "", ()),
    "penn-deephar": ("penn", "", ()),
    "mpii-official": ("mpii", "", ("annot", "authors")),
    "mpii-json": ("mpii", "", ("mpii_human_pose_v1_u12_1.mat", "authors")),
    "mpii-deephar": ("mpii", "", ("mpii_human_pose_v1_u12_1.mat", "annot")),
    "h36m-deephar": ("h36m", "", ("toolbox",)),
    "h36m-toolbox": ("h36m", "toolbox", ()),
    "ntu": ("ntu", "", ("authors",)),
    "ntu-npy": ("ntu", "authors", ()),
    "folder": ("folder", "", ("videos.csv",)),
    "csv": ("folder", "", ()),
}
WRITERS = {
    "penn": penn_generate.write,
    "penn-deephar": generate_deephar.write,
    "mpii": synthetic_mpii.write,
    "h36m": synthetic_h36m.write,
    "ntu": synthetic_ntu.write,
    "folder": synthetic_own.write,
}
WITH_JPEGS = [form for form in FORMS if form not in ("ntu", "folder", "csv")]
WITH_VIDEOS = ["ntu", "folder", "csv"]


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    base = tmp_path_factory.mktemp("layouts")
    for name, write in WRITERS.items():
        write(base / name, SYNTH, progress=False)
    return base


@pytest.fixture
def make(layouts, tmp_path):
    def make(form: str) -> Path:
        name, place, others = FORMS[form]
        root = tmp_path / form
        shutil.copytree(
            layouts / (form if form in WRITERS else name) / place, root, ignore=shutil.ignore_patterns(*others)
        )
        if form == "mpii-deephar":
            shutil.move(root / "authors" / "annotations.mat", root)
        return root

    return make


def settings(form: str):
    known = sets.get(FORMS[form][0])
    return known.complete or known.settings


def packed(form: str, root: Path, skip_broken: bool = False):
    return store.packed(settings(form).open(root), root.parent / "cache", skip_broken)


def sentence(form: str, root: Path, skip_broken: bool = False) -> str:
    """The Problem of a folder, which must be one sentence that names where it is."""
    with pytest.raises(Problem) as caught:
        packed(form, root, skip_broken)
    said = str(caught.value)
    assert "\n" not in said and len(said) < 600 and str(root.parent) in said, said
    return said


def pictures(root: Path, *suffixes: str) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.suffix in suffixes)


@pytest.mark.parametrize("form", FORMS)
def test_a_whole_set_is_read(form, make):
    _, index = packed(form, make(form))
    assert index["sequences"] and not index["skipped"]


@pytest.mark.parametrize("form", FORMS)
def test_an_empty_folder_no_folder_and_a_file(form, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "words").write_text("words")
    for name in ("empty", "gone", "words"):
        assert str(tmp_path / name) in sentence(form, tmp_path / name)


@pytest.mark.parametrize("name", ["penn", "mpii", "h36m", "ntu", "folder"])
def test_the_folder_of_another_set(name, make, tmp_path):
    asked = next(form for form in FORMS if FORMS[form][0] == name)
    for other in FORMS:
        if FORMS[other][0] not in (name, "folder"):
            assert "expected" in sentence(asked, make(other)) or name == "folder", (name, other)
            shutil.rmtree(tmp_path / other)


@pytest.mark.parametrize("form", ["penn-deephar", "mpii-official", "mpii-deephar", "h36m-deephar"])
def test_the_mat_of_another_form(form, make):
    root = make(form)
    (file,) = root.glob("*.mat")
    (root / "synthetic.json").unlink(missing_ok=True)
    for other in ("penn-deephar", "mpii-official", "mpii-deephar", "h36m-deephar"):
        if other != form and not {form, other} == {"mpii-official", "mpii-deephar"}:
            (given,) = make(other).glob("*.mat")
            shutil.copy(given, file)
            shutil.rmtree(root.parent / other)
            said = sentence(form, root)
            assert file.name in said and "expected" in said
    savemat(file, {"something": 1})
    assert "an unknown kind of annotation file" in sentence(form, root)
    file.write_bytes(file.read_bytes()[:200])
    assert file.name in sentence(form, root)


@pytest.mark.parametrize("form", FORMS)
def test_half_of_the_files_are_missing(form, make):
    root = make(form)
    _, whole = packed(form, root)
    gone = pictures(root, ".jpg", ".avi", ".mp4")[::2]
    for path in gone:
        path.unlink()
    said = sentence(form, root)
    if form == "folder":  # a set is what its files are
        assert "nobody in" in said
        return
    if form == "penn":  # every video lacks frames
        assert "no usable sequence; 6 unusable files" in sentence(form, root, skip_broken=True)
        return
    _, index = packed(form, root, skip_broken=True)
    kept, were = (sum(entry["length"] for entry in i["sequences"]) for i in (index, whole))
    assert 0 < kept < were and index["skipped"]


@pytest.mark.parametrize("damage", ["words", "nothing", "cut", "another size"])
@pytest.mark.parametrize("form", WITH_JPEGS)
def test_a_corrupt_picture(form, damage, make, layouts):
    root = make(form)
    path = pictures(root, ".jpg")[1]
    data = path.read_bytes()
    other = jpeg.encode(np.zeros((10, 12, 3), np.uint8))
    path.write_bytes({"words": b"words", "nothing": b"", "cut": data[: len(data) // 2], "another size": other}[damage])
    if damage == "another size" and (form.startswith("mpii") or form == "h36m-toolbox"):
        packed(form, root)  # of a photo that tells no size any is right
        return
    assert str(path) in sentence(form, root)
    _, index = packed(form, root, skip_broken=True)
    assert index["sequences"] and str(path) in str(index["skipped"])


@pytest.mark.parametrize("damage", ["words", "cut"])
@pytest.mark.parametrize("form", WITH_VIDEOS)
def test_a_corrupt_video(form, damage, make):
    root = make(form)
    path = pictures(root, ".avi", ".mp4")[1]
    data = path.read_bytes()
    path.write_bytes(b"words" if damage == "words" else data[: len(data) // 2])
    said = sentence(form, root)
    assert f"{path}: " in said and ("holds no video" in said or "frame" in said)
    _, index = packed(form, root, skip_broken=True)
    assert len(index["skipped"]) == 1 and str(path) in str(index["skipped"])


@pytest.mark.parametrize(("said", "fits"), [(10_000, True), (1, True)])
def test_a_video_whose_header_lies_about_its_length(said, fits, make):
    root = make("ntu")
    _, whole = packed("ntu", root)
    path = pictures(root, ".avi")[0]
    data = bytearray(path.read_bytes())
    at = data.index(b"avih") + 8 + 16  # the number of frames in the main header, and in that of the stream
    data[at : at + 4] = said.to_bytes(4, "little")
    at = data.index(b"strh") + 8 + 32
    data[at : at + 4] = said.to_bytes(4, "little")
    path.write_bytes(data)
    _, index = packed("ntu", root)
    assert [e["length"] for e in index["sequences"]] == [e["length"] for e in whole["sequences"]]


def test_a_skeleton_file_with_four_bodies_and_one_cut_off(make):
    root = make("ntu")
    path = pictures(root, ".skeleton")[0]
    lines = path.read_text().splitlines()
    body, there = lines[2:29], int(lines[1])
    more = [line for i in range(4 - there) for line in (f"9{i} {body[0].partition(' ')[2]}", *body[1:])]
    path.write_text("\n".join([lines[0], "4", *more, *lines[2:]]) + "\n")
    assert len(ntu_skeleton.read_bodies(path)[1]) >= 4
    packed("ntu", root)
    path.write_text("\n".join(lines[:40]))
    said = sentence("ntu", root)
    assert f"{path} ends after line 40, within frame" in said
    _, index = packed("ntu", root, skip_broken=True)
    assert [reason for _, reason in index["skipped"]] == [said]


def edit_mat(path: Path, change) -> None:
    file = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
    change(file)
    savemat(path, file)


def official(f):
    return f["RELEASE"][0, 0]["annolist"][0, 0]["annorect"][0, 0]


def of_authors(f):
    return f["annot_tr"][2, 0][0, 0]


def sequence(f):
    return f["sequences_tr"][0, 0][0, 0]


def frame(f):
    return sequence(f)["frames"][0, 0][0, 0]


#: form, the change, what is said of it; None where it is what such files have, or is seen by the eye only.
LABELS = {
    "a huge scale, official": ("mpii-official", lambda f: official(f).__setitem__("scale", 1e7), "scale"),
    "a huge scale, authors": ("mpii-deephar", lambda f: of_authors(f)["scale"].__setitem__((0, 0), 1e7), "scale"),
    "no scale, authors": ("mpii-deephar", lambda f: of_authors(f)["scale"].__setitem__((0, 0), 0.0), "scale"),
    "a far joint, official": (
        "mpii-official",
        lambda f: official(f)["annopoints"][0, 0]["point"][0, 0].__setitem__("x", 1e12),
        "joint",
    ),
    "a far joint, authors": ("mpii-deephar", lambda f: of_authors(f)["pose"][0, 0].__setitem__((0, 0), 1e12), "joint"),
    "NaN joints, authors": ("mpii-deephar", lambda f: of_authors(f)["pose"][0, 0].__setitem__((0, 3), np.nan), None),
    "a far centre": ("mpii-official", lambda f: official(f)["objpos"][0, 0].__setitem__("x", 1e12), "center"),
    "NaN joints, penn": ("penn-deephar", lambda f: frame(f)["pose"].__setitem__((0, 3), np.nan), None),
    "a far joint, penn": ("penn-deephar", lambda f: frame(f)["pose"].__setitem__((0, 3), 1e12), "joint"),
    "no number, penn": ("penn-deephar", lambda f: sequence(f).__setitem__("idx", np.nan), "'idx'"),
    "a frame that is not there": ("penn-deephar", lambda f: frame(f).__setitem__("f", 777), "000777.jpg"),
    "a negative frame": ("penn-deephar", lambda f: frame(f).__setitem__("f", -1), "jpg"),
}


@pytest.mark.parametrize("case", LABELS)
def test_bad_labels_in_a_mat(case, make):
    form, change, word = LABELS[case]
    root = make(form)
    (path,) = root.glob("*.mat")
    edit_mat(path, change)
    if word is None:
        packed(form, root)
        return
    assert word in sentence(form, root)
    _, index = packed(form, root, skip_broken=True)
    assert index["sequences"] and word in str(index["skipped"])


def test_a_broken_photo_that_the_labels_do_not_tell(make):
    """The label of one joint is damaged in every form alike: far off, or NaN."""
    for value in (np.nan, np.inf, 1e6):
        root = make("penn")
        folder = settings("penn").open(root)

        def damaged(item, skip_broken, load=folder.load, value=value):
            record, skipped = load(item, skip_broken)
            if record.name == "0002":
                record.fields["labelled"][1, 4], record.fields["points"][1, 4] = True, value
            return record, skipped

        item = folder.scan(False)[0][1]
        with pytest.raises(Problem, match=f"sequence 0002 of {root} .*repair its labels"):
            records.load(damaged, root, folder.fields, item, False)
        record, skipped = records.load(damaged, root, folder.fields, item, True)
        assert record is None and skipped[0].path == "0002"
        shutil.rmtree(root)


@pytest.mark.parametrize("box", ["0,0,1e9,1e9", "-1e7,0,40,40"])
def test_a_box_far_larger_than_the_picture(box, make):
    root = make("csv")
    table = root / "videos.csv"
    lines = table.read_text().splitlines()
    lines[2] = ",".join([*lines[2].split(",")[:4], box])
    table.write_text("\n".join(lines))
    assert "line 3 of" in (said := sentence("csv", root)) and "far larger than the picture" in said
    _, index = packed("csv", root, skip_broken=True)
    assert len(index["sequences"]) == 5 and said in str(index["skipped"])


def test_a_huge_crop_takes_little_memory():
    image = np.full((40, 60, 3), 200, np.uint8)
    for draw in (transforms.Draw(), transforms.Draw(angle=20.0, flip=True)):
        crop = transforms.plan_crop(np.array([-1e9, -1e9, 1e9, 1e9]), (60, 40), 32, draw)
        assert transforms.crop_image(image, crop).shape == (32, 32, 3)
    small = transforms.plan_crop(np.array([-6000.0, -6000, 6000, 6000]), (60, 40), 512)
    assert 0 < transforms.crop_image(image, small).mean() < 1


@pytest.mark.parametrize("kind", ["sequences", "pictures"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_packed_set_that_breaks_later(damage, kind, make):
    root = make("penn")
    data = dataclasses.replace(
        settings("penn"), root=str(root), cache=str(root.parent / "cache"), clip_frames=3, image_size=32
    )
    prepared = data.prepare(root.parent)
    (shard,) = prepared.folder.rglob(f"packed_{kind}-*.array_record*")
    content = bytearray(shard.read_bytes())
    if damage == "flipped":
        for i in range(1000, len(content), 2000):
            content[i] ^= 255
        shard.write_bytes(content)
    elif damage == "cut":
        shard.write_bytes(content[: len(content) // 2])
    else:
        shard.unlink()
    with pytest.raises(Problem, match=f"{prepared.folder}.*delete") as caught:
        stream = prepared.train_stream(0)
        for _ in range(4):
            next(stream)
    assert "\n" not in str(caught.value)
