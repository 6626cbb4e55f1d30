import json

import numpy as np
import pytest

from jaxhar.core.skeleton import PA16, PENN
from jaxhar.predict import coco


def person(file="a.jpg", skeleton=PA16, seed=0, **changes):
    rng = np.random.default_rng(seed)
    size, joints = (64, 48), rng.uniform(0, 40, (len(skeleton), 2))
    return coco.Detection(file, size, joints, np.linspace(0.2, 0.9, len(skeleton)), **changes)


@pytest.mark.parametrize("skeleton", [PA16, PENN])
def test_joints_go_to_their_names(skeleton):
    one, two = person(skeleton=skeleton), person(skeleton=skeleton, seed=1)
    found = coco.document([one, two, person("b.jpg", skeleton)], skeleton)
    assert [image["file_name"] for image in found["images"]] == ["a.jpg", "b.jpg"]
    assert [a["image_id"] for a in found["annotations"]] == [1, 1, 2]
    assert [a["id"] for a in found["annotations"]] == [1, 2, 3]
    first = np.reshape(found["annotations"][0]["keypoints"], (17, 3))
    assert (first[:5] == 0).all() and (first[5:, 2] == 2).all()
    names = found["categories"][0]["keypoints"]
    for name, joint in (("left_shoulder", "l_shoulder"), ("right_wrist", "r_wrist"), ("left_ankle", "l_ankle")):
        np.testing.assert_allclose(first[names.index(name), :2], one.joints[skeleton.index(joint)], atol=0.006)
    assert found["annotations"][0]["num_keypoints"] == 12
    json.dumps(found, allow_nan=False)


def test_box_score_and_missing_joints():
    joints = np.full((16, 2), np.nan)
    joints[PA16.index("l_hip")], joints[PA16.index("r_hip")] = (10, 20), (30, 25)
    some = coco.Detection("a.jpg", None, joints, np.linspace(0, 1, 16))
    (found,) = coco.document([some], PA16)["annotations"]
    assert found["bbox"] == [10, 20, 20, 5] and found["area"] == 100 and found["num_keypoints"] == 2
    assert found["score"] == pytest.approx((10 + 11) / 15 / 2, abs=1e-4)
    (found,) = coco.document([person(box=np.array([1, 2, 11, 22]))], PA16)["annotations"]
    assert found["bbox"] == [1, 2, 10, 20]
    nobody = coco.Detection("a.jpg", None, np.full((16, 2), np.nan), np.ones(16))
    assert coco.document([nobody], PA16)["annotations"][0]["num_keypoints"] == 0


def test_a_score_that_is_not_known_is_absent():
    unknown = coco.Detection("a.jpg", None, np.ones((16, 2)), np.full(16, np.nan))
    (found,) = coco.document([unknown], PA16)["annotations"]
    assert "score" not in found and found["num_keypoints"] == 12
    json.dumps(found, allow_nan=False)
