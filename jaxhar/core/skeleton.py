"""Joint layouts: names, flip partners, limbs, and conversion between layouts by joint name."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

#: Limbs as pairs of joint names; a layout has those whose two joints it has.
_LIMBS: tuple[tuple[str, str], ...] = (
    ("pelvis", "spine"),
    ("spine", "thorax"),
    ("pelvis", "thorax"),
    ("thorax", "neck"),
    ("neck", "head"),
    ("thorax", "r_shoulder"),
    ("r_shoulder", "r_elbow"),
    ("r_elbow", "r_wrist"),
    ("r_wrist", "r_hand"),
    ("thorax", "l_shoulder"),
    ("l_shoulder", "l_elbow"),
    ("l_elbow", "l_wrist"),
    ("l_wrist", "l_hand"),
    ("pelvis", "r_hip"),
    ("r_hip", "r_knee"),
    ("r_knee", "r_ankle"),
    ("r_ankle", "r_foot"),
    ("pelvis", "l_hip"),
    ("l_hip", "l_knee"),
    ("l_knee", "l_ankle"),
    ("l_ankle", "l_foot"),
    ("pelvis", "belly"),
    ("belly", "neck_base"),
    ("neck_base", "nose"),
    ("nose", "crown"),
    ("neck_base", "r_shoulder"),
    ("neck_base", "l_shoulder"),
    ("nose", "r_eye"),
    ("nose", "l_eye"),
    ("r_eye", "r_ear"),
    ("l_eye", "l_ear"),
)
#: Only for layouts without a joint in the middle of the trunk: Penn Action's and COCO's.
_TRUNKLESS_LIMBS = (
    ("r_shoulder", "l_shoulder"),
    ("r_hip", "l_hip"),
    ("r_shoulder", "r_hip"),
    ("l_shoulder", "l_hip"),
)


@dataclass(frozen=True)
class Skeleton:
    """A joint layout.

    Attributes:
      name: short name, e.g. "pa16j".
      joints: joint names in storage order; the prefix ``r_`` or ``l_`` is the side as the person sees it.
    """

    name: str
    joints: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.joints)

    def index(self, joint: str) -> int:
        """Position of a joint by name; ValueError if the layout lacks it."""
        return self.joints.index(joint)

    @cached_property
    def flip(self) -> np.ndarray:
        """(J,) int: for each joint the index of its left or right partner, itself if there is none."""
        swap = {"r": "l", "l": "r"}
        partner = [f"{swap[j[0]]}{j[1:]}" if j[1:2] == "_" else j for j in self.joints]
        return np.array([self.joints.index(p) for p in partner])

    @cached_property
    def limbs(self) -> tuple[tuple[int, int], ...]:
        """Pairs of joint indices to connect when drawing."""
        pairs = _LIMBS if {"thorax", "neck_base"} & {*self.joints} else _LIMBS + _TRUNKLESS_LIMBS
        if "spine" in self.joints:
            pairs = tuple(p for p in pairs if p != ("pelvis", "thorax"))
        return tuple((self.index(a), self.index(b)) for a, b in pairs if a in self.joints and b in self.joints)


def mapping(source: Skeleton, target: Skeleton) -> np.ndarray:
    """(J of target,) int: for each joint of `target` its index in `source`, or -1 where `source` lacks it."""
    where = {name: i for i, name in enumerate(source.joints)}
    return np.array([where.get(name, -1) for name in target.joints])


def convert(pose: np.ndarray, source: Skeleton, target: Skeleton) -> np.ndarray:
    """Rearrange joints on the second last axis, (..., J source, D) -> (..., J target, D); NaN where missing."""
    index = mapping(source, target)
    out = np.asarray(pose, float)[..., index, :].copy()
    out[..., index < 0, :] = np.nan
    return out


_PA16 = (
    "pelvis thorax neck head r_shoulder l_shoulder r_elbow l_elbow r_wrist l_wrist "
    "r_hip l_hip r_knee l_knee r_ankle l_ankle"
)
_PA20 = (
    "pelvis thorax neck head r_shoulder l_shoulder r_elbow l_elbow r_wrist l_wrist r_hand l_hand "
    "r_hip l_hip r_knee l_knee r_ankle l_ankle r_foot l_foot"
)

#: Layouts of deephar's networks.
PA16 = Skeleton("pa16j", tuple(_PA16.split()))
PA17 = Skeleton("pa17j", (*PA16.joints, "spine"))
PA20 = Skeleton("pa20j", tuple(_PA20.split()))
PA21 = Skeleton("pa21j", (*PA20.joints, "spine"))

#: MPII Human Pose, in the order of its annotation files.
MPII = Skeleton(
    "mpii",
    tuple(
        "r_ankle r_knee r_hip l_hip l_knee l_ankle pelvis thorax neck head "
        "r_wrist r_elbow r_shoulder l_shoulder l_elbow l_wrist".split()
    ),
)
#: Penn Action, in the order of its label files (left first).
PENN = Skeleton(
    "penn",
    tuple(
        "head l_shoulder r_shoulder l_elbow r_elbow l_wrist r_wrist l_hip r_hip l_knee r_knee l_ankle r_ankle".split()
    ),
)
#: Human3.6M's 32 joints with deephar's names. The data set calls the thorax Spine1, the nose Head and the top of the
#: head Site. Its spine lies 0.1 mm from the pelvis, and the clavicles start at the neck.
H36M = Skeleton(
    "h36m",
    tuple(
        "pelvis r_hip r_knee r_ankle r_foot r_toes l_hip l_knee l_ankle l_foot l_toes "
        "spine thorax neck nose head l_clavicle l_shoulder l_elbow l_wrist l_thumb_base l_thumb l_hand l_hand_end "
        "r_clavicle r_shoulder r_elbow r_wrist r_thumb_base r_thumb r_hand r_hand_end".split()
    ),
)
#: NTU RGB+D, in the order of its files. The Kinect's video is mirrored: the person's left arm looks like a right arm.
#: Sides here are as they look in the video, as in the training of deephar's weights.
NTU = Skeleton(
    "ntu",
    tuple(
        "pelvis spine neck head r_shoulder r_elbow r_wrist r_hand l_shoulder l_elbow l_wrist l_hand "
        "r_hip r_knee r_ankle r_foot l_hip l_knee l_ankle l_foot thorax r_tip r_thumb l_tip l_thumb".split()
    ),
)

#: Human3.6M's 17 joints of multi-view networks, chosen from the 32 of `H36M`. Its belly is the data set's Spine1, its
#: neck_base lies between the shoulders, its crown is the top of the head.
H36M17 = Skeleton(
    "h36m17",
    tuple(
        "pelvis r_hip r_knee r_ankle l_hip l_knee l_ankle belly neck_base nose crown "
        "l_shoulder l_elbow l_wrist r_shoulder r_elbow r_wrist".split()
    ),
)
#: The union of `H36M17` and `MPII`, 20 joints, for networks that learn from both. Joints of like names but other
#: positions are apart: MPII's thorax, neck and head, Human3.6M's neck_base and crown.
UNION20 = Skeleton(
    "union20",
    tuple(
        "pelvis r_hip r_knee r_ankle l_hip l_knee l_ankle belly thorax neck_base neck nose crown head "
        "l_shoulder l_elbow l_wrist r_shoulder r_elbow r_wrist".split()
    ),
)
#: COCO, in the order of its annotation files.
COCO = Skeleton(
    "coco",
    tuple(
        "nose l_eye r_eye l_ear r_ear l_shoulder r_shoulder l_elbow r_elbow l_wrist r_wrist "
        "l_hip r_hip l_knee r_knee l_ankle r_ankle".split()
    ),
)
#: JHMDB, in the order of its files; its neck lies between the shoulders, its face about the nose.
JHMDB = Skeleton(
    "jhmdb",
    tuple(
        "neck_base belly nose r_shoulder l_shoulder r_hip l_hip r_elbow l_elbow r_knee l_knee "
        "r_wrist l_wrist r_ankle l_ankle".split()
    ),
)

#: Every joint that labels of one's own may have (`jaxhar.data.coco`): deephar's, COCO's and three of Human3.6M's.
BODY = Skeleton("body", (*PA21.joints, "nose", "l_eye", "r_eye", "l_ear", "r_ear", "neck_base", "crown", "belly"))

_ALL = {s.name: s for s in (PA16, PA17, PA20, PA21, MPII, PENN, NTU, H36M, H36M17, UNION20, COCO, JHMDB, BODY)}


def get(name: str) -> Skeleton:
    """A layout by its short name; KeyError lists the names."""
    if name not in _ALL:
        raise KeyError(f"no skeleton named {name!r}; there are {', '.join(_ALL)}")
    return _ALL[name]


def of_size(num_joints: int, among: Iterable[Skeleton]) -> Skeleton:
    """The first layout with this number of joints; if there is none, numbered joints without limbs.

    Args:
      num_joints: J.
      among: the layouts to choose from, e.g. those of a network family.
    """
    numbered = Skeleton(f"{num_joints}j", tuple(f"joint{i}" for i in range(num_joints)))
    return next((s for s in among if len(s) == num_joints), numbered)
