"""Speed of recursive pictorial structures: ours, and the plain form with matrices of compatible bins in NumPy."""

import functools

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial.distance import cdist

from benchmarks.common import Contenders, Row
from jaxhar.core.camera import Camera
from jaxhar.core.skeleton import H36M17
from jaxhar.core.structures import Structures, limb_lengths, solve, tree

PARENTS = tree(H36M17)
SETTINGS = Structures()
SIZE, VIEWS = 64, 4
#: Limbs of the body, mm, in the order of the joints: child minus parent.
_BONES = {
    "pelvis": (0, 0, 0),
    **{f"{side}_hip": (x, 0, 0) for side, x in (("r", -130), ("l", 130))},
    **{f"{side}_{joint}": (0, 20, -445) for side in "rl" for joint in ("knee", "ankle")},
    **{joint: (0, 0, 245) for joint in ("belly", "neck_base")},
    **{joint: (0, -40, 115) for joint in ("nose", "crown")},
    **{f"{side}_shoulder": (x, 0, -20) for side, x in (("r", -150), ("l", 150))},
    **{f"{side}_{joint}": (x, 20, -260) for side, x in (("r", -70), ("l", 70)) for joint in ("elbow", "wrist")},
}


def rig(views: int = VIEWS) -> list[Camera]:
    """Cameras in a ring of 5 m about the origin, 1000 x 1000 pixels, with lenses like those of Human3.6M."""
    cameras = []
    for angle in 2 * np.pi * (np.arange(views) + 0.5) / views:
        eye = np.array([5000 * np.cos(angle), 5000 * np.sin(angle), 1500.0])
        ahead = -eye / np.linalg.norm(eye)
        right = np.cross(ahead, [0, 0, 1.0])
        right /= np.linalg.norm(right)
        turn = np.stack([right, np.cross(ahead, right), ahead])
        cameras.append(Camera(turn, eye, (1145, 1145), (500, 500), (-0.2, 0.24, -0.002), (-9e-4, -1.4e-3)))
    return cameras


def bodies(count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 17, 3) standing people of several sizes near the origin, each limb bent at random."""
    bones = np.array([_BONES[joint] for joint in H36M17.joints], float)
    bones = bones * rng.uniform(0.9, 1.1, (count, 1, 1))
    bones += 0.15 * np.linalg.norm(bones, axis=-1, keepdims=True) * rng.standard_normal(bones.shape)
    points = rng.uniform(-300, 300, (count, 1, 3)) * np.ones((1, len(bones[0]), 1))
    for joint in range(len(PARENTS)):  # parents come first in this layout
        if PARENTS[joint] >= 0:
            points[:, joint] = points[:, PARENTS[joint]] + bones[:, joint]
    return points


def affines(poses: int, views: int = VIEWS) -> np.ndarray:
    """(P, V, 3, 3) image pixels -> crop units, of boxes of 640 pixels in the middle of the image."""
    one = np.array([[1 / 640, 0, -180 / 640], [0, 1 / 640, -180 / 640], [0, 0, 1]])
    return np.tile(one, (poses, views, 1, 1))


def heat_maps(pixels: np.ndarray, sigma: float = 2.0) -> np.ndarray:
    """(P, V, h, w, J) Gaussians about pixels (P, V, J, 2) of the boxes of `affines`."""
    cells = (pixels - 180) / 640 * SIZE
    line = np.arange(SIZE)[:, None]
    x, y = (np.exp(-((line - cells[..., None, :, n]) ** 2) / (2 * sigma**2)) for n in (0, 1))
    return (y[..., :, None, :] * x[..., None, :, :]).astype(np.float32)


def _grid(edge: float, bins: int) -> np.ndarray:
    line = np.linspace(-edge / 2, edge / 2, bins)
    return np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)


def _scores(cameras: list[Camera], maps: np.ndarray, joint: int, bins: np.ndarray) -> np.ndarray:
    total = np.zeros(len(bins))
    for camera, image in zip(cameras, maps, strict=True):
        cells = (camera.project(bins)[:, :2] - 180) / 640 * SIZE
        total += map_coordinates(image[..., joint], cells[:, ::-1].T, order=1, cval=0.0)
    return total


def _best(energy: list[np.ndarray], legal: dict[int, np.ndarray]) -> list[int]:
    order = range(len(PARENTS) - 1, 0, -1)  # children come after their parents in this layout
    for joint in order:
        energy[PARENTS[joint]] = energy[PARENTS[joint]] * (legal[joint] * energy[joint]).max(1)
    chosen = [int(energy[0].argmax())] * len(PARENTS)
    for joint in reversed(order):
        chosen[joint] = int((legal[joint][chosen[PARENTS[joint]]] * energy[joint]).argmax())
    return chosen


def plain(cameras: list[Camera], maps: np.ndarray, center: np.ndarray, limbs: np.ndarray, legal: dict) -> np.ndarray:
    """One pose (J, 3) with a matrix of compatible bins (4096, 4096) for each limb, made before."""
    bins = center + _grid(SETTINGS.size, SETTINGS.bins)
    pose = bins[_best([_scores(cameras, maps, j, bins) for j in range(len(PARENTS))], legal)]
    for level in range(1, SETTINGS.depth + 1):
        near = pose[:, None] + _grid(SETTINGS.edge(level), SETTINGS.recursion_bins)
        off = {j: np.abs(cdist(near[p], near[j]) - limbs[j]) for j, p in enumerate(PARENTS) if p >= 0}
        within = {j: d <= SETTINGS.recursion_tolerance for j, d in off.items()}
        chosen = _best([_scores(cameras, maps, j, near[j]) for j in range(len(PARENTS))], within)
        pose = near[np.arange(len(PARENTS)), chosen]
    return pose


@functools.cache
def scene(poses: int) -> tuple:
    cameras, true = rig(), bodies(poses, np.random.default_rng(0))
    maps = heat_maps(np.stack([camera.project(true)[..., :2] for camera in cameras], 1))
    return cameras, true, maps, limb_lengths(true, PARENTS).mean(0)


def contenders(poses: int) -> Contenders:
    cameras, true, maps, limbs = scene(poses)
    vectors = np.tile(np.stack([camera.to_vector() for camera in cameras]), (poses, 1, 1))
    grid = _grid(SETTINGS.size, SETTINGS.bins)
    between = cdist(grid, grid)
    legal = {j: np.abs(between - limbs[j]) < SETTINGS.tolerance * limbs[j] for j, p in enumerate(PARENTS) if p >= 0}

    def ours() -> np.ndarray:
        return solve(SETTINGS, PARENTS, vectors, affines(poses), maps, true, limbs).points

    def numpy() -> np.ndarray:
        return np.stack([plain(cameras, maps[n], true[n, 0], limbs, legal) for n in range(poses)])

    assert np.linalg.norm(ours() - numpy(), axis=-1).max() < 5
    return {"ours": ours, "NumPy, matrices of compatible bins": numpy}


def rows() -> dict[str, Row]:
    return {
        f"pictorial structures, {poses} poses, {VIEWS} views, maps {SIZE}x{SIZE}": functools.partial(contenders, poses)
        for poses in (1, 8)
    }
