"""The chart and the table of docs/space.md: errors of three ways to find joints in space, in synthetic rigs.

python -m benchmarks.space_chart docs/space.png     a minute; prints the table
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt

from benchmarks.structures import PARENTS, SETTINGS, affines, bodies, heat_maps, rig
from jaxhar.core.camera import Camera
from jaxhar.core.structures import limb_lengths, solve
from jaxhar.core.triangulate import ransac, triangulate

POSES, THRESHOLD = 20, 20.0
VIEWS, NOISE = (2, 3, 4, 6), (1.0, 2.0, 4.0, 8.0, 16.0)
METHODS = ("DLT", "RANSAC", "pictorial structures")


def seen(cameras: list[Camera], true: np.ndarray, noise: float, wrong: float, missing: float, seed: int) -> tuple:
    """Pixels (V, P, J, 2) with noise, a share of them in random places of the crop, and confidences (V, P, J)."""
    rng = np.random.default_rng(seed)
    pixels = np.stack([camera.project(true)[..., :2] for camera in cameras])
    pixels = pixels + rng.normal(0, noise, pixels.shape)
    astray = rng.uniform(size=pixels.shape[:-1]) < wrong
    pixels = np.where(astray[..., None], rng.uniform(200, 800, pixels.shape), pixels)
    return pixels, (rng.uniform(size=pixels.shape[:-1]) >= missing).astype(float)


def errors(views: int, noise: float, wrong: float = 0.0, missing: float = 0.0) -> dict[str, tuple[float, float]]:
    """Mean error in mm of the joints that were found, and the share that was not, by method."""
    cameras, true = rig(views), bodies(POSES, np.random.default_rng(1))
    limbs = limb_lengths(bodies(500, np.random.default_rng(2)), PARENTS).mean(0)  # of other people
    pixels, weight = seen(cameras, true, noise, wrong, missing, 3)
    plain = triangulate(cameras, pixels, weight).points
    robust = ransac(cameras, pixels, weight, THRESHOLD).points
    maps = np.moveaxis(heat_maps(np.moveaxis(pixels, 0, 1)), 1, 0) * weight[:, :, None, None]
    vectors = np.tile(np.stack([camera.to_vector() for camera in cameras]), (POSES, 1, 1))
    start = np.where(np.isfinite(robust), robust, plain)
    found = solve(SETTINGS, PARENTS, vectors, affines(POSES, views), np.moveaxis(maps, 0, 1), start, limbs).points
    away = (np.linalg.norm(points - true, axis=-1) for points in (plain, robust, found))
    return {
        name: (float(np.nanmean(off)), float(np.isnan(off).mean())) for name, off in zip(METHODS, away, strict=True)
    }


def chart(path: Path) -> None:
    figure, axes = plt.subplots(1, len(VIEWS), figsize=(10, 3.2), sharey=True, layout="constrained")
    for axis, views in zip(axes, VIEWS, strict=True):
        for wrong, style in ((0.0, "-"), (0.1, "--")):
            found = [errors(views, noise, wrong) for noise in NOISE]
            for method, colour in zip(METHODS, ("C0", "C1", "C2"), strict=True):
                values = [result[method][0] for result in found]
                label = method + (", 10 % wrong" if wrong else "")
                axis.plot(NOISE, values, style, color=colour, label=label, marker="o", markersize=3)
        axis.set(title=f"{views} views", xlabel="noise, px", yscale="log", ylim=(3, 1000))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("mean error, mm")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=7)
    figure.savefig(path, dpi=80)


def table() -> None:
    print("| views | noise, px | wrong | missing | " + " | ".join(METHODS) + " |\n" + "|---" * 7 + "|")
    for views in VIEWS:
        for noise, wrong, missing in (
            (2.0, 0.0, 0.0),
            (8.0, 0.0, 0.0),
            (2.0, 0.1, 0.0),
            (2.0, 0.0, 0.3),
            (2.0, 0.1, 0.3),
        ):
            found = errors(views, noise, wrong, missing)
            cells = [f"{mean:.0f}" + (f" ({lost:.0%} lost)" if lost else "") for mean, lost in found.values()]
            print(f"| {views} | {noise:g} | {wrong:.0%} | {missing:.0%} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    chart(Path(sys.argv[1]))
    table()
