"""What people do in a street or a room, as motions of an articulated body: standing, walking, sitting, waving, ...

In the form of `jaxhar.data.generate.motions`; they are for scenes of several persons and have no class of their own.
"""

from jaxhar.data.generate.motions import KeyPose, Motion, Vector

_DOWN_L: Vector = (-0.26, 0.05, -0.92)
_DOWN_R: Vector = (0.26, 0.05, -0.92)
_SEAT_L: Vector = (-0.12, 0.5, -0.46)
_SEAT_R: Vector = (0.12, 0.5, -0.46)


def _gait(step: float, lift: float, arms: float, lean: float) -> tuple[KeyPose, ...]:
    """Four key poses of a step with the left and one with the right foot.

    Args:
      step: of a foot forward and back, in leg lengths. lift: of the foot that swings. arms: their swing.
      lean: of the trunk, degrees.
    """
    low = -((1 - step**2) ** 0.5)
    poses = []
    for at, side in ((0.0, 1.0), (0.25, 0.0), (0.5, -1.0), (0.75, 0.0)):
        left, right = side * step, -side * step
        up = (lift if at == 0.75 else 0.0), (lift if at == 0.25 else 0.0)
        height = 0.98 * (low if side else -1.0)
        poses.append(
            KeyPose(
                at,
                (-0.2, 0.1 - side * arms, -0.86),
                (0.2, 0.1 + side * arms, -0.86),
                (-0.06, left, height + up[0]),
                (0.06, right, height + up[1]),
                trunk=(lean, 0, 0),
            )
        )
    return tuple(poses)


#: The motions by name.
EVERYDAY: dict[str, Motion] = {
    "stand": Motion((KeyPose(0.0, _DOWN_L, _DOWN_R), KeyPose(1.0, _DOWN_L, _DOWN_R, trunk=(3, 2, 6), look=(0, 30)))),
    "walk": Motion(_gait(0.34, 0.1, 0.35, 4), cycles=(1.0, 3.0)),
    "run": Motion(_gait(0.5, 0.3, 0.5, 14), cycles=(2.0, 4.0), elbow=(0.2, -1.0, -0.2)),
    "arms_crossed": Motion(
        (KeyPose(0.0, (0.16, 0.3, -0.3), (-0.16, 0.32, -0.36)),) * 1
        + (KeyPose(1.0, (0.16, 0.3, -0.3), (-0.16, 0.32, -0.36), look=(0, 30)),),
        elbow=(1.0, -0.2, -0.6),
    ),
    "on_the_phone": Motion(
        (
            KeyPose(0.0, _DOWN_L, (0.1, 0.1, 0.28)),
            KeyPose(1.0, _DOWN_L, (0.1, 0.1, 0.28), trunk=(4, 0, 8), look=(5, 20)),
        ),
        elbow=(0.8, 0.2, -1.0),
    ),
    "wave": Motion(
        (KeyPose(0.0, _DOWN_L, (0.4, 0.1, 0.72)), KeyPose(0.5, _DOWN_L, (0.7, 0.1, 0.6))), cycles=(1.0, 3.0)
    ),
    "reach": Motion((KeyPose(0.0, _DOWN_L, _DOWN_R), KeyPose(1.0, _DOWN_L, (0.1, 0.9, 0.1), trunk=(12, 0, 10)))),
    "carry": Motion(
        (
            KeyPose(0.0, (-0.2, 0.5, -0.5), (0.2, 0.5, -0.5), trunk=(-4, 0, 0)),
            KeyPose(1.0, (-0.2, 0.5, -0.5), (0.2, 0.5, -0.5), trunk=(-4, 4, 0)),
        )
    ),
    "hands_on_hips": Motion(
        (
            KeyPose(0.0, (-0.22, 0.05, -0.5), (0.22, 0.05, -0.5)),
            KeyPose(1.0, (-0.22, 0.05, -0.5), (0.22, 0.05, -0.5), look=(10, -40)),
        ),
        elbow=(1.0, -0.5, 0.0),
    ),
    "sit": Motion(
        (
            KeyPose(0.0, (-0.12, 0.5, -0.55), (0.12, 0.5, -0.55), _SEAT_L, _SEAT_R, trunk=(6, 0, 0)),
            KeyPose(1.0, (-0.12, 0.5, -0.3), (0.12, 0.45, -0.5), _SEAT_L, _SEAT_R, trunk=(14, 0, 0), look=(10, 20)),
        ),
        knee=(0.1, 1.0, 0.6),
    ),
    "crouch": Motion(
        (
            KeyPose(0.0, (-0.2, 0.6, -0.6), (0.2, 0.6, -0.6), (-0.12, 0.1, -0.4), (0.12, 0.1, -0.4), trunk=(40, 0, 0)),
            KeyPose(1.0, (-0.2, 0.7, -0.5), (0.2, 0.5, -0.7), (-0.12, 0.1, -0.5), (0.12, 0.1, -0.5), trunk=(30, 0, 0)),
        ),
        knee=(0.3, 1.0, 0.0),
    ),
    "bend_down": Motion(
        (KeyPose(0.0, _DOWN_L, _DOWN_R), KeyPose(1.0, (-0.2, 0.5, -0.8), (0.2, 0.5, -0.8), trunk=(75, 0, 0))),
    ),
    "arms_up": Motion(
        (
            KeyPose(0.0, (-0.4, 0.1, 0.85), (0.4, 0.1, 0.85)),
            KeyPose(0.5, (-0.7, 0.1, 0.65), (0.7, 0.1, 0.65), shift=(0, 0, 0.03)),
        ),
        cycles=(1.0, 3.0),
    ),
}

#: Metres per second of the motions that go somewhere.
SPEED = {"walk": 1.3, "run": 3.0}
