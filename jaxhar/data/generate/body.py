"""An articulated 3-D body: bones, two-bone inverse kinematics, and performances of motions.

Axes: x to the right, y forward, z up, in metres; a body with yaw 0 looks along +y. Cameras, pixels and files are
handled elsewhere.
"""

from dataclasses import dataclass, fields

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation

from jaxhar.core.skeleton import PA21
from jaxhar.data.generate.motions import KeyPose, Motion

#: The joints of a performance, in this order (`Performance.joints`).
SKELETON = PA21
_J = {name: i for i, name in enumerate(SKELETON.joints)}


@dataclass(frozen=True)
class Body:
    """Bone lengths and half widths of one performer in metres; `girth` scales the thickness of all parts."""

    trunk: float
    neck: float
    head: float
    shoulder: float
    hip: float
    upper_arm: float
    forearm: float
    thigh: float
    shank: float
    girth: float

    @staticmethod
    def random(rng: np.random.Generator) -> "Body":
        """A random person of 1.5 to 1.95 m; each limb varies by some percent."""
        height = rng.uniform(1.5, 1.95)
        share = {
            "trunk": 0.285,
            "neck": 0.055,
            "head": 0.066,
            "shoulder": 0.108,
            "hip": 0.058,
            "upper_arm": 0.172,
            "forearm": 0.152,
            "thigh": 0.245,
            "shank": 0.243,
        }
        lengths = {name: part * height * rng.uniform(0.93, 1.07) for name, part in share.items()}
        return Body(girth=height / 1.75 * rng.uniform(0.85, 1.35), **lengths)

    @property
    def arm(self) -> float:
        """Length from shoulder to wrist."""
        return self.upper_arm + self.forearm

    @property
    def leg(self) -> float:
        """Length from hip to ankle."""
        return self.thigh + self.shank


@dataclass(frozen=True)
class Performance:
    """The movement of a body: joints (T, 21, 3) in metres (`SKELETON`), face (T, 3) the direction of the face."""

    joints: np.ndarray
    face: np.ndarray


#: From the neck to the top of the head, in distances from the neck to the head's middle.
_TOP = 2.2


def with_head_top(joints: np.ndarray) -> np.ndarray:
    """Joints (..., 21, 3) whose "head" is the top of the head, which MPII, LIP and Human3.6M label, not its middle."""
    neck, head = joints[..., _J["neck"], :], joints[..., _J["head"], :]
    found = joints.copy()
    found[..., _J["head"], :] = neck + _TOP * (head - neck)
    return found


def perform(motion: Motion, body: Body, frames: int, rng: np.random.Generator) -> Performance:
    """A performance of `frames` frames, with random timing, amplitude and tremor; yaw is about 0."""
    pose = _sample(_vary(motion, rng), _phases(motion, frames, rng))
    return pose_body(motion, body, {name: value + _tremor(name, value, rng) for name, value in pose.items()})


def mirror(performance: Performance) -> Performance:
    """The same performance by a left-handed body: mirrored in x, left and right exchanged."""
    flip = np.array([-1.0, 1.0, 1.0])
    return Performance(performance.joints[:, SKELETON.flip] * flip, performance.face * flip)


def turn(performance: Performance, degrees: float) -> Performance:
    """Turn a performance to the left about the vertical through the origin."""
    matrix = Rotation.from_euler("z", degrees, degrees=True).as_matrix()
    return Performance(performance.joints @ matrix.T, performance.face @ matrix.T)


def _phases(motion: Motion, frames: int, rng: np.random.Generator) -> np.ndarray:
    """(T,) phases: full cycles from a random start, or one pass through a motion that is not cyclic."""
    time = np.linspace(0.0, 1.0, frames)
    if motion.cycles is not None:
        return (rng.uniform() + rng.uniform(*motion.cycles) * time) % 1.0
    length = rng.uniform(0.75, 1.0)
    start = rng.uniform(0.0, 1.0 - length)
    return np.clip((time - start) / length, 0.0, 1.0)


def _vary(motion: Motion, rng: np.random.Generator) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The key table as name -> (phases, values), with this performance's amplitude and a small error in each key."""
    at = np.array([key.at for key in motion.keys])
    amplitude = rng.uniform(0.85, 1.1)
    table = {}
    for field in fields(KeyPose)[1:]:
        values = np.array([getattr(key, field.name) for key in motion.keys], float)
        middle = values.mean(0)
        scale, error = (1.0, 3.0) if field.name in ("root", "trunk", "look") else (amplitude, 0.025)
        values = middle + (values - middle) * scale
        if field.name != "shift":
            # half of the error is common to the performance, half is separate for each key pose
            values = values + rng.normal(0, error, values.shape[1:]) + rng.normal(0, error / 2, values.shape)
        phases = at
        if motion.cycles is not None:
            phases = np.concatenate([at - 1.0, at, at + 1.0])
            values = np.concatenate([values] * 3)
        table[field.name] = phases, values
    return table


def _sample(table: dict[str, tuple[np.ndarray, np.ndarray]], phases: np.ndarray) -> dict[str, np.ndarray]:
    """Poses at the given phases (T,), monotone cubic between the keys: name -> (T, 3), look (T, 2)."""
    at = next(iter(table.values()))[0]  # the same for all, so that one interpolator does
    every = PchipInterpolator(at, np.concatenate([values for _, values in table.values()], axis=1))(phases)
    ends = np.cumsum([values.shape[1] for _, values in table.values()])[:-1]
    return dict(zip(table, np.split(every, ends, axis=1), strict=True))


def _tremor(name: str, value: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Slow random changes of the shape of `value` (T, n): degrees for angles, limb lengths for positions."""
    if name == "shift":
        return np.zeros_like(value)
    size = 1.5 if name in ("root", "trunk", "look") else 0.012
    time = np.arange(len(value))[:, None]
    rate, phase = rng.uniform(0.1, 0.5, value.shape[1]), rng.uniform(0, 2 * np.pi, value.shape[1])
    return size * np.sin(rate * time + phase)


def _rotation(angles: np.ndarray) -> np.ndarray:
    """(T, 3) angles forward, to the right, to the left about the vertical -> (T, 3, 3) matrices."""
    return Rotation.from_euler("ZXY", angles[:, [2, 0, 1]] * [1, -1, 1], degrees=True).as_matrix()


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-6)


def bend(
    base: np.ndarray, target: np.ndarray, upper: float, lower: float, pole: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Two-bone inverse kinematics: middle and end joints (T, 3) of a limb from `base` that reaches for `target`.

    The middle joint points towards `pole`; a target that is out of reach is moved closer along its direction.
    """
    way = target - base
    direction = _unit(way)
    reach = np.clip(
        np.linalg.norm(way, axis=-1, keepdims=True), 1.05 * abs(upper - lower) + 0.02, 0.995 * (upper + lower)
    )
    along = (upper**2 - lower**2 + reach**2) / (2 * reach)
    aside = np.sqrt(np.maximum(upper**2 - along**2, 0.0))
    side = _unit(pole - (pole * direction).sum(-1, keepdims=True) * direction)
    return base + direction * along + side * aside, base + direction * reach


def pose_body(motion: Motion, body: Body, pose: dict[str, np.ndarray]) -> Performance:
    """Put `body` into poses given as the fields of `KeyPose`, name -> (T, n), and stand or hang it in the world."""
    pelvis_axes = _rotation(pose["root"])
    chest_axes = pelvis_axes @ _rotation(pose["trunk"])
    head_angles = np.stack([pose["look"][:, 0], np.zeros(len(chest_axes)), pose["look"][:, 1]], -1)
    head_axes = chest_axes @ _rotation(head_angles)

    def turned(axes: np.ndarray, vector) -> np.ndarray:
        return np.einsum("tij,...j->ti", axes, np.asarray(vector, float))

    joints = np.zeros((len(pelvis_axes), len(SKELETON), 3))

    def put(name: str, value: np.ndarray) -> None:
        joints[:, _J[name]] = value

    thorax = turned(chest_axes, (0, 0, body.trunk))
    neck = thorax + turned(chest_axes, (0, 0.1 * body.neck, body.neck))
    put("spine", 0.5 * thorax + 0.1 * body.trunk * pelvis_axes[:, :, 2] - 0.1 * body.trunk * chest_axes[:, :, 2])
    put("thorax", thorax)
    put("neck", neck)
    put("head", neck + turned(head_axes, (0, 0.25 * body.head, body.head)))
    for side, sign in (("l", -1.0), ("r", 1.0)):
        hand, foot = ("left", "lfoot") if side == "l" else ("right", "rfoot")
        shoulder = thorax + turned(chest_axes, (sign * body.shoulder, 0, 0))
        wrist = thorax + np.einsum("tij,tj->ti", chest_axes, pose[hand] * body.arm)
        pole = turned(chest_axes, np.array(motion.elbow) * [sign, 1, 1])
        elbow, wrist = bend(shoulder, wrist, body.upper_arm, body.forearm, pole)
        hip = turned(pelvis_axes, (sign * body.hip, 0, 0))
        ankle = hip + np.einsum("tij,tj->ti", pelvis_axes, pose[foot] * body.leg)
        pole = turned(pelvis_axes, np.array(motion.knee) * [sign, 1, 1])
        knee, ankle = bend(hip, ankle, body.thigh, body.shank, pole)
        shank = _unit(ankle - knee)
        forward = pelvis_axes[:, :, 1]
        toes = _unit(forward - (forward * shank).sum(-1, keepdims=True) * shank + 0.2 * shank)
        put(f"{side}_shoulder", shoulder)
        put(f"{side}_elbow", elbow)
        put(f"{side}_wrist", wrist)
        put(f"{side}_hand", wrist + 0.3 * body.forearm * _unit(wrist - elbow))
        put(f"{side}_hip", hip)
        put(f"{side}_knee", knee)
        put(f"{side}_ankle", ankle)
        put(f"{side}_foot", ankle + 0.38 * body.shank * toes)
    return Performance(joints + _anchor(motion.anchor, joints, pose["shift"] * body.leg), head_axes[:, :, 1])


def _anchor(anchor: str, joints: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """(T, 1, 3) displacement that puts the anchor over the origin and the lowest joint on the ground."""
    if anchor == "hands":
        place = -joints[:, [_J["l_wrist"], _J["r_wrist"]]].mean(1)
        return (place + [0, 0, 2.3])[:, None] + shift[:, None]
    place = np.zeros_like(shift)
    if anchor == "feet":
        place[:, :2] = -joints[:, [_J["l_ankle"], _J["r_ankle"]], :2].mean(1)
    place[:, 2] = 0.06 - joints[:, :, 2].min(1)
    return (place + shift)[:, None]


def viewpoint_yaw(view: str) -> float:
    """Degrees to turn a body so that a camera that looks along +y sees it from the viewpoint `view`."""
    return {"back": 0.0, "left": 90.0, "front": 180.0, "right": -90.0}[view]
