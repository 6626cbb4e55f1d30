"""Writes what `jaxhar reconstruct` found: space.json, .csv, .trc, .c3d and .html, overlays, the table of errors."""

import contextlib
import csv
import io
from collections.abc import Generator, Sequence
from pathlib import Path

import av
import numpy as np
from PIL import Image
from tqdm import tqdm

from jaxhar.core.triangulate import Triangulated
from jaxhar.data.formats.calibration import Rig
from jaxhar.data.formats.source import Images
from jaxhar.data.formats.video import Video
from jaxhar.data.formats.writer import VideoWriter
from jaxhar.host import files
from jaxhar.host.errors import Problem
from jaxhar.predict import c3d_file, poses
from jaxhar.predict.outputs import image_names
from jaxhar.predict.views import Views
from jaxhar.viz import draw, turntable

VERSION = 1


def write(
    out: Path, seen: Views, rig: Rig, result: Triangulated, made_by: dict[str, object]
) -> tuple[tuple[Path, ...], str | None]:
    """Writes the files of the points; returns their paths, and a sentence if there is no space.c3d."""
    cameras = dict(zip(seen.names, rig.cameras, strict=True))
    content = {
        "space.json": poses.dumps(document(seen, rig, result, made_by)) + "\n",
        "space.csv": _csv(seen, result),
        "space.trc": _trc("space.trc", seen, result.points),
        "space.html": turntable.page(result.points, seen.skeleton.joints, seen.limbs, cameras, seen.rate),
    }
    for name, text in content.items():
        files.write(out / name, text.encode())
    c3d = out / "space.c3d"
    lacking = c3d_file.write(c3d, _markers(result.points), seen.labels, seen.rate or 1.0)
    return (*(out / name for name in content), *([] if lacking else [c3d])), lacking


def _markers(points: np.ndarray) -> np.ndarray:
    """(F, P, J, 3) -> (F, P J, 3)."""
    return points.reshape(len(points), -1, 3)


def document(seen: Views, rig: Rig, result: Triangulated, made_by: dict[str, object]) -> dict[str, object]:
    """The content of space.json, see docs/reconstruct.md."""
    limbs = [[seen.skeleton.joints[a], seen.skeleton.joints[b]] for a, b in seen.limbs]
    cameras = [
        {
            "name": view,
            "camera": name,
            "poses": str(path),
            "position": [poses.number(v) for v in camera.t],
            "error": _statistics(result.errors[n][result.used[n]]),
        }
        for n, (view, name, path, camera) in enumerate(zip(seen.names, rig.names, seen.files, rig.cameras, strict=True))
    ]
    frames = [
        {
            "index": n,
            "time": round(float(time), 6),
            "persons": [
                {
                    "id": person + 1,
                    "joints": [[poses.number(v) for v in p] if np.isfinite(p).all() else None for p in points],
                    "error": [poses.number(v, 3) for v in result.error[n, person]],
                    "errors": [[poses.number(v, 3) for v in view] for view in result.errors[:, n, person]],
                    "used": result.used[:, n, person].tolist(),
                }
                for person, points in enumerate(result.points[n])
            ],
        }
        for n, time in enumerate(seen.times)
    ]
    return {
        "version": VERSION,
        "made_by": made_by,
        "unit": "mm",
        "fps": seen.rate,
        "skeleton": {"name": seen.skeleton.name, "joints": list(seen.skeleton.joints), "limbs": limbs},
        "cameras": cameras,
        "persons": [
            {"id": n, "tracks": dict(zip(seen.names, map(list, tracks), strict=True))}
            for n, tracks in enumerate(seen.persons, 1)
        ],
        "few": int(result.few.sum()),
        "behind": int(result.behind.sum()),
        "frames": frames,
    }


def _statistics(errors: np.ndarray) -> dict[str, float | None]:
    if not errors.size:
        return {"mean": None, "median": None, "max": None}
    values = {"mean": errors.mean(), "median": np.median(errors), "max": errors.max()}
    return {name: poses.number(value, 3) for name, value in values.items()}


def table(names: Sequence[str], result: Triangulated, seen: Views) -> tuple[str, ...]:
    """Lines of text: for each view the joints used and left out, and the reprojection errors of those used."""
    wide = max(4, *(len(name) for name in names))
    lines = [f"{'view':<{wide}}  {'used':>8}  {'left out':>8}  {'mean px':>8}  {'median':>8}  {'largest':>8}"]
    for n, name in enumerate(names):
        used = result.used[n]
        found = _statistics(result.errors[n][used])
        figures = "  ".join(f"{'-' if v is None else f'{v:.2f}':>8}" for v in found.values())
        lines.append(f"{name:<{wide}}  {used.sum():>8}  {used.size - used.sum():>8}  {figures}")
    means = {
        joint: float(np.mean(found))
        for j, joint in enumerate(seen.skeleton.joints)
        if (found := result.error[..., j][np.isfinite(result.error[..., j])]).size
    }
    worst = sorted(means, key=means.__getitem__, reverse=True)[:3]
    if worst:
        lines.append("joints of the largest mean error: " + ", ".join(f"{j} {means[j]:.2f} px" for j in worst))
    return tuple(lines)


def _csv(seen: Views, result: Triangulated) -> str:
    """A row for each joint of each person in each frame; empty fields where there is no point."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["frame", "time", "person", "joint", "x_mm", "y_mm", "z_mm", "error_px", "views"])
    for n, time in enumerate(seen.times):
        for person in range(len(seen.persons)):
            for j, joint in enumerate(seen.skeleton.joints):
                numbers = [*result.points[n, person, j], result.error[n, person, j]]
                row = ["" if not np.isfinite(v) else f"{v:.3f}" for v in numbers]
                views = int(result.used[:, n, person, j].sum())
                rows.writerow([n, f"{time:.6f}", person + 1, joint, *row, views])
    return text.getvalue()


def _trc(name: str, seen: Views, points: np.ndarray) -> str:
    """OpenSim's table of markers, tabs between fields, in mm; empty fields where there is no point."""
    joints = [joint.replace("\t", " ").replace("\n", " ") for joint in seen.labels]
    count, rate = len(joints), f"{seen.rate or 1.0:.6g}"
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{name}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{rate}\t{rate}\t{len(points)}\t{count}\tmm\t{rate}\t1\t{len(points)}",
        "Frame#\tTime\t" + "\t\t\t".join(joints) + "\t\t",
        "\t\t" + "\t".join(f"{axis}{n}" for n in range(1, count + 1) for axis in "XYZ"),
        "",
    ]
    for n, (time, frame) in enumerate(zip(seen.times, points, strict=True), 1):
        fields = ["" if not np.isfinite(v) else f"{v:.4f}" for v in frame.ravel()]
        lines.append("\t".join([str(n), f"{time:.6f}", *fields]))
    return "\n".join(lines) + "\n"


def overlay(
    out: Path, source: Video | Images, seen: Views, pixels: np.ndarray, projected: np.ndarray, progress: bool
) -> list[Path]:
    """Draws the projected skeletons on a view, and small crosses where the view itself sees the joints.

    Args:
      out: folder of the view. It gets overlay_space.mp4, or for pictures overlay_space/NAME.png.
      pixels, projected: (F, P, J, 2).

    Returns: the written files.
    """
    bar = tqdm(desc=f"drawing {out.name}", total=len(projected), disable=not progress)
    images = _drawn(source, seen, pixels, projected, bar)
    if isinstance(source, Images):
        written: list[Path] = []
        for (_, image, _), name in zip(images, image_names(source.paths), strict=False):
            written.append(out / "overlay_space" / name)
            with files.replacing(written[-1]) as part:
                Image.fromarray(image).save(part, format="png", compress_level=3)
        return written
    path = out / "overlay_space.mp4"
    with files.replacing(path) as part, contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(images))
        writer: VideoWriter | None = None
        try:
            for _, image, time in images:
                if writer is None:
                    writer = stack.enter_context(VideoWriter(part, source.fps, *image.shape[1::-1]))
                writer.write(image, time)
        except av.FFmpegError as error:
            raise Problem(f"{path} cannot be written ({error.strerror}); check the path and the disk") from error
    return [path]


def _drawn(
    source: Video | Images, seen: Views, pixels: np.ndarray, projected: np.ndarray, bar: tqdm
) -> Generator[tuple[Path, np.ndarray, float]]:
    """The file, the drawn picture and the time of every frame."""
    with bar, contextlib.closing(source.frames()) as frames:
        for frame, given, found in zip(frames, pixels, projected, strict=False):
            assert frame.image is not None
            image = frame.image
            for person in np.where(np.abs(found) < 1e5, found, np.nan):
                image = draw.draw_skeleton(image, person, seen.skeleton, limbs=seen.limbs)
            yield frame.path, draw.draw_crosses(image, given.reshape(-1, 2)), frame.time
            bar.update()
