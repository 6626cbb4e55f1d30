"""Finds the joints of one person in space from several synchronised videos with calibrated cameras."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.signal import butter, filtfilt

from jaxhar.core import triangulate
from jaxhar.core.triangulate import Triangulated
from jaxhar.data.formats import calibration
from jaxhar.data.formats.calibration import Rig
from jaxhar.data.formats.source import open_source
from jaxhar.data.formats.video import Video
from jaxhar.host.errors import Problem, Usage
from jaxhar.predict import poses, predictor, space_files, views
from jaxhar.predict.boxes import BOX_CONFIDENCE
from jaxhar.predict.views import Views

METHODS = ("triangulate", "ransac")
#: Pixels by which RANSAC's views may differ from a point.
THRESHOLD = 15.0
_ORDER = 4  # of the Butterworth filter: of order 2, forwards and backwards


@dataclass(frozen=True)
class Summary:
    """The result of a run.

    Attributes:
      frames: number of frames. files: written files.
      found: (F, J) bool, joints that have a point; few, behind: numbers of those without, by reason.
      table: lines of text, the reprojection errors of each view.
      notes: sentences on units, cameras, and what the single views said.
    """

    frames: int
    files: tuple[Path, ...]
    found: np.ndarray
    few: int
    behind: int
    table: tuple[str, ...]
    notes: tuple[str, ...]


def run(
    videos: Sequence[Path],
    cameras: Sequence[Path],
    out: Path,
    *,
    weights: Path | None = None,
    given: Sequence[Path] = (),
    method: str = "triangulate",
    threshold: float = THRESHOLD,
    min_confidence: float = BOX_CONFIDENCE,
    smooth: float | None = None,
    until_shortest: bool = False,
    unit: str | None = None,
    batch: int = 16,
    progress: bool = True,
) -> Summary:
    """Predicts every view, or reads its joints, and writes the points in space.

    Args:
      videos: one for each view. With `given` they may be left out; then no overlays are made.
      cameras: see `calibration.read`.
      out: folder for the results; the files of each view go to a folder of its name.
      weights: of a pose network; or else
      given: a poses.json for each view.
      method, threshold: see `METHODS` and `core.triangulate.ransac`.
      min_confidence: joints below it in a view are not used there.
      smooth: cut-off in Hz of a Butterworth filter; None does not smooth.
      until_shortest: see `views.read`.
      unit: of the calibration, see `calibration.read`.

    Raises:
      Problem: something cannot be read or does not fit. Usage: wrong arguments.
    """
    if (weights is None) == (not given):
        raise Usage("give either --weights, a pose network, or --poses, one poses.json for each view")
    if given and videos and len(given) != len(videos):
        raise Usage(f"there are {len(videos)} videos and {len(given)} files of --poses; give one file for each video")
    if method not in METHODS or not threshold > 0 or batch < 1:
        raise Usage(f"--method must be {' or '.join(METHODS)}, --threshold above 0 and --batch 1 or more")
    if smooth is not None and not smooth > 0:
        raise Usage("--smooth must be a frequency above 0 Hz")
    named = [views.name_of(path) for path in videos or given]
    rig, how = calibration.match(calibration.read(cameras, unit), named)
    opened = [_video(path) for path in videos]
    for video, name, size in zip(opened, rig.names, rig.sizes, strict=False):
        _same_size(video, name, size)
    if opened and weights is not None:
        for video in opened[1:]:  # before the long prediction
            paths = opened[0].path, video.path
            views.check_alike(paths, (opened[0].total, video.total), (opened[0].fps, video.fps), until_shortest)
    notes = [*rig.notes, how]
    if weights is not None:
        given = []
        for path, name in zip(videos, named, strict=True):
            summary = predictor.run(path, weights, out / name, batch=batch, progress=progress)
            notes += [f"{name}: {sentence}" for sentence in (*summary.notes, *summary.broken)]
            if summary.empty:
                notes.append(f"{name}: nobody was found in {summary.empty} of {summary.frames} frames")
            given.append(out / name / "poses.json")
    seen = replace(views.read(given, until_shortest), names=tuple(named))
    result = locate(seen, rig, method, threshold, min_confidence)
    if smooth is not None:
        if seen.rate is None:
            raise Problem(f"{seen.files[0]} does not say the frame rate, which --smooth needs; leave --smooth out")
        result = replace(result, points=smoothed(result.points, seen.rate, smooth))
    settings: dict[str, object] = {
        "method": method,
        "threshold": threshold if method == "ransac" else None,
        "min_confidence": min_confidence,
        "smooth": smooth,
    }
    made_by = poses.made_by(None, settings, None)
    files = space_files.write(out, seen, rig, result, made_by)
    for video, name, pixels, camera in zip(opened, named, seen.pixels, rig.cameras, strict=False):
        path = out / name / "overlay_space.mp4"
        space_files.overlay(path, video, seen, pixels, camera.project(result.points)[..., :2], progress)
        files = (*files, path)
    table = space_files.table(named, result, seen)
    return Summary(
        len(seen.times), files, result.valid, int(result.few.sum()), int(result.behind.sum()), table, tuple(notes)
    )


def locate(seen: Views, rig: Rig, method: str, threshold: float, min_confidence: float) -> Triangulated:
    """Points (F, J, 3) in mm from the joints in the views, weighted by their confidence."""
    with np.errstate(invalid="ignore"):
        weight = np.where(seen.confidence >= min_confidence, seen.confidence, 0.0)
    if method == "ransac":
        return triangulate.ransac(rig.cameras, seen.pixels, weight, threshold)
    return triangulate.triangulate(rig.cameras, seen.pixels, weight)


def smoothed(points: np.ndarray, rate: float, cutoff: float) -> np.ndarray:
    """Points (F, J, 3) after a low-pass Butterworth filter of order 4 without delay (Winter, Biomechanics, 2.2.4.4).

    Each joint is filtered between its gaps; pieces of nine frames or fewer stay as they are.

    Raises:
      Usage: the cut-off is not below half of the frame rate.
    """
    if cutoff >= rate / 2:
        raise Usage(f"--smooth {cutoff:g} must be below half of the {rate:g} frames per second")
    b, a = butter(_ORDER // 2, cutoff / (rate / 2))
    out = points.copy()
    for j in range(points.shape[1]):
        here = np.flatnonzero(np.isfinite(points[:, j]).all(-1))
        for piece in np.split(here, np.flatnonzero(np.diff(here) > 1) + 1):
            if len(piece) > 3 * len(b):
                out[piece, j] = filtfilt(b, a, points[piece, j], axis=0)
    return out


def _video(path: Path) -> Video:
    source = open_source(path)
    if not isinstance(source, Video):
        raise Problem(f"{path} is no video; `jaxhar reconstruct` needs one video for each camera")
    return source


def _same_size(video: Video, name: str, size: tuple[int, int] | None) -> None:
    frame = next(iter(video.frames()))
    assert frame.image is not None
    height, width = frame.image.shape[:2]
    if size is not None and (abs(width - size[0]) > 16 or abs(height - size[1]) > 16):
        raise Problem(
            f"{video.path} has {width}x{height} pixels, but its camera {name} was calibrated at {size[0]}x{size[1]}; "
            "give the videos in the order of the cameras, or in their calibrated size"
        )
