import json
import math
from pathlib import Path

import numpy as np
import pytest

from jaxhar.data.formats.video import Frame
from jaxhar.host.errors import Problem
from jaxhar.predict.box_files import BoxFile

IMAGE = np.zeros((100, 200, 3), np.uint8)
BOX = {"image_id": 0, "category_id": 1, "bbox": [10, 20, 30, 40], "score": 0.5}


def frame(index: int, name: str = "film.mp4") -> Frame:
    return Frame(index, 0.0, Path(name), IMAGE)


def written(folder: Path, content: object, name: str = "boxes.json") -> BoxFile:
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return BoxFile(folder / name)


def test_mot_text_counts_frames_from_one(tmp_path):
    file = written(tmp_path, "1,3,10,20,30,40,0.5\n1,5,0,0,10,10,1,-1,-1,-1\n\n3,3,12,20,30,40,0.25\n", "det.txt")
    boxes, scores = file.at(frame(0))
    np.testing.assert_array_equal(boxes, [[10, 20, 40, 60], [0, 0, 10, 10]])
    np.testing.assert_array_equal(scores, [0.5, 1])
    assert file.ids(frame(0)) == [3, 5] and file.ids(frame(1)) == [] and file.identified
    assert not written(tmp_path, "1,-1,10,20,30,40,0.5\n", "det.txt").identified


def test_detections_of_coco(tmp_path):
    one = {"image_id": 0, "category_id": 1, "bbox": [10, 20, 30, 40], "score": 0.5}
    file = written(tmp_path, [one, {**one, "category_id": 3}, {**one, "image_id": 2}])
    np.testing.assert_array_equal(file.at(frame(0))[0], [[10, 20, 40, 60]])
    assert len(file.at(frame(1))[0]) == 0 and len(file.at(frame(2))[0]) == 1 and not file.identified
    named = written(tmp_path, [{**one, "image_id": "b.jpg"}])
    assert len(named.at(frame(0, "a.jpg"))[0]) == 0 and len(named.at(frame(1, "b.jpg"))[0]) == 1


def test_annotations_of_coco(tmp_path):
    images = [{"id": 7, "file_name": "a.jpg"}, {"id": 3, "file_name": "b.jpg"}]
    annotations = [{"image_id": 3, "category_id": 1, "bbox": [1, 2, 3, 4]}]
    file = written(tmp_path, {"images": images, "annotations": annotations})
    np.testing.assert_array_equal(file.at(frame(5, "b.jpg"))[0], [[1, 2, 4, 6]])
    film = [{**image, "file_name": f"frame_{n:06d}"} for n, image in enumerate(images)]
    assert len(written(tmp_path, {"images": film, "annotations": annotations}).at(frame(1))[0]) == 1


def test_a_file_of_other_things_is_no_file_of_persons(tmp_path):
    others = [{"image_id": n, "category_id": int(n > 4), "bbox": [10, 20, 30, 40]} for n in range(5)]
    with pytest.raises(
        Problem, match=r"has no box of a person \(5 of category 0 were left out; persons have category_id 1"
    ):
        written(tmp_path, others)
    assert written(tmp_path, [*others, {**others[0], "category_id": 1}]).most == 1
    assert written(tmp_path, []).most == written(tmp_path, "", "det.txt").most == 0


def test_mot_text_may_begin_with_a_mark_and_not_know_the_score(tmp_path):
    file = written(tmp_path, "\ufeff1,3,10,20,30,40,-1,-1,-1,-1\n , \n", "det.txt")
    assert file.at(frame(0))[1].tolist() == [1]


def test_poses_keep_their_identities(tmp_path):
    frames = [{"index": 4, "time": 0.1, "persons": [{"id": 9, "box": [1, 2, 30, 40]}]}]
    file = written(tmp_path, {"version": 2, "frames": frames})
    assert file.ids(frame(4)) == [9] and file.at(frame(4))[0].tolist() == [[1, 2, 30, 40]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1,3,10,20,30\n", "line 1 is not frame,id,x,y,width,height,score: '1,3,10,20,30'"),
        ("1,3,10,20,0,40,1\n", "line 1: the box has no area"),
        ("1,3,10,20,nan,40,1\n", "line 1: the box has no area, or is not made of numbers"),
        ("1,3,1,2,3,4,7\n", "line 1: the score 7 does not lie between 0 and 1"),
        ("1,3,1,2,3,4\n1,3,1,2,3,5\n", "frame 0 has two boxes of one identity"),
        ("1,3,1,2,3,4\n1,-1,1,2,3,5\n", "1 of 2 boxes have no identity; give all or none one"),
        ("1,3,0.1,0.2,0.3,0.4\n", "all boxes lie between 0 and 1; they must be in pixels"),
        ("1.5,3,1,2,3,4\n", "line 1 is not frame,id"),
        ("1,1.5,1,2,3,4\n", "line 1 is not frame,id"),
        ("inf,1,1,2,3,4\n", "line 1 is not frame,id"),
        ("1,3,1,2,3,4,-0.5\n", "line 1: the score -0.5 does not lie between 0 and 1"),
        ("x" * 200000, "line 1 is not frame,id,x,y,width,height,score: 'x{60}'"),
        ("1,3,-1e300,2,2e300,4\n", "line 1: the box has no area, or is not made of numbers up to 10000000"),
        *(([one], "entry 0 needs bbox") for one in (1, "a", None, [1])),
        *(([{**BOX, "image_id": wrong}], "entry 0 needs bbox") for wrong in (1.5, math.inf, math.nan, None, True)),
        *(([{**BOX, "track_id": wrong}], "entry 0 needs bbox") for wrong in (1.7, math.inf, "x", None)),
        ([{**BOX, "bbox": [10**400, 2, 3, 4]}], "entry 0 needs bbox"),
        ({"annotations": [1]}, "entry 0 needs bbox"),
        ({"annotations": [BOX], "images": [3]}, "is no file of boxes"),
        ({"annotations": [BOX], "images": [{"id": 0, "file_name": ["a"]}]}, "is no whole number"),
        *(
            ({"version": 2, "frames": [{"index": 0, "persons": [{"id": 1, "box": [1, 2, 3, 4]} | wrong]}]}, message)
            for wrong, message in (
                ({"id": 1.5}, "entry 0 of its frames needs"),
                ({"id": math.inf}, "entry 0 of its frames needs"),
                ({"box": [1, 2, 3]}, "entry 0 of its frames needs"),
                ({"box": [1, 2, 3, 10**400]}, "entry 0 of its frames needs"),
                ({"box": [1, 2, 3, None]}, "frame 0: the box has no area"),
            )
        ),
        *(
            ({"version": 2, "frames": [{"persons": []} | wrong]}, "entry 0 of its frames needs")
            for wrong in ({"index": 1.5}, {"index": None}, {"index": 0, "file": ["a"]}, {})
        ),
        ([{"image_id": 1, "bbox": [None, 2, 3, 4]}], "entry 0 needs bbox"),
        ([{"image_id": 1, "bbox": [1, 2, 3, 4], "score": None}], "entry 0 needs bbox"),
        ({"a": 1}, "this is no file of boxes"),
        ([{"image_id": 1, "bbox": [1, 2, 3]}], "is no file of boxes"),
        (
            {"images": [], "annotations": [{"image_id": 1, "bbox": [1, 2, 3, 4], "category_id": 1}]},
            "there is no frame 1",
        ),
    ],
)
def test_what_is_no_file_of_boxes_is_told(tmp_path, content, message):
    with pytest.raises(Problem, match=message):
        file = written(tmp_path, content, "det.txt" if isinstance(content, str) else "boxes.json")
        file.check(1, set())


def test_boxes_for_frames_that_do_not_exist_are_told(tmp_path):
    file = written(tmp_path, "9,1,10,20,30,40,1\n", "det.txt")
    file.check(9, set())
    with pytest.raises(Problem, match="line 1: there is no frame 8; the source has 5 frames"):
        file.check(5, set())
    named = written(tmp_path, [{"image_id": "c.jpg", "category_id": 1, "bbox": [1, 2, 3, 4]}])
    with pytest.raises(Problem, match=r"entry 0: there is no frame 'c.jpg'"):
        named.check(2, {"a.jpg", "b.jpg"})


def test_a_box_outside_of_the_picture_is_told(tmp_path):
    with pytest.raises(Problem, match="line 1: the box lies outside of the picture, 200x100"):
        written(tmp_path, "1,1,300,20,30,40,1\n", "det.txt").at(frame(0))
    file = written(tmp_path, "9,1,100,20,30,40,1\n", "det.txt")
    file.check_inside((200, 100))
    with pytest.raises(Problem, match="line 1: the box lies outside of the picture, 90x100"):
        file.check_inside((90, 100))
