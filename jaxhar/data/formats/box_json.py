"""Reads and writes predicted boxes of Penn Action and NTU RGB+D in deephar's two JSON formats.

Frame boxes: a list of three dicts, for test, train and validation, "sequence.frame" -> [x1, y1, x2, y2]; the box of a
clip is the union over its frames. Clip boxes (penn_pred_bboxes_16f.json, CVPR'18): one dict of the test split,
"%04d.%d.%03d.%d" of sequence, step between frames, clip and whether mirrored -> box. Sequences and clips are counted
from 0 in the order of their split.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxhar.data import transforms
from jaxhar.data.records.sequences import Index
from jaxhar.data.transforms import Box
from jaxhar.host import files
from jaxhar.host.errors import Problem

_SPLITS = ("test", "train", "valid")


@dataclass(frozen=True)
class Boxes:
    """Boxes by split and key. `clips`: keys are those of clips, not of frames."""

    table: Mapping[str, Mapping[str, list[float]]]
    clips: bool

    def clip(
        self, split: str, sequence: int, frames: Sequence[int], step: int = 1, number: int = 0, flip: bool = False
    ) -> Box | None:
        """(4,) box of a clip, in image pixels; None if the file has none.

        Args:
          sequence: index in its split. frames: frame indices of the clip. step: between these frames.
          number: of the clip in its sequence. flip: whether the clip is mirrored; used with clip boxes only.
        """
        table = self.table.get(split, {})
        if self.clips:
            found = table.get(f"{sequence:04d}.{step}.{number:03d}.{int(flip)}")
            return None if found is None else np.array(found, np.float64)
        keys = [f"{sequence}.{frame}" for frame in frames]
        if not all(key in table for key in keys):
            return None
        boxes = np.array([table[key] for key in keys], np.float64)
        return np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])


def read(path: str | Path) -> Boxes:
    """Read a file of either format, which is recognised by the content.

    Raises:
      Problem: the file cannot be read, has neither format, or has a box without x1 < x2 and y1 < y2 (the key is named).
    """
    path = Path(path).expanduser()
    content = files.read_json(path, "box file")
    clips = isinstance(content, dict)
    tables = [content] if clips else content if isinstance(content, list) else []
    if not tables or not all(isinstance(table, dict) or not table for table in tables):
        raise Problem(f"the box file {path} holds neither a dict of clips nor a list of three dicts of frames")
    splits = {split: table or {} for split, table in zip(_SPLITS, tables, strict=False)}
    dots = 3 if clips else 1
    for split, table in splits.items():
        for key, box in table.items():
            numbers = isinstance(box, list) and len(box) == 4 and all(isinstance(v, int | float) for v in box)
            if not numbers or not np.isfinite(box).all() or box[0] >= box[2] or box[1] >= box[3]:
                raise Problem(f"box {key!r} ({split}) in {path} is {box}; expected [x1, y1, x2, y2] with an area")
            if key.count(".") != dots or not key.replace(".", "").isdigit():
                raise Problem(f"key {key!r} ({split}) in {path} does not name a {'clip' if clips else 'frame'}")
    corners = [v for table in splits.values() for box in table.values() for v in box]
    if corners and 0 <= min(corners) and max(corners) <= 1:
        raise Problem(
            f"all boxes in {path} lie between 0 and 1; they must be in pixels of the frames, not in fractions"
        )
    return Boxes(splits, clips)


_kept = functools.lru_cache(maxsize=4)(read)


def check(path: str, skip_broken: bool, index: Index) -> None:
    """Read a box file again; Problem as in `read`, or if sequences were left out, which changes their numbers."""
    _kept.cache_clear()  # the file may have changed
    _kept(path)
    if skip_broken and index["skipped"]:
        raise Problem(f"{path} numbers the sequences of the whole set, but broken ones were left out; restore them")


def of_record(path: str, record: dict, frames: list[int], step: int, scale: float, flip: bool) -> Box:
    """(4,) box of a clip in evaluation: the predicted box, or the square around the whole image if there is none.

    Args:
      step: between the frames. scale: of the square. flip: whether the clip is mirrored.
    """
    clips = transforms.multi_clips(record["length"], step, len(frames))
    number = clips.index(frames) if frames in clips else 0
    box = _kept(path).clip(record["split"], record["index"], frames, step, number, flip)
    return transforms.centred_bbox(record["size"].tolist(), scale) if box is None else box


def write(path: Path, boxes: Mapping[str, Mapping[tuple[int, int], Box]]) -> None:
    """Write frame boxes, {split: {(sequence, frame): (4,) box}}, in deephar's format, rounded to whole pixels."""
    tables = [
        {f"{s}.{f}": np.round(box).astype(int).tolist() for (s, f), box in boxes.get(split, {}).items()}
        for split in _SPLITS
    ]
    files.write(Path(path), json.dumps(tables).encode())
