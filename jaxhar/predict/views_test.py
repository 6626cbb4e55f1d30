"""A poses.json with something wrong is told by file, frame and person."""

import json
import math

import numpy as np
import pytest

from jaxhar.core.skeleton import Skeleton
from jaxhar.host.errors import Problem
from jaxhar.predict import poses, views

LAYOUT = Skeleton("3j", ("a", "b", "c"))


def written(path, of_person=(), of_frame=(), of_file=()):
    """A file of three frames; some keys of the person in frame 1, of this frame, and of the file are others."""
    person = {"id": 4, "box": [0, 0, 9, 9], "joints": [[1, 2, 0.5], [3, 4, None], [None, None, None]]}
    person |= {"confidence": [0.5, 1, None]}
    frames = [{"index": n, "time": n / 5, "persons": [person]} for n in range(3)]
    frames[1] = {**frames[1], "persons": [person | dict(of_person)]} | dict(of_frame)
    content = {"version": 2, "skeleton": poses.skeleton(LAYOUT), "fps": 5, "frames": frames} | dict(of_file)
    path.write_text(json.dumps(content))
    return path


def test_null_is_a_joint_that_is_missing_or_whose_confidence_is_not_known(tmp_path):
    one, _ = views.read([written(tmp_path / "l.json"), written(tmp_path / "r.json", {"box": [None] * 4})])
    np.testing.assert_array_equal(one.pixels[1, 0], [[1, 2], [3, 4], [np.nan, np.nan]])
    assert one.confidence[1, 0].tolist() == [0.5, 1, 1] and one.ids == (4,) and one.rate == 5


@pytest.mark.parametrize(
    ("person", "message"),
    [
        ({"joints": [[1, 2]]}, r"joints has the shape \(1, 2\), not \(3, 2\); mend it"),
        ({"joints": [[1]] * 3}, r"joints has the shape \(3, 1\)"),
        ({"joints": [[1, 2], [1, 2], [1]]}, r"joints has the shape \(3,\)"),
        ({"joints": [["1", 2]] * 3}, "'1' is no number"),
        *(({"joints": [[wrong, 2]] * 3}, "is no number") for wrong in (math.nan, math.inf, 1e300, 10**400, True)),
        *(({"confidence": [wrong] * 3}, "confidence does not lie between 0 and 1") for wrong in (-0.1, 97)),
        *(({"confidence": [wrong] * 3}, "is no number") for wrong in (math.nan, math.inf, 10**400)),
        ({"confidence": [0.5]}, r"confidence has the shape \(1,\), not \(3,\)"),
        ({"confidence": 0.5}, r"confidence has the shape \(\)"),
        ({"box": [1, 2]}, r"box has the shape \(2,\)"),
        ({"box": [1, 2, 3, math.nan]}, "is no number"),
    ],
)
def test_a_wrong_person_is_told(tmp_path, person, message):
    given = [written(tmp_path / "l.json"), written(tmp_path / "r.json", person)]
    with pytest.raises(Problem, match="r.json: person 4 of frame 1: .*" + message):
        views.read(given)


@pytest.mark.parametrize(
    ("frame", "file", "message"),
    [
        *(({"time": wrong}, {}, "is no number .* time of frame 1 has") for wrong in (math.nan, math.inf, "0", 10**400)),
        ({"time": None}, {}, "the time of a frame is null"),
        *(({}, {"fps": wrong}, "is no number .* fps has") for wrong in (math.nan, math.inf, "5", 10**400)),
        *(({}, {"fps": wrong}, "fps .* is not above 0") for wrong in (0, -5)),
        ({"persons": [{"id": None, "joints": [], "confidence": []}]}, {}, "its id is neither"),
    ],
)
def test_wrong_times_and_identities_are_told(tmp_path, frame, file, message):
    given = [written(tmp_path / "l.json"), written(tmp_path / "r.json", (), frame, file)]
    with pytest.raises(Problem, match="r.json.*" + message):
        views.read(given)


def test_a_file_twice_and_a_name_twice_are_told(tmp_path):
    path = written(tmp_path / "l.json")
    with pytest.raises(Problem, match="l.json is given for two views"):
        views.read([path, tmp_path / "." / ".." / tmp_path.name / "l.json"])
    (tmp_path / "x").mkdir()
    with pytest.raises(Problem, match=r"two views have one name \(l, l\)"):
        views.read([path, written(tmp_path / "x" / "l.json")])
