"""Finds the joints of persons in space from several synchronised videos with calibrated cameras."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxhar.core import triangulate
from jaxhar.core.triangulate import Triangulated
from jaxhar.data.formats import calibration
from jaxhar.data.formats.calibration import Rig
from jaxhar.data.formats.source import Images, open_source
from jaxhar.data.formats.video import Video
from jaxhar.host import files
from jaxhar.host.errors import Problem, Usage
from jaxhar.predict import across_views, moments, pictorial, poses, predictor, space_files, views
from jaxhar.predict.box_files import BoxFile
from jaxhar.predict.boxes import BOX_CONFIDENCE
from jaxhar.predict.folder import take_images
from jaxhar.predict.smoothing import butterworth, check_rate
from jaxhar.predict.views import Views
from jaxhar.weights import checkpoint

METHODS = ("triangulate", "ransac", "structures")
#: Pixels by which RANSAC's views may differ from a point.
THRESHOLD = 15.0


@dataclass(frozen=True)
class Settings:
    """Settings of the command that do not depend on the input.

    Attributes:
      method: see `METHODS`. threshold: pixels, see `core.triangulate.ransac`.
      min_confidence: joints below it in a view are not used there.
      match_distance: pixels, see `across_views.match`.
      smooth: cut-off in Hz of a Butterworth filter; None does not smooth.
      until_shortest: see `views.read`.
      other_rig: see `moments.fusing`.
      rate: frames per second if no file says it.
    """

    method: str = "triangulate"
    threshold: float = THRESHOLD
    min_confidence: float = BOX_CONFIDENCE
    match_distance: float = across_views.LIMIT
    smooth: float | None = None
    until_shortest: bool = False
    other_rig: bool = False
    rate: float | None = None

    def check(self, network: bool) -> None:
        """Usage for a wrong setting; `network`: whether there is one."""
        if self.method not in METHODS or not all(0 < v < math.inf for v in (self.threshold, self.match_distance)):
            allowed = " or ".join(METHODS)
            raise Usage(f"--method must be {allowed}, --threshold and --match-distance above 0 pixels")
        if self.method == "structures" and not network:
            raise Usage("--method structures reads the heat maps of a network; give videos and --weights")
        if any(value is not None and not 0 < value < math.inf for value in (self.smooth, self.rate)):
            raise Usage("--smooth and --rate must be above 0 Hz")
        if not 0 <= self.min_confidence <= 1:
            raise Usage(f"--min-confidence must be from 0 to 1, not {self.min_confidence:g}")

    def weight(self, seen: Views) -> np.ndarray:
        """(V, F, P, J) how much each view counts: its confidence, or 0."""
        with np.errstate(invalid="ignore"):
            return np.where(seen.confidence >= self.min_confidence, seen.confidence, 0.0)


@dataclass(frozen=True)
class Summary:
    """The result of a run.

    Attributes:
      frames: number of frames. files: written files.
      found: (F, P, J) bool, joints that have a point; few, behind: numbers of those without, by reason.
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


@dataclass(frozen=True)
class Network:
    """A loaded network, whether it fuses the views, and how it is run."""

    path: Path
    model: Any
    meta: checkpoint.Meta
    fuse: bool
    batch: int
    progress: bool

    def moments(self, sources: Sequence[Video | Images], seen: Views) -> Iterator[moments.Moments]:
        """Its predictions for all moments, see `moments.predict`."""
        boxes = seen.boxes[:, :, 0]
        return moments.predict(self.model, sources, boxes, fuse=self.fuse, batch=self.batch, progress=self.progress)


def run(
    sources: Sequence[Path],
    cameras: Sequence[Path],
    out: Path,
    settings: Settings = Settings(),  # noqa: B008, it is frozen
    *,
    weights: Path | None = None,
    given: Sequence[Path] = (),
    boxes: Sequence[Path] = (),
    unit: str | None = None,
    batch: int = 16,
    progress: bool = True,
) -> Summary:
    """Predicts every view, or reads its joints, and writes the points in space.

    Args:
      sources: a video, or a folder of pictures, for each view. With `given` they may be left out; then no overlays are
        made.
      cameras: see `calibration.read`.
      out: folder for the results; the files of each view go to a folder of its name.
      weights: of a pose network; or else
      given: a poses.json for each view.
      boxes: with `weights`, a file of the persons' boxes for each view, see `box_files.BoxFile`.
      unit: of the calibration, see `calibration.read`.
      batch: pictures in one run of the network.

    Raises:
      Problem: something cannot be read or does not fit. Usage: wrong arguments.
    """
    if (weights is None) == (not given):
        raise Usage("give either --weights, a pose network, or --poses, one poses.json for each view")
    if given and sources and len(given) != len(sources):
        raise Usage(f"there are {len(sources)} videos and {len(given)} files of --poses; give one file for each video")
    if boxes and (given or len(boxes) != len(sources)):
        raise Usage(
            f"there are {len(sources)} videos and {len(boxes)} files of --boxes; with --weights give one for each video"
        )
    if batch < 1:
        raise Usage("--batch must be 1 or more")
    settings.check(weights is not None)
    views.check_names(sources or given)
    named = [views.name_of(path) for path in sources or given]
    rig, how = calibration.match(calibration.read(cameras, unit), named)
    opened, box_files = [_open(path) for path in sources], [BoxFile(path) for path in boxes]
    _check_sources(opened, sources, rig, settings.until_shortest, box_files)
    notes, network = [*rig.notes, how], None
    if weights is not None:
        network, said = _load(weights, rig, settings, batch, progress)
        _check_one(max((file.most for file in box_files), default=1), network, settings)
        rates = [float(source.fps) for source in opened if isinstance(source, Video)]
        _check_smooth(settings.smooth, next(iter(rates), settings.rate), sources[0])
        given, more = _predict(sources, named, out, network, boxes)
        notes += [*said, *more]
    read = views.read(given, settings.until_shortest)
    groups, said = across_views.match(rig.cameras, read, settings.min_confidence, settings.match_distance)
    seen = replace(views.join(read, groups, settings.rate), names=tuple(named))
    _check_one(len(seen.persons), network, settings)
    _check_smooth(settings.smooth, seen.rate, seen.files[0])
    notes += [*said, *views.apart(read)]
    if seen.rate is None:
        notes.append("no file says the frame rate, and one frame a second is written; --rate says it")
    if network is not None and network.fuse:
        seen = fused(seen, opened, network)
    result, said = _locate(seen, rig, settings, opened, network)
    notes += said
    if settings.smooth is not None and seen.rate is not None:
        result = replace(result, points=butterworth(result.points, seen.rate, settings.smooth))
    made_by = poses.made_by(
        None if network is None else checkpoint.sha256(network.model),
        {
            **vars(settings),
            "weights": None if weights is None else str(weights),
            "boxes": [str(path) for path in boxes],
            "fused": bool(network and network.fuse),
        },
        None if network is None else network.meta.trained,
    )
    written, lacking = space_files.write(out, seen, rig, result, made_by)
    notes += [lacking] if lacking else []
    overlays: list[Path] = []
    for source, name, pixels, camera in zip(opened, named, seen.pixels, rig.cameras, strict=False):
        projected = camera.project(result.points)[..., :2]
        overlays += space_files.overlay(out / name, source, seen, pixels, projected, progress)
    table = space_files.table(named, result, seen)
    few, behind = int(result.few.sum()), int(result.behind.sum())
    return Summary(len(seen.times), (*written, *overlays), result.valid, few, behind, table, tuple(notes))


def _open(path: Path) -> Video | Images:
    source = open_source(path)
    if isinstance(source, Images) and path.is_dir():
        take_images(source, path)
    return source


def _check_sources(
    opened: Sequence[Video | Images],
    paths: Sequence[Path],
    rig: Rig,
    until_shortest: bool,
    boxes: Sequence[BoxFile],
) -> None:
    """Problem if the sources do not fit to the cameras, to each other or to the boxes: before the long prediction."""
    rates = [source.fps if isinstance(source, Video) else None for source in opened]
    for n, source in enumerate(opened):
        size = _same_size(source, paths[n], rig.names[n], rig.sizes[n])
        if boxes:
            boxes[n].check_inside(size)
        if boxes and source.total is not None:
            boxes[n].check(source.total, {one.name for one in source.paths} if isinstance(source, Images) else set())
        views.check_alike((paths[0], paths[n]), (opened[0].total, source.total), (rates[0], rates[n]), until_shortest)


def _check_smooth(cutoff: float | None, rate: float | None, path: Path) -> None:
    """Usage if the cut-off does not fit to the frame rate of a source."""
    if cutoff is not None:
        if rate is None:
            raise Usage(f"{path} does not say the frame rate, which --smooth needs; give --rate")
        check_rate(rate, cutoff)


def _same_size(source: Video | Images, path: Path, name: str, size: tuple[int, int] | None) -> tuple[int, int]:
    """The (width, height) of a source; Problem if it is not that of its camera."""
    frame = next(iter(source.frames()))
    assert frame.image is not None
    height, width = frame.image.shape[:2]
    if size is not None and (abs(width - size[0]) > 16 or abs(height - size[1]) > 16):
        raise Problem(
            f"{path} has {width}x{height} pixels, but its camera {name} was calibrated at {size[0]}x{size[1]}; "
            "give the videos in the order of the cameras, or in their calibrated size"
        )
    return width, height


def _load(weights: Path, rig: Rig, settings: Settings, batch: int, progress: bool) -> tuple[Network, list[str]]:
    """The network, and a sentence on its fusion. Problem if it cannot do what is asked for."""
    weights = predictor.located(weights)
    model, meta = checkpoint.load_model(weights)
    predictor.needs_pose(meta.config, weights)
    if settings.method == "structures" and "maps" not in meta.config.predicts:
        raise Problem(
            f"the network of {weights} gives no heat maps, which --method structures needs; use --method triangulate"
        )
    fuse, said = moments.fusing(meta, weights, rig.cameras, settings.other_rig)
    return Network(weights, model, meta, fuse, batch, progress), [said] if said else []


def _check_one(persons: int, network: Network | None, settings: Settings) -> None:
    """Usage for several persons where all views of a moment are seen together."""
    together = network is not None and network.fuse
    if persons > 1 and (together or settings.method == "structures"):
        what = "the fusion of views is" if together else "--method structures is"
        raise Usage(
            f"{what} for one person, and --boxes has {persons}: give the boxes of one, or take "
            f"{'--other-rig' if together else '--method triangulate'}"
        )


def _predict(
    sources: Sequence[Path], named: Sequence[str], out: Path, network: Network, boxes: Sequence[Path]
) -> tuple[list[Path], list[str]]:
    """`jaxhar predict` for each view: its poses.json, and what it said."""
    found, notes = [], []
    of_views: Sequence[Path | None] = boxes or [None] * len(sources)
    for path, name, file in zip(sources, named, of_views, strict=True):
        summary = predictor.run(
            path,
            network.path,
            out / name,
            batch=network.batch,
            progress=network.progress,
            loaded=(network.model, network.meta),
            boxes=file,
        )
        if summary.broken:
            raise Problem(f"{summary.broken[0]}; frames of different moments would be compared: restore it, or cut all")
        notes += [f"{name}: {sentence}" for sentence in summary.notes]
        if summary.empty:
            notes.append(f"{name}: nobody was found in {summary.empty} of {summary.frames} frames")
        found.append(out / name / "poses.json")
    return found, notes


def fused(seen: Views, opened: Sequence[Video | Images], network: Network) -> Views:
    """The joints after the fusion of the views; written to fused.json of each view, in the form of poses.json."""
    pixels, confidence = np.empty_like(seen.pixels), np.empty_like(seen.confidence)
    for some in network.moments(opened, seen):
        here = slice(some.first, some.first + len(some.pixels))
        pixels[:, here, 0], confidence[:, here, 0] = some.pixels.swapaxes(0, 1), some.confidence.swapaxes(0, 1)
    written = []
    for n, path in enumerate(seen.files):
        content = poses.read(path)
        for frame, joints, sure, box in zip(
            content["frames"], pixels[n, :, 0], confidence[n, :, 0], seen.boxes[n, :, 0], strict=False
        ):
            frame["persons"] = [poses.person(poses.PERSON, box, joints, sure, seen.skeleton, None)]
        written.append(path.with_name("fused.json"))
        files.write(written[-1], poses.dumps(content).encode())
    return replace(seen, pixels=pixels, confidence=confidence, files=tuple(written))


def _locate(
    seen: Views, rig: Rig, settings: Settings, opened: Sequence[Video | Images], network: Network | None
) -> tuple[Triangulated, list[str]]:
    """Points (F, P, J, 3) in mm from the joints in the views, weighted by their confidence, and sentences on them."""
    weight = settings.weight(seen)
    if settings.method == "ransac":
        return triangulate.ransac(rig.cameras, seen.pixels, weight, settings.threshold), []
    found = triangulate.triangulate(rig.cameras, seen.pixels, weight)
    if settings.method == "triangulate" or network is None:
        return found, []
    return pictorial.locate(found, rig.cameras, seen.pixels, weight, seen.skeleton, network.moments(opened, seen))
