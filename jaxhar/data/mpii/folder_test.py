import json
import shutil
from functools import partial

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from jaxhar.core.skeleton import MPII, PA16
from jaxhar.data.generate.figure import draw_figure
from jaxhar.data.generate.film import Synth
from jaxhar.data.mpii import folder as mpii_folder
from jaxhar.data.mpii import generate as synthetic_mpii
from jaxhar.data.records import record as records
from jaxhar.host.errors import Problem

SYNTH = Synth(16, 6, 4, 2, size=(96, 72), seed=5, clutter=0.3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "mpii"
    synthetic_mpii.write(out, SYNTH, progress=False)
    return out


@pytest.fixture(scope="module")
def truth():
    """Person by photo and position, from the generator itself."""
    photos = [synthetic_mpii.take(SYNTH, number, split) for number, split in synthetic_mpii.plan(SYNTH)]
    return {(p.name, round(float(f.objpos[0]), 3)): (p, f) for p in photos for f in p.people}


def persons(root):
    return mpii_folder.scan(mpii_folder.check_root(root))[0]


def key(person):
    return person.image.name, round(float(person.center[0]), 3)


@pytest.mark.parametrize("form", ["", "annot", "authors/annotations.mat"])
def test_each_form_gives_what_was_generated(folder, truth, form):
    found = persons(folder / form)
    for person in found:
        photo, figure = truth[key(person)]
        assert person.split == photo.split and person.scale == pytest.approx(figure.scale)
        np.testing.assert_allclose(person.center, figure.objpos, atol=1e-9)
        labelled = figure.labelled & (photo.split != "test")
        for j, name in enumerate(MPII.joints):
            assert person.labelled[PA16.index(name)] == labelled[j]
            if labelled[j]:
                np.testing.assert_allclose(person.points[PA16.index(name)], figure.joints[j], rtol=1e-6)
        box = figure.head
        if form != "annot" or person.labelled[[PA16.index("neck"), PA16.index("head")]].all():
            assert person.head == pytest.approx(0.6 * np.hypot(box[2] - box[0], box[3] - box[1]))
        if form == "":
            assert person.separate == figure.separate
            assert synthetic_mpii.plan(SYNTH)[person.place[0]][1] == photo.split
    expected = [
        (photo, figure)
        for photo, figure in truth.values()
        if (figure.separate and photo.split != "test" or form != "authors/annotations.mat")
        and (photo.split == "test" or figure.labelled.any())
    ]
    assert len(found) == len(expected)


def test_several_persons_in_a_photo(folder):
    found = persons(folder)
    images = [p.image for p in found]
    assert len(set(images)) < len(images)
    assert {p.separate for p in found} == {True, False}


def test_the_official_file_alone_holds_videos_out(folder, tmp_path):
    shutil.copy(folder / synthetic_mpii.OFFICIAL, tmp_path)
    (tmp_path / "images").symlink_to(folder / "images")
    video = {p.name: p.video for p in (synthetic_mpii.take(SYNTH, *row) for row in synthetic_mpii.plan(SYNTH))}
    for person in persons(tmp_path):
        if person.split != "test":
            assert (person.split == "valid") == (video[person.image.name] % 7 == 0)


def test_head_boxes_beside_the_json(folder, tmp_path):
    shutil.copytree(folder / "annot", tmp_path / "annot")
    (tmp_path / "images").symlink_to(folder / "images")
    count = len(json.loads((tmp_path / "annot" / "valid.json").read_text()))
    boxes = np.zeros((2, 2, count))
    boxes[1, 0], boxes[1, 1] = 3 * np.arange(1, count + 1), 4 * np.arange(1, count + 1)
    savemat(tmp_path / "annot" / "gt_valid.mat", {"headboxes_src": boxes})
    heads = [p.head for p in persons(tmp_path) if p.split == "valid"]
    np.testing.assert_allclose(heads, 0.6 * 5 * np.arange(1, count + 1))
    savemat(tmp_path / "annot" / "gt_valid.mat", {"headboxes_src": boxes[..., :2]})
    with pytest.raises(Problem, match=rf"2 head boxes, but .*valid.json has {count} persons"):
        persons(tmp_path)


def edited(folder, tmp_path, change):
    """A copy of the official file with a change to its RELEASE."""
    file = loadmat(folder / synthetic_mpii.OFFICIAL)
    change(file["RELEASE"][0, 0])
    path = tmp_path / synthetic_mpii.OFFICIAL
    savemat(path, {"RELEASE": file["RELEASE"]})
    if not (tmp_path / "images").exists():
        (tmp_path / "images").symlink_to(folder / "images")
    return tmp_path


def rect(release):
    """The first person of the first photo."""
    return release["annolist"][0, 0]["annorect"][0, 0]


def test_missing_fields_leave_a_person_out(folder, tmp_path):
    whole = persons(folder)
    empty = np.zeros((0, 0))
    for field in ("scale", "objpos", "annopoints"):
        found = persons(edited(folder, tmp_path, lambda r, f=field: rect(r).__setitem__(f, empty)))
        assert len(found) == len(whole) - 1
    found = persons(edited(folder, tmp_path, lambda r: r["annolist"][0, 0].__setitem__("annorect", empty)))
    assert len(found) < len(whole)
    found = persons(edited(folder, tmp_path, lambda r: rect(r).__setitem__("x1", empty)))
    assert found[0].head == 0 and len(found) == len(whole)


def point(release):
    return rect(release)["annopoints"][0, 0]["point"][0, 0]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda r: rect(r).__setitem__("scale", -1.0),
            r"person 1 of photo 1 \(000000001.jpg\).*scale must be positive",
        ),
        (lambda r: point(r).__setitem__("id", 16), "joint of id 16; ids are 0 to 15"),
        (lambda r: point(r).__setitem__("x", np.nan), "NaN or infinity"),
        (lambda r: r["annolist"][0, 0]["image"][0, 0].__setitem__("name", "gone.jpg"), "photo .*gone.jpg of person 1"),
        (lambda r: r.__setitem__("img_train", np.ones((1, 3))), "photos but marks 3 in img_train"),
    ],
)
def test_damage_in_the_official_file_is_named(folder, tmp_path, change, sentence):
    root = edited(folder, tmp_path, change)
    with pytest.raises(Problem, match=sentence):
        persons(root)
    if "img_train" not in sentence:
        kept, skipped = mpii_folder.scan(mpii_folder.check_root(root), skip_broken=True)
        assert skipped and len(kept) + len(skipped) == len(persons(folder))


def test_damage_in_the_authors_file_is_named(folder, tmp_path):
    (tmp_path / "images").symlink_to(folder / "images")
    path = tmp_path / "annotations.mat"
    for edit, sentence in (
        (lambda t: t[0, 0].__setitem__((0, 0), 9), "person 9 of photo 1 .*does not exist; the photo has"),
        (lambda t: t[2, 0][0, 0]["pose"].__setitem__((0, 0), np.zeros((2, 13))), "has no 'pose' of 2 x 16 numbers"),
    ):
        file = loadmat(folder / "authors" / "annotations.mat")
        edit(file["annot_tr"])
        savemat(path, {k: file[k] for k in ("annot_tr", "annot_val")})
        with pytest.raises(Problem, match=sentence):
            persons(tmp_path)
    savemat(path, {"annot_tr": np.zeros((2, 5)), "annot_val": np.zeros((3, 0))})
    with pytest.raises(Problem, match="has 2 rows, expected 3"):
        persons(tmp_path)


def test_a_mat_of_another_kind_is_named(folder, tmp_path):
    (tmp_path / "images").symlink_to(folder / "images")
    path = tmp_path / "annotations.mat"
    for variables, sentence in (
        ({"sequences_te": 1, "sequences_tr": 1}, "deephar's Penn Action annotations"),
        ({"sequences_te": 1, "sequences_tr": 1, "sequences_val": 1}, "deephar's Human3.6M annotations"),
        ({"other": 1}, "an unknown kind of annotation file"),
    ):
        savemat(path, variables)
        for root in (tmp_path, path):
            with pytest.raises(Problem, match=f"annotations.mat is .*{sentence}.*; expected a folder with images/"):
                mpii_folder.check_root(root)
    path.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(Problem, match="save it in MATLAB with the option -v7"):
        mpii_folder.check_root(tmp_path)
    path.write_bytes(b"words")
    with pytest.raises(Problem, match="cannot be read as a MATLAB file"):
        mpii_folder.check_root(tmp_path)


def test_two_forms_ask_which(folder, tmp_path):
    for name in (synthetic_mpii.OFFICIAL, "authors/annotations.mat"):
        shutil.copy(folder / name, tmp_path)
    (tmp_path / "images").symlink_to(folder / "images")
    with pytest.raises(Problem, match="MPII in two forms, .* and .*; give the path"):
        mpii_folder.check_root(tmp_path)
    assert mpii_folder.check_root(tmp_path / "annotations.mat").name == "deephar"
    assert mpii_folder.check_root(tmp_path / synthetic_mpii.OFFICIAL).name == "official"


def test_generating_again_changes_nothing(folder, tmp_path):
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    synthetic_mpii.write(folder, SYNTH, progress=False)
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    with pytest.raises(Problem, match="other settings"):
        synthetic_mpii.write(folder, Synth(2, 2, 1, 1), progress=False)
    with pytest.raises(Problem, match="not an empty folder"):
        (tmp_path / "x").write_text("")
        synthetic_mpii.write(tmp_path, SYNTH, progress=False)


@pytest.fixture
def json_form(folder, tmp_path):
    """The folder in the common JSON form, and a function that changes every entry of train.json."""
    root = tmp_path / "mpii"
    shutil.copytree(folder / "annot", root / "annot")
    (root / "images").symlink_to(folder / "images")
    path = root / "annot" / "train.json"

    def change(edit):
        entries = json.loads(path.read_text())
        for entry in entries:
            edit(entry)
        path.write_text(json.dumps(entries))

    return root, change


def fractions(entry):
    entry["joints"] = [[x / 96, y / 72] if x > 0 else [x, y] for x, y in entry["joints"]]


def test_annotations_in_fractions_of_the_photo_are_refused(json_form):
    root, change = json_form
    change(fractions)
    opened = mpii_folder.folder(root, ("train",))
    load = partial(records.load, opened.load, opened.root, opened.fields)
    item = next(person for person in opened.scan(False)[0] if person.labelled.sum() > 3)
    with pytest.raises(Problem, match="joints within 0.* pixels; are they in fractions of the frames"):
        load(item, False)
    record, skipped = load(item, True)
    assert record is None and len(skipped) == 1
    change(lambda entry: entry.update(scale=entry["scale"] / 96, center=[c / 96 for c in entry["center"]]))
    item = mpii_folder.folder(root, ("train",)).scan(False)[0][0]
    with pytest.raises(Problem, match="which makes a person .* pixels high; repair the annotation"):
        mpii_folder.load(item)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_mark_at_the_beginning_of_json_is_read(json_form, encoding):
    root, _ = json_form
    path = root / "annot" / "train.json"
    before = persons(root)
    path.write_bytes(path.read_text().encode(encoding))
    (root / "annot" / "._valid.json").write_bytes(b"\0\5\x16\7")
    (root / "annot" / "._x.mat").write_bytes(b"\0\5\x16\7")
    assert [key(p) for p in persons(root)] == [key(p) for p in before]


def test_persons_that_no_protocol_uses_are_counted(folder, tmp_path):
    shutil.copy(folder / synthetic_mpii.OFFICIAL, tmp_path)
    (tmp_path / "images").symlink_to(folder / "images")
    whole = mpii_folder.folder(tmp_path, separate=False)
    everyone = whole.scan(False)[0]
    assert not [name for name in whole.counts if "not used" in name]
    path = tmp_path / synthetic_mpii.OFFICIAL
    file = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
    file["RELEASE"][0, 0]["annolist"][0, 0]["annorect"][0, 0]["scale"] = np.zeros((0, 0))
    savemat(path, file)
    opened = mpii_folder.folder(tmp_path)
    for _ in range(2):
        kept = opened.scan(False)[0]
    alone = [person for person in everyone if not person.separate]
    assert opened.counts["persons without position, scale or joints, not used"] == 1
    assert opened.counts["persons close to others, not used"] == len(everyone) - 1 - len(kept)
    assert len(alone) - 1 <= opened.counts["persons close to others, not used"] <= len(alone)


def test_the_head_label_is_the_top_of_the_drawn_head_and_pixels_count_from_1(monkeypatch):
    drawn = []

    def draw(image, *args):
        before = image.copy()
        draw_figure(image, *args)
        drawn.append((before != image).any(-1))

    monkeypatch.setattr(synthetic_mpii, "draw_figure", draw)
    above, beside = [], []
    for number in range(1, 60):
        drawn.clear()
        photo = synthetic_mpii.take(Synth(60, 1, 60, 1, size=(200, 150), clutter=0.0), number, "train")
        if len(drawn) > 1:
            continue
        joints = dict(zip(MPII.joints, photo.people[0].joints - 1, strict=True))
        length = float(np.linalg.norm(joints["head"] - joints["neck"]))
        along = (joints["head"] - joints["neck"]) / length
        rows, columns = np.nonzero(drawn[0])
        offsets = np.stack([columns, rows], -1) - joints["neck"]
        up, across = offsets @ along, offsets @ [-along[1], along[0]]
        above.append(up[np.abs(across) < 1].max() - length)
        beside.append(across[(up > length / 2) & (up < length)].mean())
    assert len(above) > 20
    assert 0 < np.median(above) < 2.5  # pixels, of which the rim is one
    assert abs(np.median(beside)) < 0.4
