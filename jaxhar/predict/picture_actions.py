"""Actions by a network that sees whole pictures and no persons, such as a fine-tuned masked autoencoder.

A network of pictures names what each photo shows, by the crop of its evaluation. In a video, clips slide over all of
it; the probabilities of those that contain a frame are averaged. With `views` it is tested as by mae_st: clips from the
start to the end, three crops of each, and their probabilities summed.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from flax import nnx

from jaxhar import inference
from jaxhar.core.network import Showing, clip_length, frame_size
from jaxhar.core.skeleton import Skeleton
from jaxhar.data import clips, picture_crop
from jaxhar.data.formats.ahead import read_ahead
from jaxhar.data.formats.source import Images
from jaxhar.data.formats.video import Video
from jaxhar.host.errors import Usage
from jaxhar.predict.box_files import BoxFile
from jaxhar.predict.clip_reader import Clips, Reader, Sampling
from jaxhar.predict.frame_result import Attention, Clip, FrameResult, scene
from jaxhar.predict.options import Options
from jaxhar.predict.search import finite
from jaxhar.weights.checkpoint import Meta

#: Step between the frames of a clip where that of the training is not known: mae_st's, of fine-tuned networks.
STRIDE = 4
#: The joints of a network that has none.
NOBODY = Skeleton("none", ())


@dataclass(frozen=True)
class PictureActions:
    """A network that names actions by whole pictures.

    Attributes:
      path: of the weights. model, meta: the network. actions: names of the classes; () if no label has trained them.
      options: of the prediction; those of persons must not be given.

    Raises:
      Usage: options that are for networks with joints, or that the network cannot follow.
    """

    path: Path
    model: nnx.Module
    meta: Meta
    actions: tuple[str, ...]
    options: Options

    def __post_init__(self) -> None:
        options, reads = self.options, "cover" in self.meta.config.reads
        given = [name for name in ("detector", "persons", "smooth") if vars(options)[name] is not None]
        given += ["boxes"] if options.boxes is not None and not reads else []
        if given:
            raise Usage(
                f"--{given[0]} is for networks that look for persons; that of {self.path} names what the whole picture "
                "shows"
            )
        if reads and options.boxes is None:
            raise Usage(f"the network of {self.path} weighs what lies inside of person boxes: name them by --boxes")
        if options.attention and not isinstance(self.model, Showing):
            raise Usage(f"--attention is for vision transformers; the network of {self.path} is none")

    @property
    def rate(self) -> float:
        """Frames per second of the training; where that is not known, those that mae_st refers to."""
        return self.meta.frame_rate or clips.NOMINAL_FPS

    def told(self) -> tuple[str, ...]:
        """A sentence on the clips, if the training does not say how far apart their frames are."""
        if not self.actions or self.options.stride or self.meta.frame_step or clip_length(self.meta.config) == 1:
            return ()
        taken = f"clips take one frame in {STRIDE} at {clips.NOMINAL_FPS} frames a second, as in mae_st"
        return (f"the step of the training is not known: {taken}; --stride sets another",)

    def check(self, source: Video | Images, path: Path) -> None:
        """Usage for photos if the network, or an option, is for clips."""
        if isinstance(source, Video):
            return
        if clip_length(self.meta.config) > 1:
            raise Usage(f"the network of {self.path} names actions in videos; {path} is none")
        given = [name for name in ("every", "views", "stride", "attention") if vars(self.options)[name]]
        if given:
            raise Usage(f"--{given[0]} is for videos; {path} is none")

    def results(self, source: Video | Images, times: Sequence[float]) -> Generator[list[FrameResult]]:
        """Of each frame all that is seen, `frame_result.SCENE`, with its clips; frames that no further clip contains.

        Raises:
          Problem: the video has changed; boxes do not fit. Usage: the given box lies outside.
        """
        if not self.actions:
            yield from ([self._scene(i)] for i in range(len(times)))
            return
        boxes = None if self.options.boxes is None else BoxFile(Path(self.options.boxes))
        if boxes is not None:
            boxes.check(len(times), {path.name for path in source.paths} if isinstance(source, Images) else set())
        count, crops = self.options.clip_views or (0, 1)
        if isinstance(source, Images):  # each has another size
            windows, batch = [np.array([i]) for i in range(len(times))], 1
        else:
            sampling, moments = self._sampling(source), np.asarray(times)
            every = max(self._every(sampling) * sampling.fps, 1.0)
            windows = sampling.spread(moments, count) if count else sampling.sliding(moments, every)
            batch = max(1, self.options.batch // sampling.frames)
        share = picture_share(self.meta) if crops == 1 else None
        reader = Reader(frame_size(self.meta.config), batch, crops == 3, self.options.bbox, boxes, share)
        found: dict[int, FrameResult] = {}
        seen: dict[int, list[np.ndarray]] = {}
        written = 0
        for job in read_ahead(reader.read(source, windows), 2):
            for number, action, shares in zip(
                job.numbers, self._actions(job, batch), self._shares(job, batch), strict=True
            ):
                window = windows[number]
                for t, i in enumerate(range(int(window[0]), int(window[-1]) + 1)):
                    one = found.setdefault(i, self._scene(i))
                    one.votes.append(action)
                    one.clips += [] if t else [Clip(window, action)]
                    if shares is not None:
                        token = np.searchsorted(window, i, "right") - 1
                        seen.setdefault(i, []).append(shares[token * len(shares) // len(window)])
                        one.attention = Attention(job.places[0], np.mean(seen[i], axis=0))
            last = job.numbers[-1] + 1
            until = int(windows[last][0]) if last < len(windows) else len(times)
            for i in range(written, until):
                seen.pop(i, None)
                yield [_settled(found.pop(i, self._scene(i)))]
            written = max(written, until)

    def _sampling(self, video: Video) -> Sampling:
        length, fps = clip_length(self.meta.config), float(video.fps)
        return Sampling(
            length, clips.span(length, stride(self.meta, self.options), fps) * clips.NOMINAL_FPS / self.rate, fps
        )

    def _every(self, sampling: Sampling) -> float:
        """Seconds from clip to clip."""
        return self.options.every or sampling.span / sampling.fps / 2

    @staticmethod
    def _scene(index: int) -> FrameResult:
        return scene(index, 0)

    def _actions(self, job: Clips, batch: int) -> np.ndarray:
        """The probabilities (N, A) of the classes in N clips, averaged over their crops."""
        clips_, crops = job.frames.shape[:2]
        found = inference.infer(self.model, _inputs(job, batch))
        found = found if self.meta.calibration is None else self.meta.calibration(found)
        heads = found["action"]
        probabilities = (heads[0] if isinstance(heads, tuple) else heads)[-1]
        finite(probabilities)
        return np.asarray(probabilities[: clips_ * crops], np.float64).reshape(clips_, crops, -1).mean(1)

    def _shares(self, job: Clips, batch: int) -> Sequence[np.ndarray | None]:
        """How much each patch of a clip counts, (T', h, w) from 0, the least, to 1; None where it is not asked for."""
        if not self.options.attention:
            return [None] * len(job.numbers)
        values = inference.shows(self.model, _inputs(job, batch))["rollout"]  # type: ignore[arg-type]
        values = values[: len(job.numbers)]
        low, high = values.min((1, 2, 3), keepdims=True), values.max((1, 2, 3), keepdims=True)
        return list((values - low) / np.maximum(high - low, 1e-12))


def stride(meta: Meta, options: Options) -> float:
    """Frames between those of a clip, at the frame rate of the training."""
    return options.stride or meta.frame_step or STRIDE


def picture_share(meta: Meta) -> float | None:
    """The crop of a network of pictures, in units of their shorter side: that of its evaluation; None for clips."""
    return (meta.picture_share or picture_crop.SHARE) if clip_length(meta.config) == 1 else None


def refuse(options: Options, weights: Path) -> None:
    """Usage for options that are for networks that see whole pictures."""
    given = [name for name in ("every", "views", "attention") if vars(options)[name]]
    if given:
        raise Usage(f"--{given[0]} is for networks that name what whole pictures show; that of {weights} finds joints")


def check_forms(forms: Sequence[str], weights: Path) -> None:
    """Usage for a form of results that has the joints of persons."""
    named = [form for form in forms if form != "json"]
    if named:
        raise Usage(f"--format {named[0]} has the joints of persons; the network of {weights} finds none")


def _inputs(job: Clips, batch: int) -> dict[str, np.ndarray]:
    """What a network reads: clips times crops, filled up to `batch` clips, so that it is compiled once."""
    given = {"frames": job.frames} if job.cover is None else {"frames": job.frames, "cover": job.cover}
    more = max(batch - len(job.numbers), 0)
    return {
        key: np.concatenate([value, np.zeros((more, *value.shape[1:]), value.dtype)]).reshape(-1, *value.shape[2:])
        for key, value in given.items()
    }


def _settled(one: FrameResult) -> FrameResult:
    if one.votes:
        one.action = np.mean(one.votes, axis=0)
        one.votes.clear()
    return one
