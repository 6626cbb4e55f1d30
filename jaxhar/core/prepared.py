"""Interface of prepared data: a data set that is ready for training and evaluation.

`jaxhar.data.dataset.Prepared` (one data set) and `jaxhar.data.mixed.PreparedMixed` (several) implement it, and your own
data must. Training, evaluation and the checks use nothing else.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypedDict, runtime_checkable

from jaxhar.core.batch import Batch
from jaxhar.core.skeleton import Skeleton

#: How the predictions of a view are combined. "each": not at all; "crops": consecutive examples of a sequence are crops
#: of the same images, averaged in image coordinates; "clips": all clips of a sequence belong together.
Kind = Literal["each", "crops", "clips"]


@dataclass(frozen=True)
class View:
    """How the sequences of a split are evaluated: one clip, several crops, or many clips of each.

    Attributes:
      shift: with heat maps of mirrored crops, whether they are moved by the cell by which mirror images are apart; see
        `jaxhar.evaluation.views`.
    """

    name: str
    kind: Kind
    shift: bool = True


class SequenceEntry(TypedDict):
    """Index entry of a record, available without reading it.

    `length` is T, the number of frames. `action`, `subject` (person) and `view` (camera) are -1 if unlabelled.
    """

    name: str
    split: str
    length: int
    action: int
    subject: int
    view: int


class RecordSource(Protocol):
    """Random access to the records of a split, each a dict with the fields of `jaxhar.data.records.record.Record`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]: ...


class TrainStream(Protocol):
    """Endless training batches, {stream name: batch}, with a position that can be saved and restored exactly."""

    def __iter__(self) -> Iterator[dict[str, Batch]]: ...

    def __next__(self) -> dict[str, Batch]: ...

    def get_state(self) -> dict[str, object]: ...

    def set_state(self, state: dict[str, object]) -> None: ...

    def close(self) -> None: ...


class Prepared(Protocol):
    """Data that is ready to stream."""

    @property
    def skeleton(self) -> Skeleton | None:
        """Joint layout of the examples; None if the data has no joints."""

    @property
    def actions(self) -> tuple[str, ...]:
        """Names of the action classes; () if there are none."""

    @property
    def eval_split(self) -> str:
        """The split that is evaluated by default."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the report about settings that make results incomparable with published ones."""

    @property
    def parts(self) -> Mapping[str, "Prepared"]:
        """The data sets of a mix by name; a single data set contains itself."""

    def changed(self, **fields: object) -> "Prepared":
        """The same records with other settings; Usage for an unknown setting, with the most similar name."""

    def train_stream(self, seed: int, process_index: int = 0, process_count: int = 1) -> TrainStream:
        """Endless training batches; the same arguments give the same batches.

        Of several processes each gets its rows, those of process 0 first, of the batches that one process would get.
        """

    def views(self, split: str | None = None) -> Mapping[str, View]:
        """The possible views of a split (None: `eval_split`) by name."""

    def eval_stream(
        self,
        split: str | None = None,
        view: str = "single",
        batch: int = 8,
        process_index: int = 0,
        process_count: int = 1,
    ) -> Iterator[Batch]:
        """Batches with every example of a view once, in the order of the sequences; the last is padded and masked.

        Several processes take batches alternately, all the same number, the last ones with nothing but padding.
        """

    def eval_length(
        self, view: str = "single", split: str | None = None, batch: int = 8, process_count: int = 1
    ) -> int:
        """Number of batches of `eval_stream`."""

    def entries(self, split: str | None = None) -> Sequence[SequenceEntry]:
        """Index entries of the sequences of a split; `Batch.sequence` is the position in this list."""

    def sequence_names(self, split: str | None = None) -> list[str]:
        """Names of the sequences of a split, in the order of `entries`."""

    def too_short(self, split: str | None = None) -> set[int]:
        """Indices of the sequences of a split that are shorter than a clip."""

    def records(self, split: str) -> RecordSource:
        """Random access to the records of a split; Problem if there are none."""


@runtime_checkable
class Generating(Protocol):
    """Settings of data that can be generated, for commands that need only the shapes of batches."""

    def generated(self) -> "Generating":
        """The same settings on a few generated records."""

    def prepare(self, workdir: Path) -> Prepared:
        """The data, ready to stream."""
