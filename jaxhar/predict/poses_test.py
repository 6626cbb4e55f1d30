import json
import math
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from jaxhar.core.skeleton import PENN
from jaxhar.host.errors import Problem
from jaxhar.predict import poses

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "poses.schema.json").read_text())

#: As `jaxhar predict` wrote it in version 1: two frames of a video, joints by name.
VERSION_1 = {
    "source": "a.mp4",
    "model": {"image_size": 96},
    "skeleton": {"name": "2j", "joints": ["head", "foot"], "limbs": [["head", "foot"]]},
    "actions": ["run", "jump"],
    "fps": 20.0,
    "width": 64,
    "height": 48,
    "frames": [
        {
            "index": i,
            "time": i / 20,
            "bbox": [0, 1, 8, 9.5],
            "joints": {
                "head": {"x": 1.5, "y": 2.0, "z": 0.25, "confidence": 0.9},
                "foot": {"x": None, "y": None, "z": None, "confidence": 0.1},
            },
            "action": {"name": "jump", "probability": 0.7},
        }
        for i in range(2)
    ],
    "action": {"run": 0.2, "jump": 0.8},
}


def test_files_of_version_1_are_read(tmp_path):
    (tmp_path / "poses.json").write_text(json.dumps(VERSION_1))
    found = poses.read(tmp_path / "poses.json")
    jsonschema.validate(found, SCHEMA)
    assert found["frames"][1]["persons"] == [
        {
            "id": 1,
            "box": [0, 1, 8, 9.5],
            "joints": [[1.5, 2.0, 0.25], [None, None, None]],
            "confidence": [0.9, 0.1],
            "unseen": ["foot"],
            "unfamiliar": None,
            "action": {"name": "jump", "probability": 0.7},
        }
    ]
    assert found["tracks"] == [{"id": 1, "first": 0, "last": 1, "action": "jump", "probability": 0.8}]
    assert found["fps"] == 20 and found["frames"][1]["time"] == 0.05


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"version": 3, "frames": []}, "has version 3 of the form; this program reads 2: install a newer one"),
        ({"annotations": []}, "is not a poses.json of `jaxhar predict`: it has no frames"),
        ({"frames": [{}]}, "is not a poses.json of `jaxhar predict`: KeyError"),
        ([1], "is not a poses.json"),
        ({**VERSION_1, "action": [1]}, "is not a poses.json of `jaxhar predict`: AttributeError"),
        ({**VERSION_1, "frames": [{**VERSION_1["frames"][0], "bbox": [0, 1, 8, math.nan]}]}, "nan is no number"),
        ({**VERSION_1, "frames": [{**VERSION_1["frames"][0], "bbox": [0, 1, 8, "a"]}]}, "'a' is no number"),
    ],
)
def test_other_files_are_refused(tmp_path, content, sentence):
    (tmp_path / "x.json").write_text(json.dumps(content))
    with pytest.raises(Problem, match=sentence):
        poses.read(tmp_path / "x.json")


def test_a_person_follows_the_schema():
    pose, confidence = np.full((13, 2), np.nan), np.full(13, np.nan)
    one = poses.person(1, np.array([0.0, 1, 2, 3]), pose, confidence, PENN, None)
    jsonschema.validate(one, {"$ref": "#/$defs/person", "$defs": SCHEMA["$defs"]})
    assert one["unseen"] == [] and one["confidence"] == [None] * 13
