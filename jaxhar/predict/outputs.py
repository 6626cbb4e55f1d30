"""Writer of the files of `jaxhar predict`: overlay, poses.json, actions.csv. Files get their names when complete."""

import contextlib
import csv
import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np

from jaxhar.core.skeleton import Skeleton
from jaxhar.data.formats.source import Images
from jaxhar.data.formats.video import Frame, Video
from jaxhar.data.formats.writer import VideoWriter, write_png
from jaxhar.host import files
from jaxhar.host.errors import Problem, Usage
from jaxhar.host.files import atomic
from jaxhar.predict import coco as coco_file
from jaxhar.predict import poses
from jaxhar.predict.boxes import BOX_CONFIDENCE
from jaxhar.predict.frame_result import Clip, FrameResult, PersonResult
from jaxhar.predict.map_pictures import MapPictures
from jaxhar.predict.tables import TABLES, Segments, Setting, Table
from jaxhar.viz import draw as viz

#: Length of the curves in the overlay, in seconds.
HISTORY = 4.0


class Outputs:
    """The files of one run, as a context manager.

    Use: `begin`, `add` for every frame in order, then `finish`. After an error, or without `finish`, incomplete files
    are removed; complete images of a folder stay.

    Attributes:
      files: written files, after `finish`: overlays, poses.json, actions.csv and segments.csv for networks with
        actions, pictures of heat maps and files in other forms if asked for.
      persons: the persons of a video by identity, or the one of a single picture.
      empty, unfamiliar: numbers of frames without a person, and of those with a person who looks unfamiliar.

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
        forms: Sequence[str] = (),
        made_by: dict[str, object] | None = None,
        maps: Sequence[int] = (),
        several: bool = False,
    ):
        self.files: tuple[Path, ...] = ()
        self.empty = self.unfamiliar = 0
        self.persons: dict[int, PersonResult] = {}
        self._made_by, self._several = made_by, several
        self._forms = forms
        self._tables: list[Table] = []
        self._folder, self._source, self._name, self._meta = folder, source, name, meta
        self._skeleton: Skeleton = meta.skeleton
        self._coco: list[coco_file.Detection] | None = [] if "coco" in forms else None
        self._stack = contextlib.ExitStack()
        self._finished = False
        self._written: list[Path] = []
        self._times: Sequence[float] = ()
        self._writer: VideoWriter | None = None
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
            self._poses = files.open_text(stack, self._folder / "poses.json")
            self._csv = csv.writer(files.open_text(stack, self._folder / "actions.csv")) if self._meta.actions else None
            setting = Setting(self._folder, stack, self._skeleton, self._meta.actions, self._name.stem)
            if self._csv and isinstance(self._source, Video):
                self._tables.append(Segments(setting))
            self._tables += [TABLES[form](setting) for form in self._forms if form in TABLES]
            self._stack = setting.stack = stack.pop_all()
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

    def add(self, frame: Frame, results: Sequence[FrameResult]) -> None:
        """Draw and write one frame with its persons."""
        assert frame.image is not None
        there = [result for result in results if result.person]
        with self._readable_errors():
            if frame.index == 0:
                self._write_headers(frame.image)
            self._write_overlay(frame, self._draw(frame.image, there))
            if self._maps is not None and results and results[0].maps is not None:
                self._maps.add(frame, results[0].maps, self._skeleton, self._stack)
            self._poses.write(",\n" if frame.index else "\n")
            self._poses.write(poses.dumps(self._entry(frame, there)))
            self.empty += not there
            self.unfamiliar += any(result.unfamiliar for result in there)
            for table in self._tables:
                table.add(frame, there)
            for result in there:
                self._count(frame, result)
            for result in results:
                for clip in result.clips:
                    self._write_clip(frame.path, result, clip)

    def _count(self, frame: Frame, result: FrameResult) -> None:
        person = self.persons.setdefault(result.id, PersonResult(frame.index, frame.index))
        person.last = frame.index
        person.frames += 1
        person.unfamiliar += bool(result.unfamiliar)
        if self._coco is not None:
            assert frame.image is not None
            file = frame.path.name if isinstance(self._source, Images) else f"frame_{frame.index:06d}"
            size, points = frame.image.shape[1::-1], np.round(result.pose[:, :2], 2)
            scores, box = np.round(result.confidence, 4), np.round(result.box, 2)
            self._coco.append(coco_file.Detection(file, size, points, scores, box))

    def finish(self) -> None:
        """Close all files and give them their names."""
        tracks = []
        if isinstance(self._source, Images):
            self.persons = self.persons if len(self._times) == 1 else {}
        else:
            for who, person in sorted(self.persons.items()):
                name, probability = self.named(person.action)
                tracks.append(poses.track(who, person.first, person.last, name, probability))
        with self._readable_errors():
            self._poses.write(f'\n], "tracks": {poses.dumps(tracks)}}}\n')
            if self._coco is not None:
                found = coco_file.document(self._coco, self._skeleton)
                self._stack.enter_context(atomic(self._folder / coco_file.FILE)).write_text(json.dumps(found))
            for table in self._tables:
                table.finish()
            self._finished = True
            self._stack.close()
        extra = [self._folder / "actions.csv"] if self._csv else []
        extra += [self._folder / coco_file.FILE] if self._coco is not None else []
        extra += [table.path for table in self._tables]
        extra += self._maps.files if self._maps else []
        self.files = (*self._written, self._folder / "poses.json", *extra)

    def named(self, action: np.ndarray | None) -> tuple[str | None, float | None]:
        """The most probable of the actions (A,), and its probability; None for None."""
        return (None, None) if action is None else (self._meta.actions[int(action.argmax())], float(action.max()))

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
            columns = "source person start_frame end_frame start_time end_time action probability".split()
            self._csv.writerow([*columns, *self._meta.actions])

    def _draw(self, image: np.ndarray, results: Sequence[FrameResult]) -> np.ndarray:
        for result in results:
            image = viz.draw_box(image, result.box.tolist())
            confidence = None if np.isnan(result.confidence).all() else result.confidence
            image = viz.draw_skeleton(image, result.pose, self._skeleton, confidence, BOX_CONFIDENCE)
        if self._several:
            for result in results:
                image = viz.draw_label(image, result.box.tolist(), self._label(result))
            return image
        if not results:
            return image
        (result,) = results
        if result.unfamiliar:
            return viz.draw_words(image, "unfamiliar: unlike what the network was trained on")
        if result.action is None:
            return image
        top = int(result.action.argmax())
        self._history.append(result.action)
        history = np.stack(self._history) if self._writer else None
        return viz.draw_action(image, self._meta.actions[top], float(result.action[top]), history)

    def _label(self, result: FrameResult) -> str:
        if result.unfamiliar:
            return f"{result.id} unfamiliar"
        name, probability = self.named(result.action)
        return str(result.id) if name is None else f"{result.id} {name.replace('_', ' ')} {probability:.0%}"

    def _write_overlay(self, frame: Frame, image: np.ndarray) -> None:
        if self._writer:
            self._writer.write(image, frame.time)
            return
        self._written.append(self._folder / self._overlays[frame.path])
        write_png(self._written[-1], image)

    def _entry(self, frame: Frame, results: Sequence[FrameResult]) -> dict[str, object]:
        entry: dict[str, object] = {"index": frame.index, "time": round(frame.time, 6)}
        if isinstance(self._source, Images):
            assert frame.image is not None
            height, width = frame.image.shape[:2]
            entry |= {"file": frame.path.name, "width": width, "height": height}
        return {**entry, "persons": [self._person(result) for result in results]}

    def _person(self, result: FrameResult) -> dict[str, object]:
        name, probability = self.named(result.action)
        action: dict[str, object] | None = (
            None if probability is None else {"name": name, "probability": poses.number(probability, 4)}
        )
        return poses.person(
            result.id, result.box, result.pose, result.confidence, self._skeleton, action, result.unfamiliar
        )

    def _write_clip(self, path: Path, result: FrameResult, clip: Clip) -> None:
        action = clip.action / clip.action.sum()
        self.persons.setdefault(result.id, PersonResult(result.index, result.index)).add_clip(action)
        assert self._csv is not None
        start, end, top = int(clip.frames[0]), int(clip.frames[-1]), int(action.argmax())
        span = [start, end, f"{self._times[start]:.3f}", f"{self._times[end]:.3f}"]
        values = [f"{p:.6f}" for p in action]
        self._csv.writerow([path.name, result.id, *span, self._meta.actions[top], values[top], *values])


class Unfinished(Exception):
    """Raised inside of the context of open files to delete them."""


def image_names(paths: Sequence[Path]) -> list[str]:
    """NAME.png for each image, NAME.jpg.png where two images share a NAME."""
    stems = [path.stem.lower() for path in paths]
    return [f"{p.stem if stems.count(p.stem.lower()) == 1 else p.name}.png" for p in paths]
