"""Penn Action, generated or real: from the published folder to training and evaluation batches."""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from jaxhar import actions
from jaxhar.batch import Batch
from jaxhar.data import pipeline, synthetic, transforms
from jaxhar.data.penn_folder import check_root, fingerprint_lines
from jaxhar.errors import Problem, Usage
from jaxhar.skeleton import PA16, PENN, Skeleton, mapping

SPLITS = ("train", "test")
PROTOCOLS = ("single", "multi")
_SHOULDER, _HIP = PENN.index("l_shoulder"), PENN.index("r_hip")
_TO_PA16 = mapping(PENN, PA16)
_IN_MEMORY = 1 << 29  # bytes of a packed set

#: Of fields that change no result: a run goes on when they differ from its checkpoint's.
FREE = {"free": True}


@dataclass(frozen=True)
class Penn:
    """The Penn Action data of an experiment.

    Attributes:
      root: the published folder; None takes `synth`, else $JAXHAR_DATA/Penn_Action.
      cache: folder for the packed records (and generated videos). None puts generated data into the workdir, and the
        records of a real folder into "jaxhar_data" beside the workdir, where other runs find them.
      synth: what to generate when root is None.
      augment, augment_stills: of clips and of single frames. `augment.fixed_subsampling` holds in evaluation.
      clip_frames: T. image_size: side of the crops. clips_per_batch, stills_per_batch: 0 leaves that stream out.
      skip_broken: leave out unreadable frames and label files, with a list, in place of stopping.
      workers: loading processes; 0 loads in `threads` threads. prefetch: batches held ready.
    """

    root: str | None = field(default=None, metadata=FREE)
    cache: str | None = field(default=None, metadata=FREE)
    synth: synthetic.Synth | None = None
    augment: transforms.Augment = transforms.PENN_CLIPS
    augment_stills: transforms.Augment = transforms.PENN_STILLS
    clip_frames: int = 16
    image_size: int = 256
    clips_per_batch: int = 8
    stills_per_batch: int = 0
    skip_broken: bool = False
    workers: int = field(default=0, metadata=FREE)
    threads: int = field(default=2, metadata=FREE)
    prefetch: int = field(default=4, metadata=FREE)

    def prepare(self, workdir: Path) -> "PreparedPenn":
        """Check the folder, generating it first if asked, and pack its records unless that was done before.

        Raises:
          Problem: no such folder, another layout, a damaged file (named); nothing half-written is left.
        """
        root, generated = self._root(Path(workdir))
        fallback = Path(workdir) / "data" if generated else Path(workdir).absolute().parent / "jaxhar_data"
        cache = Path(self.cache).expanduser() if self.cache else fallback
        digest = hashlib.sha256(f"1 {self.skip_broken}\n".encode())
        for line in fingerprint_lines(root):
            digest.update(f"{line}\n".encode())
        folder = cache / f"penn-{digest.hexdigest()[:16]}"
        index = _packed(root, folder, self.skip_broken)
        if index["skipped"]:
            print(f"left out {len(index['skipped'])} broken files of {root}:", file=sys.stderr)
            for path, reason in index["skipped"]:
                print(f"  {path}: {reason}", file=sys.stderr)
        return PreparedPenn(self, folder, index)

    def _root(self, workdir: Path) -> tuple[Path, bool]:
        if self.root is not None:
            return check_root(self.root), False
        if self.synth is not None:
            name = hashlib.sha256(f"{synthetic.VERSION} {self.synth!r}".encode()).hexdigest()[:12]
            base = Path(self.cache).expanduser() if self.cache else workdir / "data"
            out = base / f"synthetic-{name}"
            with _locked(out.with_suffix(".lock")):
                synthetic.write_penn(out, self.synth)
            return check_root(out), True
        home = os.environ.get("JAXHAR_DATA")
        if not home:
            raise Problem("no Penn Action folder is given: set data.root, or JAXHAR_DATA to the folder holding it")
        return check_root(Path(home) / "Penn_Action"), False


def _packed(root: Path, folder: Path, skip_broken: bool) -> dict:
    """The index of the records in `folder`, packing them first if they are not there; one process at a time."""
    path = folder / "index.json"
    if not path.exists():
        with _locked(folder.with_suffix(".lock")):
            if not path.exists():
                _pack(root, folder, skip_broken)
    return json.loads(path.read_text())


def _pack(root: Path, folder: Path, skip_broken: bool) -> None:
    from jaxhar.data import penn_builder

    temporary = folder.with_suffix(".tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # left by a killed run: the lock is ours now
    try:
        index = penn_builder.build(root, temporary, skip_broken)
        if not index["train"] and not index["test"]:
            raise Problem(f"{root} holds no usable sequence; {len(index['skipped'])} broken files were left out")
        (temporary / "index.json").write_text(json.dumps(index))
        os.replace(temporary, folder)
    except OSError as error:
        raise Problem(f"packing {root} into {folder} failed: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the system frees the lock of a killed one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "w")
    except OSError as error:
        raise Problem(f"the data cache {path.parent} cannot be written ({error.strerror})") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class _Records:
    """The records of a split with their index.

    A set smaller than `_IN_MEMORY` is read once and kept: a single frame costs the reading of its whole sequence. Of a
    larger one the last `keep` records are (evaluation reads one several times in a row).
    """

    def __init__(self, folder: Path, split: str, keep: int = 0):
        from jaxhar.data import penn_builder

        self._source = penn_builder.source(folder, split)
        small = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < _IN_MEMORY
        self._read = functools.lru_cache(None if small else keep)(self._source.__getitem__)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict:
        return {**self._read(index), "index": index}


def decode(data: bytes, name: str) -> np.ndarray:
    """JPEG bytes to RGB uint8 (H, W, 3); Problem with `name` if they cannot be decoded."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise Problem(f"a frame of {name} cannot be decoded; delete the data cache so that it is packed again")
    return image


def to_example(
    record: dict,
    frames: list[int],
    draw: transforms.Draw,
    size: int,
    keep_outside: bool = False,
) -> pipeline.Example:
    """Some frames of a record as an example in PA16, cropped around the labelled joints.

    Args:
      frames: T indices into the record. draw: augmentation of all of them. size: side of the crop.
      keep_outside: see `transforms.crop_pose`.

    Returns:
      `jaxhar.batch.Batch` entries without the batch axis.
    """
    points, labelled = record["points"][frames], record["labelled"][frames]
    image_size = (int(record["size"][0]), int(record["size"][1]))
    box = transforms.gt_bbox(points, labelled, image_size, draw.scale)
    crop = transforms.plan_crop(box, image_size, size, draw)
    name = record["name"].decode()
    decoded = {i: decode(record["frames"][i], f"sequence {name}") for i in set(frames)}
    pose, visible, valid = transforms.crop_pose(
        crop,
        np.where((_TO_PA16 >= 0)[:, None], points[:, _TO_PA16], 0),
        labelled[:, _TO_PA16] & (_TO_PA16 >= 0),
        PA16.flip,
        keep_outside,
    )
    torso = np.linalg.norm(points[:, _SHOULDER] - points[:, _HIP], axis=-1)
    return {
        "frames": transforms.crop_frames([decoded[i] for i in frames], crop, draw.power),
        "pose": pose,
        "visible": visible,
        "valid": valid,
        "action": np.int32(record["action"]),
        "mask": np.bool_(True),
        "affine": crop.affine.astype(np.float32),
        "norm": np.where(labelled[:, _SHOULDER] & labelled[:, _HIP], torso, 0).astype(np.float32),
        "sequence": np.int32(record["index"]),
        "flipped": np.bool_(draw.flip),
    }


@dataclass(frozen=True)
class _TrainClip:
    augment: transforms.Augment
    frames: int
    size: int

    def __call__(self, record: dict, rng: np.random.Generator) -> pipeline.Example:
        draw = self.augment.draw(rng)
        chosen = transforms.clip_frames(len(record["points"]), draw.subsampling, self.frames, rng)
        return to_example(record, chosen, draw, self.size)


@dataclass(frozen=True)
class _TrainStill:
    augment: transforms.Augment
    size: int

    def __call__(self, record: dict, rng: np.random.Generator) -> pipeline.Example:
        draw = self.augment.draw(rng)
        chosen = int(rng.integers(len(record["points"])))
        example = to_example(record, [chosen], draw, self.size)
        del example["action"]  # one frame is no clip: the action heads learn from clips
        return example


@dataclass(frozen=True)
class _Item:
    record: int
    frames: tuple[int, ...]
    flip: bool


@dataclass(frozen=True)
class PreparedPenn:
    """Packed records, ready to stream. Made by `Penn.prepare`.

    Attributes:
      folder: holds the array_record files. index: what is in them, see `penn_builder.build`.
    """

    config: Penn
    folder: Path
    index: dict = field(repr=False)

    skeleton: Skeleton = PA16
    actions: tuple[str, ...] = actions.PENN

    def sequence_names(self, split: str = "test") -> list[str]:
        """Names of the sequences of a split; `Batch.sequence` counts in this list."""
        if split not in SPLITS:
            raise Usage(f"Penn Action has no split {split!r}; there are {' and '.join(SPLITS)}")
        return [entry["name"] for entry in self.index[split]]

    def _split(self, split: str) -> list[dict]:
        if not self.sequence_names(split):
            raise Problem(f"the Penn Action folder behind {self.folder} has no {split} sequence (field 'train')")
        return self.index[split]

    def train_stream(self, seed: int, process_index: int = 0, process_count: int = 1) -> pipeline.Joined:
        """Endless dicts {"stills": Batch with T = 1, "clips": Batch}, deterministic, with get_state and set_state."""
        config = self.config
        self._split("train")
        loads: dict[str, tuple[int, Callable[[dict, np.random.Generator], pipeline.Example]]] = {
            "stills": (config.stills_per_batch, _TrainStill(config.augment_stills, config.image_size)),
            "clips": (config.clips_per_batch, _TrainClip(config.augment, config.clip_frames, config.image_size)),
        }
        streams = {
            name: pipeline.train_stream(
                _Records(self.folder, "train"),
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
        if not streams:
            raise Usage("data.stills_per_batch and data.clips_per_batch are both 0: there is nothing to train on")
        return pipeline.Joined(streams)

    def _items(self, split: str, protocol: str) -> list[_Item]:
        if protocol not in PROTOCOLS:
            raise Usage(f"unknown evaluation protocol {protocol!r}; there are {' and '.join(PROTOCOLS)}")
        step, length = self.config.augment.fixed_subsampling, self.config.clip_frames
        items = []
        for i, entry in enumerate(self._split(split)):
            if protocol == "single":
                items.append(_Item(i, tuple(transforms.clip_frames(entry["frames"], step, length)), False))
            else:
                for clip in transforms.multi_clips(entry["frames"], step, length):
                    items += [_Item(i, tuple(clip), False), _Item(i, tuple(clip), True)]
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
            (a sequence too short for one gives its centred clip).
          only_inside: the authors' rule, joints outside of the crop are not valid; by default every labelled is.
        """
        items = self._items(split, protocol)
        records = _Records(self.folder, split, keep=4)
        augment, size = self.config.augment, self.config.image_size

        def load(item: _Item) -> pipeline.Example:
            draw = augment.fixed(item.flip)
            return to_example(records[item.record], list(item.frames), draw, size, keep_outside=not only_inside)

        return pipeline.eval_stream(
            items,
            load,
            batch_size=batch,
            process_index=process_index,
            process_count=process_count,
            threads=self.config.threads,
        )

    def eval_length(self, protocol: str = "single", split: str = "test", batch: int = 8, process_count: int = 1) -> int:
        """Number of batches of `eval_stream`."""
        return pipeline.num_batches(len(self._items(split, protocol)), batch, process_count)
