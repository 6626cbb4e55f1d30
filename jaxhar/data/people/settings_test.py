"""COCO's files are read, boxes follow their crops, and wrong files are told."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from jaxhar.data import transforms
from jaxhar.data.generate import coco_scenes
from jaxhar.data.generate.film import Synth
from jaxhar.data.people import folder as people_folder
from jaxhar.data.people.settings import People, Zoom, cropped_boxes
from jaxhar.host.errors import Problem

SYNTH = Synth(5, 2, 4, 3, size=(96, 72), seed=2)


def write_coco(root, annotations, name="instances_train2017.json", images=None):
    """A folder as COCO's archives give it: annotations/ and train2017/."""
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "train2017").mkdir(exist_ok=True)
    cv2.imwrite(str(root / "train2017" / "000000000009.jpg"), np.full((60, 80, 3), 90, np.uint8))
    images = images or [{"id": 9, "file_name": "000000000009.jpg", "width": 80, "height": 60, "license": 3}]
    categories = [{"id": 1, "name": "person", "supercategory": "person"}, {"id": 2, "name": "bicycle"}]
    tree = {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}
    path = root / "annotations" / name
    path.write_text(json.dumps(tree))
    return path


def person(number, bbox, **more):
    return {"id": number, "image_id": 9, "category_id": 1, "bbox": bbox, "area": 1.0, "iscrowd": 0, **more}


def test_a_folder_of_coco(tmp_path):
    annotations = [
        person(1, [10.5, 5, 20, 40]),
        person(2, [0, 0, 79, 30.25], iscrowd=1, segmentation={"counts": [1], "size": [60, 80]}),
        person(3, [40, 10, 0, 12]),
        person(4, [1, 1, 5, 5], category_id=2),
    ]
    write_coco(tmp_path, annotations)
    folder = people_folder.folder(tmp_path)
    (photo,), skipped = folder.scan(False)
    assert not skipped and folder.counts == {"persons": 1, "ignored boxes": 2, "pictures without persons": 0}
    record, _ = folder.load(photo, False)
    assert record.size == (80, 60) and record.split == "train"
    np.testing.assert_array_equal(record.fields["boxes"][0, :2], [[10.5, 5, 30.5, 45], [0, 0, 79, 30.25]])
    assert record.fields["boxed"][0].sum() == 1 and record.fields["ignored"][0, :3].tolist() == [False, True, True]
    # the file alone, too; of two the one with keypoints is read
    assert people_folder.folder(tmp_path / "annotations" / "instances_train2017.json").scan(False)[0][0].image.is_file()
    write_coco(tmp_path, [], "person_keypoints_train2017.json")
    assert people_folder.folder(tmp_path).scan(False)[0][0].boxes.shape == (0, 4)


@pytest.mark.parametrize(
    "annotation, words",
    [
        (person(5, [1, 2, 3]), r"annotation 5 has the bbox \[1, 2, 3\]"),
        (person(5, [1, 2, -3, 4]), "expected x, y, width, height"),
        (person(5, [1, float("nan"), 3, 4]), "expected x, y, width, height"),
        (person(5, [1, 2, 3, 4], image_id=10), "is of picture 10, which it lacks"),
    ],
)
def test_a_wrong_annotation_is_told_or_left_out(tmp_path, annotation, words):
    path = write_coco(tmp_path, [annotation])
    with pytest.raises(Problem, match=words) as caught:
        people_folder.folder(tmp_path).scan(False)
    assert str(path) in str(caught.value)
    assert len(people_folder.folder(tmp_path).scan(True)[1]) == 1


def test_wrong_files(tmp_path):
    path = write_coco(tmp_path, [person(k, [1, 2, 3, 4]) for k in range(65)])
    with pytest.raises(Problem, match="has 65 persons, more than the 64"):
        people_folder.folder(tmp_path).scan(False)
    write_coco(tmp_path, [person(1, [1e5, 2, 3, 4])])
    (photo,), _ = people_folder.folder(tmp_path).scan(False)
    with pytest.raises(Problem, match="has a box at 100003 pixels in a picture of 80x60"):
        people_folder.load(photo)
    assert people_folder.load(photo, skip_broken=True)[0] is None
    write_coco(tmp_path, [], images=[{"id": 1, "file_name": "../../etc/passwd"}])
    with pytest.raises(Problem, match="which is not a file within its folder"):
        people_folder.folder(tmp_path).scan(False)
    path.write_text("[]")
    with pytest.raises(Problem, match="no annotation file of COCO"):
        people_folder.folder(tmp_path).scan(False)
    path.write_text(json.dumps({"images": [], "annotations": [], "categories": [{"id": 1, "name": "dog"}]}))
    with pytest.raises(Problem, match="no category named person"):
        people_folder.folder(tmp_path).scan(False)


def test_boxes_follow_the_crop_and_are_cut_at_its_edges():
    boxes = np.zeros((1, 5, 4), np.float32)
    boxes[0, :4] = [[50, 20, 70, 80], [0, 0, 20, 100], [5, 40, 25, 90], [60, 30, 90, 40]]
    boxed, ignored = np.array([[True] * 3 + [False] * 2]), np.array([[False] * 3 + [True, False]])
    crop = transforms.plan_crop(np.array([20, 0, 120, 100]), (120, 100), 50)
    found, known, rest = cropped_boxes(crop, boxes, boxed, ignored)
    np.testing.assert_allclose(found[0, 0], [0.3, 0.2, 0.5, 0.8], atol=1e-6)
    assert known.tolist() == [[True, False, False, False, False]]
    # the second lies outside; of the third a quarter is left; the fourth is ignored anyway
    assert rest.tolist() == [[False, False, True, True, False]] and (found[0, [1, 4]] == 0).all()
    np.testing.assert_allclose(found[0, 2], [0, 0.4, 0.05, 0.9], atol=1e-6)
    mirrored = transforms.plan_crop(np.array([20, 0, 120, 100]), (120, 100), 50, transforms.Draw(flip=True))
    np.testing.assert_allclose(cropped_boxes(mirrored, boxes, boxed, ignored)[0][0, 0], [0.5, 0.2, 0.7, 0.8], atol=1e-6)
    turned = transforms.plan_crop(np.array([20, 0, 120, 100]), (120, 100), 50, transforms.Draw(angle=90.0))
    np.testing.assert_allclose(cropped_boxes(turned, boxes, boxed, ignored)[0][0, 0], [0.2, 0.5, 0.8, 0.7], atol=0.02)


def test_boxes_are_where_the_persons_are(tmp_path):
    """In pictures with a white square as person, in crops drawn at random."""
    image = np.zeros((60, 80, 3), np.uint8)
    image[20:40, 30:55] = 255
    write_coco(tmp_path, [person(1, [30, 20, 25, 20])])
    cv2.imwrite(str(tmp_path / "train2017" / "000000000009.jpg"), image)
    data = People(root=str(tmp_path), cache=str(tmp_path / "cache"), image_size=(64, 96))
    prepared = data.prepare(tmp_path)
    record = {**prepared.records("train")[0], "split": "train"}
    rng = np.random.default_rng(0)
    zoom = Zoom(hflip=(False, True), zoom=(0.5, 1.5), shift=0.2)
    tried = 0
    for _ in range(12):
        example = data.example(record, [0], zoom.draw(rng))
        white = example["frames"][0].mean(-1) > 128
        if not example["boxed"].any():
            continue
        rows, columns = np.flatnonzero(white.any(1)), np.flatnonzero(white.any(0))
        expected = [columns[0] / 96, rows[0] / 64, (columns[-1] + 1) / 96, (rows[-1] + 1) / 64]
        np.testing.assert_allclose(example["boxes"][0, 0], expected, atol=0.03)
        tried += 1
    assert tried > 5


def test_the_generated_folder_is_coco(tmp_path):
    coco_scenes.write(tmp_path / "set", SYNTH, progress=False)
    tree = json.loads((tmp_path / "set" / "annotations" / "person_keypoints_train.json").read_text())
    assert len(tree["images"]) == 5 and len({one["id"] for one in tree["annotations"]}) == len(tree["annotations"])
    assert tree["categories"][0]["keypoints"][5] == "left_shoulder"
    sizes = {one["id"]: (one["width"], one["height"]) for one in tree["images"]}
    for one in tree["annotations"]:
        x, y, width, height = one["bbox"]
        columns, rows = sizes[one["image_id"]]
        assert 0 <= x and x + width <= columns and 0 <= y and y + height <= rows and one["area"] == width * height
        points = np.array(one["keypoints"]).reshape(17, 3)
        assert one["num_keypoints"] == (points[:, 2] > 0).sum() and (points[points[:, 2] == 0] == 0).all()
        near = points[points[:, 2] > 0]
        assert (np.abs(near[:, :2] - [x + width / 2, y + height / 2]) <= [width / 2 + 3, height / 2 + 3]).all()
    (shot, size), (again, _) = (coco_scenes.take(SYNTH, 3, "val") for _ in range(2))
    np.testing.assert_array_equal(shot.image, again.image)
    assert shot.image.shape == (*size[::-1], 3)
    other, _ = coco_scenes.take(replace(SYNTH, seed=3), 3, "val")
    assert other.image.shape != shot.image.shape or (other.image != shot.image).any()
