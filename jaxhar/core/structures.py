"""Recursive pictorial structures: the pose in space that the heat maps of all views support best.

Qiu et al., Cross View Fusion for 3D Human Pose Estimation, ICCV 2019, section 5. The joints form a tree. Joint j may
lie in any bin b of a grid; its score phi_j(b) is the sum over the views of its heat map where the bin projects to. A
child must lie at the length of its limb from its parent, within a tolerance. Max-product over the tree finds the bins
with the largest product of scores. The first grid is common to all joints; each further level gives every joint a small
grid round its last place.

Two bins of the first grid are compatible if their offset (dx, dy, dz) in bins has a squared length within bounds, so
the message of a child is a maximum over a shell of offsets. Along z the shell is one or two runs, and the maximum over
a run is that of two windows of 1, 2, 4 ... bins. Some hundred shifted maxima take the place of a matrix of 4096 x 4096.

Axes: P poses, V views, J joints, h w of a heat map. Lengths are in mm. Scores are summed as logarithms, which cannot
underflow.
"""

from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxhar.core.skeleton import Skeleton

_MULTIPLE = 512  # lists of windows are padded to a multiple of this, so that few shapes are compiled


@dataclass(frozen=True)
class Structures:
    """Settings; the defaults are those of the original.

    Attributes:
      bins: n, of the first grid along each axis. size: its edge, from the first bin's centre to the last one's.
      rule: how the length d between two bins may differ from the limb's length L in the first grid: "relative",
        |d - L| < tolerance L, or "absolute", |d - L| <= tolerance in mm.
      depth: number of further levels. recursion_bins: of their grids along each axis.
      recursion_tolerance: mm, the absolute tolerance of the further levels.
    """

    bins: int = 16
    size: float = 2000.0
    rule: Literal["relative", "absolute"] = "relative"
    tolerance: float = 0.4
    depth: int = 10
    recursion_bins: int = 2
    recursion_tolerance: float = 150.0

    @property
    def spacing(self) -> float:
        """Distance of two neighbouring bins of the first grid."""
        return self.size / (self.bins - 1)

    def edge(self, level: int) -> float:
        """Edge of a joint's grid at level 1, 2 ...: the share of one bin of the level before."""
        return self.size / self.bins / self.recursion_bins ** (level - 1)


@dataclass(frozen=True)
class Found:
    """Poses in space.

    Attributes:
      points: (P, J, 3) float64.
      levels: (depth + 1, P, J, 3) float64, the pose after every level; NaN for a pose without any possible bins.
      fell_back: (P,) bool, no bins have a positive score in all joints and legal limbs; `points` are then the given
        start.
      done: (P,) int, further levels that had legal bins. The pose stays as it is from the first level without.
    """

    points: np.ndarray
    levels: np.ndarray
    fell_back: np.ndarray
    done: np.ndarray


def tree(skeleton: Skeleton, root: str = "pelvis") -> tuple[int, ...]:
    """For each joint the index of its parent, -1 for the root: the limbs of a skeleton, walked from the root.

    ValueError if the limbs do not connect all joints; KeyError without the root.
    """
    if root not in skeleton.joints:
        raise KeyError(f"skeleton {skeleton.name} has no joint {root!r}")
    parents: dict[int, int] = {skeleton.index(root): -1}
    waiting = deque(parents)
    while waiting:
        here = waiting.popleft()
        for limb in skeleton.limbs:
            for a, b in (limb, limb[::-1]):
                if a == here and b not in parents:
                    parents[b] = a
                    waiting.append(b)
    lost = [joint for n, joint in enumerate(skeleton.joints) if n not in parents]
    if lost:
        raise ValueError(f"no limb of skeleton {skeleton.name} leads to {', '.join(lost)}")
    return tuple(parents[n] for n in range(len(skeleton)))


def limb_lengths(points: np.ndarray, parents: tuple[int, ...]) -> np.ndarray:
    """(..., J) lengths of the limbs that end in each joint, 0 for the root, from joints (..., J, 3)."""
    points = np.asarray(points, np.float64)
    lengths = np.linalg.norm(points - points[..., [max(p, 0) for p in parents], :], axis=-1)
    return np.where(np.array(parents) < 0, 0, lengths)


def solve(
    settings: Structures,
    parents: tuple[int, ...],
    cameras: np.ndarray,
    affine: np.ndarray,
    maps: np.ndarray,
    start: np.ndarray,
    limbs: np.ndarray,
    centers: np.ndarray | None = None,
) -> Found:
    """The best poses.

    Args:
      parents: of the J joints, see `tree`.
      cameras: (P, V, 22), see `Camera.to_vector`.
      affine: (P, V, 3, 3) image pixels -> crop units; a heat map spans 0 to 1, cell (row, column) = unit * size.
      maps: (P, V, h, w, J) heat maps, any sign; sums over the views below 0 count as 0.
      start: (P, J, 3) triangulated joints: the answer for poses without possible bins; NaN is allowed.
      limbs: (P, J) or (J,) lengths of the limbs that end in each joint; a limb that is NaN makes its pose fall back.
      centers: (P, 3) centres of the first grid; None: the root of `start`, or the mean of its joints where that is NaN;
        a pose without any joint falls back.
    """
    start = np.asarray(start, np.float64)
    poses, joints = start.shape[:2]
    root = parents.index(-1)
    if centers is None:
        known = np.isfinite(start).all(-1, keepdims=True)
        mean = np.where(known, start, 0).sum(1) / np.where(known.any(1), known.sum(1), np.nan)
        centers = np.where(known[:, root], start[:, root], mean)
    centers = np.asarray(centers, np.float64)
    bounds = _bounds(settings, np.broadcast_to(np.asarray(limbs, np.float64), (poses, joints)))
    windows, counts = _windows(settings.bins, bounds)
    # Coordinates relative to the centre keep float32 precise.
    near = np.array(cameras, np.float64)
    near[..., 9:12] -= centers[:, None]
    lines = [settings.size * np.linspace(-0.5, 0.5, settings.bins), np.linspace(-0.5, 0.5, settings.recursion_bins)]
    edges = [settings.edge(level) for level in range(1, settings.depth + 1)]
    levels, legal = _solve(
        jnp.asarray([(j, parents[j]) for j in reversed(_walk(parents))], jnp.int32),
        *(jnp.asarray(a, jnp.float32) for a in (*lines, edges, settings.recursion_tolerance)),
        *(jnp.asarray(a, jnp.float32) for a in (near, affine, maps, np.broadcast_to(limbs, (poses, joints)))),
        *(jnp.asarray(a, jnp.int32) for a in (bounds, windows, counts)),
    )
    legal = np.asarray(legal)  # (P, depth + 1)
    places = np.moveaxis(np.asarray(levels, np.float64), 1, 0) + centers[:, None]
    places[:, ~legal[:, 0]] = np.nan
    points = np.where(legal[:, :1, None], places[-1], start)
    return Found(points, places, ~legal[:, 0], np.cumprod(legal, axis=1).sum(1) - legal[:, 0])


def _bounds(settings: Structures, limbs: np.ndarray) -> np.ndarray:
    """(P, J, 2) int: smallest and largest legal squared offset in bins, for limbs (P, J); (1, 0) if there is none."""
    squared = np.arange(3 * (settings.bins - 1) ** 2 + 1)
    off = np.abs(settings.spacing * np.sqrt(squared) - limbs[..., None])
    if settings.rule == "relative":
        legal = off < settings.tolerance * limbs[..., None]
    else:
        legal = off <= settings.tolerance
    low, high = legal.argmax(-1), len(squared) - 1 - legal[..., ::-1].argmax(-1)
    return np.where(legal.any(-1)[..., None], np.stack([low, high], -1), np.array([1, 0]))


def _windows(bins: int, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The windows (P, J, W, 4) whose union is the shell of legal offsets, and how many there are (P, J).

    A window is (m, dx, dy, dz): the 2^m offsets (dx, dy, dz), (dx, dy, dz + 1) ...
    """
    flat, back = np.unique(bounds.reshape(-1, 2), axis=0, return_inverse=True)
    steps = np.arange(1 - bins, bins)
    squared = steps[:, None, None] ** 2 + steps[:, None] ** 2 + steps**2
    lists = []
    for low, high in flat:
        legal = np.pad((squared >= low) & (squared <= high), ((0, 0), (0, 0), (1, 1))).astype(np.int8)
        change = np.diff(legal, axis=-1)
        x, y, first = np.nonzero(change == 1)
        last = np.nonzero(change == -1)[2]  # exclusive; runs come in the same order
        power = np.floor(np.log2(last - first)).astype(int)
        ends = [np.stack([power, steps[x], steps[y], where - bins + 1], -1) for where in (first, last - 2**power)]
        lists.append(np.unique(np.concatenate(ends), axis=0))
    counts = np.array([len(rows) for rows in lists])
    width = max(1, -(-counts.max() // _MULTIPLE)) * _MULTIPLE
    padded = np.stack([np.pad(rows, ((0, width - len(rows)), (0, 0))) for rows in lists])
    return padded[back].reshape(*bounds.shape[:2], width, 4), counts[back].reshape(bounds.shape[:2])


@jax.jit
def _solve(tree, line, small, edges, tolerance, cameras, affine, maps, limbs, bounds, windows, counts):
    """Levels (P, depth + 1, J, 3) relative to the centres, and (P, depth + 1) bool: levels with legal bins.

    Args:
      tree: (J - 1, 2) child and parent, from the leaves to the root.
      line: (n,) bins of the first grid along an axis. small: of the further grids, which have the given edges.
    """

    def one(pose):
        cameras, affine, maps, limbs, bounds, windows, counts = pose
        first, legal = _first(tree, line, cameras, affine, maps, bounds, windows, counts)

        def further(carry, edge):
            place, good = carry
            moved, possible = _further(tree, small * edge, tolerance, cameras, affine, maps, limbs, place)
            good = good & possible
            place = jnp.where(good, moved, place)
            return (place, good), (place, good)

        _, (places, goods) = jax.lax.scan(further, (first, legal), edges)
        return jnp.concatenate([first[None], places]), jnp.concatenate([legal[None], goods])

    return jax.lax.map(one, (cameras, affine, maps, limbs, bounds, windows, counts))


def _walk(parents: tuple[int, ...]) -> list[int]:
    """The joints from the root outwards, without the root."""
    depth = [0] * len(parents)
    for joint in range(len(parents)):
        above = parents[joint]
        while above >= 0:
            depth[joint], above = depth[joint] + 1, parents[above]
    return sorted((j for j in range(len(parents)) if parents[j] >= 0), key=depth.__getitem__)


def _first(tree, line, cameras, affine, maps, bounds, windows, counts):
    """The pose (J, 3) in the first grid, and whether there is a legal one."""
    n = len(line)
    grid = jnp.stack(jnp.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    cells, ahead = _cells(cameras, affine, grid, maps.shape[1:3])
    energy = _log(_sample(maps, cells, ahead))  # (n^3, J)
    energy = energy.T.reshape(-1, n, n, n)

    def message(energy, joint):
        child, parent = joint
        # windows[m][b] = max of the energies of bins b, b + 1 ... b + 2^m - 1 along z
        whole = jnp.pad(energy[child], n - 1, constant_values=-jnp.inf)
        pyramid = [whole]
        for m in range((2 * n - 1).bit_length() - 1):
            shifted = jnp.pad(pyramid[-1][..., 2**m :], ((0, 0), (0, 0), (0, 2**m)), constant_values=-jnp.inf)
            pyramid.append(jnp.maximum(pyramid[-1], shifted))
        stacked = jnp.stack(pyramid)

        def shift(i, best):
            m, dx, dy, dz = windows[child, i]
            where = (m, dx + n - 1, dy + n - 1, dz + n - 1)
            return jnp.maximum(best, jax.lax.dynamic_slice(stacked, where, (1, n, n, n))[0])

        best = jax.lax.fori_loop(0, counts[child], shift, jnp.full((n, n, n), -jnp.inf))
        return energy.at[parent].add(_level(best)), None

    energy = jax.lax.scan(message, energy, (tree[:, 0], tree[:, 1]))[0].reshape(len(energy), -1)
    root = tree[-1, 1]
    legal = jnp.isfinite(energy[root].max())
    axis = jnp.arange(n, dtype=jnp.int32)
    index = jnp.stack(jnp.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    chosen = jnp.zeros(len(energy), jnp.int32).at[root].set(jnp.argmax(energy[root]).astype(jnp.int32))

    def back(chosen, joint):
        child, parent = joint
        squared = ((index - index[chosen[parent]]) ** 2).sum(-1)
        near = (squared >= bounds[child, 0]) & (squared <= bounds[child, 1])
        best = jnp.argmax(jnp.where(near, energy[child], -jnp.inf))
        return chosen.at[child].set(best.astype(jnp.int32)), None

    chosen = jax.lax.scan(back, chosen, (tree[::-1, 0], tree[::-1, 1]))[0]
    return grid[chosen], legal


def _further(tree, line, tolerance, cameras, affine, maps, limbs, place):
    """The pose (J, 3) in grids round the joints, and whether there is a legal one."""
    grid = jnp.stack(jnp.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    joints, bins = len(place), len(grid)
    points = place[:, None] + grid  # (J, bins, 3)
    cells, ahead = _cells(cameras, affine, points.reshape(-1, 3), maps.shape[1:3])
    own = [x.reshape(len(maps), joints, bins, *x.shape[2:]) for x in (cells, ahead)]
    score = jax.vmap(lambda m, c, a: _sample(m[..., None], c, a)[:, 0], (3, 1, 1))(maps, *own)  # (J, bins)
    above = jnp.zeros(joints, jnp.int32).at[tree[:, 0]].set(tree[:, 1])
    length = jnp.linalg.norm(points[above][:, :, None] - points[:, None], axis=-1)  # (J, parent's bins, bins)
    legal = jnp.abs(length - limbs[:, None, None]) <= tolerance

    def message(energy, joint):
        child, parent = joint
        best = jnp.where(legal[child], energy[child], -jnp.inf).max(-1)
        return energy.at[parent].add(_level(best)), None

    energy = jax.lax.scan(message, _log(score), (tree[:, 0], tree[:, 1]))[0]
    root = tree[-1, 1]
    chosen = jnp.zeros(joints, jnp.int32).at[root].set(jnp.argmax(energy[root]).astype(jnp.int32))

    def back(chosen, joint):
        child, parent = joint
        best = jnp.argmax(jnp.where(legal[child, chosen[parent]], energy[child], -jnp.inf))
        return chosen.at[child].set(best.astype(jnp.int32)), None

    chosen = jax.lax.scan(back, chosen, (tree[::-1, 0], tree[::-1, 1]))[0]
    return points[jnp.arange(joints), chosen], jnp.isfinite(energy[root].max())


def _log(score):
    """Logarithms of scores, -inf where the score is not positive."""
    return jnp.where(score > 0, jnp.log(jnp.where(score > 0, score, 1)), -jnp.inf)


def _level(energy):
    """Energies with their maximum at 0: sums over the tree stay small and precise."""
    top = energy.max()
    return energy - jnp.where(jnp.isfinite(top), top, 0)


def _cells(cameras, affine, points, size):
    """Where points (N, 3) lie in the heat maps of each view: (V, N, 2) cells x, y, and (V, N) bool: in front of it."""
    precise = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)

    def view(camera, affine):
        local = precise("ij,nj->ni", camera[:9].reshape(3, 3), points - camera[9:12])
        depth = local[:, 2:]
        tangent = local[:, :2] / jnp.where(depth > 0, depth, 1)
        f, c, p, k, w = camera[12:14], camera[14:16], camera[16:18], camera[18:21], camera[21]
        r2 = (tangent**2).sum(-1, keepdims=True)
        cross = w * (tangent * p[::-1]).sum(-1, keepdims=True)
        gain = 1 + r2 * (k[0] + r2 * (k[1] + r2 * k[2])) + cross
        pixels = f * (tangent * gain + r2 * p[::-1]) + c
        crop = precise("ij,nj->ni", affine[:2, :2], pixels) + affine[:2, 2]
        return crop * jnp.array(size[::-1], jnp.float32), depth[:, 0] > 0

    return jax.vmap(view)(cameras, affine)


def _sample(maps, cells, ahead):
    """Sums over the views of maps (V, h, w, J) at cells (V, N, 2), bilinear, 0 outside the cells' centres: (N, J)."""
    _, height, width, _ = maps.shape
    limit = jnp.array([width - 1, height - 1], jnp.float32)
    inside = ahead & ((cells >= 0) & (cells <= limit)).all(-1)
    cells = jnp.where(inside[..., None], cells, 0)
    low = jnp.clip(jnp.floor(cells), 0, jnp.maximum(limit - 1, 0))
    share = cells - low
    x, y = (low[..., n].astype(jnp.int32) for n in (0, 1))

    def view(image, x, y, share, inside):
        right, down = jnp.minimum(x + 1, width - 1), jnp.minimum(y + 1, height - 1)
        a, b = share[:, :1], share[:, 1:]
        top = image[y, x] * (1 - a) + image[y, right] * a
        bottom = image[down, x] * (1 - a) + image[down, right] * a
        return jnp.where(inside[:, None], top * (1 - b) + bottom * b, 0)

    return jax.vmap(view)(maps, x, y, share, inside).sum(0)
