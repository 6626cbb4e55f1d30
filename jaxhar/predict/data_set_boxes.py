"""`jaxhar data boxes`: the person boxes of a whole data set as a pose network sees them, in the authors' JSON form.

Luvizon et al., TPAMI 2020: a network of single frames looks at the square around the whole frame, and the box is the
square about its sure joints, 1.5 times their extent; where it is sure of too few, the box is interpolated between those
of other frames. A data set evaluates with the file by its setting `boxes`.

The authors' script exp/pennaction/predict_bboxes.py takes each frame for itself, and, by a slip, chooses the joints by
their last coordinate; `--authors` does as it does.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxhar.data.formats import box_json as penn_boxes
from jaxhar.data.formats.jpeg import decode
from jaxhar.host import files
from jaxhar.host.errors import Problem
from jaxhar.predict.boxes import authors_box, person_box
from jaxhar.predict.predictor import Infer, Whole, survey
from jaxhar.weights.flat import to_flat

_SPLITS = ("test", "train")


def digest(model: Any) -> str:
    """Tells networks apart by their numbers, wherever the weights lie."""

    digest = hashlib.sha256()
    for name, array in sorted(to_flat(model).items()):
        digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def predict(
    prepared: Any,
    infer: Infer,
    size: int,
    shape: tuple[int, int],
    out: Path,
    whose: str,
    authors: bool = False,
    progress: bool = True,
) -> int:
    """Predict the boxes of all frames of a prepared set and write them; returns how many.

    Args:
      size: side of the network's crops. shape: B and T of its runs.
      out: the file; what is finished of it is kept in OUT.unfinished until all is.
      whose: names the network, to tell whether an unfinished file is of this one.
      authors: by the rule of the authors' script.

    Raises:
      Problem: nothing to predict, or `out` cannot be written.
    """

    jobs = [(split, i) for split in _SPLITS for i in range(len(prepared.entries(split)))]
    if not jobs:
        raise Problem(f"the folder behind {prepared.folder} has no sequence")
    journal = _Journal(out.with_name(f"{out.name}.unfinished"), f"{prepared.folder.name} {size} {whose} {authors}")
    sources = {split: prepared.records(split) for split in _SPLITS if prepared.entries(split)}
    boxes: dict[str, dict[tuple[int, int], np.ndarray]] = {split: {} for split in _SPLITS}
    for split, i in tqdm(jobs, desc="looking", unit="sequence", disable=not progress):
        key = f"{split} {i}"
        if key not in journal.known:
            rule = authors_box if authors else person_box
            _, found = survey(_frames(sources[split][i], size), infer, shape, stills=authors, box_of=rule)
            journal.add(key, (np.trunc(found) if authors else np.round(found)).astype(int).tolist())
        boxes[split] |= {(i, t): np.array(box) for t, box in enumerate(journal.known[key])}
    penn_boxes.write(out, boxes)
    journal.path.unlink()
    return sum(len(table) for table in boxes.values())


def _frames(record: dict, size: int) -> Iterator[Whole]:

    for t, data in enumerate(record["frames"]):
        yield Whole.of(float(t), decode(data, record["name"].decode()), size)


class _Journal:
    """Lines of JSON that are added one by one, and read back if the first says that they belong to the same work."""

    def __init__(self, path: Path, identity: str):
        self.path = path
        self.known: dict[str, list] = {}
        lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
        if lines and lines[0] == json.dumps(identity):
            for line in lines[1:]:
                try:
                    key, value = json.loads(line)
                except ValueError:  # cut off by a kill
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
