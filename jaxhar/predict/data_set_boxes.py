"""What `jaxhar data boxes` does: predict the person boxes of a whole data set, in deephar's JSON format.

As in Luvizon et al., TPAMI 2020, a network of single frames runs on the square around the whole frame; the box is the
square around its confident joints, 1.5 times their extent. If there are too few confident joints, the box is
interpolated from other frames. A data set reads the file by its setting `boxes`.

Deephar's script exp/pennaction/predict_bboxes.py does not interpolate and, by mistake, selects the joints by their last
coordinate; `--deephar` reproduces this.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from tqdm import tqdm

from jaxhar.core.network import clip_length, frame_size
from jaxhar.data import sets
from jaxhar.data.dataset import PreparedSet
from jaxhar.data.formats import box_json
from jaxhar.data.records import pictures
from jaxhar.host import files
from jaxhar.host.errors import Problem, Usage
from jaxhar.inference import infer
from jaxhar.predict.boxes import deephar_box, person_box
from jaxhar.predict.predictor import needs_pose
from jaxhar.predict.search import Infer, SearchFrame, find_boxes
from jaxhar.weights import checkpoint
from jaxhar.weights.flat import to_flat

_SPLITS = ("test", "train")


def digest(model: nnx.Module) -> str:
    """A checksum of a network's weights."""
    digest = hashlib.sha256()
    for name, array in sorted(to_flat(model).items()):
        digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def run(
    name: str,
    root: Path,
    weights: Path,
    out: Path,
    *,
    changes: Mapping[str, str],
    cache: Path | None = None,
    batch: int = 16,
    deephar: bool = False,
) -> int:
    """Predict the boxes of a data set with a model checkpoint and write them; returns how many.

    Args:
      name: of the data set in `jaxhar.data.sets`. root: its folder. weights: see `checkpoint.load_model`.
      changes: settings of the data as text. cache: for packed records; None for "jaxhar_data" beside `out`.
      batch: frames in one run of the network. deephar: use the rule of deephar's script, including its mistake.

    Raises:
      Problem: the data cannot be read, the network predicts no joints. Usage: a wrong number or setting.
    """
    if batch < 1:
        raise Usage("--batch must be 1 or more")
    model, meta = checkpoint.load_model(weights)
    needs_pose(meta.config, weights)
    settings = sets.configured(name, root, changes, cache=None if cache is None else str(cache))
    prepared = settings.prepare(out.parent)
    length = clip_length(meta.config)
    shape = max(1, batch // length), length
    return predict(prepared, partial(infer, model), frame_size(meta.config), shape, out, digest(model), deephar)


def predict(
    prepared: PreparedSet,
    infer: Infer,
    size: tuple[int, int],
    shape: tuple[int, int],
    out: Path,
    network: str,
    deephar: bool = False,
    progress: bool = True,
) -> int:
    """Predict the boxes of all frames of a prepared set and write them; returns how many.

    Args:
      size: (height, width) of the network's crops. shape: (B, T) of one run.
      out: the file to write. Until all boxes are predicted, finished ones are kept in OUT.unfinished.
      network: identifies the network, so that the unfinished file of another network is not continued.
      deephar: use the rule of deephar's script.

    Raises:
      Problem: nothing to predict, or `out` cannot be written.
    """
    jobs = [(split, i) for split in _SPLITS for i in range(len(prepared.entries(split)))]
    if not jobs:
        raise Problem(f"the folder behind {prepared.folder} has no sequence")
    journal = _Journal(out.with_name(f"{out.name}.unfinished"), f"{prepared.folder.name} {size} {network} {deephar}")
    sources = {split: prepared.records(split) for split in _SPLITS if prepared.entries(split)}
    boxes: dict[str, dict[tuple[int, int], np.ndarray]] = {split: {} for split in _SPLITS}
    for split, i in tqdm(jobs, desc="looking", unit="sequence", disable=not progress):
        key = f"{split} {i}"
        if key not in journal.known:
            rule = deephar_box if deephar else person_box
            _, found = find_boxes(_frames(sources[split][i], size), infer, shape, stills=deephar, box_of=rule)
            journal.add(key, (np.trunc(found) if deephar else np.round(found)).astype(int).tolist())
        boxes[split] |= {(i, t): np.array(box) for t, box in enumerate(journal.known[key])}
    box_json.write(out, boxes)
    journal.path.unlink()
    return sum(len(table) for table in boxes.values())


def _frames(record: dict[str, Any], size: tuple[int, int]) -> Iterator[SearchFrame]:
    for t, image in enumerate(pictures.frames(record, range(record["length"]))):
        yield SearchFrame.of(float(t), image, size)


class _Journal:
    """A file of JSON lines, one per result. An existing file is read if its first line equals `identity`."""

    def __init__(self, path: Path, identity: str):
        self.path = path
        self.known: dict[str, list] = {}
        lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
        if lines and lines[0] == json.dumps(identity):
            for line in lines[1:]:
                try:
                    key, value = json.loads(line)
                except ValueError:  # an incomplete line, the process was killed
                    break
                self.known[key] = value
        whole = [json.dumps(identity), *(json.dumps(pair) for pair in self.known.items())]
        files.write(path, ("\n".join(whole) + "\n").encode())

    def add(self, key: str, value: list) -> None:
        self.known[key] = value
        try:
            with open(self.path, "a") as file:
                file.write(json.dumps([key, value]) + "\n")
        except OSError as error:
            raise files.cannot_write(self.path, error) from error
