"""What the data sets have in common between their packed records and the batches: settings, streams, examples.

A data set of its own is a reader (`NAME_folder.py`, giving a `jaxhar.data.records.Folder`) and a subclass of
`DataSet` (`NAME.py`) that says where to crop, how deep the scene is, and how long a reference length.
"""

import abc
import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jaxhar.core.batch import Batch
from jaxhar.core.skeleton import PA16, Skeleton, mapping
from jaxhar.data import pipeline, transforms
from jaxhar.data.formats import jpeg
from jaxhar.data.generate import film as synthetic
from jaxhar.data.records import record as records
from jaxhar.data.records import store
from jaxhar.data.records.reader import Records
from jaxhar.host import process
from jaxhar.host.errors import Problem, Usage

PROTOCOLS = ("single", "multi")

#: Of fields that change no result: a run goes on when they differ from its checkpoint's.
FREE = {"free": True}


@dataclass(frozen=True)
class DataSet(abc.ABC):
    """The settings that every data set has; an experiment holds one of a subclass.

    Attributes:
      root: the published folder; None takes `synth`, else the set's folder in $JAXHAR_DATA.
      cache: folder for the packed records (and generated videos). None puts generated data into the workdir, and the
        records of a real folder into "jaxhar_data" beside the workdir, where other runs find them.
      synth: what to generate when root is None.
      skeleton, dims: joints and coordinates of the examples, whatever the set labels: what it lacks is not valid.
      augment, augment_stills: of clips and of single frames. `augment.fixed_subsampling` holds in evaluation.
      clip_frames: T. image_size: side of the crops. clips_per_batch, stills_per_batch: 0 leaves that stream out.
      skip_broken: leave out unreadable frames and label files, with a list, in place of stopping.
      workers: loading processes; 0 loads in `threads` threads. prefetch: batches held ready.
    """

    root: str | None = field(default=None, metadata=FREE)
    cache: str | None = field(default=None, metadata=FREE)
    synth: synthetic.Synth | None = None
    skeleton: Skeleton = PA16
    dims: int = 2
    augment: transforms.Augment = transforms.NONE
    augment_stills: transforms.Augment = transforms.NONE
    clip_frames: int = 16
    image_size: int = 256
    clips_per_batch: int = 8
    stills_per_batch: int = 0
    skip_broken: bool = False
    workers: int = field(default=0, metadata=FREE)
    threads: int = field(default=2, metadata=FREE)
    prefetch: int = field(default=4, metadata=FREE)

    #: The name in messages, the folder in $JAXHAR_DATA, the splits that can be asked for, the one that is evaluated.
    title: ClassVar[str]
    home: ClassVar[str]
    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    eval_split: ClassVar[str] = "test"
    #: Records are single pictures: a training clip is made of `clip_frames` different ones.
    stacks: ClassVar[bool] = False

    @abc.abstractmethod
    def open(self, root: Path) -> records.Folder:
        """The folder under `root`, after a look at its layout; Problem if it is laid out otherwise."""

    @abc.abstractmethod
    def generate(self, out: Path, synth: synthetic.Synth) -> None:
        """Write generated data in the layout of this set."""

    @abc.abstractmethod
    def example(
        self, record: dict, frames: list[int], draw: transforms.Draw, keep_outside: bool = False
    ) -> pipeline.Example:
        """Some frames of a record of `records.Records` as one example, see `to_example`.

        In evaluation the record has "split" too, and "index" counts in that split.
        """

    def split_of(self, entry: records.Entry) -> str:
        """The split that a record belongs to; one that is not in `splits` is never read."""
        return entry["split"]

    def crop_protocols(self) -> Mapping[str, tuple[transforms.Draw, ...]]:
        """Evaluation protocols that look at each centred clip by several crops, whose poses are to be averaged."""
        return {}

    def notes(self) -> tuple[str, ...]:
        """Sentences for the report on settings by which figures are not those of other protocols."""
        return ()

    def prepare(self, workdir: Path) -> "Prepared":
        """Check the folder, generating it first if asked, and pack its records unless that was done before.

        Raises:
          Problem: no such folder, another layout, a damaged file (named); nothing half-written is left.
        """
        root, generated = self._root(Path(workdir))
        fallback = Path(workdir) / "data" if generated else Path(workdir).absolute().parent / "jaxhar_data"
        cache = Path(self.cache).expanduser() if self.cache else fallback
        folder, index = store.packed(self.open(root), cache, self.skip_broken)
        return Prepared(self, folder, index)

    def _root(self, workdir: Path) -> tuple[Path, bool]:
        if self.root is not None:
            return Path(self.root).expanduser(), False
        if self.synth is not None:
            words = f"{self.home} {synthetic.VERSION} {self.synth!r}"
            name = hashlib.sha256(words.encode()).hexdigest()[:12]
            base = Path(self.cache).expanduser() if self.cache else workdir / "data"
            out = base / f"synthetic-{name}"
            with process.locked(out.with_suffix(".lock")):
                self.generate(out, self.synth)
            return out, True
        home = os.environ.get("JAXHAR_DATA")
        if not home:
            raise Problem(f"no {self.title} folder is given: set data.root, or JAXHAR_DATA to the folder holding it")
        return Path(home) / self.home, False


def to_example(
    record: dict,
    frames: list[int],
    draw: transforms.Draw,
    *,
    box: transforms.Box,
    norm: np.ndarray,
    layout: Skeleton,
    skeleton: Skeleton,
    dims: int,
    size: int,
    depth: transforms.Depth | None = None,
    keep_outside: bool = False,
) -> pipeline.Example:
    """Some frames of a record as an example, cropped to a box.

    Args:
      frames: T indices into the record. draw: augmentation of all of them.
      box: in pixels of the frames, see `transforms.plan_crop`. norm: (T,) reference length in pixels, 0 if unknown.
      layout: joints of the record. skeleton, dims: of the example; joints and coordinates that the record lacks are
        not valid. size: side of the crop.
      depth: what depths are measured from; needed for a record with depths if dims is 3.
      keep_outside: see `transforms.crop_pose`.

    Returns:
      `jaxhar.core.batch.Batch` entries without the batch axis.
    """
    points, labelled = record["points"][frames], record["labelled"][frames]
    image_size = (int(record["size"][0]), int(record["size"][1]))
    crop = transforms.plan_crop(box, image_size, size, draw)
    name = record["name"].decode()
    shrink = crop.reduction
    # a clip of a short sequence has frames several times in a row
    read = functools.lru_cache(1)(lambda i: jpeg.decode(record["frames"][i], f"sequence {name}", shrink))
    pictures = np.empty((len(frames), size, size, 3), np.uint8)
    transforms.crop_images(map(read, frames), crop, pictures, draw.occluder, shrink)
    index = mapping(layout, skeleton)
    deep = dims == 3 and points.shape[-1] == 3
    pose, visible, valid = transforms.crop_pose(
        crop,
        np.where((index >= 0)[:, None], points[:, index], 0),
        labelled[:, index] & (index >= 0),
        skeleton.flip,
        keep_outside,
        depth if deep else None,
    )
    if pose.shape[-1] < dims:
        pose, valid = (np.pad(a, ((0, 0), (0, 0), (0, dims - a.shape[-1]))) for a in (pose, valid))
    example: pipeline.Example = {
        "frames": pictures,
        "power": np.tile(np.asarray(draw.power, np.float32), (len(frames), 1)),
        "pose": pose,
        "visible": visible,
        "valid": valid,
        "action": np.int32(record["action"]),
        "mask": np.bool_(True),
        "affine": crop.affine.astype(np.float32),
        "norm": norm.astype(np.float32),
        "sequence": np.int32(record["index"]),
        "flipped": np.bool_(draw.flip),
    }
    if deep and depth is not None:
        example |= {"depth": depth.root.astype(np.float32), "depth_range": np.float32(depth.range)}
    if "camera" in record:
        example["camera"] = np.tile(record["camera"].astype(np.float32), (len(frames), 1))
    if record["action"] < 0:
        del example["action"]
    return example


def mirrored_crops(shifts: tuple[tuple[float, float], ...]) -> tuple[transforms.Draw, ...]:
    """Evaluation crops shifted so (`Draw.trans`), each followed by its mirror image."""
    return tuple(transforms.Draw(trans=shift, flip=flip) for shift in shifts for flip in (False, True))


def torso(points: np.ndarray, labelled: np.ndarray, layout: Skeleton) -> np.ndarray:
    """(T,) pixels from left shoulder to right hip, 0 where one of them is not labelled. Points are (T, J, 2 or 3)."""
    shoulder, hip = layout.index("l_shoulder"), layout.index("r_hip")
    length = np.linalg.norm(points[:, shoulder, :2] - points[:, hip, :2], axis=-1)
    return np.where(labelled[:, shoulder] & labelled[:, hip], length, 0)


@dataclass(frozen=True)
class _TrainClip:
    data: DataSet

    def __call__(self, record: dict, rng: np.random.Generator) -> pipeline.Example:
        draw = self.data.augment.draw(rng)
        length = len(record["points"])
        return self.data.example(
            record, transforms.clip_frames(length, draw.subsampling, self.data.clip_frames, rng), draw
        )


@dataclass(frozen=True)
class _TrainStill:
    data: DataSet

    def __call__(self, record: dict, rng: np.random.Generator) -> pipeline.Example:
        draw = self.data.augment_stills.draw(rng)
        example = self.data.example(record, [int(rng.integers(len(record["points"])))], draw)
        example.pop("action", None)  # one frame is no clip: the action heads learn from clips
        return example


@dataclass(frozen=True)
class _Item:
    record: int
    frames: tuple[int, ...]
    draw: transforms.Draw


@dataclass(frozen=True)
class Prepared:
    """Packed records, ready to stream. Made by `DataSet.prepare`.

    Attributes:
      folder: holds the array_record files. index: what is in them.
    """

    config: DataSet
    folder: Path
    index: records.Index = field(repr=False)

    def changed(self, **fields: Any) -> "Prepared":
        """The same records with other settings, of those that say what a batch is made of."""
        return replace(self, config=replace(self.config, **fields))

    @property
    def eval_split(self) -> str:
        """The split that is evaluated unless another is asked for."""
        return self.config.eval_split

    @property
    def skeleton(self) -> Skeleton:
        """Joints of the examples."""
        return self.config.skeleton

    @property
    def actions(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self.index["actions"])

    @property
    def crop_protocols(self) -> tuple[str, ...]:
        """Protocols by which consecutive crops of one sequence are views of the same picture."""
        return tuple(self.config.crop_protocols())

    @property
    def notes(self) -> tuple[str, ...]:
        """See `DataSet.notes`."""
        return self.config.notes()

    def too_short(self, split: str = "test") -> set[int]:
        """Numbers of the sequences of a split that have too few frames for a clip of the "multi" protocol."""
        span = self.config.clip_frames * self.config.augment.fixed_subsampling
        return {i for i, entry in enumerate(self.entries(split)) if entry["frames"] < span}

    def _numbers(self, split: str) -> list[int]:
        if split not in self.config.splits:
            raise Usage(f"{self.config.title} has no split {split!r}; there are {' and '.join(self.config.splits)}")
        return [i for i, entry in enumerate(self.index["sequences"]) if self.config.split_of(entry) == split]

    def _known(self, split: str) -> list[int]:
        numbers = self._numbers(split)
        if not numbers:
            raise Problem(f"the {self.config.title} folder behind {self.folder} has no {split} sequence")
        return numbers

    def entries(self, split: str = "test") -> list[records.Entry]:
        """What is known of the sequences of a split; `Batch.sequence` counts in this list."""
        return [self.index["sequences"][i] for i in self._numbers(split)]

    def sequence_names(self, split: str = "test") -> list[str]:
        """Names of the sequences of a split, in the order of `entries`."""
        return [entry["name"] for entry in self.entries(split)]

    def records(self, split: str) -> Records:
        """Random access to the records of a split; Problem if it has none."""
        return Records(self.folder, self._known(split))

    def train_stream(self, seed: int, process_index: int = 0, process_count: int = 1) -> pipeline.Joined:
        """Endless dicts {"stills": Batch with T = 1, "clips": Batch}, deterministic, with get_state and set_state."""
        config = self.config
        self._known("train")
        stacked = config.clip_frames if config.stacks else 1
        loads: dict[str, tuple[int, Callable[[dict, np.random.Generator], pipeline.Example]]] = {
            "stills": (config.stills_per_batch, _TrainStill(config)),
            "clips": (config.clips_per_batch * stacked, (_TrainStill if config.stacks else _TrainClip)(config)),
        }
        streams: dict[str, pipeline.Stream] = {
            name: pipeline.train_stream(
                self.records("train"),
                load,
                seed=2 * seed + offset,
                batch_size=batch_size,
                process_index=process_index,
                process_count=process_count,
                workers=config.workers,
                threads=config.threads,
                prefetch=config.prefetch,
            )
            for offset, (name, (batch_size, load)) in enumerate(loads.items())
            if batch_size
        }
        if config.stacks and "clips" in streams:
            streams["clips"] = pipeline.Stacked(streams["clips"], config.clip_frames)
        if not streams:
            raise Usage("data.stills_per_batch and data.clips_per_batch are both 0: there is nothing to train on")
        return pipeline.Joined(streams)

    def _items(self, split: str, protocol: str) -> list[_Item]:
        crops = self.config.crop_protocols()
        known = tuple(dict.fromkeys((*PROTOCOLS, *crops)))
        if protocol not in known:
            raise Usage(f"unknown evaluation protocol {protocol!r}; there are {' and '.join(known)}")
        self._known(split)
        step, length = self.config.augment.fixed_subsampling, self.config.clip_frames
        plain, mirrored = self.config.augment.fixed(), self.config.augment.fixed(flip=True)
        items = []
        for i, entry in enumerate(self.entries(split)):
            if protocol == "single" or protocol in crops:
                clip = tuple(transforms.clip_frames(entry["frames"], step, length))
                items += [_Item(i, clip, draw) for draw in crops.get(protocol, (plain,))]
            else:
                for some in transforms.multi_clips(entry["frames"], step, length):
                    items += [_Item(i, tuple(some), plain), _Item(i, tuple(some), mirrored)]
        return items

    def eval_stream(
        self,
        split: str = "test",
        protocol: str = "single",
        batch: int = 8,
        only_inside: bool = False,
        process_index: int = 0,
        process_count: int = 1,
    ) -> Iterator[Batch]:
        """Batches of every evaluation clip once, in the order of the sequences; the last is padded and masked.

        Args:
          protocol: "single", the centred clip of each sequence; "multi", half overlapping clips, each also mirrored
            (a sequence too short for one gives its centred clip); or one of `DataSet.crop_protocols`.
          only_inside: the authors' rule, joints outside of the crop are not valid; by default every labelled is.
        """
        items = self._items(split, protocol)
        source = self.records(split)
        config = self.config

        def load(item: _Item) -> pipeline.Example:
            record = {**source[item.record], "split": split}
            return config.example(record, list(item.frames), item.draw, keep_outside=not only_inside)

        return pipeline.eval_stream(
            items,
            load,
            batch_size=batch,
            process_index=process_index,
            process_count=process_count,
            threads=config.threads,
        )

    def eval_length(self, protocol: str = "single", split: str = "test", batch: int = 8, process_count: int = 1) -> int:
        """Number of batches of `eval_stream`."""
        return pipeline.num_batches(len(self._items(split, protocol)), batch, process_count)
