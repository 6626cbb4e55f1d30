"""Which person in one view is which in another: persons matched across calibrated views by epipolar distance.

A pixel of one view is a line in another one, the epipolar line, on which the same point of the scene must lie (Hartley
and Zisserman, Multiple View Geometry, chapter 9). The distance of two persons is the mean distance of their joints
from each other's lines. Views are added one by one to groups, each by the best assignment of all its persons (Kuhn,
1955); then every view is assigned again against the others until nothing changes.

Axes: V views, M persons of a view, J joints. Distances are in pixels of the undistorted image.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from jaxhar.core.camera import Camera

#: A joint counts at most this many limits, so that one wrong joint does not part two views of a person.
_CLIP = 3.0
_ROUNDS = 5


def fundamental(first: Camera, second: Camera) -> np.ndarray:
    """(3, 3) F of undistorted pixels: x2 F x1 = 0 for homogeneous pixels x1, x2 of the same point."""
    turn, way = second.R @ first.R.T, second.R @ (first.t - second.t)
    cross = np.array([[0, -way[2], way[1]], [way[2], 0, -way[0]], [-way[1], way[0], 0]])
    inverse = [np.linalg.inv([[c.f[0], 0, c.c[0]], [0, c.f[1], c.c[1]], [0, 0, 1]]) for c in (first, second)]
    return inverse[1].T @ cross @ turn @ inverse[0]


def distance(first: Camera, second: Camera, pixels1: np.ndarray, pixels2: np.ndarray) -> np.ndarray:
    """(...,) distances of pixels (..., 2) of two views from each other's epipolar lines, mean of both ways."""
    x1, x2 = (_homogeneous(camera, pixels) for camera, pixels in ((first, pixels1), (second, pixels2)))
    matrix = fundamental(first, second)
    line1, line2 = x2 @ matrix, x1 @ matrix.T
    off = np.abs((line2 * x2).sum(-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return off * (1 / np.linalg.norm(line1[..., :2], axis=-1) + 1 / np.linalg.norm(line2[..., :2], axis=-1)) / 2


def match_persons(
    cameras: Sequence[Camera],
    poses: Sequence[np.ndarray],
    confidence: Sequence[np.ndarray] | None = None,
    limit: float = 40.0,
    min_joints: int = 4,
) -> np.ndarray:
    """Groups of detections that are the same person at the same moment.

    Args:
      cameras: V.
      poses: for each view (M, J, 2) pixels, M may be 0; NaN: not detected.
      confidence: for each view (M, J), the weight of a joint in the mean; 0: not used. None: 1 everywhere.
      limit: pixels; detections farther apart are not the same person. 40 suits detections some 20 pixels off.
      min_joints: two detections with fewer common joints are not compared and not put together by themselves.

    Returns:
      (G, V) int, for each group the index of its detection in every view, -1 where it has none. Each detection is in
      exactly one group. Groups of more views come first, then those of the smaller distance.
    """
    if len(poses) != len(cameras):
        raise ValueError(f"{len(cameras)} cameras need as many lists of poses, not {len(poses)}")
    weights = [np.ones(np.shape(p)[:2]) for p in poses] if confidence is None else list(confidence)
    table = _distances(cameras, poses, weights, limit, min_joints)
    order = sorted(range(len(cameras)), key=lambda v: -len(poses[v]))
    groups: list[dict[int, int]] = []
    for view in order:
        groups = _assign(groups, view, len(poses[view]), table, limit)
    for _ in range(_ROUNDS):
        before = _sorted(groups)
        for view in order:
            rest = [left for left in ({v: m for v, m in g.items() if v != view} for g in groups) if left]
            groups = _assign(rest, view, len(poses[view]), table, limit)
        if _sorted(groups) == before:
            break
    groups = sorted(groups, key=lambda g: (-len(g), _spread(g, table)))
    return np.array([[group.get(view, -1) for view in range(len(cameras))] for group in groups], int).reshape(
        -1, len(cameras)
    )


def _homogeneous(camera: Camera, pixels: np.ndarray) -> np.ndarray:
    straight = camera.undistort(pixels) * camera.f + camera.c
    return np.concatenate([straight, np.ones_like(straight[..., :1])], -1)


def _distances(cameras, poses, weights, limit: float, min_joints: int) -> dict[tuple[int, int], np.ndarray]:
    """(M of view a, M of view b) mean distances for each pair of views; NaN where they cannot be compared."""
    table = {}
    for a in range(len(cameras)):
        for b in range(a + 1, len(cameras)):
            one, other = np.asarray(poses[a], float)[:, None], np.asarray(poses[b], float)[None]
            shape = np.broadcast_shapes(one.shape, other.shape)
            one, other = np.broadcast_to(one, shape), np.broadcast_to(other, shape)
            off = np.minimum(distance(cameras[a], cameras[b], one, other), _CLIP * limit)
            share = np.sqrt(np.maximum(weights[a][:, None], 0) * np.maximum(weights[b][None], 0))
            share = np.where(np.isfinite(off) & np.isfinite(share), share, 0)
            enough = (share > 0).sum(-1) >= min_joints
            mean = (np.where(share > 0, off, 0) * share).sum(-1) / np.where(enough, share.sum(-1), np.nan)
            table[a, b], table[b, a] = mean, mean.T
    return table


def _assign(groups: list[dict[int, int]], view: int, count: int, table: dict, limit: float) -> list[dict[int, int]]:
    """The groups with the persons of one view added; those that fit none are new groups."""
    groups = [dict(group) for group in groups]
    cost = np.full((len(groups), count), np.inf)
    for n, group in enumerate(groups):
        far = np.array([table[other, view][m] for other, m in group.items()]).reshape(len(group), count)
        known = np.isfinite(far)
        mean = np.where(known, far, 0).sum(0) / np.maximum(known.sum(0), 1)
        cost[n] = np.where(known.any(0), mean, np.inf)
    fits = cost <= limit
    left = set(range(count))
    # A pair that does not fit costs more than any number of pairs that do.
    for n, m in zip(*linear_sum_assignment(np.where(fits, cost, limit * (1 + min(cost.shape)))), strict=True):
        if fits[n, m]:
            groups[n][view] = int(m)
            left.discard(int(m))
    return groups + [{view: m} for m in sorted(left)]


def _sorted(groups: list[dict[int, int]]) -> list[list[tuple[int, int]]]:
    return sorted(sorted(group.items()) for group in groups)


def _spread(group: dict[int, int], table: dict) -> float:
    """Mean distance of the members of a group from each other; 0 for a single one."""
    members = list(group.items())
    far = [table[a, b][m, n] for i, (a, m) in enumerate(members) for b, n in members[i + 1 :]]
    known = [float(d) for d in far if np.isfinite(d)]
    return sum(known) / len(known) if known else 0.0
