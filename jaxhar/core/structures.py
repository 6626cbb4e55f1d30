"""Poses in space from heat maps of several views by recursive pictorial structures (Qiu et al., ICCV'19, section 4).

Space about the person is divided into bins. A pose puts every joint into a bin; its score is the product over the
joints of the heat maps' values there (summed over the views), and only poses whose limbs have about the known lengths
are possible. Dynamic programming over the tree of limbs finds the best pose. Then every joint gets a finer grid of its
own about its bin, several times.

Whether a pair of bins is possible depends only on the difference of their indices. So at the first level the maximum
over all possible bins of a child, for every bin of its parent, is taken over shifted copies of the child's scores:
along one axis over a range (by tables of maxima over 1, 2, 4, ... neighbours), over the other two by shifts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np

from jaxhar.core.batch import to_image
from jaxhar.core.camera import Camera
from jaxhar.core.gaussian import decode
from jaxhar.core.skeleton import Skeleton
from jaxhar.core.triangulate import triangulate

Array = jax.Array


@dataclass(frozen=True)
class Structures:
    """Settings of pictorial structures; the defaults are the paper's.

    Attributes:
      bins: number of bins along each axis at the first level. size: side of the space in mm.
      fine_bins, levels: the same of the finer levels, and their number.
      tolerance: a limb of length L is possible from (1 - tolerance) L to (1 + tolerance) L at the first level.
      tolerance_mm: absolute tolerance there instead; None for the relative one.
      fine_tolerance_mm: absolute tolerance of the finer levels.
    """

    bins: int = 16
    size: float = 2000.0
    fine_bins: int = 2
    levels: int = 10
    tolerance: float = 0.4
    tolerance_mm: float | None = None
    fine_tolerance_mm: float = 150.0


@dataclass(frozen=True)
class Tree:
    """The limbs of a skeleton as a tree.

    Attributes:
      parents: the parent of each joint, -1 for the root.
      order: joints from the leaves to the root.
    """

    parents: tuple[int, ...]

    @property
    def order(self) -> list[int]:
        """Joints from the deepest to the root."""
        return sorted(range(len(self.parents)), key=self._depth, reverse=True)

    @property
    def root(self) -> int:
        return self.parents.index(-1)

    def children(self, joint: int) -> list[int]:
        return [child for child, parent in enumerate(self.parents) if parent == joint]

    def _depth(self, joint: int) -> int:
        return 0 if self.parents[joint] < 0 else 1 + self._depth(self.parents[joint])

    def lengths(self, world: np.ndarray) -> np.ndarray:
        """Lengths (..., J) of the limbs that end in each joint, 0 for the root, of poses (..., J, 3)."""
        parents = np.array([max(parent, 0) for parent in self.parents])
        found = np.linalg.norm(world - world[..., parents, :], axis=-1)
        return np.where(np.array(self.parents) < 0, 0, found)


def tree_of(skeleton: Skeleton, root: str = "pelvis") -> Tree:
    """The tree of a skeleton's limbs from its root; ValueError if they do not connect all joints without a circle."""
    parents = [-2] * len(skeleton)
    parents[skeleton.index(root)] = -1
    reached = [skeleton.index(root)]
    for joint in reached:
        for a, b in (*skeleton.limbs, *((b, a) for a, b in skeleton.limbs)):
            if a == joint and parents[b] == -2:
                parents[b] = joint
                reached.append(b)
    if len(reached) < len(skeleton):
        lacking = [skeleton.joints[j] for j, parent in enumerate(parents) if parent == -2]
        raise ValueError(f"the limbs of {skeleton.name} do not reach {', '.join(lacking)} from {root}")
    return Tree(tuple(parents))


@dataclass(frozen=True)
class Reconstructed:
    """Poses in space.

    Attributes:
      levels: (B, levels + 1, J, 3) world mm after every level.
      possible: (B,) bool; False where no pose has limbs of the given lengths; `levels` is then triangulated.
    """

    levels: np.ndarray
    possible: np.ndarray

    @property
    def world(self) -> np.ndarray:
        """(B, J, 3), the final poses."""
        return self.levels[:, -1]


def reconstruct(
    maps: np.ndarray,
    affine: np.ndarray,
    cameras: Sequence[Sequence[Camera]],
    centre: np.ndarray,
    limbs: np.ndarray,
    tree: Tree,
    settings: Structures = Structures(),  # noqa: B008
) -> Reconstructed:
    """Reconstructs poses.

    Args:
      maps: (B, V, h, w, J) heat maps; values below 0 count as 0.
      affine: (B, V, 3, 3), image pixels -> crop units.
      cameras: B times V cameras.
      centre: (B, 3) middle of the space in world mm, e.g. the root joint.
      limbs: (J,) or (B, J) length in mm of the limb that ends in each joint; ignored for the root.
    """
    joints = maps.shape[-1]
    limbs = np.broadcast_to(limbs, (len(maps), joints))
    vectors = np.array([[camera.to_vector() for camera in views] for views in cameras])
    with jax.enable_x64(True):  # products of up to J sums, and bins that must not depend on rounding
        inputs = (maps, affine, vectors, centre, limbs)
        levels, energy = _solve(*(jnp.asarray(array, jnp.float64) for array in inputs), tree, settings)
        found, possible = np.array(levels), np.asarray(energy) > 0
    for b in np.flatnonzero(~possible).tolist():
        cells, value = (np.asarray(array) for array in decode(jnp.asarray(maps[b])))
        pixels = to_image(affine[b], cells / np.array([maps.shape[3], maps.shape[2]]))
        found[b] = triangulate(cameras[b], pixels, np.maximum(value, 0)).points
    return Reconstructed(found, possible)


@partial(jax.jit, static_argnums=(5, 6))
def _solve(
    maps: Array, affine: Array, cameras: Array, centre: Array, limbs: Array, tree: Tree, settings: Structures
) -> tuple[Array, Array]:
    """Levels (B, levels + 1, J, 3), and the score (B,) of the best pose of the first level, scaled to at most 1."""

    def one(inputs: tuple[Array, ...]) -> tuple[Array, Array]:
        maps, affine, cameras, centre, limbs = inputs
        maps = jnp.maximum(maps, 0)
        grid = _grid(settings.bins, settings.size) + centre
        scores = _scores(maps, affine, cameras, jnp.broadcast_to(grid, (maps.shape[-1], *grid.shape)))
        index, energy = _first_level(scores, limbs, tree, settings)
        first = grid[index]

        def finer(pose: Array, edge: Array) -> tuple[Array, Array]:
            bins = pose[:, None] + edge * _grid(settings.fine_bins, 1.0)
            pose = _fine_level(_scores(maps, affine, cameras, bins), bins, limbs, tree, settings)
            return pose, pose

        edges = jnp.asarray(settings.size / settings.bins / 2.0 ** np.arange(settings.levels))
        return jnp.concatenate([first[None], jax.lax.scan(finer, first, edges)[1]]), energy

    return jax.lax.map(one, (maps, affine, cameras, centre, limbs))


def _grid(bins: int, size: float) -> np.ndarray:
    """(bins ** 3, 3) points of a cube about 0; y changes slowest, then x, then z, as in the original."""
    at = np.linspace(-size / 2, size / 2, bins)
    y, x, z = np.meshgrid(at, at, at, indexing="ij")
    return np.stack([x, y, z], -1).reshape(-1, 3)


def _scores(maps: Array, affine: Array, cameras: Array, bins: Array) -> Array:
    """(J, N) sums over the views of the maps' values at bins (J, N, 3), bilinear, 0 outside of a map."""

    def of_view(maps: Array, affine: Array, camera: Array) -> Array:
        height, width, joints = maps.shape
        pixels = _project(camera, bins)
        unit = pixels @ affine[:2, :2].T + affine[:2, 2]
        cells = unit * jnp.array([width, height])
        inside = ((cells >= 0) & (cells <= jnp.array([width - 1, height - 1]))).all(-1)
        low = jnp.clip(jnp.floor(cells), 0, jnp.array([width - 2, height - 2])).astype(int)
        x, y = jnp.moveaxis(cells - low, -1, 0)
        column, row = low[..., 0], low[..., 1]
        joint = jnp.arange(joints)[:, None]
        top = maps[row, column, joint] * (1 - x) + maps[row, column + 1, joint] * x
        bottom = maps[row + 1, column, joint] * (1 - x) + maps[row + 1, column + 1, joint] * x
        return jnp.where(inside, top * (1 - y) + bottom * y, 0)

    return jax.vmap(of_view)(maps, affine, cameras).sum(0)


def _project(camera: Array, points: Array) -> Array:
    """World points (..., 3) to pixels (..., 2) by a camera's vector, as `Camera.project`; NaN behind the camera."""
    rotation, t, f, c = camera[:9].reshape(3, 3), camera[9:12], camera[12:14], camera[14:16]
    (p1, p2), (k1, k2, k3), w = camera[16:18], camera[18:21], camera[21]
    local = (points - t) @ rotation.T
    x, y = (local[..., i] / jnp.where(local[..., 2] > 0, local[..., 2], jnp.nan) for i in (0, 1))
    r2 = x * x + y * y
    g = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)) + w * (p1 * y + p2 * x)
    return f * jnp.stack([x * g + r2 * p2, y * g + r2 * p1], -1) + c


def _scaled(energy: Array) -> Array:
    """Scores divided by their maximum: only their order matters, and products of many would underflow."""
    top = energy.max()
    return energy / jnp.where(top > 0, top, 1)


def _first_level(scores: Array, limbs: Array, tree: Tree, settings: Structures) -> tuple[Array, Array]:
    """The best bins (J,) of a common grid, and the best score; 0 if no pose is possible."""
    n = settings.bins
    step = settings.size / (n - 1)
    at = np.arange(n)
    distance = step * np.sqrt(at[:, None, None] ** 2 + at[:, None] ** 2 + at**2)  # by index differences
    possible: dict[int, Array] = {}
    energy: dict[int, Array] = {}
    for joint in tree.order:
        total = scores[joint]
        for child in tree.children(joint):
            length = limbs[child]
            if settings.tolerance_mm is None:
                legal = jnp.abs(distance - length) < settings.tolerance * length
            else:
                legal = jnp.abs(distance - length) <= settings.tolerance_mm
            possible[child] = legal
            total = total * _best_child(energy[child].reshape(n, n, n), legal).ravel()
        energy[joint] = _scaled(total)
    place = jnp.stack(np.meshgrid(at, at, at, indexing="ij"), -1).reshape(-1, 3)
    index = {tree.root: energy[tree.root].argmax()}
    for joint in reversed(tree.order):
        if joint != tree.root:
            apart = jnp.abs(place - place[index[tree.parents[joint]]])
            legal = possible[joint][apart[:, 0], apart[:, 1], apart[:, 2]]
            index[joint] = jnp.where(legal, energy[joint], 0).argmax()
    return jnp.stack([index[joint] for joint in range(len(tree.parents))]), energy[tree.root].max()


def _best_child(energy: Array, legal: Array) -> Array:
    """For every bin the largest of `energy` (n, n, n) over the bins at legal index differences; 0 if there are none.

    Args:
      legal: (n, n, n) bool by the absolute differences along the three axes. Along the last one the legal differences
        are a range, because it depends on a distance between two bounds.
    """
    n = energy.shape[0]
    first, count = legal.argmax(-1).ravel(), legal.sum(-1).ravel()
    # tables[k] at z: the maximum over z, ..., z + 2 ** k - 1; 0 outside of the grid
    tables = [jnp.pad(energy, ((0, 0), (0, 0), (2 * n, 3 * n)))]
    while 2 ** len(tables) <= n:
        half = 2 ** (len(tables) - 1)
        tables.append(jnp.maximum(tables[-1], jnp.roll(tables[-1], -half, -1)))
    table = jnp.stack(tables)

    def add(best: Array, inputs: tuple[Array, Array, Array, Array]) -> tuple[Array, None]:
        dy, dx, low, size = inputs
        k = jnp.where(size > 0, jnp.floor(jnp.log2(jnp.maximum(size, 1) + 0.5)), 0).astype(int)

        def window(start: Array) -> Array:
            return jax.lax.dynamic_slice(table, (k, 0, 0, start + 2 * n), (1, n, n, n))[0]

        high = low + size - 1  # the last difference
        width = 2**k
        starts = (low, high - width + 1, -high, -low - width + 1)
        found = jnp.maximum(jnp.maximum(*map(window, starts[:2])), jnp.maximum(*map(window, starts[2:])))
        found = jnp.pad(jnp.where(size > 0, found, 0), ((n, n), (n, n), (0, 0)))
        for sy, sx in product((1, -1), repeat=2):
            shifted = jax.lax.dynamic_slice(found, (n + sy * dy, n + sx * dx, 0), (n, n, n))
            best = jnp.maximum(best, shifted)
        return best, None

    dy, dx = (jnp.asarray(a.ravel()) for a in np.meshgrid(np.arange(n), np.arange(n), indexing="ij"))
    return jax.lax.scan(add, jnp.zeros_like(energy), (dy, dx, first, count))[0]


def _fine_level(scores: Array, bins: Array, limbs: Array, tree: Tree, settings: Structures) -> Array:
    """The best pose (J, 3) of grids (J, n, 3) of each joint's own."""
    energy: dict[int, Array] = {}
    choice: dict[int, Array] = {}
    for joint in tree.order:
        total = scores[joint]
        for child in tree.children(joint):
            length = jnp.linalg.norm(bins[joint][:, None] - bins[child], axis=-1)
            legal = jnp.abs(length - limbs[child]) <= settings.fine_tolerance_mm
            weighted = jnp.where(legal, energy[child], 0)  # (bins of the joint, bins of the child)
            total, choice[child] = total * weighted.max(-1), weighted.argmax(-1)
        energy[joint] = _scaled(total)
    index = {tree.root: energy[tree.root].argmax()}
    for joint in reversed(tree.order):
        if joint != tree.root:
            index[joint] = choice[joint][index[tree.parents[joint]]]
    return jnp.stack([bins[joint, index[joint]] for joint in range(len(tree.parents))])
