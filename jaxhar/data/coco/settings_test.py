"""Keypoints are read as COCO, CVAT and Label Studio write them; crops have the joints; mistakes are told."""

import json

import cv2
import numpy as np
import pytest

from jaxhar.core.batch import to_image
from jaxhar.core.skeleton import BODY, COCO, MPII
from jaxhar.data import transforms
from jaxhar.data.coco import folder as coco_folder
from jaxhar.data.coco import names
from jaxhar.data.coco.settings import Coco, Surroundings
from jaxhar.data.formats import coco_json
from jaxhar.data.records import record as records
from jaxhar.host.errors import Problem

NAMES = [
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
]  # fmt: skip


def keypoints(count=17, v=2):
    """x, y, v of keypoints on a slope, x = 20 + 2 i, y = 10 + 2 i."""
    return [value for i in range(count) for value in (20.0 + 2 * i, 10.0 + 2 * i, v)]


def person(number, image=1, words=None, **more):
    given = keypoints() if words is None else words
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "keypoints": given,
        "bbox": [15.0, 5.0, 40.0, 44.0],
        "area": 900.0,
        "iscrowd": 0,
        **more,
    }


def write(table, images, annotations, categories=None, place=None):
    """An annotation file, and pictures of 80 x 60 by their file names in the folder `place`."""
    table.parent.mkdir(parents=True, exist_ok=True)
    for one in images:
        path = (place or table.parent) / one["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.random.default_rng(one["id"]).integers(0, 255, (60, 80, 3), np.uint8))
    categories = categories or [{"id": 1, "name": "person", "keypoints": NAMES, "skeleton": [[16, 14]]}]
    table.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return table


def image(number, name):
    return {"id": number, "file_name": name, "width": 80, "height": 60}


def read(root, split=None):
    persons, skipped = coco_folder.folder(root).scan(False)
    assert not skipped
    return [one for one in persons if split in (None, one.split)]


def test_a_face_far_away_is_small_and_right(tmp_path):
    """Three keypoints within three pixels are an error at the origin alone, where fractions of a picture would be."""
    face = [*(value for i in range(3) for value in (50.0 + i, 30.0 + i % 2, 2)), *[0] * 42]
    write(tmp_path / "train.json", [image(1, "a.png")], [person(1, words=face)], place=tmp_path / "images")
    opened = coco_folder.folder(tmp_path)
    (one,) = opened.scan(False)[0]
    record, _ = records.load(opened.load, opened.root, opened.fields, one, False)
    assert record is not None and record.fields["labelled"].sum() == 3


@pytest.mark.parametrize(
    ("name", "joint"),
    [
        ("left_knee", "l_knee"),
        ("LeftKnee", "l_knee"),
        ("knee (left)", "l_knee"),
        ("R-Wrist", "r_wrist"),
        ("RWrist", "r_wrist"),
        ("r_ankle", "r_ankle"),
        ("Nose", "nose"),
        ("head_top", "head"),
        ("upper neck", "neck"),
        ("tail", None),
        ("left", None),
        ("knee", None),
        ("left_right_knee", None),
    ],
)
def test_names_of_keypoints(name, joint):
    assert names.joint(name) == joint


def test_all_names_of_coco_and_of_the_skeletons_are_known():
    assert names.joints(NAMES, "") == [*COCO.joints]
    assert names.joints(BODY.joints, "") == [*BODY.joints]


def test_cocos_form(tmp_path):
    hidden = keypoints()
    hidden[2], hidden[5] = 0, 1  # the nose is not labelled, the left eye is hidden
    others = [
        person(2, iscrowd=1),
        person(3, words=[0] * 51, num_keypoints=0),
        person(4, ignore=1),
        person(5, category_id=2),
    ]
    categories = [{"id": 1, "name": "person", "keypoints": NAMES}, {"id": 2, "name": "bicycle"}]
    for split in ("train2017", "val2017"):
        table = tmp_path / "annotations" / f"person_keypoints_{split}.json"
        write(table, [image(1, "000000000009.jpg")], [person(1, words=hidden), *others], categories, tmp_path / split)
    folder = coco_folder.folder(tmp_path)
    (one, other), _ = folder.scan(False)
    assert (one.split, other.split) == ("train", "val") and one.image.is_file() and not folder.doubts
    assert folder.counts == {
        "crowds and ignored annotations, not used": 4,
        "persons without keypoints, not used": 2,
        "joints": 32,
        "hidden joints": 2,
    }
    assert not one.labelled[BODY.index("nose")] and one.hidden.sum() == 1 and one.hidden[BODY.index("l_eye")]
    assert one.points[BODY.index("r_ankle")].tolist() == [52, 42] and one.area == 900
    record, _ = folder.load(one)
    assert record.name == "train/000000000009.jpg#1" and record.fields["box"].tolist() == [15, 5, 55, 49]


def test_cvats_form(tmp_path):
    """Frames of a video in images/default/; a skeleton of another name; points outside of the picture have v = 0."""
    given = keypoints(3)
    given[6:9] = [300.0, 12.0, 0]
    categories = [
        {
            "id": 1,
            "name": "athlete",
            "supercategory": "",
            "keypoints": ["left hip", "right hip", "head"],
            "skeleton": [],
        },
        {"id": 2, "name": "ball", "supercategory": "", "keypoints": [], "skeleton": []},
    ]
    images = [image(n + 1, f"frame_{n:06d}.PNG") for n in range(8)]
    attributes = {"occluded": False, "track_id": 0, "keyframe": True}
    annotations = [person(n + 1, n + 1, given, attributes=attributes, segmentation=[]) for n in range(8)]
    table = tmp_path / "annotations" / "person_keypoints_default.json"
    write(table, images, annotations, categories, tmp_path / "images" / "default")
    folder = coco_folder.folder(tmp_path)
    persons, _ = folder.scan(False)
    assert persons[0].image == tmp_path / "images" / "default" / "frame_000000.PNG"
    assert [BODY.joints[j] for j in np.flatnonzero(persons[0].labelled)] == ["r_hip", "l_hip"]
    # the last quarter of the frames of the one video
    assert [one.name[-5] for one in persons if one.split == "val"] == ["6", "7"]
    assert any("the last quarter of the pictures of each of the 1 sources" in note for note in folder.notes)
    assert folder.load(persons[0])[0].size == (80, 60)


def test_cvats_subsets_are_splits(tmp_path):
    for split in ("Train", "Validation"):
        table = tmp_path / "annotations" / f"person_keypoints_{split}.json"
        write(table, [image(1, "a.jpg")], [person(1)], None, tmp_path / "images" / split)
    one, other = read(tmp_path)
    assert (one.split, other.split) == ("train", "val") and other.image.parent.name == "Validation"


def test_label_studios_form(tmp_path):
    """result.json beside images/, whole coordinates, one person a picture, the box of the joints, no area."""
    categories = [
        {"id": 0, "name": "box"},
        {"id": 1, "name": "default", "supercategory": "default", "keypoints": ["Nose", "LKnee"], "skeleton": []},
    ]
    images = [image(n, f"images/{chr(97 + n)}-photo{n}.jpg") for n in range(4)]
    images[3]["file_name"] = images[3]["file_name"].replace("/", "\\")
    annotations = [
        {
            "id": 0,
            "image_id": 0,
            "category_id": 0,
            "segmentation": [],
            "bbox": [1.5, 2, 30, 40],
            "ignore": 0,
            "iscrowd": 0,
        }
    ]
    for n in range(4):
        entry = {"id": n + 1, "image_id": n, "category_id": 1, "num_keypoints": 2, "iscrowd": 0}
        annotations.append({**entry, "keypoints": [20, 10, 2, 40, 50, 2], "bbox": [20, 10, 20, 40]})
    table = tmp_path / "result.json"
    for one in images:
        path = tmp_path / one["file_name"].replace("\\", "/")
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.full((60, 80, 3), 100, np.uint8))
    table.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    for root in (tmp_path, table):
        persons = read(root)
        assert len(persons) == 4 and len([one for one in persons if one.split == "val"]) == 1
        assert all(one.image.is_file() for one in persons)
    assert persons[0].area == 800 and persons[0].points[BODY.index("l_knee")].tolist() == [40, 50]


def test_unknown_names_are_told(tmp_path):
    words = [*NAMES[:15], "tail", "snout"]
    categories = [{"id": 1, "name": "person", "keypoints": words}]
    table = tmp_path / "a.json"
    write(table, [image(1, "a.jpg")], [person(1)], categories)
    folder = coco_folder.folder(tmp_path)
    assert len(folder.doubts) == 1 and "the keypoints 'tail', 'snout' of" in folder.doubts[0]
    assert folder.scan(False)[0][0].labelled.sum() == 15
    categories[0]["keypoints"] = ["a", "b"]
    write(table, [image(1, "a.jpg")], [], categories)
    with pytest.raises(Problem, match="no keypoints of a person: unknown are 'a', 'b'; known names are pelvis, thorax"):
        coco_folder.folder(tmp_path)
    categories[0]["keypoints"] = ["left_knee", "LKnee"]
    write(table, [image(1, "a.jpg")], [], categories)
    with pytest.raises(Problem, match="'left_knee' and 'LKnee' of category 'person' of .* are both l_knee"):
        coco_folder.folder(tmp_path)
    write(table, [image(1, "a.jpg")], [], [{"id": 1, "name": "person"}])
    with pytest.raises(Problem, match="export the file as COCO Keypoints"):
        coco_folder.folder(tmp_path)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (person(5, words=keypoints(16)), "annotation 5 has 48 values in 'keypoints'; x, y, v of 17 keypoints"),
        (person(5, words=keypoints(v=3)), "keypoint with v = 3, not 0, 1 or 2"),
        (person(5, words=["x"] * 51), "keypoints that are no numbers"),
        (person(5, words=[float("nan"), 1, 2, *keypoints(16)]), "labelled keypoint at NaN"),
        (person(5, bbox=[1, 2, -3, 4]), "annotation 5 has the bbox"),
        (person(5, image=7), "is of picture 7, which it lacks"),
    ],
)
def test_a_wrong_annotation_is_told_or_left_out(tmp_path, annotation, words):
    write(tmp_path / "a.json", [image(1, "a.jpg")], [person(1), annotation])
    folder = coco_folder.folder(tmp_path)
    with pytest.raises(Problem, match=words):
        folder.scan(False)
    kept, skipped = folder.scan(True)
    assert len(kept) == 1 and len(skipped) == 1


def test_wrong_folders_and_pictures(tmp_path):
    with pytest.raises(Problem, match="no annotation file of COCO; expected annotations/person_keypoints"):
        coco_folder.folder(tmp_path)
    table = write(tmp_path / "a.json", [image(1, "a.jpg")], [person(1, words=[v / 100 for v in keypoints(17, 200)])])
    tree = json.loads(table.read_text())
    tree["annotations"][0]["bbox"] = [0.1, 0.1, 0.4, 0.4]
    table.write_text(json.dumps(tree))
    (one,) = read(tmp_path)
    with pytest.raises(Problem, match="0.4 x 0.4 pixels large; positions must be in pixels"):
        coco_folder.load(one)
    (tmp_path / "a.jpg").unlink()
    assert coco_folder.load(one, skip_broken=True)[0] is None
    write(tmp_path / "b.json", [image(1, "a.jpg")], [])
    with pytest.raises(Problem, match="holds 2 .json files; give the path of the one to read"):
        coco_folder.folder(tmp_path)
    with pytest.raises(Problem, match="has no person with keypoints"):
        coco_folder.folder(tmp_path / "b.json").scan(False)
    assert list(coco_json.tables(table, (), "")) == ["train"]


def test_crops_have_the_joints_in_any_skeleton(tmp_path):
    write(tmp_path / "a.json", [image(n, f"{n}.jpg") for n in range(1, 5)], [person(n, n) for n in range(1, 5)])
    prepared = Coco(root=str(tmp_path), cache=str(tmp_path / "cache"), image_size=(96, 64)).prepare(tmp_path)
    record = {**prepared.records("train")[0]}
    rng = np.random.default_rng(0)
    for skeleton in (COCO, MPII):
        data = prepared.changed(skeleton=skeleton).config
        for draw in (transforms.Draw(), transforms.Draw(flip=True), data.augment_stills.draw(rng)):
            example = data.example(record, [0], draw, keep_outside=True)
            assert example["frames"].shape == (1, 96, 64, 3) and example["area"].tolist() == [900]
            back = to_image(example["affine"], example["pose"])[0]
            for j, joint in enumerate(skeleton.joints):
                name = {"l_": "r_", "r_": "l_"}.get(joint[:2], joint[:2]) + joint[2:] if draw.flip else joint
                assert example["valid"][0, j].all() == (joint in COCO.joints)
                if joint in COCO.joints:
                    at = COCO.index(name)
                    np.testing.assert_allclose(back[j], [20 + 2 * at, 10 + 2 * at], atol=1e-3)
    # 40 x 44 pixels: a square of 55 with the margin, made higher for a crop of 96 x 64
    example = prepared.config.example(record, [0], transforms.Draw())
    low, high = to_image(example["affine"][0], np.array([[0.0, 0], [1, 1]]))
    np.testing.assert_allclose(high - low, [55, 82.5], atol=1)
    hip, shoulder = COCO.index("r_hip"), COCO.index("l_shoulder")
    assert example["norm"].tolist() == pytest.approx([2 * (hip - shoulder) * 2**0.5])
    by_box = prepared.changed(reference="box").config
    assert by_box.example(record, [0], transforms.Draw())["norm"].tolist() == [44]
    # 5 % of 44 pixels around the box 15, 5 to 55, 49 are seen in every view of the evaluation; in training, also all
    hidden = Surroundings(around=(0.05, None), fixed_around=0.05)
    config = prepared.changed(augment=hidden, augment_stills=hidden).config
    views = [hidden.fixed(), hidden.fixed(flip=True), *config.crop_views()["flip"]]
    for draw in views:
        example = config.example(record, [0], draw)
        y, x = np.mgrid[:96, :64] + 0.5
        at = to_image(example["affine"], np.stack([x / 64, y / 96], -1).reshape(1, -1, 2))[0].reshape(96, 64, 2)
        out = ((at < [12, 2]) | (at > [58, 52])).any(-1)
        within = ((at > [14, 4]) & (at < [56, 50])).all(-1)
        assert (example["frames"][0][out] == 0).all() and (example["frames"][0][within].max(-1) > 0).all()
    drawn = {hidden.draw(rng).around for _ in range(20)}
    assert drawn == {0.05, None} and len(views) == 4
