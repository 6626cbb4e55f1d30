"""Any `Folder` as a TFDS data set of array_record files; imported only where one is packed or read.

Records keep the order of the folder's scan. JPEG bytes are stored as they are.
"""

import contextlib
import io
import os
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from jaxhar.data.records import Folder, Index, Record, Skipped
from jaxhar.errors import Problem

_THREADS = min(8, os.cpu_count() or 1)


class PackedSequences(tfds.core.GeneratorBasedBuilder):
    """One record a sequence, with the fields of `jaxhar.data.records.Record`."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "manual_dir is the root of the folder"

    def __init__(self, *, folder: Folder, sequences: list[Any], skip_broken: bool = False, **kwargs: Any):
        self.folder = folder
        super().__init__(**kwargs)
        self.sequences = sequences
        self.skip_broken = skip_broken
        self.index: Index = {"actions": list(folder.actions), "sequences": [], "skipped": []}
        self.problem: Problem | None = None
        self.nothing = False

    def _info(self) -> tfds.core.DatasetInfo:
        features, folder = tfds.features, self.folder
        return tfds.core.DatasetInfo(
            builder=self,
            features=features.FeaturesDict(
                {
                    "name": features.Text(),
                    "frames": features.Sequence(features.Image(shape=(None, None, 3), encoding_format="jpeg")),
                    "size": features.Tensor(shape=(2,), dtype=np.int32),
                    "points": features.Tensor(shape=(None, folder.joints, folder.dims), dtype=np.float32),
                    "labelled": features.Tensor(shape=(None, folder.joints), dtype=np.bool_),
                    "action": features.Scalar(np.int32),
                    "subject": features.Scalar(np.int32),
                    "view": features.Scalar(np.int32),
                    **{k: features.Tensor(shape=s, dtype=np.float32) for k, s in folder.extras.items()},
                }
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        return {"sequences": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict]]:
        entries = self.index["sequences"]
        bar = tqdm(total=len(self.sequences), desc=f"packing {self.folder.title}", unit="sequence")
        with bar, contextlib.closing(self._load()) as loaded:
            for record, skipped in loaded:
                bar.update()
                self.index["skipped"] += [[s.path, s.reason] for s in skipped]
                if record is None:
                    continue
                entries.append(
                    {
                        "name": record.name,
                        "split": record.split,
                        "frames": len(record.frames),
                        "action": int(record.action),
                        "subject": int(record.subject),
                        "view": int(record.view),
                    }
                )
                yield (
                    len(entries) - 1,
                    {
                        "name": record.name,
                        "frames": record.frames,
                        "size": np.array(record.size, np.int32),
                        "points": np.asarray(record.points, np.float32),
                        "labelled": np.asarray(record.labelled, np.bool_),
                        "action": record.action,
                        "subject": record.subject,
                        "view": record.view,
                        **{k: np.asarray(record.extras[k], np.float32) for k in self.folder.extras},
                    },
                )
        self.nothing = not entries

    def _load(self) -> Generator[tuple[Record | None, list[Skipped]], None, None]:
        """Records in order, read in threads a few sequences ahead."""
        waiting: deque[Future] = deque()
        pool = ThreadPoolExecutor(_THREADS)
        try:
            for sequence in self.sequences:
                waiting.append(pool.submit(self.folder.load, sequence, self.skip_broken))
                if len(waiting) > 2 * _THREADS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except Problem as problem:
            self.problem = problem  # TFDS wraps what a generator raises
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def build(folder: Folder, data_dir: Path, skip_broken: bool) -> Index:
    """Write the records of a folder under `data_dir` and return their index, an empty one if nothing is usable."""
    sequences, skipped = folder.scan(skip_broken)
    builder = PackedSequences(
        folder=folder, sequences=sequences, skip_broken=skip_broken, data_dir=data_dir, file_format="array_record"
    )
    builder.index["skipped"] += [[s.path, s.reason] for s in skipped]
    tfds.disable_progress_bar()
    config = tfds.download.DownloadConfig(manual_dir=folder.root)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(download_config=config)
    except Exception:
        if builder.problem:
            raise builder.problem from None
        if builder.nothing:  # TFDS refuses to write an empty data set
            return builder.index
        raise
    return builder.index


class _Encoded(tfds.decode.SkipDecoding):
    """Leaves a sequence of images as bytes; TFDS's own class does so for single images only."""

    def decode_batch_example_np(self, example: Any) -> Any:
        return example


def source(data_dir: Path) -> Any:
    """Random access to the records, frames as an array of JPEG bytes."""
    builder = tfds.builder_from_directory(data_dir / PackedSequences.name / str(PackedSequences.VERSION))
    return builder.as_data_source(split="sequences", decoders={"frames": _Encoded()})
