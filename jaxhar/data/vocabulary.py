"""Joins batches of several sources, and stills into clips, by a table of rules for each key of a batch.

The keys are those of `jaxhar.core.batch.Batch`. A key that is not in the table is kept if all sources have it.
"""

import functools
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxhar.core.batch import Batch
from jaxhar.host.errors import Problem


@dataclass(frozen=True)
class Key:
    """The rule of a key.

    Attributes:
      per_frame: whether the second axis is that of frames, T.
      missing: the value for examples of a source without the key; None if no value means "unknown", so that the key is
        left out.
    """

    per_frame: bool = False
    missing: float | bool | None = None


KEYS = {
    "frames": Key(per_frame=True),
    "power": Key(per_frame=True, missing=1.0),
    "points": Key(per_frame=True, missing=0.0),  # with score 0
    "score": Key(per_frame=True, missing=0.0),
    "cover": Key(per_frame=True),
    "noise": Key(),
    "features": Key(per_frame=True),
    "boxes": Key(per_frame=True),
    "boxed": Key(per_frame=True),
    "ignored": Key(per_frame=True),
    "pose": Key(per_frame=True, missing=0.0),  # not valid
    "visible": Key(per_frame=True, missing=0.0),
    "hidden": Key(per_frame=True, missing=False),
    "valid": Key(per_frame=True, missing=False),
    "affine": Key(per_frame=True),
    "norm": Key(per_frame=True, missing=0.0),
    "area": Key(per_frame=True, missing=0.0),
    "depth": Key(per_frame=True),
    "camera": Key(per_frame=True),
    "depth_range": Key(),
    "world": Key(),
    "action": Key(missing=-1),
    "together": Key(missing=False),
    "mask": Key(missing=True),
    "sequence": Key(missing=-1),
    "source": Key(missing=-1),
    "view": Key(missing=-1),
    "volume": Key(per_frame=True),
    "mirrored": Key(missing=False),
    "flipped": Key(missing=False),
}


def join(batches: Sequence[Mapping[str, object]], names: Sequence[str] = ()) -> Batch:
    """Concatenate batches of several sources.

    A key that some sources lack is filled with `Key.missing`, or left out with a message on stderr.

    Args:
      names: of the sources, for messages.

    Raises:
      Problem: the shapes of a key differ.
    """
    every: list[dict[str, Any]] = [dict(batch) for batch in batches]
    names = names or [f"source {i}" for i in range(len(every))]
    joined: dict[str, object] = {}
    for key in dict.fromkeys(key for batch in every for key in batch):
        lacking = [name for name, batch in zip(names, every, strict=True) if key not in batch]
        missing = KEYS.get(key, Key()).missing
        if lacking and missing is None:
            warn_once(f"{key!r} is left out of the joined batches, because {' and '.join(lacking)} has none")
            continue
        present = next(np.asarray(batch[key]) for batch in every if key in batch)
        parts = [
            np.asarray(batch[key])
            if key in batch
            else np.full((_size(batch), *present.shape[1:]), missing, present.dtype)
            for batch in every
        ]
        if len({part.shape[1:] for part in parts}) > 1:
            shapes = ", ".join(f"{part.shape[1:]} in {name}" for name, part in zip(names, parts, strict=True))
            raise Problem(f"the batches cannot be joined: {key!r} of an example has the shape {shapes}")
        joined[key] = np.concatenate(parts)
    return joined  # type: ignore[return-value]


def stack_frames(batch: Batch, frames: int) -> Batch:
    """Reshape stills (B * T, 1, ...) into clips (B, T, ...) of T different pictures.

    Keys without a frame axis differ between the pictures of a clip; they are left out with a message on stderr. No clip
    is padding, so `mask` is True.
    """
    every: dict[str, Any] = dict(batch)
    size = _size(every)
    kept = {key: np.asarray(value) for key, value in every.items() if KEYS.get(key, Key()).per_frame}
    lost = sorted(every.keys() - kept.keys() - {"mask"})
    if lost:
        warn_once(f"clips of different pictures have no {_words(lost)}, because each picture has its own")
    stacked: dict[str, object] = {key: value.reshape(-1, frames, *value.shape[2:]) for key, value in kept.items()}
    stacked["mask"] = np.ones(size // frames, bool)
    return stacked  # type: ignore[return-value]


def _size(batch: dict[str, Any]) -> int:
    return len(next(iter(batch.values())))


def _words(keys: Iterable[str]) -> str:
    return " and ".join(map(repr, keys))


@functools.cache
def warn_once(sentence: str) -> None:
    """Print a sentence on stderr, once in a process."""
    print(sentence, file=sys.stderr)
