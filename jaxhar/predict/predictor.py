"""Predicts pose and action of the person in a video, an image or a folder of images; writes overlay, JSON and CSV.

A source is read three times as a stream: to find the person's box, to crop and run the network, and to draw. So only a
few frames are in memory; for each frame of the video only its box and time are kept.
"""

import contextlib
import dataclasses
import time as clock
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from jaxhar.core.batch import to_image
from jaxhar.core.familiar import Familiar
from jaxhar.core.network import NetworkConfig, clip_length, frame_size
from jaxhar.core.skeleton import Skeleton
from jaxhar.data import transforms
from jaxhar.data.formats.ahead import read_ahead
from jaxhar.data.formats.source import Images, open_source
from jaxhar.data.formats.video import Video
from jaxhar.host.errors import Problem, Usage
from jaxhar.inference import appearance, infer
from jaxhar.predict import map_pictures, poses
from jaxhar.predict.boxes import anyone, clips, smooth, union
from jaxhar.predict.folder import take_images
from jaxhar.predict.map_pictures import FrameMaps
from jaxhar.predict.outputs import Clip, FrameResult, Outputs, normalised
from jaxhar.predict.search import Box, Infer, find_boxes, run_network, search_frames, words
from jaxhar.weights import checkpoint, trained_on

#: Crops (N, H, W, 3) uint8 -> (N,) bool, whether each one looks like those on which the network was trained.
Recognise = Callable[[np.ndarray], np.ndarray]

#: Boxes predicted per second of video; those of other frames are interpolated.
BOXES_PER_SECOND = 8
#: Standard deviation in seconds of the Gaussian that smooths the box over time.
BOX_SMOOTHING = 0.25


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
      action, probability: of a whole video, by the geometric mean over its clips. None if the network predicts no
        actions, if the source is several images, or if the network reads clips and the source is an image.
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


def run(
    source: Path,
    weights: Path,
    out: Path,
    *,
    bbox: Box | None = None,
    batch: int = 16,
    stride: int = 2,
    skip_broken: bool = False,
    coco: bool = False,
    maps: str | None = None,
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
      coco: also write coco.json.
      maps: also draw the heat maps of these joints, see `map_pictures.chosen`.
      loaded: what `load_model` gives for `weights`, if it is loaded already.

    Raises:
      Problem: the source or the weights cannot be read, or the results cannot be written.
      Usage: a wrong box or number; heat maps of a joint or a network that has none.
    """
    _check(bbox, batch, stride)
    opened = open_source(source, skip_broken)
    folder = take_images(opened, source) if isinstance(opened, Images) and source.is_dir() else ()
    if isinstance(opened, Video):
        opened.skip_broken = True  # results of what can be read are written, and `Summary.broken` says what is missing
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
    settings: dict[str, object] = {"bbox": bbox, "batch": batch, "stride": stride, "skip_broken": skip_broken}
    summary = predict_source(
        opened,
        partial(_without_action, partial(infer, model)) if untrained else partial(infer, model),
        meta,
        out,
        name=source,
        bbox=bbox,
        batch=batch,
        stride=stride,
        coco=coco,
        maps=joints,
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
    coco: bool = False,
    maps: tuple[int, ...] = (),
    progress: bool = True,
    made_by: dict[str, object] | None = None,
    familiar: Recognise | None = None,
) -> Summary:
    """`run` with an open source and a network as a function.

    Args:
      meta: information about the network. If it has several sets of action labels, the first one is shown.
      name: of the source, for the header of the results.
      maps: indices of the joints whose heat maps are drawn.
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
    every = 0 if bbox else max(1, round(fps / BOXES_PER_SECOND)) if fps else 1
    bar = partial(tqdm, unit="frame", disable=not progress, dynamic_ncols=True)
    with Outputs(out, source, name, meta, coco, made_by, maps) as outputs:
        with contextlib.closing(read_ahead(search_frames(source, every, bbox, size), 2 * batch * length)) as crops:
            times, boxes = find_boxes(
                bar(crops, desc="finding the person", total=source.total), infer, (batch, length), stills=fps is None
            )
        if not times:
            raise Problem(f"{name}: it has no picture that can be read")
        if bbox:
            boxes = np.tile(transforms.valid_bbox(np.reshape(bbox, (2, 2)).astype(float), rel=1), (len(times), 1))
        elif fps:
            boxes = smooth(boxes, BOX_SMOOTHING * fps)
        windows = clips(len(times), length, stride)
        outputs.begin(times)
        batches = read_ahead(_batches(source, windows, boxes, batch, size), 2)
        done = 0
        with (
            contextlib.closing(
                read_ahead(_results(batches, infer, windows, boxes, familiar, bool(maps)), 4 * batch * length)
            ) as results,
            contextlib.closing(read_ahead(source.frames(), 4)) as frames,
        ):
            for frame, result in zip(bar(frames, desc="predicting", total=len(times)), results, strict=False):
                outputs.add(frame, result)
                done += 1
        if done < len(times):
            raise Problem(f"{name}: the file changed while it was read; start again when it is complete")
        outputs.finish()
    return Summary(
        frames=len(times),
        files=outputs.files,
        action=None if outputs.action is None else meta.actions[int(outputs.action.argmax())],
        probability=None if outputs.action is None else float(outputs.action.max()),
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


@dataclass(frozen=True)
class _Job:
    """Clips for one run of the network: crops (N, T, H, W, 3) uint8, and the affine map (3, 3) of each clip."""

    crops: np.ndarray
    affines: list[np.ndarray]
    shape: tuple[int, int]


def _batches(
    source: Video | Images, windows: list[np.ndarray], boxes: np.ndarray, batch: int, size: tuple[int, int]
) -> Iterator[_Job]:
    """Crop every clip by the union of its boxes. A frame is cropped for all its clips when it is read, and not kept."""
    shape = (batch, len(windows[0]))
    waiting: list[tuple[np.ndarray, transforms.Crop, np.ndarray]] = []
    coming = 0
    for frame in source.frames():
        assert frame.image is not None
        height, width = frame.image.shape[:2]
        while coming < len(windows) and windows[coming][0] <= frame.index:
            box = transforms.fit_aspect(union(boxes[windows[coming]]), size)
            plan = transforms.plan_crop(box, (width, height), size)
            waiting.append((windows[coming], plan, np.zeros((shape[1], *size, 3), np.uint8)))
            coming += 1
        for window, plan, crops in waiting:
            here = np.flatnonzero(window == frame.index)
            if len(here):
                crops[here] = transforms.crop_image(frame.image, plan)
        done = sum(window[-1] <= frame.index for window, _, _ in waiting)
        while done >= batch or (done and frame.index == len(boxes) - 1):
            job, waiting = waiting[:batch], waiting[batch:]
            done -= len(job)
            yield _Job(np.stack([crops for _, _, crops in job]), [plan.affine for _, plan, _ in job], shape)


def _results(
    jobs: Generator[_Job, None, None],
    infer: Infer,
    windows: list[np.ndarray],
    boxes: np.ndarray,
    familiar: Recognise | None = None,
    with_maps: bool = False,
) -> Iterator[FrameResult]:
    """Results by frame: the pose from the clip in which the frame is most central, the action from all clips that
    contain that moment, look familiar in their middle, and show somebody in at least half of their frames."""
    open_frames: dict[int, FrameResult] = {}
    votes: dict[int, list[np.ndarray]] = {}
    best: dict[int, float] = {}
    done = 0
    with contextlib.closing(jobs):
        for job in jobs:
            seen = run_network(infer, job.crops, job.shape, as_clips=True)
            known = None if familiar is None else _middles(familiar, job)
            for n, affine in enumerate(job.affines):
                unfamiliar = None if known is None else not known[n]
                window = windows[done]
                done += 1
                action = None if seen.action is None else np.asarray(seen.action[n], np.float64)
                for t, i in enumerate(window.tolist()):
                    central = -abs(t - (len(window) - 1) / 2)
                    if central > best.get(i, -np.inf):
                        pose = np.array(seen.pose[n, t], np.float64)
                        pose[:, :2] = to_image(affine, pose)
                        box = to_image(affine, np.array([[0.0, 0.0], [1.0, 1.0]])).ravel()
                        kept = open_frames[i].clips if i in open_frames else []
                        open_frames[i] = FrameResult(
                            i, box, pose, np.asarray(seen.confidence[n, t], np.float64), clips=kept
                        )
                        open_frames[i].unfamiliar = unfamiliar
                        if with_maps and seen.maps is not None:
                            open_frames[i].maps = FrameMaps(job.crops[n, t], seen.maps[n, t], seen.pose[n, t, :, :2])
                        best[i] = central
                if action is not None and not unfamiliar and 2 * anyone(seen.confidence[n]).sum() >= len(window):
                    open_frames[int(window[0])].clips.append(Clip(window, action))
                    # Frames between those of the clip too; otherwise odd and even frames would differ at a stride of 2.
                    for i in range(int(window[0]), int(window[-1]) + 1):
                        votes.setdefault(i, []).append(np.log(np.maximum(action, 1e-12)))
            settled = int(windows[done][0]) if done < len(windows) else len(boxes)
            for i in sorted(k for k in open_frames if k < settled):
                result = open_frames.pop(i)
                best.pop(i)
                if i in votes:
                    result.action = normalised(np.mean(votes.pop(i), axis=0))
                yield result


def _middles(familiar: Recognise, job: _Job) -> np.ndarray:
    """Whether the middle frame of each clip looks familiar; padded to one shape, so that it is compiled once."""
    crops = np.zeros((job.shape[0], *job.crops.shape[2:]), np.uint8)
    crops[: len(job.crops)] = job.crops[:, job.shape[1] // 2]
    return familiar(crops)[: len(job.crops)]
