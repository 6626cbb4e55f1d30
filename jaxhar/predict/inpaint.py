"""What a masked autoencoder fills in of a video or of pictures: the files of `jaxhar inpaint`.

A video is read as clips from the first to the last frame, which follow each other without a gap; few are in memory. Of
each the network sees some patches and reconstructs the others.
"""

import contextlib
import time as clock
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from flax import nnx

from jaxhar import inference
from jaxhar.core.batch import Batch
from jaxhar.core.network import NetworkConfig, Reconstructing, Scheduled, clip_length, frame_size
from jaxhar.core.patches import Patching, target_frames
from jaxhar.data import clips
from jaxhar.data.formats.ahead import read_ahead
from jaxhar.data.formats.source import Images
from jaxhar.data.formats.video import Video
from jaxhar.data.formats.writer import VideoWriter, write_png
from jaxhar.evaluation import reconstruction
from jaxhar.host import compile_cache
from jaxhar.host.errors import Problem, Usage
from jaxhar.host.files import atomic
from jaxhar.predict.box_files import BoxFile
from jaxhar.predict.clip_reader import Clips, Reader, Sampling
from jaxhar.predict.folder import opened
from jaxhar.predict.options import check_box
from jaxhar.predict.outputs import image_names
from jaxhar.predict.picture_actions import STRIDE, picture_share
from jaxhar.predict.predictor import located
from jaxhar.predict.progress import Progress
from jaxhar.predict.search import Box, finite
from jaxhar.viz import draw
from jaxhar.weights import checkpoint, forms

#: Side of a frame in the pictures, in pixels, which small ones are enlarged to.
_SIDE = 160
#: Height of the strip with the titles.
_STRIP = 24
#: A setting that is given -> what lets it hold at every step of the training.
_HELD = {"temperature": {"temperature_steps": "0"}, "mask_ratio": {"mask_schedule": "constant"}}


@dataclass(frozen=True)
class Settings:
    """How it is filled in.

    Attributes:
      changes: settings of the network that differ, as text, e.g. mask_ratio or masking. What changed over the steps of
        the training is otherwise as at the step of the weights.
      boxes: file of the persons' boxes. bbox: look at the square about this box, not at the middle of the picture.
      seed: of the noise that chooses the patches. batch: frames in one run of the network.
      stride: step between the frames of a clip at the frame rate of the training; None for that of the training, or 4
        at 30 frames a second; 1 for networks of images.
    """

    changes: Mapping[str, str] = field(default_factory=dict)
    boxes: Path | None = None
    bbox: Box | None = None
    seed: int = 0
    batch: int = 16
    stride: int | None = None


@dataclass(frozen=True)
class Summary:
    """The result of a run.

    Attributes:
      files: written files. clips: number of clips, or of pictures.
      error: mean over the clips of the error of the removed patches, as the loss of the pretraining.
      unit: of the error: "σ²" where patches are reconstructed relative to their own deviation, else "".
      kept, tokens: number of patches of a clip that the network sees, and of all.
      seconds: wall time. notes: sentences on the clips. broken: on what could not be read.
    """

    files: tuple[Path, ...]
    clips: int
    error: float
    unit: str
    kept: int
    tokens: int
    seconds: float
    notes: tuple[str, ...]
    broken: tuple[str, ...]


def needs_patches(config: NetworkConfig, weights: Path) -> None:
    """Problem for a network that reconstructs nothing."""
    if not isinstance(config, Reconstructing):
        raise Problem(
            f"the network of {weights} reconstructs nothing: `jaxhar inpaint` shows what a masked autoencoder fills "
            "in, see jaxhar zoo; `jaxhar predict` is for networks that name joints and actions"
        )


def load(weights: Path | str, changes: Mapping[str, str]) -> tuple[nnx.Module, checkpoint.Meta]:
    """A masked autoencoder with changed settings; positions are interpolated for those of the size.

    Raises:
      Problem: the weights cannot be read or fetched, or are not those of a masked autoencoder. Usage: wrong settings.
    """
    path = located(weights, needs_patches)
    model, meta = checkpoint.load_model(path)
    needs_patches(meta.config, path)
    for name in _HELD.keys() & changes.keys():
        changes = {**_HELD[name], **changes}
    if changes:
        loaded = forms.resized(forms.Loaded(model, meta), changes)
        model, meta = loaded.model, loaded.meta
    return model, meta


def run(source: Path, weights: Path | str, out: Path, settings: Settings, progress: Progress | None = None) -> Summary:
    """Fill in a source and write inpaint.mp4 and inpaint.png, or NAME.png for each picture.

    Args:
      out: folder for the results, made if absent.
      progress: called with the frames done.

    Raises:
      Problem: the source or the weights cannot be read, the results cannot be written.
      Usage: settings that the network or the source does not allow.
    """
    begun = clock.perf_counter()
    if settings.batch < 1 or settings.stride is not None and settings.stride < 1:
        raise Usage("--batch and --stride must be 1 or more")
    if settings.seed < 0:
        raise Usage(f"--seed must be 0 or more, not {settings.seed}")
    check_box(settings.bbox)
    opening, told = opened(source, skip_broken=False)
    compile_cache.enable()
    model, meta = load(weights, settings.changes)
    config, length = meta.config, clip_length(meta.config)
    if isinstance(opening, Images) and length > 1:
        raise Usage(f"the network of {weights} reads clips of {length} frames; {source} is no video")
    if "cover" in config.reads and settings.boxes is None:
        raise Usage(
            f"the masks of {weights} are directed by person boxes: name them by --boxes, or take --masking random"
        )
    boxes = None if settings.boxes is None else BoxFile(settings.boxes)
    times, windows, note = _windows(opening, meta, settings)
    if boxes is not None:
        boxes.check(len(times), {path.name for path in opening.paths} if isinstance(opening, Images) else set())
    clips_of_run, share = max(1, settings.batch // length), picture_share(meta)
    reader = Reader(frame_size(config), clips_of_run, bbox=settings.bbox, boxes=boxes, share=share)
    assert isinstance(config, Reconstructing)
    errors: list[float] = []
    kept = tokens = 0
    with _Files(out, opening, times, windows, config.patching, boxes is not None) as files:
        for job in read_ahead(reader.read(opening, windows), 2):
            preds = _predicted(model, job, reader.batch, settings.seed, meta.step)
            for number, batch, found, removed in _each(job, preds):
                errors.append(reconstruction.error(config.patching, batch, found, removed))
                files.add(number, reconstruction.side_by_side(config.patching, batch, found, removed))
                kept, tokens = int((removed == 0).sum()), len(removed)
                if progress is not None:
                    progress("inpainting", int(windows[number][-1]) + 1, len(times))
    return Summary(
        files=tuple(files.written),
        clips=len(windows),
        error=float(np.mean(errors)),
        unit="σ²" if config.patching.norm_pixels else "",
        kept=kept,
        tokens=tokens,
        seconds=clock.perf_counter() - begun,
        notes=(*told, note),
        broken=tuple(opening.broken),
    )


def _windows(
    source: Video | Images, meta: checkpoint.Meta, settings: Settings
) -> tuple[np.ndarray, list[np.ndarray], str]:
    """The times of all frames, the frames of each clip, and a sentence on them."""
    length = clip_length(meta.config)
    if isinstance(source, Images):
        return np.zeros(source.total), [np.array([i]) for i in range(source.total)], "each picture by itself"
    times = np.array([frame.time for frame in source.frames(every=0)])
    stride = settings.stride or meta.frame_step or (STRIDE if length > 1 else 1)
    rate, fps = meta.frame_rate or clips.NOMINAL_FPS, float(source.fps)
    sampling = Sampling(length, stride * length * fps / rate, fps)
    windows = sampling.sliding(times, sampling.span)
    return times, windows, f"clips of {length} frames in {sampling.span / fps:.2f} s, one after the other"


def _predicted(model: nnx.Module, job: Clips, batch: int, seed: int, step: int | None) -> dict[str, np.ndarray]:
    """Patches and masks of some clips; the noise depends on the seed and the number of the clip alone.

    Args:
      step: number of training steps behind the weights; None if it is not known.
    """
    config: NetworkConfig = model.config  # type: ignore[attr-defined]
    assert isinstance(config, Reconstructing)
    cells = np.array(frame_size(config)) // config.patching.patch
    tokens = config.patching.num_frames // config.patching.t_patch * int(cells.prod())
    noise = [np.random.default_rng((seed, number)).random(tokens, np.float32) for number in job.numbers]
    given = {"frames": job.frames[:, 0], "noise": np.stack(noise)}
    if "cover" in config.reads and job.cover is not None:
        given["cover"] = job.cover[:, 0]
    more = batch - len(noise)
    filled = {key: np.concatenate([a, np.zeros((more, *a.shape[1:]), a.dtype)]) for key, a in given.items()}
    if step is not None and isinstance(config, Scheduled) and config.moves:
        filled["step"] = np.asarray(step, np.int32)
    preds = inference.infer(model, filled)
    finite(preds["patches"])
    return preds


def _each(job: Clips, preds: dict[str, np.ndarray]) -> Iterator[tuple[int, Batch, np.ndarray, np.ndarray]]:
    """Number, frames and perhaps cover, patches and mask of each clip."""
    for n, number in enumerate(job.numbers):
        batch = Batch(frames=job.frames[n])
        if job.cover is not None:
            batch["cover"] = job.cover[n]
        yield number, batch, preds["patches"][-1, n].astype(np.float64), preds["removed"][-1, n].astype(np.float64)


class _Files:
    """Writes the pictures of the clips, in order; files get their names when the context ends without an error."""

    def __init__(
        self,
        folder: Path,
        source: Video | Images,
        times: np.ndarray,
        windows: list[np.ndarray],
        patching: Patching,
        covered: bool,
    ):
        self.written: list[Path] = []
        self._folder, self._source, self._times, self._windows = folder, source, times, windows
        self._shown = target_frames(patching.num_frames, patching.pred_frames)
        self._titles = ("frame", *(("boxes",) if covered else ()), "seen", "reconstructed")
        self._stack = contextlib.ExitStack()
        self._writer: VideoWriter | None = None
        self._last = -1
        names = image_names(source.paths) if isinstance(source, Images) else ["inpaint.mp4", "inpaint.png"]
        self._paths = [folder / name for name in names]
        own = source.paths if isinstance(source, Images) else [source.path]
        taken = {path.resolve() for path in self._paths} & {path.resolve() for path in own}
        if taken:
            raise Usage(f"--out {folder}: the results would overwrite {min(taken)}; give another folder")

    def __enter__(self) -> "_Files":
        with self._readable_errors():
            self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, kind, error, trace) -> None:
        with self._readable_errors():
            self._stack.__exit__(kind, error, trace)

    def add(self, number: int, frames: np.ndarray) -> None:
        """The frames (T, H, W, 3) of one clip, with what was seen and reconstructed of each beside it."""
        with self._readable_errors():
            large = [_enlarged(image, len(self._titles)) for image in frames]
            if isinstance(self._source, Images):
                self._picture(self._paths[number], large)
                return
            if self._writer is None:
                self._writer = self._begun(self._source, _titled(large[0], self._titles))
            if number == len(self._windows) // 2:
                self._picture(self._paths[1], large)
            for frame, image in zip(self._windows[number][self._shown].tolist(), large, strict=True):
                if frame > self._last:  # the last clip may begin within the one before
                    self._last = frame
                    self._writer.write(_titled(image, self._titles), float(self._times[frame]))

    def _begun(self, source: Video, image: np.ndarray) -> VideoWriter:
        """The writer of the video. Its frame rate is that of the reconstructed frames; their times are exact."""
        gaps = np.diff(self._times[self._windows[0][self._shown]])
        fps = Fraction(1 / gaps.mean()).limit_denominator(1000) if len(gaps) and gaps.mean() > 0 else source.fps
        self.written.append(self._paths[0])
        part = self._stack.enter_context(atomic(self._paths[0]))
        return self._stack.enter_context(VideoWriter(part, fps, *image.shape[1::-1]))

    def _picture(self, path: Path, images: list[np.ndarray]) -> None:
        write_png(path, np.concatenate([_titled(images[0], self._titles), *images[1:]]))
        self.written.append(path)

    @contextlib.contextmanager
    def _readable_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, av.FFmpegError) as error:
            raise Problem(f"{self._folder}: the results cannot be written there: {error.strerror or error}") from error


def _enlarged(image: np.ndarray, columns: int) -> np.ndarray:
    """A row of pictures, whole times as large if they are small."""
    factor = max(1, round(_SIDE / (image.shape[1] // columns)))
    return image.repeat(factor, 0).repeat(factor, 1)


def _titled(image: np.ndarray, titles: tuple[str, ...]) -> np.ndarray:
    """A row of pictures below a strip with the title of each."""
    parts = np.split(image, len(titles), axis=1)
    strips = [
        draw.draw_words(np.zeros((_STRIP, part.shape[1], 3), np.uint8), title)
        for part, title in zip(parts, titles, strict=True)
    ]
    return np.concatenate([np.concatenate(strips, axis=1), image])
