"""Streams of batches by Grain: endless shuffled training streams with a saved state, and evaluation streams.

A record is what a source's ``__getitem__`` returns. An example is a dict of arrays as in `jaxhar.core.batch.Batch`,
without the leading axis.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import cv2
import numpy as np
from absl import flags

from jaxhar.core.batch import Batch
from jaxhar.data.vocabulary import stack_frames
from jaxhar.host.errors import Problem

Example = dict[str, Any]
#: Seed of the choice of a stream by `Alternating`.
_CHOICE = 71


class Source(Protocol):
    """Random access to records."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> object: ...


def stack(examples: Sequence[Example]) -> Batch:
    """Stack examples with the same keys and shapes into one batch."""
    return {key: np.stack([e[key] for e in examples]) for key in examples[0]}  # type: ignore[return-value]


def pad(batch: Batch, size: int) -> Batch:
    """Fill a batch up to `size` with copies of its first example; `mask` is False on them."""
    first = next(iter(batch.values()))
    have = len(first)  # type: ignore[arg-type]
    mask = np.asarray(batch.get("mask", np.ones(have, bool)))
    index = np.concatenate([np.arange(have), np.zeros(size - have, int)])
    out = {key: np.asarray(value)[index] for key, value in batch.items()}
    out["mask"] = np.concatenate([mask, np.zeros(size - have, bool)])
    return out  # type: ignore[return-value]


def _one_thread() -> None:
    """Turn off OpenCV's threads, which would compete with Grain's."""
    cv2.setNumThreads(1)


def _init_worker(index: int, count: int) -> None:
    del index, count
    _one_thread()


class BatchStream:
    """An endless iterator of batches whose position can be saved and restored exactly."""

    def __init__(self, iterator: Any, identity: dict[str, int]):
        self._iterator = iterator
        self._identity = identity

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        return next(self._iterator)

    def get_state(self) -> dict:
        """The position, and the settings it depends on, as values for JSON."""
        return {"identity": dict(self._identity), "position": self._iterator.get_state()}

    def set_state(self, state: dict) -> None:
        """Continue where `get_state` was called; Problem if the stream was made with other settings."""
        for key, now in self._identity.items():
            if state["identity"].get(key) != now:
                before = state["identity"].get(key)
                raise Problem(
                    f"the saved data position was made with {key} = {before}, but it is {now} now; "
                    "resume with the same settings or start in a new workdir"
                )
        self._iterator.set_state(state["position"])

    def close(self) -> None:
        """Stop the reading threads."""
        self._iterator.close()


class Stacked(BatchStream):
    """Reshapes batches of stills (B * T, 1, ...) into clips (B, T, ...) of T different pictures; see
    `vocabulary.stack_frames`.

    Luvizon et al. train poses on such clips if the network reads only clips.
    """

    def __init__(self, stream: BatchStream, frames: int):
        super().__init__(stream._iterator, {**stream._identity, "stacked": frames})
        self._frames = frames

    def __next__(self) -> Batch:
        return stack_frames(super().__next__(), self._frames)


class Alternating:
    """Draws each batch from one of several streams, at random; sets that are mixed draw from the same one in a step."""

    def __init__(self, streams: Sequence[BatchStream]):
        self._streams, self._drawn = streams, 0

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        chosen = int(np.random.default_rng((_CHOICE, self._drawn)).integers(len(self._streams)))
        self._drawn += 1
        return next(self._streams[chosen])

    def get_state(self) -> dict:
        """The number of batches so far, and the states of the streams."""
        return {"drawn": self._drawn, "streams": [stream.get_state() for stream in self._streams]}

    def set_state(self, state: dict) -> None:
        """Continue where `get_state` was called; Problem if the state is of another number of streams."""
        states = state.get("streams", ())
        if len(states) != len(self._streams):
            raise Problem(
                f"the saved data position is of {len(states) or 1} lengths of clips, but data.clip_frames has "
                f"{len(self._streams)} now; resume with the same settings or start in a new workdir"
            )
        self._drawn = state["drawn"]
        for stream, one in zip(self._streams, states, strict=True):
            stream.set_state(one)

    def close(self) -> None:
        """Stop the reading threads."""
        for stream in self._streams:
            stream.close()


TrainBatches = BatchStream | Alternating


class Joined:
    """Reads several streams together: yields dicts of batches, and saves all states."""

    def __init__(self, streams: Mapping[str, TrainBatches]):
        self._streams = streams

    def __iter__(self) -> Iterator[dict[str, Batch]]:
        return self

    def __next__(self) -> dict[str, Batch]:
        return {name: next(stream) for name, stream in self._streams.items()}

    def get_state(self) -> dict:
        """States of the streams by name."""
        return {name: stream.get_state() for name, stream in self._streams.items()}

    def set_state(self, state: dict) -> None:
        """Restore every stream; Problem if the state is of other streams."""
        if set(state) != set(self._streams):
            raise Problem(
                f"the saved data position is of the streams {', '.join(sorted(state))}, "
                f"but the configuration has {', '.join(sorted(self._streams))}"
            )
        for name, stream in self._streams.items():
            stream.set_state(state[name])

    def close(self) -> None:
        """Stop the reading threads of all streams."""
        for stream in self._streams.values():
            stream.close()


def train_stream(
    source: Source,
    load: Callable[[Any, np.random.Generator], Example],
    *,
    seed: int,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    workers: int = 0,
    threads: int = 2,
    prefetch: int = 4,
) -> BatchStream:
    """Endless batches, reshuffled every epoch; the same arguments give the same batches.

    Args:
      load: makes an example from a record and a random generator; it must be picklable if `workers` is not 0.
      process_index, process_count: this process reads every process_count-th record of each epoch.
      workers: number of loading processes (spawned); 0 loads in `threads` threads of this process.
      prefetch: batches loaded in advance.
    """
    import grain

    if len(source) < process_count:
        raise Problem(f"{len(source)} training records are too few for {process_count} processes")
    _one_thread()
    records = grain.MapDataset.source(source).seed(seed).shuffle()[process_index::process_count].repeat()
    batches = records.random_map(load).batch(batch_size, drop_remainder=True)
    stream = batches.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch))
    if workers:
        if not flags.FLAGS.is_parsed():  # Grain's workers read absl's flags, which are parsed only under launch.py
            flags.FLAGS.mark_as_parsed()
        options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=prefetch)
        stream = stream.mp_prefetch(options, worker_init_fn=_init_worker)
    identity = {
        "seed": seed,
        "batch_size": batch_size,
        "records": len(source),
        "process_index": process_index,
        "process_count": process_count,
        "workers": workers,
    }
    return BatchStream(iter(stream), identity)


def num_batches(items: int, batch_size: int, process_count: int = 1) -> int:
    """Number of batches of `eval_stream`, equal for all processes."""
    return math.ceil(math.ceil(items / process_count) / batch_size)


class _Items:
    """The items of one process, padded to full batches with copies of the first item, whose mask is False."""

    def __init__(self, items: Sequence, load: Callable[[Any], Example], padded: int, first: object):
        self._items, self._load, self._padded, self._first = items, load, padded, first

    def __len__(self) -> int:
        return self._padded

    def __getitem__(self, index: int) -> Example:
        real = index < len(self._items)
        return {**self._load(self._items[index] if real else self._first), "mask": np.bool_(real)}


def eval_stream(
    items: Sequence,
    load: Callable[[Any], Example],
    *,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 2,
    prefetch: int = 2,
) -> Iterator[Batch]:
    """Batches of every item once, in order; the last is padded and masked. Processes take items alternately."""
    import grain

    _one_thread()
    padded = num_batches(len(items), batch_size, process_count) * batch_size
    part = _Items(items[process_index::process_count], load, padded, items[0])
    batches = grain.MapDataset.source(part).batch(batch_size)
    return iter(batches.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch)))
