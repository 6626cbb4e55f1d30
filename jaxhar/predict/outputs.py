"""Writer of the files of `jaxhar predict`: overlay, poses.json, actions.csv. Files get their names when complete."""

import contextlib
import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Protocol

import av
import numpy as np

from jaxhar.core.network import NetworkConfig
from jaxhar.core.skeleton import Skeleton
from jaxhar.data.formats.source import Images
from jaxhar.data.formats.video import Frame, Video
from jaxhar.data.formats.writer import VideoWriter, write_png
from jaxhar.host import files
from jaxhar.host.errors import Problem, Usage
from jaxhar.host.files import atomic
from jaxhar.predict import coco as coco_file
from jaxhar.predict import poses
from jaxhar.predict.attention_video import AttentionVideo
from jaxhar.predict.frame_result import Clip, FrameResult, Tally, acting, named, of_scene
from jaxhar.predict.map_pictures import MapPictures
from jaxhar.predict.overlay import Overlay
from jaxhar.predict.tables import SCENE_NAME, TABLES, Segments, Setting, Table

#: The words of --format; json is always written.
FORMATS = ("json", "coco", *TABLES)


class NetworkInfo(Protocol):
    """Information about a network: skeleton, names of its action classes (() if it has none), config."""

    @property
    def skeleton(self) -> Skeleton | None: ...

    @property
    def actions(self) -> tuple: ...

    @property
    def config(self) -> NetworkConfig: ...


class Outputs:
    """The files of one run, as a context manager.

    Use: `begin`, `add` for every frame in order, then `finish`. After an error, or without `finish`, incomplete files
    are removed; complete images of a folder stay.

    Attributes:
      files: written files, after `finish`: overlays, poses.json, actions.csv and segments.csv for networks with
        actions, pictures of heat maps and files in other forms if asked for.
      tally: the persons over all frames.

    Raises:
      Problem: the folder cannot be made or written to.
      Usage: a result would overwrite the source.
    """

    def __init__(
        self,
        folder: Path,
        source: Video | Images,
        name: Path,
        meta: NetworkInfo,
        forms: Sequence[str] = (),
        made_by: dict[str, object] | None = None,
        maps: Sequence[int] = (),
        several: bool = False,
    ):
        self.files: tuple[Path, ...] = ()
        self.tally = Tally()
        self._made_by = made_by
        self._forms = forms
        self._tables: list[Table] = []
        self._folder, self._source, self._name, self._meta = folder, source, name, meta
        assert meta.skeleton is not None
        self._skeleton = meta.skeleton
        self._coco: list[coco_file.Detection] | None = [] if "coco" in forms else None
        self._stack = contextlib.ExitStack()
        self._finished = False
        self._written: list[Path] = []
        self._times: Sequence[float] = ()
        self._writer: VideoWriter | None = None
        paths, fps = ([source.path], float(source.fps)) if isinstance(source, Video) else (source.paths, None)
        self._overlays = dict(
            zip(paths, ["overlay.mp4"] if isinstance(source, Video) else image_names(paths), strict=True)
        )
        self._maps = MapPictures(folder, source, self._overlays, maps) if maps else None
        self._attention = AttentionVideo(folder, source.fps) if isinstance(source, Video) else None
        written = [folder / name for name in self._overlays.values()]
        written += self._maps.paths.values() if self._maps else []
        taken = {path.resolve() for path in paths} & {path.resolve() for path in written}
        if taken:
            raise Usage(f"--out {folder}: the results would overwrite {min(taken)}; give another folder")
        self._overlay = Overlay(self._skeleton, meta.actions, several, fps)

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
            drawn = self._overlay.draw(frame.image, acting(results))
            if frame.index == 0:
                self._write_headers(frame.image, drawn)
            self._write_overlay(frame, drawn)
            if self._maps is not None and results and results[0].maps is not None:
                self._maps.add(frame, results[0].maps, self._skeleton, self._stack)
            self._poses.write(",\n" if frame.index else "\n")
            self._poses.write(poses.dumps(self._entry(frame, there, of_scene(results))))
            self.tally.add(frame.index, results)
            for table in self._tables:
                table.add(frame, acting(results) if isinstance(table, Segments) else there)
            if self._coco is not None:
                size = frame.image.shape[1], frame.image.shape[0]
                name = name_in_coco(frame, isinstance(self._source, Video))
                self._coco += [coco_file.detection(name, size, result) for result in there]
            for result in results:
                if self._attention is not None and result.attention is not None:
                    self._attention.add(frame, result.attention, self._stack)
                for clip in result.clips:
                    self._write_clip(frame.path, result, clip)

    def finish(self) -> None:
        """Close all files and give them their names."""
        tracks = []
        if isinstance(self._source, Images):
            if len(self._times) > 1:  # they have nothing in common
                self.tally.persons, self.tally.scene = {}, None
        else:
            for who, person in sorted(self.tally.persons.items()):
                name, probability = named(person.action, self._meta.actions)
                tracks.append(poses.track(who, person.first, person.last, name, probability))
        with self._readable_errors():
            self._poses.write(f'\n], "tracks": {poses.dumps(tracks)}{self._scene()}}}\n')
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
        extra += self._attention.files if self._attention else []
        self.files = (*self._written, self._folder / "poses.json", *extra)

    @contextlib.contextmanager
    def _readable_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, av.FFmpegError) as error:
            raise Problem(f"{self._folder}: the results cannot be written there: {error.strerror or error}") from error

    def _write_headers(self, image: np.ndarray, drawn: np.ndarray) -> None:
        height, width = image.shape[:2]
        settings = asdict(self._meta.config)  # type: ignore[call-overload]
        header: dict[str, object] = {
            "version": poses.VERSION,
            "made_by": self._made_by,
            "source": str(self._name),
            "model": {k: v for k, v in settings.items() if isinstance(v, int | float | str)},
            "skeleton": poses.skeleton(self._skeleton),
            "actions": self._meta.actions,
        }
        if isinstance(self._source, Video):
            header |= {"fps": float(self._source.fps), "width": width, "height": height}
            self._written.append(self._folder / self._overlays[self._source.path])
            part = self._stack.enter_context(atomic(self._written[0]))
            self._writer = self._stack.enter_context(VideoWriter(part, self._source.fps, *drawn.shape[1::-1]))
        self._poses.write(json.dumps(header)[:-1] + ', "frames": [')
        if self._csv:
            columns = "source person start_frame end_frame start_time end_time action probability".split()
            self._csv.writerow([*columns, *self._meta.actions])

    def _write_overlay(self, frame: Frame, image: np.ndarray) -> None:
        if self._writer:
            self._writer.write(image, frame.time)
            return
        self._written.append(self._folder / self._overlays[frame.path])
        write_png(self._written[-1], image)

    def _scene(self) -> str:
        """The end of poses.json about all persons together; "" if no action of theirs was looked for."""
        if self.tally.scene is None:
            return ""
        return f', "scene": {poses.dumps(self._action(self.tally.scene.action))}'

    def _action(self, action: np.ndarray | None) -> dict[str, object] | None:
        name, probability = named(action, self._meta.actions)
        return None if probability is None else {"name": name, "probability": poses.number(probability, 4)}

    def _entry(self, frame: Frame, results: Sequence[FrameResult], together: FrameResult | None) -> dict[str, object]:
        entry: dict[str, object] = {"index": frame.index, "time": round(frame.time, 6)}
        if isinstance(self._source, Images):
            assert frame.image is not None
            height, width = frame.image.shape[:2]
            entry |= {"file": frame.path.name, "width": width, "height": height}
        entry["persons"] = [self._person(result) for result in results]
        return entry if together is None else {**entry, "scene": self._action(together.action)}

    def _person(self, result: FrameResult) -> dict[str, object]:
        action = self._action(result.action)
        return poses.person(
            result.id, result.box, result.pose, result.confidence, self._skeleton, action, result.unfamiliar
        )

    def _write_clip(self, path: Path, result: FrameResult, clip: Clip) -> None:
        action = clip.action / clip.action.sum()
        assert self._csv is not None
        start, end, top = int(clip.frames[0]), int(clip.frames[-1]), int(action.argmax())
        span = [start, end, f"{self._times[start]:.3f}", f"{self._times[end]:.3f}"]
        values = [f"{p:.6f}" for p in action]
        self._csv.writerow([path.name, result.id or SCENE_NAME, *span, self._meta.actions[top], values[top], *values])


def check_formats(formats: Sequence[str], source: Video | Images, name: Path) -> None:
    """Usage for a word of --format that is not known, or that is not for this source."""
    for word in formats:
        if word not in FORMATS:
            raise Usage(f"--format {word!r} is not known; there are {', '.join(FORMATS)}")
    if "pyskl" in formats and not isinstance(source, Video):
        raise Usage(f"--format pyskl is for videos; {name} is none")


def name_in_coco(frame: Frame, of_video: bool) -> str:
    """The name of a frame in coco.json."""
    return f"frame_{frame.index:06d}" if of_video else frame.path.name


class Unfinished(Exception):
    """Raised inside of the context of open files to delete them."""


def image_names(paths: Sequence[Path]) -> list[str]:
    """NAME.png for each image, NAME.jpg.png where two images share a NAME."""
    stems = [path.stem.lower() for path in paths]
    return [f"{p.stem if stems.count(p.stem.lower()) == 1 else p.name}.png" for p in paths]
