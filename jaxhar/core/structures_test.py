"""Against a plain float64 version that tries every pair of bins, and in scenes without a legal pose."""

import numpy as np
import pytest

from jaxhar.core import structures
from jaxhar.core.skeleton import COCO, H36M17, PA16, UNION20
from jaxhar.core.structures import Structures, limb_lengths, solve, tree
from jaxhar.core.triangulate_test import ring

PARENTS = tree(PA16)
SIZE = 24  # of the heat maps
SMALL = Structures(bins=7, size=1800.0, tolerance=0.5, depth=4, recursion_bins=2, recursion_tolerance=300.0)


def person(rng: np.random.Generator) -> np.ndarray:
    """(16, 3) joints, each about 350 mm from its parent."""
    points = np.zeros((16, 3))
    for joint in sorted(range(16), key=lambda j: len(path(j))):
        if PARENTS[joint] >= 0:
            way = rng.normal(size=3)
            points[joint] = points[PARENTS[joint]] + rng.uniform(300, 420) * way / np.linalg.norm(way)
    return points


def path(joint: int) -> list[int]:
    """The joint and those above it."""
    return [joint, *(path(PARENTS[joint]) if PARENTS[joint] >= 0 else [])]


def scene(seed: int = 0, poses: int = 2, views: int = 3):
    """Cameras, crop maps, noisy heat maps and true joints of some poses."""
    rng = np.random.default_rng(seed)
    cameras = ring(views, rng)
    true = np.stack([person(rng) + rng.normal(0, 100, 3) for _ in range(poses)])
    affine = np.zeros((poses, views, 3, 3))
    affine[..., 0, 0] = affine[..., 1, 1] = 1 / 640
    affine[..., :2, 2] = -(500 - 320) / 640
    affine[..., 2, 2] = 1
    pixels = np.stack([c.project(true)[..., :2] for c in cameras], 1)
    cells = (pixels - 180) / 640 * SIZE
    line = np.arange(SIZE)
    far = (line - cells[..., None, :1]) ** 2 + (line[:, None] - cells[..., None, 1:]) ** 2  # (P, V, J, h, w)
    maps = np.exp(-far / 8) + rng.normal(0, 0.02, far.shape)
    vectors = np.stack([c.to_vector() for c in cameras])
    return cameras, np.tile(vectors, (poses, 1, 1)), affine, np.moveaxis(maps, 2, -1).astype(np.float32), true


def sample(image: np.ndarray, cell: np.ndarray) -> float:
    x, y = cell
    if not (0 <= x <= SIZE - 1 and 0 <= y <= SIZE - 1):
        return 0.0
    left, top = min(int(x), SIZE - 2), min(int(y), SIZE - 2)
    a, b = x - left, y - top
    (p, q), (r, s) = image[top : top + 2, left : left + 2].astype(float)
    return (p * (1 - a) + q * a) * (1 - b) + (r * (1 - a) + s * a) * b


def plain(settings: Structures, cameras, affine, maps, center, limbs) -> np.ndarray:
    """Levels (depth + 1, J, 3) of one pose."""

    def score(joint: int, bins: np.ndarray) -> np.ndarray:
        total = np.zeros(len(bins))
        for camera, crop, image in zip(cameras, affine, maps, strict=True):
            cells = (camera.project(bins)[:, :2] @ crop[:2, :2].T + crop[:2, 2]) * SIZE
            total += [sample(image[..., joint], cell) for cell in cells]
        return np.maximum(total, 0)

    def best(bins: list[np.ndarray], legal) -> np.ndarray:
        energy = [score(j, b) for j, b in enumerate(bins)]
        pair = {}
        for joint in sorted(range(len(bins)), key=lambda j: -len(path(j))):
            if PARENTS[joint] >= 0:
                between = np.linalg.norm(bins[PARENTS[joint]][:, None] - bins[joint], axis=-1)
                pair[joint] = legal(between, limbs[joint])
                energy[PARENTS[joint]] = energy[PARENTS[joint]] * (pair[joint] * energy[joint]).max(1)
        chosen = {0: int(energy[0].argmax())}
        for joint in sorted(pair, key=lambda j: len(path(j))):
            chosen[joint] = int((pair[joint][chosen[PARENTS[joint]]] * energy[joint]).argmax())
        return np.array([bins[j][chosen[j]] for j in range(len(bins))])

    def grid(edge: float, count: int) -> np.ndarray:
        line = np.linspace(-edge / 2, edge / 2, count)
        return np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)

    def first(d, length):
        off = np.abs(d - length)
        return off < settings.tolerance * length if settings.rule == "relative" else off <= settings.tolerance

    levels = [best([center + grid(settings.size, settings.bins)] * len(PARENTS), first)]
    for level in range(1, settings.depth + 1):
        edge = settings.size / settings.bins / settings.recursion_bins ** (level - 1)
        bins = [place + grid(edge, settings.recursion_bins) for place in levels[-1]]
        levels.append(best(bins, lambda d, length: np.abs(d - length) <= settings.recursion_tolerance))
    return np.stack(levels)


@pytest.mark.parametrize("rule, tolerance", [("relative", 0.5), ("absolute", 200.0)])
def test_it_finds_the_bins_of_the_plain_version(rule, tolerance):
    settings = Structures(7, 1800.0, rule, tolerance, 4, 2, 300.0)
    cameras, vectors, affine, maps, true = scene()
    limbs = limb_lengths(true, PARENTS)
    found = solve(settings, PARENTS, vectors, affine, maps, true, limbs)
    assert not found.fell_back.any() and (found.done == 4).all()
    for pose in range(2):
        expected = plain(settings, cameras, affine[pose], maps[pose], true[pose, 0], limbs[pose])
        np.testing.assert_allclose(found.levels[:, pose], expected, rtol=0, atol=1e-2)
    off = np.linalg.norm(found.levels - true, axis=-1).mean((1, 2))
    assert off[0] > 100 and off[-1] < 45 and (np.diff(off[:4]) < 0).all(), off
    np.testing.assert_array_equal(found.points, found.levels[-1])


def test_poses_without_legal_bins_fall_back():
    """The first pose has a limb shorter than any distance of two bins; the second one stays as it is."""
    _, vectors, affine, maps, true = scene()
    limbs = limb_lengths(true, PARENTS)
    before = solve(SMALL, PARENTS, vectors, affine, maps, true, limbs)
    limbs[0, 5] = 20.0
    found = solve(SMALL, PARENTS, vectors, affine, maps, true + 5, limbs, true[:, 0])
    np.testing.assert_array_equal(found.fell_back, [True, False])
    np.testing.assert_array_equal(found.points[0], true[0] + 5)
    assert np.isnan(found.levels[:, 0]).all() and found.done[0] == 0
    np.testing.assert_allclose(found.points[1], before.points[1], rtol=0, atol=1e-3)
    limbs[0, 5] = np.nan
    assert solve(SMALL, PARENTS, vectors, affine, maps, true, limbs).fell_back.tolist() == [True, False]
    nothing = solve(SMALL, PARENTS, vectors, affine, np.minimum(-maps, 0), true, limbs[1])
    assert nothing.fell_back.all()


def test_weak_maps_and_joints_that_were_not_triangulated():
    """Scores of 1e-6 give the same pose: 16 factors would be below the smallest float32. A missing root: the mean."""
    _, vectors, affine, maps, true = scene()
    limbs = limb_lengths(true, PARENTS).mean(0)
    start = true.copy()
    start[0, 0] = np.nan
    middle = np.nanmean(start[0], axis=0)
    found = solve(SMALL, PARENTS, vectors, affine, maps * 1e-6, start, limbs)
    expected = solve(SMALL, PARENTS, vectors, affine, maps, true, limbs, np.stack([middle, true[1, 0]]))
    np.testing.assert_allclose(found.points, expected.points, rtol=0, atol=1e-3)
    assert np.isfinite(found.points).all() and not found.fell_back.any()
    gone = solve(SMALL, PARENTS, vectors, affine, maps, np.full_like(true, np.nan), limbs)
    assert gone.fell_back.all() and np.isnan(gone.points).all()


@pytest.mark.parametrize("low, high", [(0, 0), (1, 5), (4, 30), (20, 108)])
def test_windows_cover_the_shell_and_nothing_else(low, high):
    windows, counts = structures._windows(7, np.array([[[low, high], [1, 0]]]))
    steps = np.arange(-6, 7)
    squared = steps[:, None, None] ** 2 + steps[:, None] ** 2 + steps**2
    covered = np.zeros((13, 13, 13), bool)
    for m, x, y, z in windows[0, 0, : counts[0, 0]]:
        assert z + 2**m <= 7
        covered[x + 6, y + 6, z + 6 : z + 6 + 2**m] = True
    np.testing.assert_array_equal(covered, (squared >= low) & (squared <= high))
    assert counts[0, 1] == 0


def test_trees():
    assert tree(H36M17) == (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)  # the original's
    assert [UNION20.joints[p] for p in tree(UNION20)[1:4]] == ["pelvis", "r_hip", "r_knee"]
    with pytest.raises(KeyError, match="no joint 'pelvis'"):
        tree(COCO)
    with pytest.raises(ValueError, match="no limb of skeleton coco leads to l_shoulder"):
        tree(COCO, root="nose")
