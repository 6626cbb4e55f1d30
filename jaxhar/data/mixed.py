"""Several data sets in one run: training batches with fixed shares of each, evaluation on one of them."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jaxhar.core.batch import Batch
from jaxhar.core.prepared import RecordSource, TrainStream, View
from jaxhar.core.skeleton import Skeleton
from jaxhar.data import pipeline
from jaxhar.data.dataset import DataSet, PreparedSet
from jaxhar.data.records.record import IndexEntry
from jaxhar.data.vocabulary import join
from jaxhar.host.errors import Problem, Usage
from jaxhar.host.settings import changed, unknown


@dataclass(frozen=True)
class Mixed:
    """The data of an experiment on several sets.

    Missing labels are masked: joints and depths that a set does not label are not valid, clips without an action have
    the label -1.

    Attributes:
      sets: name -> data set, all with the same joints, coordinates and image size.
      evaluated: name of the set for evaluation and for action labels.
      stills: name -> number of single frames of that set in each batch of stills. clips: the same for batches of
        clips. Sets that are not named have 0.
    """

    sets: Mapping[str, DataSet]
    evaluated: str
    stills: Mapping[str, int] = field(default_factory=dict)
    clips: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (self.evaluated, *self.stills, *self.clips):
            if name not in self.sets:
                raise Usage(unknown(name, self.sets, "the data"))
        every, clips = tuple(self.sets), tuple(self.clips)
        shared: dict[str, tuple[tuple[str, ...], Callable[[DataSet], object]]] = {
            "skeleton": (every, lambda data: data.skeleton and data.skeleton.name),
            "dims": (every, lambda data: data.dims),
            "image_size": (every, lambda data: data.image_size),
            "clip_frames": (clips, lambda data: data.clip_frames),
        }
        for setting, (names, value_of) in shared.items():
            found = {name: value_of(self.sets[name]) for name in names}
            if len(set(found.values())) > 1:
                values = ", ".join(f"{value} in {name}" for name, value in found.items())
                raise Usage(f"the sets of the data must have the same {setting}, but it is {values}")

    def generated(self) -> "Mixed":
        """The same mixture of a few generated records, see `DataSet.generated`."""
        return dataclasses.replace(self, sets={name: data.generated() for name, data in self.sets.items()})

    def prepare(self, workdir: Path) -> "PreparedMixed":
        """Prepares every set; Problem as from `DataSet.prepare`."""
        return PreparedMixed(self, {name: data.prepare(workdir) for name, data in self.sets.items()})


@dataclass(frozen=True)
class PreparedMixed:
    """Packed records of several sets; implements `jaxhar.core.prepared.Prepared`.

    Evaluation uses the set `evaluated`.
    """

    config: Mixed
    parts: Mapping[str, PreparedSet] = field(repr=False)

    @property
    def _evaluated(self) -> PreparedSet:
        return self.parts[self.config.evaluated]

    @property
    def skeleton(self) -> Skeleton | None:
        """Joints of the examples."""
        return self._evaluated.skeleton

    @property
    def actions(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self._evaluated.actions

    @property
    def eval_split(self) -> str:
        """The default split for evaluation."""
        return self._evaluated.eval_split

    @property
    def notes(self) -> tuple[str, ...]:
        """Of the evaluated set."""
        return self._evaluated.notes

    def views(self, split: str | None = None) -> Mapping[str, View]:
        """Of the evaluated set."""
        return self._evaluated.views(split)

    def eval_stream(
        self,
        split: str | None = None,
        view: str = "single",
        batch: int = 8,
        process_index: int = 0,
        process_count: int = 1,
    ) -> Iterator[Batch]:
        """Of the evaluated set."""
        return self._evaluated.eval_stream(split, view, batch, process_index, process_count)

    def eval_length(
        self, view: str = "single", split: str | None = None, batch: int = 8, process_count: int = 1
    ) -> int:
        """Of the evaluated set."""
        return self._evaluated.eval_length(view, split, batch, process_count)

    def entries(self, split: str | None = None) -> Sequence[IndexEntry]:
        """Of the evaluated set."""
        return self._evaluated.entries(split)

    def sequence_names(self, split: str | None = None) -> list[str]:
        """Of the evaluated set."""
        return self._evaluated.sequence_names(split)

    def too_short(self, split: str | None = None) -> set[int]:
        """Of the evaluated set."""
        return self._evaluated.too_short(split)

    def records(self, split: str) -> RecordSource:
        """Of the evaluated set."""
        return self._evaluated.records(split)

    def changed(self, **fields: object) -> "PreparedMixed":
        """The same records with other shares, another set evaluated, or settings of all sets, as image_size.

        Raises:
          Usage: an unknown setting or set.
        """
        if "sets" in fields:
            raise Usage("data.sets decides which records are packed; it cannot change within a run")
        # `stills` and `clips` say how many examples are of each set
        of_every_set = {one.name for one in dataclasses.fields(DataSet)} - {"stills_per_batch", "clips_per_batch"}
        shared = {name: value for name, value in fields.items() if name in of_every_set}
        own = {name: value for name, value in fields.items() if name not in of_every_set}
        parts = {name: part.changed(**shared) for name, part in self.parts.items()}
        sets = {name: part.config for name, part in parts.items()}
        return PreparedMixed(dataclasses.replace(changed(self.config, own, "data"), sets=sets), parts)

    def train_stream(self, seed: int, process_index: int = 0, process_count: int = 1) -> "_MixedStream":
        """Endless dicts {"stills": Batch with T = 1, "clips": Batch}; as from `PreparedSet.train_stream`."""
        config = self.config
        streams: dict[str, TrainStream] = {}
        shares = {
            kind: pipeline.share(sum(counts.values()), process_index, process_count, kind)
            for kind, counts in (("stills", config.stills), ("clips", config.clips))
        }
        before, kept = {"stills": 0, "clips": 0}, {}
        for number, (name, part) in enumerate(self.parts.items()):
            stills, clips = config.stills.get(name, 0), config.clips.get(name, 0)
            labelled = clips and not part.config.stacks and part.actions
            if labelled and self.actions and part.actions != self.actions:
                raise Problem(
                    f"the clips of {name} have other actions than those of {config.evaluated}, which are trained; "
                    f"leave {name} out of data.clips"
                )
            if stills or clips:
                rows = {}
                for kind, count in (("stills", stills), ("clips", clips)):
                    first, last = (
                        min(max(end - before[kind], 0), count) for end in (shares[kind].start, shares[kind].stop)
                    )
                    kept[name, kind] = last > first
                    # Of a set of which this process trains nothing it reads one example, for the keys of the batch.
                    rows[kind] = range(first, last) if last > first else range(1)
                    before[kind] += count
                sized = part.changed(stills_per_batch=stills, clips_per_batch=clips)
                streams[name] = sized.stream_of(seed + 10 * number, rows)
        if not streams:
            raise Usage("data.stills and data.clips are empty or 0: there is nothing to train on")
        return _MixedStream(streams, tuple(self.parts), kept)


class _MixedStream(pipeline.Joined):
    """Reads the streams of several sets together and concatenates their batches.

    Attributes:
      kept: (set, kind of batch) -> whether its examples are among the rows of this process.
    """

    def __init__(self, streams: Mapping[str, TrainStream], sets: tuple[str, ...], kept: Mapping[tuple[str, str], bool]):
        super().__init__(streams)
        self._sets, self._kept = sets, kept

    def __next__(self) -> dict[str, Batch]:
        drawn = super().__next__()
        kinds = dict.fromkeys(kind for batches in drawn.values() for kind in batches)
        return {
            kind: self._joined({n: batches[kind] for n, batches in drawn.items() if kind in batches}, kind)
            for kind in kinds
        }

    def _joined(self, batches: dict[str, Batch], kind: str) -> Batch:
        """The batches concatenated, with "source", the index of each example's set."""
        marked = [
            {**batch, "source": np.full(len(batch["mask"]), self._sets.index(name), np.int32)}
            for name, batch in batches.items()
        ]
        joined = join(marked, tuple(batches))
        kept = np.concatenate([np.full(len(batch["mask"]), self._kept[name, kind]) for name, batch in batches.items()])
        return joined if kept.all() else {key: np.asarray(value)[kept] for key, value in joined.items()}  # type: ignore[return-value]
