"""Finds the joint that a keypoint's name means, as people and annotation tools write it."""

import re
from collections.abc import Sequence

from jaxhar.core.skeleton import BODY
from jaxhar.host.errors import Problem

_SIDES = {"left": "l", "l": "l", "right": "r", "r": "r"}
#: Other names of joints.
_OTHERS = {
    "head_top": "head",
    "top_of_head": "head",
    "upper_neck": "neck",
    "root": "pelvis",
    "mid_hip": "pelvis",
    "hip_center": "pelvis",
    "hip_centre": "pelvis",
}
_KNOWN = {*BODY.joints}


def joint(name: str) -> str | None:
    """The joint of `BODY` with this name: left_knee, LeftKnee, "knee (left)", LKnee, l_knee, ...; None if unknown."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=^[LR])(?=[A-Z][a-z])", " ", name)
    words = re.findall(r"[a-z]+|\d+", apart.lower())
    sides = [_SIDES[word] for word in words if word in _SIDES]
    part = "_".join(word for word in words if word not in _SIDES)
    found = "_".join([*sides, _OTHERS.get(part, part)])
    return found if found in _KNOWN else None


def joints(names: Sequence[str], where: str) -> list[str | None]:
    """The joint of each keypoint's name, None where it is unknown; Problem if two names mean the same joint."""
    found = [joint(name) for name in names]
    for i, one in enumerate(found):
        if one is not None and one in found[:i]:
            raise Problem(f"the keypoints {names[found.index(one)]!r} and {names[i]!r} of {where} are both {one}")
    return found
