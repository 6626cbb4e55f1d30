"""Straight and bent handstands as motions of an articulated body, for classes of one's own: bodies upside down.

In the form of `jaxhar.data.generate.motions`.
"""

from jaxhar.data.generate.motions import KeyPose, Motion, Vector


def _handstand(trunk: float, foot: Vector, sway: float) -> Motion:
    """A body that stands on its hands and sways.

    Args:
      trunk: bend of the chest forward, degrees. foot: the right ankle, relative to its hip. sway: degrees.
    """
    (right, forward, up), keys = foot, []
    for at, lean in ((0.0, -sway), (0.5, sway)):
        keys.append(
            KeyPose(
                at,
                (-0.24, 0.0, 0.96),
                (0.24, 0.0, 0.96),
                (-right, forward, up),
                (right, forward, up),
                root=(180.0 - trunk + lean, 0, 0),
                trunk=(trunk, 0, 0),
                look=(-30, 0),
            )
        )
    views = ("left", "right", "front", "back")
    return Motion(tuple(keys), cycles=(0.5, 2.0), anchor="pelvis", elbow=(0.6, -0.6, 0.0), views=views)


#: Classes of handstands: hips and knees straight, or bent.
HANDSTANDS = {
    "straight": _handstand(0.0, (0.05, 0.0, -0.99), 3.0),
    "bent": _handstand(22.0, (0.08, 0.42, -0.62), 4.0),
}
