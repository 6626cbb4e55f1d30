"""The bodies of a .skeleton file as arrays: in file order, or the two that move most by the rules of two programs."""

from enum import StrEnum
from pathlib import Path

import numpy as np

from jaxhar.data.formats.skeleton_text import TrackedBody, read_bodies
from jaxhar.host.errors import Problem

#: Bodies of `file_order`, and those that mmaction2 looks at.
_SLOTS, _CONSIDERED = 3, 4
#: pyskl drops bodies of so few frames beside others.
_BRIEF = 11
#: pyskl: a frame whose width is more than this share of its height is no standing person; a body with at least this
#: share of such frames is none.
_WIDE, _WIDE_SHARE = 0.8, 0.69754
#: Sums of absolute coordinates below this are none.
_NOTHING = 1e-3
_SPINE = 1


class Cleaning(StrEnum):
    """Programs whose rules choose the bodies."""

    PYSKL = "pyskl"
    MMACTION2 = "mmaction2"


def _in_slots(total: int, bodies: list[TrackedBody], slots: int) -> np.ndarray:
    """(frames, slots, 25, 3) float64: the first bodies of every frame, 0 where there are fewer."""
    found = np.zeros((total, slots, 25, 3))
    for body in bodies:
        kept = body.places < slots
        found[body.frames[kept], body.places[kept]] = body.joints[kept, :, :3]
    return found


def file_order(path: Path) -> np.ndarray:
    """(frames, 3, 25, 3) float32 in metres: the bodies of every frame in file order, 0 where there are fewer.

    Raises:
      Problem: the file is damaged, or a frame has a fourth body.
    """
    total, bodies = read_bodies(path)
    fourth = [body.frames[body.places >= _SLOTS] for body in bodies]
    if late := [int(frames[0]) for frames in fourth if len(frames)]:
        raise Problem(f"frame {min(late) + 1} of {path} has more than {_SLOTS} bodies; choose two by pyskl's rules")
    return _in_slots(total, bodies, _SLOTS).astype(np.float32)


def clean(path: Path, rules: Cleaning = Cleaning.PYSKL) -> np.ndarray | None:
    """(M, T, 25, 3) float16 in metres: one or two bodies; None without any body.

    Raises:
      Problem: the file is damaged, has a joint that is not finite, or has no body that looks like a person.
    """
    total, bodies = read_bodies(path)
    for body in bodies:
        finite = np.isfinite(body.joints[..., :3]).all((1, 2))
        if not finite.all():
            frame = int(body.frames[~finite][0]) + 1
            raise Problem(f"frame {frame} of {path} has a joint at NaN or infinity; restore it")
    if not bodies:
        return None
    if Cleaning(rules) is Cleaning.MMACTION2:
        return _most_lively(_in_slots(total, bodies, _CONSIDERED))
    found = _of_pyskl(bodies)
    if found is None:
        raise Problem(
            f"{path} has {len(bodies)} bodies, none of which looks like a person (pyskl's rules: more than {_BRIEF} "
            f"frames, at least {1 - _WIDE_SHARE:.0%} of them upright)"
        )
    return found


def _most_lively(slots: np.ndarray) -> np.ndarray:
    """mmaction2's rule: the two slots with the largest deviations of x, y and z; every frame of the file."""
    bodies = slots.swapaxes(0, 1)  # (slots, frames, 25, 3)

    def liveliness(body: np.ndarray) -> float:
        seen = body[body.sum((1, 2)) != 0]
        return float(seen[..., 0].std() + seen[..., 1].std() + seen[..., 2].std()) if len(seen) else 0.0

    order = np.argsort([liveliness(body) for body in bodies])[::-1][:2]
    return np.stack([bodies[i] for i in order if bodies[i].sum() != 0]).astype(np.float16)


def _motion(joints: np.ndarray) -> float:
    """Sum of the variances of x, y and z over all joints and frames (n, 25, 3)."""
    return float(joints.reshape(-1, 3).var(0).sum())


def _of_pyskl(bodies: list[TrackedBody]) -> np.ndarray | None:
    """pyskl's rules; None if no body is left."""
    kept_frames = np.unique(np.concatenate([body.frames for body in bodies]))  # those without a body are left out
    bodies = sorted(bodies, key=lambda body: (body.frames[0], body.places[0]))
    starts = [int(np.searchsorted(kept_frames, body.frames[0])) for body in bodies]
    # Where a body comes back after a gap, its later frames follow the earlier ones directly.
    tracks = [(start, body.joints[..., :3].astype(np.float32)) for start, body in zip(starts, bodies, strict=True)]
    if len(tracks) == 1:
        return tracks[0][1][None].astype(np.float16)
    tracks = [(start, joints) for start, joints in tracks if len(joints) > _BRIEF]
    if len(tracks) == 1:
        return tracks[0][1][None].astype(np.float16)
    ranked = []
    for start, joints in tracks:
        extent = np.ptp(joints, axis=1)
        upright = extent[:, 0] <= _WIDE * extent[:, 1]
        if (~upright).mean() < _WIDE_SHARE:
            ranked.append((min(_motion(joints), _motion(joints[upright])), start, joints))
    ranked.sort(key=lambda one: -one[0])
    tracks = [(start, joints) for _, start, joints in ranked]
    if not tracks:
        return None
    if len(tracks) == 1:
        return tracks[0][1][None].astype(np.float16)
    return _two_slots(tracks)


def _two_slots(tracks: list[tuple[int, np.ndarray]]) -> np.ndarray:
    """Bodies, the first the most important, in two slots (M, T, 25, 3): each in the first slot that is free then."""
    found = np.zeros((2, max(start + len(joints) for start, joints in tracks), 25, 3), np.float32)
    ranges: list[tuple[int, int] | None] = [None, None]  # of the frames that are taken
    for start, joints in tracks:
        end = start + len(joints)
        for slot, taken in enumerate(ranges):
            if taken is None or end <= taken[0] or start >= taken[1]:
                found[slot, start:end] = joints
                ranges[slot] = (start, end) if taken is None else (min(start, taken[0]), max(end, taken[1]))
                break
    seen = np.flatnonzero(np.abs(found).sum((0, 2, 3)) >= _NOTHING)
    found = found[:, seen[0] : seen[-1] + 1]
    first, second = np.abs(found[:, 0, _SPINE]).sum(-1)
    if first < _NOTHING <= second:
        found = found[::-1]
    return found[: 2 if ranges[1] else 1].astype(np.float16)
