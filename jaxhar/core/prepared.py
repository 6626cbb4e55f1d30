"""Prepared data: what training, evaluation and the checks ask of a data set that is ready to stream.

`jaxhar.data.dataset.Prepared` (one data set) and `jaxhar.data.mixed.PreparedMixed` (several) are of this form; so is
whatever a user writes. Generic code asks nothing else of data.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypedDict

from jaxhar.core.batch import Batch
from jaxhar.core.skeleton import Skeleton

#: How the examples of a view belong together: "each" stands for itself; "crops": consecutive examples of one sequence
#: are crops of the same pictures, whose predictions are averaged in the image; "clips": all of one sequence vote.
Kind = Literal["each", "crops", "clips"]


@dataclass(frozen=True)
class View:
    """A way to look at the sequences of a split in evaluation: one clip, several crops, or many clips of each."""

    name: str
    kind: Kind


class Entry(TypedDict):
    """What is known of a record without reading it.

    `length` is T, the number of its frames. Without a label `action`, `subject` (person) and `view` (camera) are -1.
    """

    name: str
    split: str
    length: int
    action: int
    subject: int
    view: int


class RecordSource(Protocol):
    """Random access to the records of a split: each a dict of the fields of `jaxhar.data.records.record.Record`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]: ...


class TrainStream(Protocol):
    """Endless training batches by the name of their stream, with a position that can be saved and restored exactly."""

    def __iter__(self) -> Iterator[dict[str, Batch]]: ...

    def __next__(self) -> dict[str, Batch]: ...

    def get_state(self) -> dict[str, object]: ...

    def set_state(self, state: dict[str, object]) -> None: ...

    def close(self) -> None: ...


class Prepared(Protocol):
    """Data that is ready to stream."""

    @property
    def skeleton(self) -> Skeleton | None:
        """Joints of the examples; None where the data has none."""

    @property
    def actions(self) -> tuple[str, ...]:
        """Names of the classes; () without any."""

    @property
    def eval_split(self) -> str:
        """The split that is evaluated unless another is asked for."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the report on settings by which figures are not comparable with others."""

    @property
    def parts(self) -> Mapping[str, "Prepared"]:
        """The data sets by name; the set itself where there is one."""

    def changed(self, **fields: object) -> "Prepared":
        """The same records with other settings; Usage names the nearest setting to one that does not exist."""

    def train_stream(self, seed: int, process_index: int = 0, process_count: int = 1) -> TrainStream:
        """Endless training batches; the same arguments give the same ones."""

    def views(self, split: str | None = None) -> Mapping[str, View]:
        """The views that a split (None: the evaluated one) can be evaluated in, by name."""

    def eval_stream(
        self,
        split: str | None = None,
        view: str = "single",
        batch: int = 8,
        process_index: int = 0,
        process_count: int = 1,
    ) -> Iterator[Batch]:
        """Batches of every example of a view once, in the order of the sequences; the last is padded and masked."""

    def eval_length(
        self, view: str = "single", split: str | None = None, batch: int = 8, process_count: int = 1
    ) -> int:
        """Number of batches of `eval_stream`."""

    def entries(self, split: str | None = None) -> Sequence[Entry]:
        """What is known of the sequences of a split; `Batch.sequence` counts in this list."""

    def sequence_names(self, split: str | None = None) -> list[str]:
        """Names of the sequences of a split, in the order of `entries`."""

    def too_short(self, split: str | None = None) -> set[int]:
        """Indices of the sequences of a split that have too few frames for a clip of their own."""

    def records(self, split: str) -> RecordSource:
        """Random access to the records of a split; Problem if it has none."""
