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
from jaxhar.data import left_out
from jaxhar.data.vocabulary import stack_frames
from jaxhar.host import helper
from jaxhar.host.errors import Problem, Usage

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
    """Prepare a worker process. It loads on while the training saves after a signal to all processes of a job."""
    del index, count
    _one_thread()
    helper.outlive_signals()


class BatchStream:
    """An endless iterator of batches whose position can be saved and restored exactly.

    The position is the number of batches read, so that it does not depend on the number of processes and workers. With
    it is saved what was left out of these batches, see `left_out`.
    """

    def __init__(self, batches_from: Callable[[int], Any], identity: dict[str, int], first: bool = True):
        """A stream at its beginning.

        Args:
          batches_from: `batches_from(n)` makes an iterator that begins with batch n.
          identity: the settings it depends on.
          first: whether it has the first rows of the batches, those of the process that saves states.
        """
        self._batches_from, self._identity, self._first = batches_from, identity, first
        self._position = 0
        self._iterator: Any = None

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self._iterator is None:
            self._iterator = self._batches_from(self._position)
        batch = next(self._iterator)
        if left_out.KEY in batch:
            reasons = [reason for one in batch[left_out.KEY].tolist() for reason in one.splitlines()]
            batch = {key: value for key, value in batch.items() if key != left_out.KEY}
            if reasons:
                left_out.of_batch(self._name, self._position, reasons)
        self._position += 1
        return batch

    @property
    def _name(self) -> left_out.Stream:
        return tuple(self._identity.items())

    def get_state(self) -> dict:
        """The position, and the settings it depends on, as values for JSON."""
        state = {"identity": dict(self._identity), "position": self._position}
        without = left_out.before(self._name, self._position)
        return {**state, left_out.KEY: without} if without else state

    def set_state(self, state: dict) -> None:
        """Continue where `get_state` was called; Problem if the stream was made with other settings."""
        for key, now in self._identity.items():
            if state["identity"].get(key) != now:
                before = state["identity"].get(key)
                raise Problem(
                    f"the saved data position was made with {key} = {before}, but it is {now} now; "
                    "resume with the same settings or start in a new workdir"
                )
        self.close()
        self._position = _batches_read(state["position"])
        if self._first:  # whose state it is
            left_out.restore(self._name, state.get(left_out.KEY, {}))

    def close(self) -> None:
        """Stop the reading threads."""
        if self._iterator is not None:
            self._iterator.close()
        self._iterator = None


def _batches_read(position: int | dict) -> int:
    """A saved position as a number of batches; earlier versions saved the state of Grain's iterator."""
    if isinstance(position, int):
        return position
    states = position.get("iterators_in_use_states", [position])  # one for each worker
    return sum(state["next_index"] for state in states)


class Stacked(BatchStream):
    """Reshapes batches of stills (B * T, 1, ...) into clips (B, T, ...) of T different pictures; see
    `vocabulary.stack_frames`.

    Luvizon et al. train poses on such clips if the network reads only clips.
    """

    def __init__(self, stream: BatchStream, frames: int):
        super().__init__(stream._batches_from, {**stream._identity, "stacked": frames}, stream._first)
        self._frames = frames

    def __next__(self) -> Batch:
        return stack_frames(super().__next__(), self._frames)


class _Repeated(BatchStream):
    """Joins the axis of several clips of one record with the axis of records: (B / R, R, ...) into (B, ...)."""

    def __init__(self, stream: BatchStream, times: int):
        super().__init__(stream._batches_from, {**stream._identity, "repeated": times}, stream._first)

    def __next__(self) -> Batch:
        every: dict[str, Any] = dict(super().__next__())
        return {key: value.reshape(-1, *value.shape[2:]) for key, value in every.items()}  # type: ignore[return-value]


def repeated(stream: Callable[[int, range], BatchStream], size: int, rows: range, times: int) -> BatchStream:
    """Batches of `size` clips, `times` of each record.

    Args:
      stream: gives batches of as many records, of which a process loads these; with several clips of each on an axis
        behind that of records if `times` is not 1.
      rows: the clips that this process loads.

    Raises:
      Usage: `times` does not divide these numbers.
    """
    if times == 1:
        return stream(size, rows)
    if rows.start % times or rows.stop % times or size % times:
        raise Usage(
            f"data.clips_per_batch is {size}, of which this process loads {len(rows)}; it must be a multiple of the "
            f"{times} clips that are taken of each video"
        )
    return _Repeated(stream(size // times, range(rows.start // times, rows.stop // times)), times)


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
    """Reads several streams together: yields what each gives by its name, and saves all states."""

    def __init__(self, streams: Mapping[str, Any]):
        self._streams = streams

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        return {name: next(stream) for name, stream in self._streams.items()}

    def get_state(self) -> dict:
        """States of the streams by name."""
        return {name: stream.get_state() for name, stream in self._streams.items()}

    def set_state(self, state: dict) -> None:
        """Restore every stream; Problem if the state is of other streams."""
        if set(state) != set(self._streams):
            raise Problem(
                f"the saved data position is of {', '.join(sorted(state))}, but the batches now come from "
                f"{', '.join(sorted(self._streams))}; resume with the same settings or start in a new workdir"
            )
        for name, stream in self._streams.items():
            stream.set_state(state[name])

    def close(self) -> None:
        """Stop the reading threads of all streams."""
        for stream in self._streams.values():
            stream.close()


def share(size: int, process_index: int, process_count: int, what: str = "examples") -> range:
    """The examples of a batch of `size` that one process loads.

    Raises:
      Usage: the size is negative. Problem: the processes cannot have equal numbers.
    """
    if size < 0:
        raise Usage(f"a batch has {size} {what}; data.{what}_per_batch must be 0 or more")
    if size % process_count:
        raise Problem(
            f"a batch of {size} {what} cannot be divided among {process_count} processes; change its size or the "
            "number of processes"
        )
    each = size // process_count
    return range(process_index * each, (process_index + 1) * each)


class _Rows:
    """Some examples of each batch: as a source for Grain."""

    def __init__(self, examples: Sequence[Example], batch_size: int, rows: range):
        self._examples, self._batch_size, self._rows = examples, batch_size, rows

    def __len__(self) -> int:
        return len(self._examples) // self._batch_size * len(self._rows)

    def __getitem__(self, index: int) -> Example:
        batch, row = divmod(index, len(self._rows))
        return self._examples[batch * self._batch_size + self._rows[row]]


def train_stream(
    source: Source,
    load: Callable[[Any, np.random.Generator], Example],
    *,
    seed: int,
    batch_size: int,
    rows: range | None = None,
    workers: int = 0,
    threads: int = 2,
    prefetch: int = 4,
) -> BatchStream:
    """Endless batches, reshuffled every epoch; the same arguments give the same batches.

    Args:
      load: makes an example from a record and a random generator; it must be picklable if `workers` is not 0.
      rows: the examples of each batch to load, see `share`; None for all. Whatever the rows, an example is the same.
      workers: number of loading processes (spawned); 0 loads in `threads` threads of this process.
      prefetch: batches loaded in advance.
    """
    import grain

    _one_thread()
    # The slice takes all records. Grain's random numbers depend on the chain of calls: without it they would be others.
    records = grain.MapDataset.source(source).seed(seed).shuffle()[::1].repeat()
    examples = records.random_map(load)
    if rows is not None and rows != range(batch_size):
        batches = grain.MapDataset.source(_Rows(examples, batch_size, rows)).batch(len(rows), drop_remainder=True)
    else:
        batches = examples.batch(batch_size, drop_remainder=True)

    def batches_from(position: int) -> Any:
        rest = batches[position:] if position else batches
        stream = rest.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch))
        if workers:
            if not flags.FLAGS.is_parsed():  # Grain's workers read absl's flags, which are parsed only under launch.py
                flags.FLAGS.mark_as_parsed()
            options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=prefetch)
            stream = stream.mp_prefetch(options, worker_init_fn=_init_worker)
        return iter(stream)

    identity = {"seed": seed, "batch_size": batch_size, "records": len(source)}
    return BatchStream(batches_from, identity, rows is None or rows.start == 0)


def num_batches(items: int, batch_size: int, process_count: int = 1) -> int:
    """Number of batches of `eval_stream`, equal for all processes."""
    return math.ceil(math.ceil(items / batch_size) / process_count)


class _Items:
    """The items of one process, padded to full batches with copies of the first item, whose mask is False."""

    def __init__(self, items: Sequence, load: Callable[[Any], Example], numbers: np.ndarray):
        self._items, self._load, self._numbers = items, load, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Example:
        number = int(self._numbers[index])
        real = number < len(self._items)
        example = self._load(self._items[number if real else 0])
        return {**example, "mask": np.bool_(real and example.get("mask", True))}


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
    """Batches of every item once, in order; the last is padded and masked. Processes take batches alternately."""
    import grain

    _one_thread()
    each = num_batches(len(items), batch_size, process_count)
    numbers = np.arange(each * process_count * batch_size).reshape(each, process_count, batch_size)
    part = _Items(items, load, numbers[:, process_index].ravel())
    batches = grain.MapDataset.source(part).batch(batch_size)
    return iter(batches.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch)))
