"""Predicts pose and action of the persons in a video, an image or a folder of images; writes overlay, JSON and CSV.

A source is read three times as a stream: to find the persons' boxes, to crop and run the network, and to draw. So only
a few frames are in memory; for each frame of the video only its boxes and its time are kept.
"""

import contextlib
import dataclasses
import time as clock
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from jaxhar.core.familiar import Familiar
from jaxhar.core.network import NetworkConfig, clip_length, frame_size
from jaxhar.core.skeleton import Skeleton
from jaxhar.data import transforms
from jaxhar.data.formats.ahead import read_ahead
from jaxhar.data.formats.source import Images, open_source
from jaxhar.data.formats.video import Video
from jaxhar.host.errors import Problem, Usage
from jaxhar.inference import appearance, infer
from jaxhar.predict import clip_results, map_pictures, persons, poses
from jaxhar.predict.box_files import BoxFile
from jaxhar.predict.boxes import smooth
from jaxhar.predict.clip_results import Recognise
from jaxhar.predict.detector import Detector
from jaxhar.predict.folder import take_images
from jaxhar.predict.outputs import Outputs
from jaxhar.predict.persons import BOX_SMOOTHING, BOXES_PER_SECOND, Stretch
from jaxhar.predict.search import Box, Infer, find_boxes, search_frames, words
from jaxhar.weights import checkpoint, trained_on


class NetworkInfo(Protocol):
    """Information about a network: skeleton, names of its action classes (() if it has none), config."""

    @property
    def skeleton(self) -> Skeleton | None: ...

    @property
    def actions(self) -> tuple: ...

    @property
    def config(self) -> NetworkConfig: ...


@dataclass(frozen=True)
class Summary:
    """The result of a run.

    Attributes:
      frames: number of frames.
      files: written files.
      action, probability: of the person who is there for longest, by the geometric mean over its clips. None if the
        network predicts no actions, if the source is several images, or if the network reads clips and the source is an
        image.
      persons: identity -> first and last frame, action and its probability, of the persons of a video or of one image.
      empty, unfamiliar: numbers of frames without a person, and of those whose person looks unfamiliar.
      broken: a sentence for each image that was skipped, and for damage in a video or its early end.
      seconds: wall time, with compilation.
      notes: sentences about what the weights do not know, files that they were trained on, and what of a folder is read
        and left out.
    """

    frames: int
    files: tuple[Path, ...]
    action: str | None
    probability: float | None
    empty: int
    unfamiliar: int
    broken: tuple[str, ...]
    seconds: float
    notes: tuple[str, ...] = ()
    persons: dict[int, tuple[int, int, str | None, float | None]] = dataclasses.field(default_factory=dict)


def run(
    source: Path,
    weights: Path,
    out: Path,
    *,
    bbox: Box | None = None,
    batch: int = 16,
    stride: int = 2,
    skip_broken: bool = False,
    forms: Sequence[str] = (),
    maps: str | None = None,
    boxes: Path | None = None,
    detector: str | None = None,
    several: str | None = None,
    progress: bool = True,
    loaded: tuple[Any, checkpoint.Meta] | None = None,
) -> Summary:
    """Predict with a model checkpoint.

    Args:
      source: a video, an image, or a folder of images.
      weights: see `jaxhar.weights.checkpoint.load_model`.
      out: folder for the results, made if absent.
      bbox: the person's box x1, y1, x2, y2 in pixels; the network reads the square around it. If None, the network
        finds the box.
      batch: frames in one run of the network (rounded down to full clips, at least one).
      stride: step between the frames of a clip, smaller if the video is too short; 2 is the step of the published
        Penn Action figures.
      skip_broken: continue after a broken image of a folder. A damaged video is always read as far as it can be.
      forms: further files: coco, and the words of `tables.TABLES`.
      maps: also draw the heat maps of these joints, see `map_pictures.chosen`.
      boxes, detector, several: who is predicted, see `persons.chosen`.
      loaded: what `load_model` gives for `weights`, if it is loaded already.

    Raises:
      Problem: the source or the weights cannot be read, or the results cannot be written.
      Usage: a wrong box or number; heat maps of a joint or a network that has none.
    """
    _check(bbox, batch, stride)
    finder, keep = persons.chosen(boxes, detector, several)
    if finder and bbox:
        raise Usage("--bbox is the box of one person; it does not go with --boxes, --detector and several --persons")
    if finder and maps is not None:
        raise Usage("--maps draws the heat maps of one person; it does not go with --boxes, --detector and --persons")
    opened = open_source(source, skip_broken)
    folder = take_images(opened, source) if isinstance(opened, Images) and source.is_dir() else ()
    if isinstance(opened, Video):
        opened.skip_broken = True  # results of what can be read are written, and `Summary.broken` says what is missing
    if "pyskl" in forms and not isinstance(opened, Video):
        raise Usage(f"--format pyskl is for videos; {source} is none")
    model, meta = loaded or checkpoint.load_model(weights)
    needs_pose(meta.config, weights)
    joints: tuple[int, ...] = ()
    if maps is not None:
        if "maps" not in meta.config.predicts:
            raise Usage(f"--maps: the network of {weights} predicts no heat maps; leave --maps out")
        joints = map_pictures.chosen(maps, meta.joints("drawing heat maps"))
    untrained = meta.untrained_actions(weights)
    if untrained:
        meta = dataclasses.replace(meta, actions=())
    settings: dict[str, object] = {
        "boxes": None if boxes is None else str(boxes),
        "detector": detector,
        "persons": several,
        "bbox": bbox,
        "batch": batch,
        "stride": stride,
        "skip_broken": skip_broken,
    }
    summary = predict_source(
        opened,
        partial(_without_action, partial(infer, model)) if untrained else partial(infer, model),
        meta,
        out,
        name=source,
        bbox=bbox,
        batch=batch,
        stride=stride,
        forms=forms,
        maps=joints,
        detector=finder,
        keep=keep,
        progress=progress,
        made_by=poses.made_by(checkpoint.sha256(model), {"weights": str(weights), **settings}, meta.trained),
        familiar=None if meta.familiar is None else partial(_recognise, model, meta.familiar),
    )
    seen = trained_on.sentence(weights, opened.paths if isinstance(opened, Images) else [source])
    return dataclasses.replace(summary, notes=(*folder, *filter(None, (untrained, meta.unseen_classes(), seen))))


def _recognise(model: Any, familiar: Familiar, crops: np.ndarray) -> np.ndarray:
    return familiar(appearance(model, crops)[:, 0])


def predict_source(
    source: Video | Images,
    infer: Infer,
    meta: NetworkInfo,
    out: Path,
    *,
    name: Path,
    bbox: Box | None = None,
    batch: int = 16,
    stride: int = 2,
    forms: Sequence[str] = (),
    maps: tuple[int, ...] = (),
    detector: Detector | BoxFile | None = None,
    keep: int | None = None,
    progress: bool = True,
    made_by: dict[str, object] | None = None,
    familiar: Recognise | None = None,
) -> Summary:
    """`run` with an open source and a network as a function.

    Args:
      meta: information about the network. If it has several sets of action labels, the first one is shown.
      name: of the source, for the header of the results.
      maps: indices of the joints whose heat maps are drawn.
      detector: finds the persons. None: one person, in `bbox` or found by the network itself.
      keep: number of persons, see `persons.find`.
      made_by: see `poses.made_by`.
      familiar: says which crops look like those of the training; None if that is not known.
    """
    begun = clock.perf_counter()
    fps = float(source.fps) if isinstance(source, Video) else None
    clip, size = clip_length(meta.config), frame_size(meta.config)
    actions = meta.actions[0] if meta.actions and isinstance(meta.actions[0], tuple) else meta.actions
    length = clip if fps else 1
    if not fps and clip > 1:  # no actions of single images from a network of clips
        infer, actions = partial(_without_action, infer), ()
    meta = checkpoint.Meta(meta.skeleton, actions, meta.config)
    batch = max(1, min(batch, source.total or batch) // length)
    bar = partial(tqdm, unit="frame", disable=not progress, dynamic_ncols=True)
    with Outputs(out, source, name, meta, forms, made_by, maps, several=detector is not None) as outputs:
        look = partial(bar, desc="finding the persons" if detector else "finding the person", total=source.total)
        if detector is None:
            times, stretches = _one_person(source, infer, (batch, length), size, bbox, look)
        else:
            times, stretches = persons.find(source, detector, infer, (batch, length), size, keep, look)
        if not times:
            raise Problem(f"{name}: it has no picture that can be read")
        windows = clip_results.windows(stretches, length, stride)
        outputs.begin(times)
        batches = read_ahead(clip_results.batches(source, windows, len(times), batch, size), 2)
        done = 0
        with (
            contextlib.closing(
                read_ahead(
                    clip_results.results(batches, infer, windows, len(times), familiar, bool(maps)), 4 * batch * length
                )
            ) as results,
            contextlib.closing(read_ahead(source.frames(), 4)) as frames,
        ):
            for frame, found in zip(bar(frames, desc="predicting", total=len(times)), results, strict=False):
                outputs.add(frame, found)
                done += 1
        if done < len(times):
            raise Problem(f"{name}: the file changed while it was read; start again when it is complete")
        outputs.finish()
    first = max(outputs.persons.values(), key=lambda person: person.frames, default=None)
    action, probability = outputs.named(None if first is None else first.action)
    return Summary(
        frames=len(times),
        files=outputs.files,
        action=action,
        probability=probability,
        persons={
            who: (person.first, person.last, *outputs.named(person.action)) for who, person in outputs.persons.items()
        },
        empty=outputs.empty,
        unfamiliar=outputs.unfamiliar,
        broken=tuple(source.broken),
        seconds=clock.perf_counter() - begun,
    )


def _without_action(infer: Infer, frames: np.ndarray) -> dict[str, np.ndarray]:
    return {name: value for name, value in infer(frames).items() if name != "action"}


def needs_pose(config: NetworkConfig, weights: Path) -> None:
    """Problem if a network predicts no joints, or reads more than pictures."""
    advice = "`jaxhar predict` needs a pose network that reads frames, see jaxhar zoo"
    if config.pose_shape is None:
        raise Problem(f"the network of {weights} predicts no joints: {advice}")
    if config.reads != ("frames",):
        raise Problem(f"the network of {weights} reads {', '.join(config.reads)}, not only frames: {advice}")


def _check(bbox: Box | None, batch: int, stride: int) -> None:
    if batch < 1 or stride < 1:
        raise Usage("--batch and --stride must be 1 or more")
    if bbox is not None and not (np.isfinite(bbox).all() and bbox[0] < bbox[2] and bbox[1] < bbox[3]):
        raise Usage(f"--bbox {words(bbox)} is not a box: give x1,y1,x2,y2 in pixels with x1 < x2 and y1 < y2")
    if bbox is not None and min(bbox) >= 0 and max(bbox) <= 1:
        raise Usage(f"--bbox {words(bbox)} lies within one pixel: give pixels, not fractions of the picture")


def _one_person(
    source: Video | Images,
    infer: Infer,
    shape: tuple[int, int],
    size: tuple[int, int],
    bbox: Box | None,
    bar: Callable[[Iterator], Iterator],
) -> tuple[list[float], list[Stretch]]:
    """The times of all frames, and the one person in all of them: in the given box, or found by the network."""
    fps = float(source.fps) if isinstance(source, Video) else None
    every = 0 if bbox else max(1, round(fps / BOXES_PER_SECOND)) if fps else 1
    with contextlib.closing(read_ahead(search_frames(source, every, bbox, size), 2 * shape[0] * shape[1])) as crops:
        times, boxes = find_boxes(bar(crops), infer, shape, stills=fps is None)
    if bbox:
        boxes = np.tile(transforms.valid_bbox(np.reshape(bbox, (2, 2)).astype(float), rel=1), (len(times), 1))
    elif fps:
        boxes = smooth(boxes, BOX_SMOOTHING * fps)
    if fps is None:
        return times, [Stretch(poses.PERSON, i, box[None]) for i, box in enumerate(boxes)]
    return times, [Stretch(poses.PERSON, 0, boxes)] if times else []
