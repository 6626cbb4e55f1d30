"""The 15 actions of Penn Action as motions of an articulated body, as data.

A motion is a table of key poses over a phase in [0, 1]. A pose gives the orientation of the pelvis, the bend of the
trunk and the positions of hands and feet in units of the body, so that one table fits bodies of any build
(`jaxhar.data.generate.body` converts it to joints). "Right" is the person's right.
"""

from dataclasses import dataclass
from typing import Any

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class KeyPose:
    """One key pose. Angles in degrees, positions as (right, forward, up).

    Attributes:
      at: phase of the pose in [0, 1].
      root: rotation of the pelvis: forward (90 is prone, -90 supine), to the right, and to the left about the
        vertical axis.
      trunk: the same three angles of the chest relative to the pelvis.
      look: rotation of the head relative to the chest: nod, and turn to the left.
      left, right: the wrists, relative to the middle of the shoulders, in the chest's axes and in arm lengths.
      lfoot, rfoot: the ankles, relative to their hips, in the pelvis' axes and in leg lengths.
      shift: displacement of the whole body, in leg lengths.
    """

    at: float
    left: Vector
    right: Vector
    lfoot: Vector = (-0.08, 0.0, -0.98)
    rfoot: Vector = (0.08, 0.0, -0.98)
    root: Vector = (0.0, 0.0, 0.0)
    trunk: Vector = (0.0, 0.0, 0.0)
    look: tuple[float, float] = (0.0, 0.0)
    shift: Vector = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Motion:
    """A motion as data.

    Attributes:
      keys: key poses by rising phase; a cyclic motion returns from the last one to the first.
      cycles: smallest and largest number of repetitions in a sequence; None for a motion that happens once.
      anchor: the part that stays in place: "feet", "pelvis" or "hands" (a hanging body; the others touch the ground).
      elbow, knee: directions in which these joints point, as (outward, forward, up) of chest and pelvis.
      views: possible viewpoints, named by the direction in which the person looks in the image.
    """

    keys: tuple[KeyPose, ...]
    cycles: tuple[float, float] | None = None
    anchor: str = "feet"
    elbow: Vector = (0.5, -0.6, -0.6)
    knee: Vector = (0.15, 1.0, 0.0)
    views: tuple[str, ...] = ("front", "left", "right", "back")


def _sym(at: float, hand: Vector, foot: Vector = (0.08, 0.0, -0.98), **rest) -> KeyPose:
    """A symmetric key pose; `hand` and `foot` are those of the right side."""
    return KeyPose(at, (-hand[0], *hand[1:]), hand, (-foot[0], *foot[1:]), foot, **rest)


_BENCH_FEET = (0.22, -0.5, -0.5)
_SITUP_FEET = (0.1, -0.12, -0.62)
_WIDE: dict[str, Any] = {"lfoot": (-0.22, 0.05, -0.92), "rfoot": (0.22, 0.05, -0.92)}

#: The motions, by the names of `jaxhar.core.classes.PENN`.
MOTIONS: dict[str, Motion] = {
    "baseball_pitch": Motion(
        (
            KeyPose(0.0, (-0.12, 0.5, -0.15), (0.1, 0.5, -0.15), root=(0, 0, -80), look=(0, 60)),
            KeyPose(
                0.25,
                (-0.1, 0.5, 0.1),
                (0.12, 0.5, 0.1),
                lfoot=(0.0, 0.5, -0.3),
                root=(0, 0, -95),
                trunk=(0, 5, -10),
                look=(0, 70),
            ),
            KeyPose(
                0.5,
                (-1.15, 0.2, 0.1),
                (1.0, -0.45, 0.25),
                lfoot=(-0.62, 0.1, -0.72),
                rfoot=(0.3, 0.0, -0.85),
                root=(0, 0, -70),
                look=(0, 60),
                shift=(0, 0.25, 0),
            ),
            KeyPose(
                0.65,
                (-0.7, 0.2, -0.3),
                (0.75, 0.45, 0.85),
                lfoot=(-0.2, 0.55, -0.72),
                rfoot=(0.15, -0.5, -0.8),
                root=(10, 0, 0),
                trunk=(25, -10, 15),
                shift=(0, 0.55, 0),
            ),
            KeyPose(
                0.8,
                (-0.6, -0.2, -0.4),
                (-0.3, 0.75, -0.65),
                lfoot=(-0.1, 0.4, -0.72),
                rfoot=(0.15, -0.7, -0.6),
                root=(15, 0, 20),
                trunk=(50, -5, 35),
                look=(-30, 0),
                shift=(0, 0.65, 0),
            ),
            KeyPose(
                1.0, (-0.5, 0.3, -0.5), (0.1, 0.6, -0.7), root=(5, 0, 0), trunk=(25, 0, 10), shift=(0, 0.7, 0), **_WIDE
            ),
        ),
        anchor="pelvis",
        views=("left", "right", "front"),
    ),
    "baseball_swing": Motion(
        (
            KeyPose(0.0, (0.3, 0.35, 0.1), (0.5, 0.3, 0.18), trunk=(15, 0, -25), look=(0, 70), **_WIDE),
            KeyPose(
                0.35,
                (0.4, 0.25, 0.15),
                (0.62, 0.12, 0.25),
                (-0.32, 0.1, -0.72),
                (0.2, 0.05, -0.9),
                trunk=(15, 0, -45),
                look=(0, 80),
            ),
            KeyPose(
                0.5, (0.12, 0.75, -0.3), (0.3, 0.7, -0.3), trunk=(15, 5, 5), root=(0, 0, 25), look=(10, 40), **_WIDE
            ),
            KeyPose(0.6, (-0.35, 0.85, -0.12), (-0.2, 0.85, -0.1), trunk=(10, 5, 45), root=(0, 0, 45), **_WIDE),
            KeyPose(0.78, (-0.75, 0.1, 0.3), (-0.5, 0.3, 0.28), trunk=(0, 5, 70), root=(0, 0, 60), **_WIDE),
            KeyPose(1.0, (-0.65, 0.1, 0.2), (-0.4, 0.35, 0.2), trunk=(0, 0, 60), root=(0, 0, 60), **_WIDE),
        ),
        views=("front", "front", "left", "right", "back"),
    ),
    "bench_press": Motion(
        (
            _sym(0.0, (0.42, 0.97, 0.02), _BENCH_FEET, root=(-90, 0, 0)),
            _sym(0.5, (0.55, 0.25, -0.15), _BENCH_FEET, root=(-90, 0, 0), trunk=(-4, 0, 0)),
        ),
        cycles=(1.0, 3.0),
        elbow=(1.0, -0.6, -0.5),
        knee=(0.1, 1.0, -0.5),
        views=("left", "right"),
    ),
    "bowl": Motion(
        (
            KeyPose(0.0, (-0.1, 0.45, -0.3), (0.15, 0.45, -0.3), trunk=(15, 0, 0)),
            KeyPose(
                0.25,
                (-0.5, 0.5, -0.4),
                (0.35, 0.6, -0.6),
                (-0.08, -0.25, -0.92),
                (0.08, 0.35, -0.88),
                trunk=(20, 0, 0),
                shift=(0, 0.3, 0),
            ),
            KeyPose(
                0.5,
                (-0.9, 0.3, -0.1),
                (0.5, -0.95, 0.0),
                (-0.08, 0.3, -0.85),
                (0.08, -0.35, -0.85),
                trunk=(45, 0, -25),
                look=(-25, 0),
                shift=(0, 0.8, 0),
            ),
            KeyPose(
                0.68,
                (-1.0, 0.0, 0.1),
                (0.3, 0.3, -0.95),
                (-0.05, 0.5, -0.6),
                (-0.25, -0.75, -0.55),
                trunk=(50, 8, 0),
                look=(-40, 0),
                shift=(0, 1.25, 0),
            ),
            KeyPose(
                0.8,
                (-0.95, -0.1, 0.0),
                (0.25, 0.95, 0.1),
                (-0.05, 0.5, -0.58),
                (-0.4, -0.8, -0.4),
                trunk=(40, 5, 10),
                look=(-35, 0),
                shift=(0, 1.35, 0),
            ),
            KeyPose(
                1.0,
                (-0.8, 0.0, -0.3),
                (0.2, 0.75, 0.55),
                (-0.05, 0.45, -0.65),
                (-0.35, -0.75, -0.45),
                trunk=(25, 0, 10),
                look=(-15, 0),
                shift=(0, 1.4, 0),
            ),
        ),
        anchor="pelvis",
        views=("left", "right", "back"),
    ),
    "clean_and_jerk": Motion(
        (
            _sym(0.0, (0.42, 0.5, -0.9), (0.16, 0.2, -0.52), trunk=(62, 0, 0), look=(-40, 0)),
            _sym(0.22, (0.42, 0.4, -0.9), (0.16, 0.12, -0.85), trunk=(45, 0, 0), look=(-25, 0)),
            _sym(0.34, (0.45, 0.3, -0.45), (0.16, 0.0, -1.0), trunk=(2, 0, 0)),
            _sym(0.44, (0.42, 0.32, -0.02), (0.26, 0.3, -0.48), trunk=(18, 0, 0)),
            _sym(0.6, (0.42, 0.32, 0.0), (0.14, 0.0, -0.98)),
            _sym(0.68, (0.42, 0.32, 0.02), (0.16, 0.08, -0.85)),
            KeyPose(0.77, (-0.55, 0.05, 0.92), (0.55, 0.05, 0.92), (-0.1, 0.5, -0.7), (0.1, -0.55, -0.7)),
            _sym(0.88, (0.55, 0.05, 0.95), (0.12, 0.0, -0.98)),
            _sym(1.0, (0.55, 0.05, 0.95), (0.12, 0.0, -0.98)),
        ),
        elbow=(0.7, 0.3, -0.6),
        knee=(0.3, 1.0, 0.0),
        views=("front", "front", "left", "right"),
    ),
    "golf_swing": Motion(
        (
            KeyPose(0.0, (-0.04, 0.5, -0.8), (0.04, 0.5, -0.85), trunk=(38, 0, 0), look=(15, 0), **_WIDE),
            KeyPose(0.3, (0.55, 0.5, -0.3), (0.62, 0.45, -0.32), trunk=(35, 5, -40), look=(15, 35), **_WIDE),
            KeyPose(
                0.45, (0.5, 0.4, 0.42), (0.58, 0.3, 0.42), trunk=(32, 5, -60), look=(15, 50), root=(0, 0, -15), **_WIDE
            ),
            KeyPose(0.6, (-0.05, 0.5, -0.82), (0.05, 0.5, -0.87), trunk=(38, 5, 10), look=(15, -5), **_WIDE),
            KeyPose(0.7, (-0.6, 0.5, -0.25), (-0.5, 0.55, -0.25), trunk=(28, 5, 45), root=(0, 0, 25), **_WIDE),
            KeyPose(0.85, (-0.55, 0.2, 0.5), (-0.42, 0.35, 0.48), trunk=(5, 5, 60), root=(0, 0, 50), **_WIDE),
            KeyPose(1.0, (-0.55, 0.15, 0.45), (-0.42, 0.3, 0.43), trunk=(0, 5, 60), root=(0, 0, 55), **_WIDE),
        ),
        views=("front", "front", "left", "right"),
    ),
    "jump_rope": Motion(
        (
            _sym(0.0, (0.75, 0.25, -0.58), (0.02, 0.08, -0.93), trunk=(3, 0, 0)),
            _sym(0.25, (0.82, 0.32, -0.5), (0.02, 0.0, -0.99), shift=(0, 0, 0.07)),
            _sym(0.5, (0.78, 0.22, -0.42), (0.02, -0.06, -0.93), shift=(0, 0, 0.14)),
            _sym(0.75, (0.7, 0.18, -0.5), (0.02, 0.0, -0.99), shift=(0, 0, 0.07)),
        ),
        cycles=(3.0, 5.0),
        elbow=(0.3, -1.0, -0.3),
    ),
    "jumping_jacks": Motion(
        (
            _sym(0.0, (0.42, 0.08, -0.93), (0.0, 0.02, -0.97)),
            _sym(0.25, (1.28, 0.05, 0.05), (0.2, 0.0, -0.97), shift=(0, 0, 0.08)),
            _sym(0.5, (0.3, 0.05, 0.98), (0.42, 0.0, -0.88)),
            _sym(0.75, (1.28, 0.05, 0.05), (0.2, 0.0, -0.97), shift=(0, 0, 0.08)),
        ),
        cycles=(2.0, 4.0),
        elbow=(0.6, -1.0, -0.1),
        views=("front", "front", "back", "left", "right"),
    ),
    "pullup": Motion(
        (
            _sym(0.0, (0.5, 0.05, 0.95), (0.02, -0.15, -0.92)),
            _sym(0.45, (0.55, 0.25, 0.22), (0.02, -0.3, -0.8), trunk=(-6, 0, 0), look=(-15, 0)),
            _sym(0.6, (0.55, 0.25, 0.24), (0.02, -0.3, -0.8), trunk=(-6, 0, 0), look=(-15, 0)),
        ),
        cycles=(1.0, 2.5),
        anchor="hands",
        elbow=(1.0, -0.2, -1.0),
        views=("back", "back", "front", "left", "right"),
    ),
    "pushup": Motion(
        (
            _sym(0.0, (0.42, 0.95, -0.05), (0.04, 0.0, -0.99), root=(67, 0, 0), look=(-25, 0)),
            _sym(0.5, (0.55, 0.3, -0.2), (0.04, 0.0, -0.99), root=(81, 0, 0), look=(-35, 0)),
        ),
        cycles=(1.0, 3.0),
        elbow=(0.7, -1.0, -0.4),
        views=("left", "right"),
    ),
    "situp": Motion(
        (
            _sym(0.0, (0.3, 0.05, 0.32), _SITUP_FEET, root=(-88, 0, 0), look=(5, 0)),
            _sym(0.5, (0.3, 0.1, 0.32), _SITUP_FEET, root=(-80, 0, 0), trunk=(95, 0, 0), look=(15, 0)),
        ),
        cycles=(1.0, 2.5),
        elbow=(1.0, 0.7, 0.1),
        knee=(0.1, 1.0, 0.2),
        views=("left", "right"),
    ),
    "squat": Motion(
        (
            _sym(0.0, (0.6, -0.08, 0.05), (0.14, 0.0, -0.98), trunk=(6, 0, 0)),
            _sym(0.45, (0.6, -0.08, 0.05), (0.2, 0.28, -0.45), trunk=(42, 0, 0), look=(-25, 0)),
            _sym(0.6, (0.6, -0.08, 0.05), (0.2, 0.28, -0.47), trunk=(42, 0, 0), look=(-25, 0)),
        ),
        cycles=(1.0, 2.5),
        elbow=(0.4, -0.6, -1.0),
        knee=(0.4, 1.0, 0.0),
    ),
    "strum_guitar": Motion(
        (
            KeyPose(0.0, (-0.85, 0.4, -0.25), (0.2, 0.45, -0.48), trunk=(8, 0, 0), look=(20, 25)),
            KeyPose(0.5, (-0.8, 0.42, -0.28), (0.3, 0.42, -0.8), trunk=(8, 0, 0), look=(20, 25)),
        ),
        cycles=(3.0, 6.0),
        elbow=(1.0, -0.5, -0.6),
        views=("front", "front", "left", "right"),
    ),
    "tennis_forehand": Motion(
        (
            KeyPose(0.0, (-0.1, 0.65, -0.25), (0.2, 0.6, -0.3), trunk=(15, 0, 0), **_WIDE),
            KeyPose(
                0.35,
                (-0.3, 0.9, 0.0),
                (1.15, -0.3, 0.0),
                (-0.05, 0.4, -0.8),
                (0.2, -0.15, -0.85),
                trunk=(10, 0, -50),
                root=(0, 0, -30),
                look=(0, 55),
            ),
            KeyPose(
                0.5, (-0.7, 0.5, 0.0), (1.1, 0.3, -0.4), trunk=(12, 0, -15), root=(0, 0, -10), look=(0, 10), **_WIDE
            ),
            KeyPose(0.6, (-0.8, 0.1, -0.1), (0.45, 1.0, -0.1), trunk=(10, 0, 25), root=(0, 0, 10), **_WIDE),
            KeyPose(
                0.78,
                (-0.7, -0.1, -0.3),
                (-0.5, 0.55, 0.4),
                (-0.2, 0.2, -0.9),
                (0.15, -0.35, -0.85),
                trunk=(5, 0, 50),
                root=(0, 0, 25),
            ),
            KeyPose(1.0, (-0.4, 0.5, -0.4), (-0.2, 0.65, -0.1), trunk=(10, 0, 20), **_WIDE),
        ),
        views=("back", "front", "left", "right"),
    ),
    "tennis_serve": Motion(
        (
            KeyPose(0.0, (-0.05, 0.6, -0.4), (0.15, 0.55, -0.45), root=(0, 0, -50), trunk=(12, 0, 0), look=(0, 40)),
            KeyPose(
                0.3,
                (-0.3, 0.4, 0.95),
                (0.75, -0.45, -0.4),
                (-0.15, 0.2, -0.9),
                (0.15, -0.1, -0.92),
                root=(0, 0, -50),
                look=(-25, 30),
            ),
            KeyPose(
                0.45,
                (-0.35, 0.3, 0.95),
                (0.65, -0.3, 0.35),
                (-0.12, 0.2, -0.78),
                (0.12, 0.0, -0.78),
                root=(0, 0, -50),
                trunk=(-18, 10, -20),
                look=(-35, 30),
            ),
            KeyPose(
                0.58,
                (-0.4, 0.5, -0.2),
                (0.35, 0.2, 1.05),
                (-0.05, -0.1, -1.0),
                (0.05, -0.2, -0.97),
                root=(5, 0, 0),
                trunk=(8, -12, 10),
                look=(-30, 0),
                shift=(0, 0.15, 0.14),
            ),
            KeyPose(
                0.72,
                (-0.4, 0.2, -0.5),
                (-0.35, 0.75, -0.6),
                (-0.05, 0.3, -0.85),
                (0.15, -0.7, -0.6),
                root=(15, 0, 20),
                trunk=(40, 0, 30),
                look=(-30, 0),
                shift=(0, 0.4, 0),
            ),
            KeyPose(1.0, (-0.3, 0.4, -0.5), (0.0, 0.6, -0.6), trunk=(18, 0, 5), shift=(0, 0.6, 0), **_WIDE),
        ),
        anchor="pelvis",
        views=("back", "left", "right", "front"),
    ),
}
