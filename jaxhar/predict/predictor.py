"""Predicts pose and action of the persons in videos, images and folders of images, with a network loaded once.

`jaxhar.load(weights).predict(source)` gives the results in memory, `stream` each frame as it comes, and `write` writes
the files of the command `jaxhar predict`.
"""

import dataclasses
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from jaxhar import zoo
from jaxhar.core.calibration import Calibration
from jaxhar.core.familiar import Familiar
from jaxhar.core.network import NetworkConfig, Reconstructing
from jaxhar.core.skeleton import Skeleton
from jaxhar.data.formats.source import Images
from jaxhar.data.formats.video import Video
from jaxhar.host import compile_cache, files
from jaxhar.host.errors import Problem, Usage
from jaxhar.inference import appearance, infer
from jaxhar.predict import map_pictures, persons, picture_actions, poses, skeleton_actions
from jaxhar.predict.detector import Own
from jaxhar.predict.folder import opened
from jaxhar.predict.onnx_detector import OnnxDetector
from jaxhar.predict.options import STRIDE, Options
from jaxhar.predict.outputs import check_formats
from jaxhar.predict.picture_actions import PictureActions
from jaxhar.predict.progress import Bars, Progress
from jaxhar.predict.result import Result, Seen
from jaxhar.predict.search import Infer
from jaxhar.predict.skeleton_actions import WINDOW, SkeletonActions
from jaxhar.predict.summary import Summary, write
from jaxhar.predict.task import PredictedFrame, Task, without_action
from jaxhar.weights import checkpoint, trained_on


@dataclass(frozen=True)
class LoadedNetwork:
    """A network with its weights, for any number of sources; made by `load`.

    Attributes:
      path: of the weights. model: the network. meta: its joints, action names and settings.
      skeletons: a network that names the actions by the joints.
    """

    path: Path
    model: nnx.Module
    meta: checkpoint.Meta
    skeletons: SkeletonActions | None = None

    @property
    def skeleton(self) -> Skeleton:
        """The joints, in the order of all arrays."""
        return self.meta.joints("prediction")

    @cached_property
    def actions(self) -> tuple:
        """Names of the action classes; () if there are none, or if no label has trained them."""
        if self.skeletons is not None:
            return self.skeletons.classes
        return () if self.meta.untrained_actions(self.path) else self.meta.actions

    @cached_property
    def sha256(self) -> str:
        """Of the weights."""
        return checkpoint.sha256(self.model)

    def predict(self, source: Path | str, progress: Progress | None = None, **options: Any) -> Result:
        """The persons, their joints and actions in a video, an image or a folder of images.

        Args:
          progress: called with what is done, the frames done and the number of frames (None if unknown).
          options: those of `Options`, e.g. persons="all".

        Raises:
          Problem: the source cannot be read. Usage: a wrong option.
        """
        how, path = Options(**options), Path(source)
        opening = opened(path, how.skip_broken)
        task = self.task(path, opening[0], how)
        frames = []
        times, stretches = task.search(progress)
        for found in task.frames(times, stretches, progress):
            size = found.image.shape[1], found.image.shape[0]
            frames.append(Seen(dataclasses.replace(found.frame, image=None), size, found.results))
        return Result(
            source=path,
            meta=task.meta,
            frames=frames,
            several=task.detector is not None,
            made_by=self._made_by(how),
            skip_broken=how.skip_broken,
            notes=(*self._notes(path, *opening), *task.told(times)),
            broken=tuple(task.source.broken),
        )

    def stream(self, source: Path | str, progress: Progress | None = None, **options: Any) -> Generator[PredictedFrame]:
        """As `predict`, but each frame as soon as all clips that contain it are predicted; few are in memory.

        The whole source is read before the first frame, to find the persons.
        """
        how, path = Options(**options), Path(source)
        task = self.task(path, opened(path, how.skip_broken)[0], how)
        yield from task.frames(*task.search(progress), progress)

    def write(
        self,
        source: Path,
        out: Path,
        options: Options,
        *,
        forms: Sequence[str] = (),
        maps: str | None = None,
        progress: Progress | None = None,
    ) -> Summary:
        """Predict a source of any length and write the files of the command; few frames are in memory.

        Args:
          out: folder for the results, made if absent.
          forms: further files: coco, and the words of `tables.TABLES`.
          maps: also draw the heat maps of these joints, see `map_pictures.chosen`.

        Raises:
          Problem: the source cannot be read, or the results cannot be written.
          Usage: a wrong box; heat maps of a joint or a network that has none.
        """
        if self._sees_pictures:
            picture_actions.check_forms(forms, self.path)
        opening = opened(source, options.skip_broken)
        task = self.task(source, opening[0], options, maps)
        summary = write(task, out, forms=forms, made_by=self._made_by(options), progress=progress)
        notes = (*self._notes(source, *opening), *summary.notes)
        told = [note for note in notes if note not in (*self.notes, *opening[1][:1])]
        warnings = (*told, *summary.doubts(), *summary.broken)
        return dataclasses.replace(summary, notes=notes, warnings=warnings)

    def fingerprint(self, options: Options) -> dict[str, object]:
        """What decides about results: the version of jaxhar, weights, detector and options, for JSON."""
        found = {**self._settings(options), "jaxhar": metadata.version("jaxhar"), "weights": self.sha256}
        detector, _ = options.finder
        if isinstance(detector, OnnxDetector):
            found["detector"] = f"{detector.kind} {files.digest(detector.path, 'sha256')}"
        elif isinstance(detector, Own) and not detector.packaged:
            found["detector"] = f"people {checkpoint.sha256(detector.model)}"
        return found if self.skeletons is None else {**found, "actions": checkpoint.sha256(self.skeletons.model)}

    @property
    def _sees_pictures(self) -> bool:
        """Whether it names actions by whole pictures, without joints."""
        return self.meta.config.pose_shape is None

    def task(self, path: Path, source: Video | Images, options: Options, maps: str | None = None) -> Task:
        """The prediction of an open source, read from `path`; `maps` as of `write`.

        Raises:
          Usage: options that do not go with the network or the source. Problem: boxes that cannot be read.
        """
        if self._sees_pictures:
            return self._pictures_task(path, source, options, maps)
        picture_actions.refuse(options, self.path)
        detector, keep = options.finder
        if options.filter is not None:
            options.filter.check(float(source.fps) if isinstance(source, Video) else None)
        joints: tuple[int, ...] = ()
        if maps is not None:
            if "maps" not in self.meta.config.predicts:
                raise Usage(f"--maps: the network of {self.path} predicts no heat maps; leave --maps out")
            joints = map_pictures.chosen(maps, self.meta.joints("drawing heat maps"))
            if self.skeletons is not None:
                raise Usage("--maps does not go with --actions; draw the heat maps in another call")
        if self.skeletons is not None and not isinstance(source, Video):
            raise Usage(f"--actions is for videos; {path} is none")
        network = dataclasses.replace(self.meta, actions=self.actions)
        run: Infer = partial(_infer, self.model, self.meta.calibration)
        if not self.actions or self.skeletons is not None:
            run = partial(without_action, run)
        familiar = None if self.meta.familiar is None else partial(_recognise, self.model, self.meta.familiar)
        skeletons = self.skeletons if self.actions else None
        crops = persons.Crops(self.meta.margin or persons.MARGIN * self.meta.crop_scale, self.meta.around)
        return Task(
            source, path, run, network, options, joints, detector, keep, familiar, skeletons, self.meta.frame_rate,
            crops=crops,
        )  # fmt: skip

    def _pictures_task(self, path: Path, source: Video | Images, options: Options, maps: str | None) -> Task:
        """Of a network that names actions by whole pictures."""
        seen = PictureActions(self.path, self.model, self.meta, self.actions, options)
        if maps is not None:
            raise Usage(f"--maps: the network of {self.path} predicts no heat maps; leave --maps out")
        seen.check(source, path)
        network = dataclasses.replace(self.meta, actions=self.actions, skeleton=picture_actions.NOBODY)
        return Task(source, path, partial(_infer, self.model, None), network, options, pictures=seen)

    def _settings(self, options: Options) -> dict[str, object]:
        settings = {"weights": str(self.path), **options.written()}
        if self.meta.calibration is not None:
            settings["temperatures"] = dataclasses.asdict(self.meta.calibration)
        if self._sees_pictures:
            settings["stride"] = picture_actions.stride(self.meta, options)
        elif options.stride is None:
            settings["stride"] = STRIDE
        if self.skeletons is not None:
            settings |= {"actions": str(self.skeletons.path), "window": self.skeletons.seconds}
        return settings

    def _made_by(self, options: Options) -> dict[str, object]:
        return poses.made_by(self.sha256, self._settings(options), self.meta.trained)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what the weights do not know, and on joints that the network of the actions lacks."""
        if self.skeletons is not None:
            said = self.skeletons.notes(self.skeleton)
        else:
            said = tuple(filter(None, (self.meta.untrained_actions(self.path), self.meta.unseen_classes())))
        joints = self.meta.unseen_joints()
        return said if joints is None else (*said, joints)

    def _notes(self, path: Path, source: Video | Images, folder: tuple[str, ...]) -> tuple[str, ...]:
        """What is to be said of a source that has been read, and of the weights."""
        seen = trained_on.sentence(self.path, source.paths if isinstance(source, Images) else [path])
        return (*folder, *self.notes, *((seen,) if seen else ()))


def load(weights: Path | str, actions: Path | str | None = None, window: float = WINDOW) -> LoadedNetwork:
    """A network for prediction; what XLA compiles for it is kept for later processes.

    Args:
      weights: a model folder, a training run, a .safetensors file, or the name of a network of the zoo, whose published
        weights are fetched, checked and kept in the cache folder; a file or folder of that name comes first.
      actions: of a network on joints in pictures (PoseConv3D), which names the actions in place of this one.
      window: seconds of a video that it looks at together.

    Raises:
      Problem: the weights cannot be read or fetched, or are those of a network that finds neither joints nor actions in
        frames; the two networks have too few joints in common.
      Usage: no weights were published under that name, or they must be fetched by hand.
    """
    compile_cache.enable()
    path = located(weights, needs_frames)
    try:
        model, meta = checkpoint.load_model(path)
    except Problem as problem:
        if path.exists():
            raise
        names = ", ".join(name for name in zoo.names() if zoo.entry(name).md5)
        raise Problem(f"{problem}, or the name of a network with published weights: {names}") from problem
    needs_frames(meta.config, path)
    if actions is None:
        return LoadedNetwork(path, model, meta)
    needs_pose(meta.config, path)
    skeletons = skeleton_actions.load(Path(actions), window)
    skeletons.notes(meta.joints("naming actions by joints"))  # Problem if the joints do not fit
    return LoadedNetwork(path, model, meta, skeletons)


def located(weights: Path | str, check: Callable[[NetworkConfig, Path], None] | None = None) -> Path:
    """Where weights are that are given by path or by the name of a network, see `load`.

    Args:
      check: of the settings of a network that is named, before anything is fetched; by default `needs_pose`.
    """
    path, name = Path(weights), str(weights)
    if path.exists() or name not in zoo.names():
        return path
    (check or needs_pose)(zoo.config(name), path)
    from jaxhar.weights import releases  # which imports the readers of all forms of weights

    return releases.ported(name, zoo.entry(name))


def run(
    source: Path,
    weights: Path,
    out: Path,
    *,
    forms: Sequence[str] = (),
    maps: str | None = None,
    progress: bool = True,
    loaded: tuple[nnx.Module, checkpoint.Meta] | None = None,
    **options: Any,
) -> Summary:
    """Predict one source and write the files of the command, see `LoadedNetwork.write`.

    Args:
      weights: see `jaxhar.weights.checkpoint.load_model`. loaded: what that gives, if it is loaded already.
      progress: show bars.
      options: see `Options`.

    Raises:
      Problem: the source or the weights cannot be read, or the results cannot be written.
      Usage: a wrong option; heat maps of a joint or a network that has none.
    """
    how = Options(**options)
    check(source, how, forms, maps)
    network = load(weights) if loaded is None else LoadedNetwork(weights, *loaded)
    return network.write(source, out, how, forms=forms, maps=maps, progress=Bars() if progress else None)


def check(source: Path | None, options: Options, forms: Sequence[str], maps: str | None) -> None:
    """What can be said of options, and of a source if it is given, before the network is loaded.

    Raises:
      Problem: the source cannot be read. Usage: options that do not go together.
    """
    detector, _ = options.finder
    if maps is not None and detector is not None:
        raise Usage("--maps draws the heat maps of one person; it does not go with --boxes, --detector and --persons")
    if maps is not None and options.smooth is not None:
        raise Usage("--maps shows what the network saw in each frame; it does not go with --smooth")
    if source is not None:
        check_formats(forms, opened(source, options.skip_broken)[0], source)


def _infer(model: nnx.Module, calibration: Calibration | None, frames: np.ndarray) -> dict[str, Any]:
    preds = infer(model, frames)
    return preds if calibration is None else calibration(preds)


def _recognise(model: nnx.Module, familiar: Familiar, crops: np.ndarray) -> np.ndarray:
    return familiar(appearance(model, crops)[:, 0])


def needs_pose(config: NetworkConfig, weights: Path) -> None:
    """Problem if a network predicts no joints, or reads more than pictures."""
    advice = "`jaxhar predict` needs a pose network that reads frames, see jaxhar zoo"
    if config.pose_shape is None:
        raise Problem(f"the network of {weights} predicts no joints: {advice}")
    if config.reads != ("frames",):
        raise Problem(f"the network of {weights} reads {', '.join(config.reads)}, not only frames: {advice}")


def needs_frames(config: NetworkConfig, weights: Path) -> None:
    """Problem unless a network finds joints in pictures, see `needs_pose`, or names actions by whole ones."""
    if isinstance(config, Reconstructing):
        raise Problem(f"the network of {weights} reconstructs videos and names nothing: `jaxhar inpaint` shows what")
    if config.pose_shape is None and "action" in config.predicts and {*config.reads} <= {"frames", "cover"}:
        return
    needs_pose(config, weights)
