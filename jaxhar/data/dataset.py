"""The base class of all data sets: their settings, and the streams of batches from packed records.

Each data set is a folder under `jaxhar/data`, with a reader (`folder.py`, which returns a
`jaxhar.data.records.record.Folder`) and a subclass of `DataSet` (`settings.py`) that makes examples from records.
"""

import abc
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from jaxhar.core.batch import Batch
from jaxhar.core.prepared import RecordSource, View
from jaxhar.core.skeleton import PA16, Skeleton
from jaxhar.data import pipeline, transforms, unreadable
from jaxhar.data.generate.film import VERSION, Synth
from jaxhar.data.records import store
from jaxhar.data.records.reader import Records
from jaxhar.data.records.record import Folder, IndexEntry
from jaxhar.data.records.sequences import Index, Items, Sequences
from jaxhar.host import process
from jaxhar.host.errors import Problem, Usage
from jaxhar.host.settings import changed

#: Metadata of fields that do not change results: a run can be resumed with other values.
FREE = {"free": True}

#: The crop view in which heat maps of mirror images are averaged without `View.shift`.
UNSHIFTED = "flip_unshifted"
#: Settings that decide which records are packed, and what is kept with them.
_PACKED = ("root", "cache", "synth", "skip_broken", "box_folder", "thorough")


@dataclass(frozen=True)
class DataSet(abc.ABC):
    """Settings of every data set; an experiment has an instance of a subclass.

    Attributes:
      root: the data set's folder. None uses `synth` if set, else the set's folder in $JAXHAR_DATA.
      cache: folder for packed records and generated videos. None: generated data is put into the run's folder, and
        records of a real folder into "jaxhar_data" beside the run's folder, where other runs find them.
      synth: size of the data to generate if root is None.
      skeleton, dims: joints and coordinates of the examples. Joints and coordinates that the data set does not label
        are not valid. `skeleton` is None for examples without joints.
      augment, augment_stills: augmentation of clips and of single frames. `augment.fixed_subsampling` is used in
        evaluation.
      clip_frames: frames per clip, T; or several lengths, e.g. (5, 10): each training batch has one of them, drawn at
        random, for which the step is compiled once, and evaluation uses the first.
      image_size: side of the crops, or (height, width).
      frame_rate: packed frames per second, kept with the weights so that prediction shows motion at the same speed;
        None if it is unknown, or differs between videos.
      clips_per_batch, stills_per_batch: examples per training batch; 0 turns that stream off.
      skip_broken: leave out unreadable frames and label files and list them, instead of stopping.
      workers: loading processes; 0 loads in `threads` threads of this process. prefetch: batches loaded in advance.
    """

    root: str | None = field(default=None, metadata=FREE)
    cache: str | None = field(default=None, metadata=FREE)
    synth: Synth | None = None
    skeleton: Skeleton | None = PA16
    dims: int = 2
    augment: transforms.Augment = transforms.NONE
    augment_stills: transforms.Augment = transforms.NONE
    clip_frames: int | tuple[int, ...] = 16
    image_size: int | tuple[int, int] = 256
    frame_rate: float | None = None
    clips_per_batch: int = 8
    stills_per_batch: int = 0
    skip_broken: bool = False
    workers: int = field(default=0, metadata=FREE)
    threads: int = field(default=2, metadata=FREE)
    prefetch: int = field(default=4, metadata=FREE)

    #: Name in messages, folder in $JAXHAR_DATA, names of the splits, split for evaluation.
    title: ClassVar[str]
    home: ClassVar[str]
    #: The `home` of another set whose generated folder is the same; "" for a folder of its own.
    generated_as: ClassVar[str] = ""
    #: Where to get the data, for the message that there is none; "" or beginning with "; ".
    hint: ClassVar[str] = ""
    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    eval_split: ClassVar[str] = "test"
    #: Joints of the records; None if they have none.
    layout: ClassVar[Skeleton | None] = None
    #: Whether records are single pictures, so that a training clip consists of `clip_frames` different pictures.
    stacks: ClassVar[bool] = False
    #: Whether the `clip_frames` pictures of a record are no clip, but views of one moment or of several persons.
    grouped: ClassVar[bool] = False

    @abc.abstractmethod
    def open(self, root: Path) -> Folder:
        """The folder at `root`; Problem if it does not have the layout of this data set."""

    @abc.abstractmethod
    def generate(self, out: Path, synth: Synth) -> None:
        """Write generated data in the layout of this set."""

    @abc.abstractmethod
    def example(
        self, record: dict[str, Any], frames: list[int], draw: transforms.Draw, keep_outside: bool = False
    ) -> pipeline.Example:
        """One example from some frames of a record of `records.reader.Records`, see `example.cropped_example`.

        In evaluation the record also has "split", and "index" is its index in that split. Joints outside of the crop
        are valid only with `keep_outside`: they are scored in evaluation, but not trained on.
        """

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths of training clips; Usage if one is not a positive number."""
        found = self.clip_frames if isinstance(self.clip_frames, tuple) else (self.clip_frames,)
        if not found or min(found) < 1:
            raise Usage(f"data.clip_frames is {self.clip_frames}; it must be at least 1, or several such lengths")
        return found

    @property
    def frames(self) -> int:
        """Frames per clip in evaluation, the first of the lengths."""
        return self.lengths[0]

    @property
    def clips_of_each(self) -> int:
        """How many clips of a record, read together, are in a training batch."""
        return 1

    @property
    def keeps_outside(self) -> bool:
        """Whether joints outside of the crop are valid in training, too."""
        return False

    def split_of(self, entry: IndexEntry) -> str:
        """The split of a record; records of a split that is not in `splits` are never read."""
        return self.split_named(entry["split"])

    def split_named(self, split: str) -> str:
        """The split of the records that were packed with a split; overrides `split_of` where that is all it takes."""
        return split

    def crop_views(self) -> Mapping[str, tuple[transforms.Draw, ...]]:
        """Views with several crops of each middle clip, whose predictions are averaged, see `evaluation.views`."""
        return {}

    def views(self) -> Mapping[str, View]:
        """The views for evaluation.

        "single": the clip from the middle of each sequence. "multi": clips that overlap by half, each also mirrored; a
        sequence too short for one gives its middle clip. `crop_views` are added, or replace views of the same name.
        """
        crops = {name: View(name, "crops", shift=name != UNSHIFTED) for name in self.crop_views()}
        return {"single": View("single", "each"), "multi": View("multi", "clips"), **crops}

    def windows(self, view: str, length: int) -> list[tuple[list[int], transforms.Draw]]:
        """Frame indices and augmentation of each example of a sequence of `length` frames in a view."""
        step, crops = self.augment.fixed_subsampling, self.crop_views()
        if view in crops or view == "single":
            frames = transforms.clip_frames(length, step, self.frames)
            return [(frames, draw) for draw in crops.get(view, (self.augment.fixed(),))]
        draws = self.augment.fixed(), self.augment.fixed(flip=True)
        clips = transforms.multi_clips(length, step, self.frames)
        return [(frames, draw) for frames in clips for draw in draws]

    def train_frames(self, length: int, draw: transforms.Draw, rng: np.random.Generator) -> list[int]:
        """Frame indices of a random training clip of a sequence of `length` frames."""
        return transforms.clip_frames(length, draw.subsampling, self.frames, rng)

    def train_clips(self, record: dict[str, Any], rng: np.random.Generator) -> list[pipeline.Example]:
        """The examples of a record in a training batch, `clips_of_each` of them."""
        draw = self.augment.draw(rng)
        return [self.example(record, self.train_frames(record["length"], draw, rng), draw)]

    def groups(self) -> Mapping[str, Callable[[IndexEntry], object]]:
        """Properties that may separate training from test, such as the person; `jaxhar doctor` checks them."""
        return {"performer": lambda entry: entry["subject"], "camera": lambda entry: entry["view"]}

    def notes(self) -> tuple[str, ...]:
        """Sentences for the report on settings that affect how figures compare with those of other protocols."""
        return ()

    def prepare(self, workdir: Path) -> "PreparedSet":
        """Check the folder, after generating it if `synth` asks for that, and pack its records if not yet packed.

        Raises:
          Problem: no such folder, another layout, a damaged file (named). Incomplete files are never used.
        """
        root, generated = self._root(Path(workdir))
        fallback = Path(workdir) / "data" if generated else Path(workdir).absolute().parent / "jaxhar_data"
        cache = Path(self.cache).expanduser() if self.cache else fallback
        folder, index = store.packed(self.open(root), cache, self.skip_broken)
        return PreparedSet(self, folder, index)

    def generated(self) -> Self:
        """The same settings on a few generated records, whose batches have the shapes of the real ones."""
        few = Synth(4, 2, 4, 2, frames=(8, 8), size=(64, 64), clutter=0.0)
        return replace(self, root=None, cache=None, synth=few, workers=0, threads=1, prefetch=1)

    def _root(self, workdir: Path) -> tuple[Path, bool]:
        if self.root is not None:
            return Path(self.root).expanduser(), False
        if self.synth is not None:
            words = f"{self.generated_as or self.home} {VERSION} {self.synth!r}"
            name = hashlib.sha256(words.encode()).hexdigest()[:12]
            base = Path(self.cache).expanduser() if self.cache else workdir / "data"
            out = base / f"synthetic-{name}"
            with process.locked(out.with_suffix(".lock")):
                self.generate(out, self.synth)
            return out, True
        home = os.environ.get("JAXHAR_DATA")
        if not home:
            raise Problem(
                f"no {self.title} folder is given: set data.root, or JAXHAR_DATA to the folder holding it{self.hint}"
            )
        return Path(home) / self.home, False


@dataclass(frozen=True)
class _TrainClip:
    data: DataSet
    classes: bool

    def __call__(self, record: dict[str, Any], rng: np.random.Generator) -> pipeline.Example:
        clips = [_with_action(clip, self.classes) for clip in self.data.train_clips(record, rng)]
        return clips[0] if self.data.clips_of_each == 1 else dict(pipeline.stack(clips))


@dataclass(frozen=True)
class _TrainStill:
    data: DataSet

    def __call__(self, record: dict[str, Any], rng: np.random.Generator) -> pipeline.Example:
        draw = self.data.augment_stills.draw(rng)
        example = self.data.example(record, [int(rng.integers(record["length"]))], draw)
        example.pop("action", None)  # actions are learned from clips only
        return example


def _with_action(example: pipeline.Example, classes: bool) -> pipeline.Example:
    """Adds "action" = -1 to unlabelled examples of a set with classes: a batch needs equal keys."""
    return {"action": np.int32(-1), **example} if classes else example


@dataclass(frozen=True)
class PreparedSet:
    """A data set with packed records, made by `DataSet.prepare`; implements `jaxhar.core.prepared.Prepared`.

    Attributes:
      folder: of the array_record files. index: their contents.
    """

    config: DataSet
    folder: Path
    index: Index = field(repr=False)

    def changed(self, **fields: object) -> "PreparedSet":
        """The same records with other settings; Usage for an unknown setting, or one that needs other records."""
        fixed = [name for name, value in fields.items() if name in _PACKED and vars(self.config).get(name) != value]
        if fixed:
            raise Usage(f"data.{fixed[0]} decides which records are packed; it cannot change within a run")
        return replace(self, config=changed(self.config, fields, "data"))

    @property
    def eval_split(self) -> str:
        """The default split for evaluation."""
        return self.config.eval_split

    @property
    def skeleton(self) -> Skeleton | None:
        """Joints of the examples."""
        return self.config.skeleton

    @property
    def actions(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self.index["actions"])

    @property
    def notes(self) -> tuple[str, ...]:
        """See `DataSet.notes`."""
        return self.config.notes()

    @property
    def parts(self) -> Mapping[str, "PreparedSet"]:
        """This set by its name."""
        return {self.config.home: self}

    def views(self, split: str | None = None) -> Mapping[str, View]:
        """See `DataSet.views`; every split has the same."""
        del split
        return self.config.views()

    def too_short(self, split: str | None = None) -> set[int]:
        """Indices of the sequences of a split that have too few frames for a clip of the "multi" view."""
        span = self.config.frames * self.config.augment.fixed_subsampling
        return set(np.flatnonzero(self.entries(split).column("length") < span).tolist())

    def _numbers(self, split: str | None) -> np.ndarray:
        split = split or self.eval_split
        if split not in self.config.splits:
            raise Usage(f"{self.config.title} has no split {split!r}; there are {' and '.join(self.config.splits)}")
        every = self.index["sequences"]
        if type(self.config).split_of is DataSet.split_of:
            return every.of_splits(name for name in every.splits if self.config.split_named(name) == split)
        return np.flatnonzero([self.config.split_of(entry) == split for entry in every])

    def _known(self, split: str) -> np.ndarray:
        numbers = self._numbers(split)
        if not len(numbers):
            raise Problem(f"the {self.config.title} folder behind {self.folder} has no {split} sequence")
        return numbers

    def entries(self, split: str | None = None) -> Sequences:
        """Index entries of the sequences of a split; `Batch.sequence` is an index into this list."""
        return self.index["sequences"].taken(self._numbers(split))

    def sequence_names(self, split: str | None = None) -> list[str]:
        """Names of the sequences of a split, in the order of `entries`."""
        return [entry["name"] for entry in self.entries(split)]

    def records(self, split: str) -> RecordSource:
        """Random access to the records of a split; Problem if it has none."""
        return Records(self.folder, self._known(split))

    def train_stream(self, seed: int, process_index: int = 0, process_count: int = 1) -> pipeline.Joined:
        """An endless, deterministic stream of dicts {"stills": Batch with T = 1, "clips": Batch} with a saved state."""
        sizes = {"stills": self.config.stills_per_batch, "clips": self.config.clips_per_batch}
        rows = {kind: pipeline.share(size, process_index, process_count, kind) for kind, size in sizes.items()}
        return self.stream_of(seed, rows)

    def stream_of(self, seed: int, rows: Mapping[str, range]) -> pipeline.Joined:
        """As `train_stream`, with the given rows of each batch of "stills" and "clips"."""
        config = self.config
        self._known("train")

        def stream(
            load: Callable[[Any, np.random.Generator], pipeline.Example], size: int, own: range, offset: int
        ) -> pipeline.BatchStream:
            source = self.records("train")
            return pipeline.train_stream(
                source,
                unreadable.Replaced(load, source) if config.skip_broken else load,
                seed=2 * seed + offset,
                batch_size=size,
                rows=own,
                workers=config.workers,
                threads=config.threads,
                prefetch=config.prefetch,
            )

        def clips(length: int) -> pipeline.BatchStream:
            size, own = config.clips_per_batch, rows["clips"]
            if config.stacks:
                pictures = range(own.start * length, own.stop * length)
                return pipeline.Stacked(stream(_TrainStill(config), size * length, pictures, 1), length)
            load = _TrainClip(replace(config, clip_frames=length), bool(self.actions))
            return pipeline.repeated(lambda size, own: stream(load, size, own, 1), size, own, config.clips_of_each)

        streams: dict[str, pipeline.TrainBatches] = {}
        if config.stills_per_batch:
            streams["stills"] = stream(_TrainStill(config), config.stills_per_batch, rows["stills"], 0)
        if config.clips_per_batch:
            every = [clips(length) for length in config.lengths]
            streams["clips"] = every[0] if len(every) == 1 else pipeline.Alternating(every)
        if not streams:
            raise Usage("data.stills_per_batch and data.clips_per_batch are both 0: there is nothing to train on")
        return pipeline.Joined(streams)

    def _items(self, split: str, view: str) -> Items:
        views = self.views(split)
        if view not in views:
            raise Usage(f"{self.config.title} has no view {view!r} for evaluation; there are {' and '.join(views)}")
        self._known(split)
        return Items(self.entries(split).column("length"), lambda length: len(self.config.windows(view, length)))

    def eval_stream(
        self,
        split: str | None = None,
        view: str = "single",
        batch: int = 8,
        process_index: int = 0,
        process_count: int = 1,
    ) -> Iterator[Batch]:
        """Batches with every example of a view once, in the order of the sequences; the last one is padded and masked.

        All labelled joints are valid, including those outside of the crop.
        """
        split = split or self.eval_split
        items = self._items(split, view)
        source = self.records(split)
        config, classes = self.config, bool(self.actions)

        def load(item: tuple[int, int, int]) -> pipeline.Example:
            number, length, window = item
            frames, draw = config.windows(view, length)[window]
            record = {**source[number], "split": split}
            return _with_action(config.example(record, list(frames), draw, keep_outside=True), classes)

        return pipeline.eval_stream(
            items,
            load,
            batch_size=batch,
            process_index=process_index,
            process_count=process_count,
            threads=config.threads,
        )

    def eval_length(
        self, view: str = "single", split: str | None = None, batch: int = 8, process_count: int = 1
    ) -> int:
        """Number of batches of `eval_stream`."""
        return pipeline.num_batches(len(self._items(split or self.eval_split, view)), batch, process_count)
