"""Groups and examples of the multi-view sets against those of the original, and damaged folders."""

import dataclasses
import json
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jaxhar.core import camera, gaussian
from jaxhar.core.batch import to_image
from jaxhar.core.camera import Camera
from jaxhar.core.skeleton import H36M17
from jaxhar.data import transforms
from jaxhar.data.formats import photos as photo_files
from jaxhar.data.generate.film import Synth
from jaxhar.data.mixed import Mixed
from jaxhar.data.multiview import generate as synthetic
from jaxhar.data.multiview import h36m, mpii
from jaxhar.data.multiview.settings import MPIIGroups, MultiView
from jaxhar.data.records.reader import as_read
from jaxhar.host.errors import Problem, Usage
from parity_tests.golden_multiview import make_weights
from parity_tests.oracle import multiview as oracle


@pytest.fixture(scope="module")
def golden(tmp_path_factory) -> Path:
    """The folder on which the original was run, without most of its photos, and with archives of the others."""
    out = tmp_path_factory.mktemp("multiview")
    meta, _ = make_weights.read_case("data_h36m")
    make_weights.write_h36m(meta, out, zipped=True)
    return out


def load(data: MultiView | MPIIGroups, root: Path, group: object) -> dict:
    """A record of one group of a folder."""
    record, _ = data.open(root).load(group, False)
    assert record is not None
    return as_read(record)


def test_groups_are_those_of_the_original(golden):
    _, case = make_weights.read_case("data_h36m")
    counts: dict[str, int] = {}
    validation = h36m.groups(golden / "h36m/annot/h36m_validation.pkl", "validation", counts)
    np.testing.assert_array_equal([group.numbers for group in validation[::64]], case["validation_groups"])
    train = h36m.groups(golden / "h36m/annot/h36m_train.pkl", "train", counts)
    entries = counts["photos, train"]
    persons = mpii.groups(golden / "mpii/annot/train.json", "train")
    mixed = [group.numbers for group in train[::5]] + [tuple(entries + n for n in p.numbers) for p in persons]
    np.testing.assert_array_equal(mixed, case["mixed_groups"])
    np.testing.assert_array_equal([p.numbers for p in persons], case["mpii_groups"])
    assert counts["groups without all four cameras, not used"] == 2
    assert counts["photos listed twice, the later is used"] == 3


@pytest.mark.parametrize(("kind", "number"), [("validation0", 0), ("mixed1", 1), ("mixed_last", -1)])
def test_examples_are_those_of_the_original(golden, kind, number):
    meta, case = make_weights.read_case("data_h36m")
    data: MultiView | MPIIGroups
    if kind == "mixed_last":
        data, first = MPIIGroups(image_size=meta["size"]), 1
        group: object = mpii.groups(golden / "mpii/annot/train.json", "train")[number]
    else:
        split, every = ("validation", 64) if kind == "validation0" else ("train", 5)
        data, first = MultiView(image_size=meta["size"]), 0
        group = h36m.groups(golden / f"h36m/annot/h36m_{split}.pkl", split)[::every][number]
    record = load(data, golden, group)
    example = data.example(record, [0, 1, 2, 3], transforms.Draw())
    np.testing.assert_allclose(record["centers"], case[f"{kind}_center"], atol=1e-6)
    np.testing.assert_allclose(record["scales"], case[f"{kind}_scale"][:, 0], atol=1e-9)
    seen = case[f"{kind}_joints_vis"][..., 0] > 0
    np.testing.assert_array_equal(example["visible"] > 0, seen)
    moved = example["pose"] * meta["size"]
    np.testing.assert_allclose(moved[seen], case[f"{kind}_joints_2d_transformed"][seen], atol=2e-3)
    maps, weights = gaussian.encode(example["pose"] * meta["S"], example["visible"], (meta["S"], meta["S"]))
    np.testing.assert_array_equal(weights, case[f"{kind}_weight"][..., 0])
    if f"{kind}_target" in case:
        np.testing.assert_allclose(np.moveaxis(maps, -1, 1), case[f"{kind}_target"], atol=1e-6)
        bgr = (example["frames"][..., ::-1] / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        away = np.abs(np.moveaxis(bgr, -1, 1) - case[f"{kind}_input"])
        assert np.median(away) < 1e-5 and away.max() < 4 / 255 / 0.224
    back = to_image(example["affine"], example["pose"])
    np.testing.assert_allclose(back[seen] - first, case[f"{kind}_joints_2d"][seen], atol=1e-2)


def test_the_names_of_the_oracle(golden):
    meta, case = make_weights.read_case("data_h36m")
    for split, dataset, name in (
        ("validation", "multiview_h36m", "validation_groups"),
        ("train", "mixed", "mixed_groups"),
        ("train", "multiview_mpii", "mpii_groups"),
    ):
        np.testing.assert_array_equal(oracle.groups(golden, split, dataset), case[name])
    found = oracle.item(golden, "train", "mixed", len(case["mixed_groups"]) - 1, meta["size"], meta["S"], meta["sigma"])
    assert found["image"].shape == (4, meta["size"], meta["size"], 3) and found["image"].dtype == np.uint8
    np.testing.assert_allclose(found["target"], case["mixed_last_target"], atol=1e-6)
    np.testing.assert_array_equal(found["weight"], case["mixed_last_weight"][..., 0])


def test_examples_of_archives_are_the_same(golden, tmp_path):
    for name in ("h36m", "mpii"):
        shutil.copytree(golden / name / "annot", tmp_path / name / "annot")
        shutil.copy(golden / name / "images.zip", tmp_path / name / "images.zip")
    (tmp_path / "mpii").rename(tmp_path / "MPII")
    group = h36m.groups(golden / "h36m/annot/h36m_train.pkl", "train")[::5][1]
    persons = mpii.groups(golden / "mpii/annot/train.json", "train")[0]
    for data, one in ((MultiView(image_size=32), group), (MPIIGroups(image_size=32), persons)):
        of_folder, of_archive = (
            data.example(load(data, root, one), [0, 1, 2, 3], transforms.Draw()) for root in (golden, tmp_path)
        )
        for key, value in of_folder.items():
            np.testing.assert_array_equal(value, of_archive[key])


def test_joints_in_space_and_both_lenses(golden):
    group = h36m.groups(golden / "h36m/annot/h36m_validation.pkl", "validation")[0]
    data = MultiView(skeleton=H36M17, lens="original")
    record = load(data, golden, group)
    example = data.example(record, [0, 1, 2, 3], transforms.Draw())
    np.testing.assert_allclose(example["world"], group.entries[0]["joints_3d"], atol=1e-3)
    lenses = {lens: dataclasses.replace(data, lens=lens) for lens in ("h36m", "original")}
    away = {}
    for name, one in lenses.items():
        vectors = one.example(record, [0, 1, 2, 3], transforms.Draw())["camera"]
        seen = [Camera.from_vector(vector).project(example["world"])[:, :2] for vector in vectors]
        away[name] = np.abs(np.stack(seen) - record["points"]).max()
        assert {Camera.from_vector(vector).w for vector in vectors} == {camera.H36M if name == "h36m" else 2.0}
    assert away["original"] < 2e-2 < away["h36m"]  # the file was made with the original's lens
    with pytest.raises(Usage, match="data.lens is 'fisheye'; there are h36m and original"):
        MultiView(lens="fisheye")
    with pytest.raises(Usage, match="data.thin is"):
        MultiView(thin=(0, 1))


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A generated folder with few photos."""
    out = tmp_path_factory.mktemp("small") / "set"
    MultiView().generate(out, Synth(2, 1, 1, 1, frames=(2, 2), size=(64, 64), seed=1))
    return out


def changed(small: Path, out: Path, change) -> MultiView:
    """A copy of the generated folder whose training photos are changed, and its settings."""
    shutil.copytree(small, out)
    path = out / "h36m" / "annot" / "h36m_train.pkl"
    entries = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps(change(entries)))
    return MultiView(root=str(out), cache=str(out / "cache"), thin=(1, 1), image_size=32)


def test_groups_without_a_camera_are_left_out(small, tmp_path):
    settings = changed(small, tmp_path / "set", lambda entries: entries[:-1])
    folder = settings.open(tmp_path / "set")
    items, skipped = folder.scan(False)
    assert sum(item.split == "train" for item in items) == 3 and not skipped
    assert folder.counts["groups without all four cameras, not used"] == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda entries: {"a": 1}, "has no list of photos"),
        (lambda entries: [1, *entries], "entry 0 of .* is not a dict"),
        (lambda entries: [{**entries[0], "camera_id": 7}, *entries], "has camera_id 7"),
        (lambda entries: [{**entries[0], "image": "../a.jpg"}, *entries[1:]], "which is not a path below images/"),
        (
            lambda entries: [{**entries[0], "image": "b.jpg"}, *entries[1:]],
            "the photo .*b.jpg of camera 0 of .* does not exist",
        ),
        (lambda entries: [{**entries[0], "joints_2d": np.zeros((16, 2))}, *entries[1:]], "'joints_2d' of .* has shape"),
        (lambda entries: [{**entries[0], "camera": {"R": np.eye(3)}}, *entries[1:]], "has no numbers in 'T'"),
        (lambda entries: [{**entries[0], "scale": (0.0, 0.0)}, *entries[1:]], "has scale 0"),
        (lambda entries: [{**entries[0], "note": Path("a")}, *entries[1:]], "it contains pathlib"),
    ],
)
def test_wrong_pickles_are_told(small, tmp_path, change, said):
    settings = changed(small, tmp_path / "set", change)
    with pytest.raises(Problem, match=said):
        settings.prepare(tmp_path)


def test_broken_groups_are_left_out_on_demand(small, tmp_path):
    settings = changed(small, tmp_path / "set", lambda entries: [{**entries[0], "image": "b.jpg"}, *entries[1:]])
    kept = dataclasses.replace(settings, skip_broken=True).prepare(tmp_path)
    assert len(kept.entries("train")) == 3 and "b.jpg" in kept.index["skipped"][0][1]


def _archive(small: Path, out: Path) -> Path:
    shutil.copytree(small / "h36m", out)
    path = out / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for photo in sorted((out / "images").rglob("*.jpg")):
            archive.write(photo, photo.relative_to(out).as_posix())
    shutil.rmtree(out / "images")
    return path


def test_broken_archives_are_told(small, tmp_path):
    path = _archive(small, tmp_path / "h36m")
    settings = MultiView(root=str(tmp_path), cache=str(tmp_path / "cache"), thin=(1, 1))
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        first = archive.getinfo(names[0])
    place = first.header_offset + 30 + len(names[0]) + first.compress_size // 2
    path.write_bytes(whole[:place] + bytes(b ^ 255 for b in whole[place : place + 9]) + whole[place + 9 :])
    with pytest.raises(Problem, match=r"images/.*\.jpg in .*images.zip cannot be read \(Bad CRC"):
        settings.prepare(tmp_path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Problem, match=r"the archive .*images.zip is damaged or incomplete"):
        settings.prepare(tmp_path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images/other.jpg", b"")
    with pytest.raises(Problem, match=r"images.zip has no images/.*, which camera 0 of entry 0 .* names"):
        settings.prepare(tmp_path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images/../../a.jpg", b"")
    with pytest.raises(Problem, match="is not a path below images/"):
        settings.prepare(tmp_path)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"no picture")
    with pytest.raises(Problem, match="is not a whole JPEG or PNG picture"):
        settings.prepare(tmp_path)
    path.unlink()
    with pytest.raises(Problem, match="has neither a folder images/ nor an archive"):
        photo_files.find(tmp_path / "h36m")


def test_wrong_persons_are_told(small, tmp_path):
    shutil.copytree(small / "mpii", tmp_path / "mpii")
    path = tmp_path / "mpii" / "annot" / "train.json"
    entries = json.loads(path.read_text())
    settings = MPIIGroups(root=str(tmp_path), cache=str(tmp_path / "cache"), image_size=32)
    for wrong, said in (
        ({**entries[0], "joints": entries[0]["joints"][:15]}, r"'joints' of person 0 of .* has shape \(15, 2\)"),
        ({**entries[0], "scale": -1}, "has scale -1"),
        ({"image": 3}, "is not an object with image"),
    ):
        path.write_text(json.dumps([wrong, *entries[1:]]))
        with pytest.raises(Problem, match=said):
            settings.prepare(tmp_path)
    kept = dataclasses.replace(settings, skip_broken=True).prepare(tmp_path)
    assert len(kept.entries("train")) == len(entries) // 4 - 1
    path.write_text("{}")
    with pytest.raises(Problem, match="has no list of persons"):
        settings.prepare(tmp_path)
    with pytest.raises(Problem, match="holds no label files of MPII"):
        mpii.labels(tmp_path / "nowhere")
    with pytest.raises(Problem, match="holds no label files of Human3.6M"):
        h36m.place(tmp_path)


def test_both_sets_mix_without_loss(small, tmp_path, capsys):
    plain = {"root": str(small), "cache": str(tmp_path), "image_size": 32, "prefetch": 1}
    sets = {"h36m": MultiView(**plain, thin=(1, 1)), "mpii": MPIIGroups(**plain)}
    mixed = Mixed(sets, "h36m", clips={"h36m": 2, "mpii": 1}).prepare(tmp_path)
    stream = mixed.train_stream(0)
    batch = next(stream)["clips"]
    stream.close()
    assert batch["frames"].shape == (3, 4, 32, 32, 3) and batch["together"].tolist() == [True, True, False]
    assert {"camera", "world", "affine", "hidden"} <= batch.keys() and batch["action"][2] == -1
    assert "left out" not in capsys.readouterr().err


def test_both_sets_are_generated_once(tmp_path, monkeypatch):
    synth = Synth(1, 0, 1, 1, frames=(2, 2), size=(64, 64))
    views, persons = (kind(synth=synth, cache=str(tmp_path)) for kind in (MultiView, MPIIGroups))
    root, _ = views._root(tmp_path)
    monkeypatch.setattr(synthetic, "_film", lambda *_: pytest.fail("generated again"))
    assert persons._root(tmp_path) == (root, True)
