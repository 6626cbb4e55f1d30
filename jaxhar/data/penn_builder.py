"""Penn Action as a TFDS data set of array_record files; imported only where a folder is prepared or read.

JPEG bytes are stored as they are found. Records keep the order of the sequence names in each split.
"""

import contextlib
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from jaxhar import actions
from jaxhar.data import penn_folder
from jaxhar.errors import Problem
from jaxhar.skeleton import PENN

SPLITS = ("train", "test")


class PennAction(tfds.core.GeneratorBasedBuilder):
    """One record a sequence: frames (jpeg bytes), points, labelled, action, viewpoint, name, size (width, height)."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "manual_dir is the unpacked Penn_Action folder, with frames/ and labels/"

    def __init__(self, *, skip_broken: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.skip_broken = skip_broken
        self.skipped: list[penn_folder.Skipped] = []
        self.index: dict[str, list[dict]] = {split: [] for split in SPLITS}
        self.problem: Problem | None = None

    def _info(self) -> tfds.core.DatasetInfo:
        joints = len(PENN)
        features = tfds.features.FeaturesDict(
            {
                "frames": tfds.features.Sequence(tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")),
                "points": tfds.features.Tensor(shape=(None, joints, 2), dtype=np.float32),
                "labelled": tfds.features.Tensor(shape=(None, joints), dtype=np.bool_),
                "action": tfds.features.ClassLabel(names=actions.PENN),
                "viewpoint": tfds.features.Text(),
                "name": tfds.features.Text(),
                "size": tfds.features.Tensor(shape=(2,), dtype=np.int32),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        sequences, skipped = penn_folder.scan(Path(dl_manager.manual_dir), self.skip_broken)
        self.skipped += skipped
        chosen = {split: [s for s in sequences if s.train == (split == "train")] for split in SPLITS}
        return {split: self._generate_examples(split, some) for split, some in chosen.items() if some}

    def _generate_examples(self, split: str, sequences: list[penn_folder.Sequence]) -> Iterator[tuple[int, dict]]:
        with ThreadPoolExecutor(4) as pool:
            for sequence in tqdm(sequences, desc=f"Penn Action {split}", unit="sequence"):
                try:
                    frames, keep, size, skipped = penn_folder.read_frames(sequence, pool, self.skip_broken)
                except Problem as problem:
                    self.problem = problem  # TFDS wraps what a generator raises
                    raise
                self.skipped += skipped
                if not frames:
                    continue
                self.index[split].append({"name": sequence.name, "frames": len(frames), "action": sequence.action})
                yield (
                    len(self.index[split]) - 1,
                    {
                        "frames": frames,
                        "points": sequence.points[keep],
                        "labelled": sequence.labelled[keep],
                        "action": sequence.action,
                        "viewpoint": sequence.viewpoint,
                        "name": sequence.name,
                        "size": np.array(size, np.int32),
                    },
                )


class _Encoded(tfds.decode.SkipDecoding):
    """Leaves a sequence of images as bytes; TFDS's own class does so for single images only."""

    def decode_batch_example_np(self, example: Any) -> Any:
        return example


def build(root: Path, data_dir: Path, skip_broken: bool) -> dict:
    """Write the records of a folder under `data_dir`; an interrupted build leaves nothing under the final name.

    Returns:
      {"train": [{"name", "frames", "action"}, ...], "test": [...], "skipped": [[path, reason], ...]}.
    """
    builder = PennAction(data_dir=data_dir, file_format="array_record", skip_broken=skip_broken)
    tfds.disable_progress_bar()
    config = tfds.download.DownloadConfig(manual_dir=root)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(download_config=config)
    except Exception:
        if builder.problem:
            raise builder.problem from None
        raise
    return {**builder.index, "skipped": [[s.path, s.reason] for s in builder.skipped]}


def source(data_dir: Path, split: str) -> Any:
    """Random access to the records of a split, frames as an array of JPEG bytes."""
    builder = PennAction(data_dir=data_dir, file_format="array_record")
    return builder.as_data_source(split=split, decoders={"frames": _Encoded()})
