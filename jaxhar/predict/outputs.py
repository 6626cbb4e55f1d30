"""Writer of the files of `jaxhar predict`: overlay, poses.json, actions.csv. Files get their names when complete."""

import contextlib
import csv
import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import av
import numpy as np

from jaxhar.core.skeleton import Skeleton
from jaxhar.data.formats.source import Images
from jaxhar.data.formats.video import Frame, Video
from jaxhar.data.formats.writer import VideoWriter, write_png
from jaxhar.host.errors import Problem, Usage
from jaxhar.host.files import atomic
from jaxhar.predict import coco as coco_file
from jaxhar.predict import poses
from jaxhar.predict.boxes import BOX_CONFIDENCE, anyone
from jaxhar.predict.map_pictures import FrameMaps, MapPictures
from jaxhar.viz import draw as viz

#: Length of the curves in the overlay, in seconds.
HISTORY = 4.0


@dataclass(frozen=True)
class Clip:
    """The action of one clip: frames (T,), rising indices, perhaps repeated; action (A,) probabilities."""

    frames: np.ndarray
    action: np.ndarray


@dataclass
class FrameResult:
    """The predictions for one frame.

    Attributes:
      index: of the frame in its source.
      box: (4,) x1, y1, x2, y2 of the crop of the pose, image pixels.
      pose: (J, D) image pixels; a third coordinate is in the network's units.
      confidence: (J,), NaN if the network predicts none; null in the files.
      action: (A,) probabilities over all clips that contain this moment; None for pose networks, and where no clip
        with a person contains it.
      clips: the clips with a person that begin with this frame.
      unfamiliar: whether the crop looks unlike those of the network's training; None if that is not known.
      maps: the network's heat maps of this frame, where they are asked for.
    """

    index: int
    box: np.ndarray
    pose: np.ndarray
    confidence: np.ndarray
    action: np.ndarray | None = None
    clips: list[Clip] = field(default_factory=list)
    unfamiliar: bool | None = None
    maps: FrameMaps | None = None

    @property
    def person(self) -> bool:
        """Whether somebody is in the frame."""
        return bool(anyone(self.confidence))


def normalised(logs: np.ndarray) -> np.ndarray:
    """Probabilities (A,) from log-probabilities that do not sum to one."""
    weights = np.exp(logs - logs.max())
    return weights / weights.sum()


class Outputs:
    """The files of one run, as a context manager.

    Use: `begin`, `add` for every frame in order, then `finish`. After an error, or without `finish`, incomplete files
    are removed; complete images of a folder stay.

    Attributes:
      files: written files, after `finish`: overlays, poses.json, actions.csv for networks with actions, coco.json and
        pictures of heat maps if asked for.
      action: (A,) probabilities of the whole video, after `finish`: the normalised geometric mean over its clips.
        None for pose networks, for several images, if nobody was found, and if most frames look unfamiliar.
      empty, unfamiliar: numbers of frames without a person, and of those whose person looks unfamiliar.

    Raises:
      Problem: the folder cannot be made or written to.
      Usage: a result would overwrite the source.
    """

    def __init__(
        self,
        folder: Path,
        source: Video | Images,
        name: Path,
        meta: Any,
        coco: bool = False,
        made_by: dict[str, object] | None = None,
        maps: Sequence[int] = (),
    ):
        self.files: tuple[Path, ...] = ()
        self.empty = self.unfamiliar = 0
        self._made_by = made_by
        self._found: list[int] = []  # the first and the last frame with a person
        self.action: np.ndarray | None = None
        self._folder, self._source, self._name, self._meta = folder, source, name, meta
        self._skeleton: Skeleton = meta.skeleton
        self._persons: list[coco_file.Detection] | None = [] if coco else None
        self._stack = contextlib.ExitStack()
        self._finished = False
        self._written: list[Path] = []
        self._times: Sequence[float] = ()
        self._writer: VideoWriter | None = None
        self._logs: list[np.ndarray] = []
        paths, fps = ([source.path], float(source.fps)) if isinstance(source, Video) else (source.paths, 1.0)
        self._overlays = dict(
            zip(paths, ["overlay.mp4"] if isinstance(source, Video) else image_names(paths), strict=True)
        )
        self._maps = MapPictures(folder, source, self._overlays, maps) if maps else None
        written = [folder / name for name in self._overlays.values()]
        written += self._maps.paths.values() if self._maps else []
        taken = {path.resolve() for path in paths} & {path.resolve() for path in written}
        if taken:
            raise Usage(f"--out {folder}: the results would overwrite {min(taken)}; give another folder")
        self._history: deque[np.ndarray] = deque(maxlen=max(2, round(HISTORY * fps)))

    def __enter__(self) -> "Outputs":
        with self._readable_errors(), contextlib.ExitStack() as stack:
            self._folder.mkdir(parents=True, exist_ok=True)
            # Files get their names when the stack unwinds without an error, which is after the last frame.
            self._poses = _open(stack, self._folder / "poses.json")
            self._csv = csv.writer(_open(stack, self._folder / "actions.csv")) if self._meta.actions else None
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._finished:
            kind, error = kind or Unfinished, error or Unfinished()
            with contextlib.suppress(Unfinished, OSError):
                self._stack.__exit__(kind, error, trace)

    def begin(self, times: Sequence[float]) -> None:
        """Start, with the times of all frames in seconds."""
        self._times = times

    def add(self, frame: Frame, result: FrameResult) -> None:
        """Draw and write one frame."""
        assert frame.image is not None
        with self._readable_errors():
            if result.index == 0:
                self._write_headers(frame.image)
            self._write_overlay(frame, self._draw(frame.image, result))
            if self._maps is not None and result.maps is not None:
                self._maps.add(frame, result.maps, self._skeleton, self._stack)
            self._poses.write(",\n" if result.index else "\n")
            self._poses.write(poses.dumps(self._entry(frame, result)))
            if result.person:
                self._found = [*self._found[:1], result.index]
            self.empty += not result.person
            self.unfamiliar += result.person and bool(result.unfamiliar)
            if self._persons is not None and result.person:
                file = frame.path.name if isinstance(self._source, Images) else f"frame_{result.index:06d}"
                size, points = frame.image.shape[1::-1], np.round(result.pose[:, :2], 2)
                scores, box = np.round(result.confidence, 4), np.round(result.box, 2)
                self._persons.append(coco_file.Detection(file, size, points, scores, box))
            for clip in result.clips:
                self._write_clip(frame.path, clip)

    def finish(self) -> None:
        """Close all files and give them their names."""
        strange = 2 * self.unfamiliar > len(self._times) - self.empty
        if self._logs and not strange and not (isinstance(self._source, Images) and len(self._times) > 1):
            self.action = normalised(np.mean(self._logs, axis=0))
        tracks = []
        if self._found and isinstance(self._source, Video):
            name, probability = None, None
            if self.action is not None:
                name, probability = self._meta.actions[int(self.action.argmax())], float(self.action.max())
            tracks.append(poses.track(self._found[0], self._found[-1], name, probability))
        with self._readable_errors():
            self._poses.write(f'\n], "tracks": {poses.dumps(tracks)}}}\n')
            if self._persons is not None:
                found = coco_file.document(self._persons, self._skeleton)
                self._stack.enter_context(atomic(self._folder / coco_file.FILE)).write_text(json.dumps(found))
            self._finished = True
            self._stack.close()
        extra = [self._folder / "actions.csv"] if self._csv else []
        extra += [self._folder / coco_file.FILE] if self._persons is not None else []
        extra += self._maps.files if self._maps else []
        self.files = (*self._written, self._folder / "poses.json", *extra)

    @contextlib.contextmanager
    def _readable_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, av.FFmpegError) as error:
            raise Problem(f"{self._folder}: the results cannot be written there: {error.strerror or error}") from error

    def _write_headers(self, image: np.ndarray) -> None:
        height, width = image.shape[:2]
        header: dict[str, object] = {
            "version": poses.VERSION,
            "made_by": self._made_by,
            "source": str(self._name),
            "model": {k: v for k, v in asdict(self._meta.config).items() if isinstance(v, int | float | str)},
            "skeleton": poses.skeleton(self._skeleton),
            "actions": self._meta.actions,
        }
        if isinstance(self._source, Video):
            header |= {"fps": float(self._source.fps), "width": width, "height": height}
            self._written.append(self._folder / self._overlays[self._source.path])
            part = self._stack.enter_context(atomic(self._written[0]))
            self._writer = self._stack.enter_context(VideoWriter(part, self._source.fps, width, height))
        self._poses.write(json.dumps(header)[:-1] + ', "frames": [')
        if self._csv:
            columns = "source start_frame end_frame start_time end_time action probability".split()
            self._csv.writerow([*columns, *self._meta.actions])

    def _draw(self, image: np.ndarray, result: FrameResult) -> np.ndarray:
        if not result.person:
            return image
        image = viz.draw_box(image, result.box.tolist())
        confidence = None if np.isnan(result.confidence).all() else result.confidence
        image = viz.draw_skeleton(image, result.pose, self._skeleton, confidence, BOX_CONFIDENCE)
        if result.unfamiliar:
            return viz.draw_words(image, "unfamiliar: unlike what the network was trained on")
        if result.action is None:
            return image
        top = int(result.action.argmax())
        self._history.append(result.action)
        history = np.stack(self._history) if self._writer else None
        return viz.draw_action(image, self._meta.actions[top], float(result.action[top]), history)

    def _write_overlay(self, frame: Frame, image: np.ndarray) -> None:
        if self._writer:
            self._writer.write(image, frame.time)
            return
        self._written.append(self._folder / self._overlays[frame.path])
        write_png(self._written[-1], image)

    def _entry(self, frame: Frame, result: FrameResult) -> dict[str, object]:
        entry: dict[str, object] = {"index": result.index, "time": round(frame.time, 6)}
        if isinstance(self._source, Images):
            assert frame.image is not None
            height, width = frame.image.shape[:2]
            entry |= {"file": frame.path.name, "width": width, "height": height}
        action = None
        if result.action is not None:
            top = int(result.action.argmax())
            action = {"name": self._meta.actions[top], "probability": poses.number(result.action[top], 4)}
        one = poses.person(result.box, result.pose, result.confidence, self._skeleton, action, result.unfamiliar)
        return {**entry, "persons": [one] if result.person else []}

    def _write_clip(self, path: Path, clip: Clip) -> None:
        action = clip.action / clip.action.sum()
        self._logs.append(np.log(np.maximum(action, 1e-12)))
        assert self._csv is not None
        start, end, top = int(clip.frames[0]), int(clip.frames[-1]), int(action.argmax())
        span = [start, end, f"{self._times[start]:.3f}", f"{self._times[end]:.3f}"]
        values = [f"{p:.6f}" for p in action]
        self._csv.writerow([path.name, *span, self._meta.actions[top], values[top], *values])


class Unfinished(Exception):
    """Raised inside of the context of open files to delete them."""


def _open(stack: contextlib.ExitStack, path: Path) -> TextIO:
    part = stack.enter_context(atomic(path))
    return stack.enter_context(open(part, "w", newline="", encoding="utf-8"))


def image_names(paths: Sequence[Path]) -> list[str]:
    """NAME.png for each image, NAME.jpg.png where two images share a NAME."""
    stems = [path.stem.lower() for path in paths]
    return [f"{p.stem if stems.count(p.stem.lower()) == 1 else p.name}.png" for p in paths]
