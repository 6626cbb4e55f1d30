import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxhar.checks import examples
from jaxhar.core.batch import to_image
from jaxhar.core.skeleton import MPII, PA16, mapping
from jaxhar.data import centre_crop, transforms
from jaxhar.data.generate.film import Synth
from jaxhar.data.mpii import folder as mpii_folder
from jaxhar.data.mpii import settings as mpii
from jaxhar.evaluation.metrics import PCKh
from jaxhar.evaluation.views import average_crops
from jaxhar.host.errors import Problem, Usage

#: A standing person in MPII's order; the head joints end a box whose diagonal is 50 = 40 / 0.8.
JOINTS = [
    *[[90.0, 210.0], [92.0, 170.0], [94.0, 130.0], [116.0, 130.0], [118.0, 170.0], [120.0, 210.0]],
    *[[105.0, 130.0], [105.0, 80.0], [105.0, 72.0], [105.0, 32.0]],
    *[[60.0, 130.0], [70.0, 105.0], [85.0, 80.0], [125.0, 80.0], [140.0, 105.0], [150.0, 130.0]],
]


def entry(**changes) -> dict:
    plain = {"image": "a.jpg", "center": [105.0, 110.0], "scale": 0.9, "joints": JOINTS, "joints_vis": [1] * 16}
    return {**plain, **changes}


def write(root: Path, entries: object, images: tuple[str, ...] = ("a.jpg",)) -> Path:
    """A folder in the common form; the photos are grey with a white square on the head top."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    for name in images:
        picture = np.full((240, 210, 3), 60, np.uint8)
        picture[29:36, 102:109] = 255
        Image.fromarray(picture).save(root / "images" / name, quality=95)
    (root / "annotations.json").write_text(entries if isinstance(entries, str) else json.dumps(entries))
    return root


def test_joints_are_renamed_and_missing_ones_masked(tmp_path):
    joints = [list(j) for j in JOINTS]
    joints[MPII.index("l_ankle")] = [-1.0, -1.0]
    shown = [1] * 16
    shown[MPII.index("l_ankle")] = 0
    (person,) = mpii.read(write(tmp_path, [entry(joints=joints, joints_vis=shown)]))
    for name in set(PA16.joints) - {"l_ankle"}:
        np.testing.assert_array_equal(person.points[PA16.index(name)], JOINTS[MPII.index(name)])
    assert [PA16.joints[i] for i in np.flatnonzero(~person.labelled)] == ["l_ankle"]
    example = mpii.to_example(person, size=64)
    assert not example["valid"][0, PA16.index("l_ankle")].any()
    assert (example["pose"][0, PA16.index("l_ankle")] == 0).all()
    assert example["visible"].sum() == 15


@pytest.mark.parametrize("joint", [[-1.0, -1.0], [-1e9, -1e9]])
def test_a_sentinel_is_unlabelled_even_if_called_visible(tmp_path, joint):
    joints = [joint, *JOINTS[1:]]
    (person,) = mpii.read(write(tmp_path, [entry(joints=joints)]))
    assert person.labelled.sum() == 15
    assert np.abs(person.points).max() < 300


def test_box_follows_the_authors_rule(tmp_path):
    (person,) = mpii.read(write(tmp_path, [entry()]))
    x1, y1, x2, y2 = mpii.box(person.center, person.scale)
    assert (x2 - x1, y2 - y1) == pytest.approx((250 * 0.9, 250 * 0.9))
    assert ((x1 + x2) / 2, (y1 + y2) / 2) == pytest.approx((105, 110 + 12 * 1.25 * 0.9))
    moved = mpii.box(person.center, person.scale, transforms.Draw(scale=1.3, trans=(10.0, -4.0)))
    assert moved[2] - moved[0] == pytest.approx(1.3 * 225)
    assert (moved[:2] + moved[2:]) / 2 == pytest.approx(np.array([105, 110 + 13.5]) + 1.125 * np.array([10, -4]))


@pytest.mark.parametrize("draw", [None, transforms.Draw(angle=20, scale=1.3, trans=(5.0, 3.0), flip=True)])
def test_the_crop_shows_each_joint_where_the_pose_says(tmp_path, draw):
    (person,) = mpii.read(write(tmp_path, [entry()]))
    example = mpii.to_example(person, draw, size=128)
    assert example["frames"].shape == (1, 128, 128, 3) and example["frames"].dtype == np.uint8
    light = np.maximum(example["frames"][0, ..., 0] - 76.0, 0)
    y, x = np.mgrid[:128, :128] + 0.5
    centre = np.array([(x * light).sum(), (y * light).sum()]) / light.sum() / 128
    np.testing.assert_allclose(example["pose"][0, PA16.index("head")], centre, atol=1.5 / 128)
    back = to_image(example["affine"], example["pose"])[0]
    if draw is not None:
        back = back[PA16.flip]
    np.testing.assert_allclose(back, person.points, atol=1e-3)


def test_head_size_is_the_official_one(tmp_path):
    """Annotation 0 of the published training set: its head box is (627, 100, 706, 198)."""
    joints = [list(j) for j in JOINTS]
    joints[MPII.index("neck")], joints[MPII.index("head")] = [637.0201, 189.8183], [695.9799, 108.1817]
    shown = [1] * 16
    shown[MPII.index("head")] = 0
    known, unknown = mpii.read(write(tmp_path, [entry(joints=joints), entry(joints_vis=shown)]))
    assert known.head == pytest.approx(0.6 * math.hypot(706 - 627, 198 - 100), abs=1e-3)
    assert unknown.head == 0


def test_the_file_itself_can_be_given(tmp_path):
    write(tmp_path, [entry(), entry()])
    assert [p.index for p in mpii.read(tmp_path / "annotations.json")] == [0, 1]


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ("[{", "annotations.json is not JSON"),
        ([], "has no list of persons"),
        ({"image": "a.jpg"}, "has no list of persons"),
        ([entry(), 7], "person 1 of .*annotations.json is not an object"),
        ([entry(), entry(joints=JOINTS[:12])], r"'joints' of person 1 of .* has shape \(12, 2\), expected \(16, 2\)"),
        ([entry(joints_vis=[1] * 13)], r"'joints_vis' of person 0 .* has shape \(13,\)"),
        ([entry(joints=[[1.0], *JOINTS[1:]])], "'joints' of person 0 .* rows differ in length"),
        ([entry(scale="tall")], "'scale' of person 0 .* not made of numbers"),
        ([entry(scale=-1.0)], "the scale must be positive"),
        ([{"image": "a.jpg", "center": [1, 2], "scale": 1.0}], "person 0 .* has no 'joints'; test entries carry no"),
        ([entry(joints=[[math.nan, 3.0], *JOINTS[1:]])], "person 0 .* NaN or infinity"),
        ([entry(), entry(image="gone.jpg")], "photo .*gone.jpg of person 1 .* does not exist"),
        ([entry(image=None)], "no file name in 'image'"),
    ],
)
def test_bad_entries_are_named(tmp_path, entries, sentence):
    with pytest.raises(Problem, match=sentence):
        mpii.read(write(tmp_path, entries))


def test_bad_folders_are_named(tmp_path):
    with pytest.raises(Problem, match="nowhere does not exist; expected a folder"):
        mpii.read(tmp_path / "nowhere")
    with pytest.raises(Problem, match="holds no .json or .mat file; .* found nothing in it"):
        mpii.read(tmp_path)
    (tmp_path / "some.json").write_text("[]")
    with pytest.raises(Problem, match="images does not exist"):
        mpii.read(tmp_path)
    (tmp_path / "more.json").write_text("[]")
    with pytest.raises(Problem, match="holds 2 .json files; give the path"):
        mpii.read(tmp_path)


@pytest.mark.parametrize("content", [b"these are words", b"", None])
def test_a_broken_photo_is_named(tmp_path, content):
    (person,) = mpii.read(write(tmp_path, [entry()]))
    whole = person.image.read_bytes()
    person.image.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(Problem, match="a.jpg: this image cannot be read: it is (no picture|cut off)"):
        mpii.to_example(person)


SYNTH = Synth(14, 6, 4, 2, size=(96, 72), seed=5, clutter=0.3)


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    return mpii.MPII(synth=SYNTH, image_size=64, stills_per_batch=4).prepare(tmp_path_factory.mktemp("mpii") / "run")


def test_a_prepared_set_gives_the_persons_of_the_folder(generated):
    root = next(p for p in generated.folder.parent.glob("synthetic-*") if p.is_dir())
    persons = {(p.split, mpii_folder.name_of(p)): p for p in mpii.read(root) if p.separate}
    for split in ("train", "valid"):
        names = generated.sequence_names(split)
        assert names == [name for s, name in persons if s == split] and names
    with pytest.raises(Problem, match="no test sequence"):
        generated.records("test")
    batches = list(generated.eval_stream("valid", "single", batch=4))
    assert sum(b["mask"].sum() for b in batches) == len(generated.sequence_names("valid"))
    (first, *_) = batches
    for i, name in enumerate(generated.sequence_names("valid")[:4]):
        expected = mpii.to_example(persons["valid", name], size=64, keep_outside=True)
        np.testing.assert_allclose(first["pose"][i], expected["pose"], atol=2e-6)
        np.testing.assert_array_equal(first["frames"][i], expected["frames"])
        np.testing.assert_array_equal(first["valid"][i], expected["valid"])
        np.testing.assert_allclose(first["norm"][i], persons["valid", name].head, rtol=1e-6)
    assert "action" not in first


@pytest.mark.parametrize(("protocol", "crops"), [("single", 1), ("flip", 2), ("multi", 10)])
def test_crops_of_a_protocol_show_the_same_joints(generated, protocol, crops):
    (batch,) = generated.eval_stream("valid", protocol, batch=256)
    assert batch["mask"].sum() == crops * len(generated.sequence_names("valid"))
    assert generated.eval_length(protocol, "valid", 256) == 1
    back = to_image(batch["affine"], batch["pose"])[:, 0]
    back[batch["flipped"]] = back[batch["flipped"]][:, PA16.flip]
    labelled = batch["valid"][:, 0].all(-1)
    labelled[batch["flipped"]] = labelled[batch["flipped"]][:, PA16.flip]
    for n in range(len(generated.sequence_names("valid"))):
        views = slice(crops * n, crops * (n + 1))
        assert (batch["sequence"][views] == n).all()
        assert batch["flipped"][views].sum() == crops // 2
        assert len(np.unique(batch["affine"][views].reshape(crops, -1), axis=0)) == crops
        for view in back[views]:
            np.testing.assert_allclose(view[labelled[views][0]], back[views][0][labelled[views][0]], atol=2e-3)


def test_training_stills_and_clips_of_stills(generated):
    stills = generated.train_stream(0)
    batch = next(stills)["stills"]
    assert batch["frames"].shape == (4, 1, 64, 64, 3)
    config = dataclasses.replace(generated.config, stills_per_batch=0, clips_per_batch=2, clip_frames=3)
    prepared = dataclasses.replace(generated, config=config)
    clips = prepared.train_stream(0)
    before = clips.get_state()
    batch = next(clips)["clips"]
    assert batch["frames"].shape == (2, 3, 64, 64, 3) and batch["pose"].shape == (2, 3, 16, 2)
    assert not np.array_equal(batch["frames"][0, 0], batch["frames"][0, 1])
    assert "action" not in batch and batch["affine"].shape == (2, 3, 3, 3)
    clips.set_state(before)
    again = next(clips)["clips"]
    np.testing.assert_array_equal(again["frames"], batch["frames"])
    with pytest.raises(Problem, match="stacked = 3"):
        prepared = dataclasses.replace(prepared, config=dataclasses.replace(config, clip_frames=2, clips_per_batch=3))
        prepared.train_stream(0).set_state(before)
    for stream in (stills, clips):
        stream.close()


def test_truth_scores_a_hundred_percent(generated):
    """Ground truth put in the place of predictions, for every protocol."""
    for protocol in ("single", "flip", "multi"):
        pairs = []
        (batch,) = generated.eval_stream("valid", protocol, batch=256)
        for i in np.flatnonzero(batch["mask"]):
            example = {k: v[i] for k, v in batch.items()}
            pairs.append((example, {"pose": example["pose"][None].astype(float), "visible": example["visible"][None]}))
        if protocol != "single":
            pairs = list(average_crops(iter(pairs), PA16))
        states = []
        for example, preds in pairs:
            pred, true = (to_image(example["affine"], p) for p in (preds["pose"], example["pose"]))
            states.append(PCKh(0.01).get(pred, true, example["valid"].all(-1), example["norm"], PA16))
        hits, counts = sum(s.total.sum() for s in states), sum(s.count.sum() for s in states)
        assert hits == counts > 0


def test_a_corrupt_photo_in_a_set(generated, tmp_path):
    root = next(p for p in generated.folder.parent.glob("synthetic-*") if p.is_dir())
    copy = tmp_path / "set"
    shutil.copytree(root, copy)
    number = generated.sequence_names("train")[3].split(".")[0]
    broken = copy / "images" / f"{number}.jpg"
    broken.write_bytes(broken.read_bytes()[:500])
    settings = mpii.MPII(root=str(copy), image_size=64, cache=str(tmp_path))
    with pytest.raises(Problem, match=f"{number}.jpg: this image cannot be read: it is (cut off|no picture)"):
        settings.prepare(tmp_path)
    kept = dataclasses.replace(settings, skip_broken=True).prepare(tmp_path)
    assert {number} == {Path(path).stem for path, _ in kept.index["skipped"]}
    assert number not in {name.split(".")[0] for name in kept.sequence_names("train")}


def test_an_exif_tag_turns_no_photo(tmp_path):
    (person,) = mpii.read(write(tmp_path, [entry()]))
    before = mpii.to_example(person, size=32)["frames"]
    with Image.open(person.image) as picture:
        exif = picture.getexif()
        exif[0x0112] = 6
        picture.save(person.image, quality=95, exif=exif)
    after = mpii.to_example(person, size=32)["frames"]
    np.testing.assert_allclose(after.astype(int), before, atol=12)


def test_crops_by_the_rule_of_simple_baselines(tmp_path):
    """Positions of the JSON files count from 1, and joints outside of a crop stay visible in training."""
    mpii.MPII().generate(tmp_path / "set", Synth(3, 2, 2, 1, size=(160, 120), seed=2))
    settings = mpii.MPII(
        root=str(tmp_path / "set" / "annot"),
        cache=str(tmp_path / "cache"),
        crop="simple_baselines",
        separate=False,
        image_size=(64, 48),
        augment=centre_crop.SIMPLE_BASELINES,
        augment_stills=centre_crop.SIMPLE_BASELINES,
        stills_per_batch=2,
    )
    prepared = settings.prepare(tmp_path)
    record = prepared.records("train")[0]
    example = settings.example(record, [0], transforms.Draw(scale=0.4))
    entry = json.loads((tmp_path / "set" / "annot" / "train.json").read_text())[0]
    scale, (x, y) = entry["scale"], entry["center"]
    k = 48 / (200 * 1.25 * scale * 0.4)
    joints = np.array(entry["joints"])
    expected = ((joints - 1 - [x - 1, y + 15 * scale - 1]) * k + [24, 32]) / [48, 64]
    order = mapping(MPII, PA16)
    seen = (np.array(entry["joints_vis"]) > 0)[order]
    np.testing.assert_allclose(example["pose"][0][seen], expected[order][seen], atol=1e-4)
    assert example["visible"][0][seen].all() and (np.abs(example["pose"][0] - 0.5) > 0.5).any()
    found, _ = examples.check_examples(prepared, 6, trained=False)
    assert found and not [finding for finding in found if not finding.passed]
    with pytest.raises(Usage, match="data.crop is 'paper'; there are deephar and simple_baselines"):
        mpii.MPII(crop="paper")
