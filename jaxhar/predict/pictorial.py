"""The pose in space of every moment by pictorial structures, from the heat maps that a network gives for all views."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from jaxhar.core.camera import Camera
from jaxhar.core.skeleton import H36M17, Skeleton
from jaxhar.core.structures import Structures, limb_lengths, solve, tree
from jaxhar.core.triangulate import Triangulated, reprojection
from jaxhar.host.errors import Problem
from jaxhar.predict.moments import Moments

#: mm between two bins of the first grid; the time grows with the fifth power of their number.
_SPACING = 100.0
#: Number of joints that a sentence names.
_NAMED = 3


def body(skeleton: Skeleton) -> tuple[Skeleton, tuple[int, ...]]:
    """The joints that form the tree, and their parents: Human3.6M's 17, or the largest part that limbs connect.

    Problem if no limbs are known.
    """
    if {*H36M17.joints} <= {*skeleton.joints}:
        return H36M17, tree(H36M17)
    parts: list[set[str]] = [{joint} for joint in skeleton.joints]
    for limb in skeleton.limbs:
        ends = {skeleton.joints[n] for n in limb}
        touched = [part for part in parts if part & ends]
        parts = [part for part in parts if part not in touched] + [set().union(*touched)]
    largest = max(parts, key=len)
    if len(largest) < 3:
        raise Problem(f"--method structures needs limbs between the joints, and skeleton {skeleton.name} has none")
    layout = Skeleton(skeleton.name, tuple(joint for joint in skeleton.joints if joint in largest))
    return layout, tree(layout, "pelvis" if "pelvis" in largest else layout.joints[0])


def locate(
    start: Triangulated,
    cameras: Sequence[Camera],
    pixels: np.ndarray,
    weight: np.ndarray,
    skeleton: Skeleton,
    moments: Iterable[Moments],
) -> tuple[Triangulated, list[str]]:
    """Points (F, 1, J, 3) of one person, and sentences on what was triangulated instead.

    The lengths of the limbs are the medians over all frames of the triangulated ones, left and right together.

    Args:
      start: triangulated joints (F, 1, J, 3).
      pixels: (V, F, 1, J, 2). weight: (V, F, 1, J), 0 where a view does not count in the reprojection error.
      moments: heat maps of all frames, in order.

    Raises:
      Problem: the skeleton has no limbs.
    """
    layout, parents = body(skeleton)
    index = [skeleton.index(joint) for joint in layout.joints]
    limbs = _limbs(start.points[:, 0, index], layout, parents)
    unknown = [joint for joint, length in zip(layout.joints, limbs, strict=True) if not np.isfinite(length)]
    if unknown:
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        return start, [
            f"all frames are triangulated, as no limb to {', '.join(unknown[:_NAMED])}{more} has a length in any frame"
        ]
    settings, vectors = grid(limbs, parents), np.stack([camera.to_vector() for camera in cameras])
    solved = np.zeros(start.few.shape, bool)
    points, size = start.points.copy(), 0
    for some in moments:
        assert some.maps is not None
        count, size = len(some.maps), max(size, len(some.maps))
        here = points[some.first : some.first + count, 0]  # a view of the array
        affine, maps, first = (_filled(a, size) for a in (some.affine, some.maps[..., index], here[:, index]))
        found = solve(settings, parents, np.stack([vectors] * size), affine, maps, first, limbs)
        here[:, index] = found.points[:count]
        solved[some.first : some.first + count, 0, index] = ~found.fell_back[:count, None]
    errors, _ = reprojection(cameras, pixels, points)
    used = (weight > 0) & np.isfinite(errors)
    mean = np.where(used, errors, 0).sum(0) / np.where(used.any(0), used.sum(0), np.nan)
    result = Triangulated(
        points,
        np.where(solved, mean, start.error),
        np.where(solved, used, start.used),
        np.where(solved, errors, start.errors),
        start.few & ~solved,
        start.behind & ~solved,
    )
    return result, _notes(np.any(solved, axis=(1, 2)), layout, skeleton)


def grid(limbs: np.ndarray, parents: Sequence[int]) -> Structures:
    """Settings whose grid holds a stretched body with these limbs (J,), and has bins 10 cm apart.

    A limb may be longer or shorter by that: by the relative tolerance of the original, no two of its bins, 13 cm apart,
    would be as near as a hip is to the pelvis. On the maps of true poses (64 x 64, sigma 2, four views) the mean error
    is 9 mm with bins 10 cm apart and 44 mm with bins 15 cm apart.
    """
    reach = 0.0
    for joint in range(len(parents)):
        length, here = 0.0, joint
        while here >= 0:
            length, here = length + limbs[here], parents[here]
        reach = max(reach, length)
    size = float(max(Structures.size, 2 * reach))
    return Structures(size=size, bins=1 + math.ceil(size / _SPACING), rule="absolute", tolerance=_SPACING)


def _limbs(points: np.ndarray, layout: Skeleton, parents: tuple[int, ...]) -> np.ndarray:
    """(J,) median lengths of the limbs that end in each joint, left and right together; NaN without any frame."""
    lengths = limb_lengths(points, parents)
    sides = np.concatenate([lengths, lengths[:, layout.flip]])
    return np.array([np.median(found) if len(found := one[np.isfinite(one)]) else np.nan for one in sides.T])


def _filled(values: np.ndarray, count: int) -> np.ndarray:
    """The last row repeated up to a number of rows, so that few shapes are compiled."""
    return np.concatenate([values, np.repeat(values[-1:], count - len(values), axis=0)])


def _notes(solved: np.ndarray, layout: Skeleton, skeleton: Skeleton) -> list[str]:
    """Sentences on frames (F,) bool and joints that were not found by the structures."""
    notes = []
    if not solved.all():
        lost = int((~solved).sum())
        notes.append(f"{lost} of {len(solved)} frames have no pose with the limbs' lengths and are triangulated")
    rest = [joint for joint in skeleton.joints if joint not in layout.joints]
    if rest:
        notes.append(f"no limb leads to {', '.join(rest)}; these joints are triangulated")
    return notes
