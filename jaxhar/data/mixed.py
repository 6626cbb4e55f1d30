"""Several data sets in one run: batches mixed from them by fixed shares, evaluation on one of them."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxhar.core.batch import Batch
from jaxhar.core.skeleton import Skeleton
from jaxhar.data.dataset import DataSet, Prepared
from jaxhar.host.errors import Problem, Usage

#: What the losses read of an example; every set gives them in the same shapes.
_KEPT = ("frames", "power", "pose", "visible", "valid", "mask")


@dataclass(frozen=True)
class Mixed:
    """The data of an experiment on several sets.

    What a set does not label is masked: joints and depths that it lacks are not valid, its clips without an action
    have the label -1.

    Attributes:
      sets: name -> data set, all with the same joints, coordinates and image size.
      evaluated: the name of the one that is evaluated, and whose actions are learned.
      stills: name -> single frames of that set in each batch of stills. clips: name -> clips of it in each batch of
        clips. A name left out, or 0, gives none.
    """

    sets: Mapping[str, DataSet]
    evaluated: str
    stills: Mapping[str, int] = field(default_factory=dict)
    clips: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (self.evaluated, *self.stills, *self.clips):
            if name not in self.sets:
                raise Usage(f"the data has no set {name!r}; it has {', '.join(self.sets)}")
        every, clips = tuple(self.sets), tuple(self.clips)
        shared = {"skeleton": every, "dims": every, "image_size": every, "clip_frames": clips}
        for setting, names in shared.items():
            found = {name: getattr(self.sets[name], setting) for name in names}
            if len({getattr(value, "name", value) for value in found.values()}) > 1:
                values = ", ".join(f"{value} in {name}" for name, value in found.items())
                raise Usage(f"the sets of the data must have the same {setting}, but it is {values}")

    def prepare(self, workdir: Path) -> "PreparedMixed":
        """Prepares every set; Problem as from `DataSet.prepare`."""
        return PreparedMixed(self, {name: data.prepare(workdir) for name, data in self.sets.items()})


@dataclass(frozen=True)
class PreparedMixed:
    """Packed records of several sets. All that concerns evaluation is that of the evaluated one."""

    config: Mixed
    parts: Mapping[str, Prepared] = field(repr=False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.parts[self.config.evaluated], name)

    @property
    def skeleton(self) -> Skeleton:
        """Joints of the examples."""
        return self.parts[self.config.evaluated].skeleton

    @property
    def actions(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.parts[self.config.evaluated].actions

    def changed(self, **fields: Any) -> "PreparedMixed":
        """The same records with other shares."""
        return dataclasses.replace(self, config=dataclasses.replace(self.config, **fields))

    def train_stream(self, seed: int, process_index: int = 0, process_count: int = 1) -> "_MixedStream":
        """Endless dicts {"stills": Batch with T = 1, "clips": Batch}; as from `Prepared.train_stream`."""
        config, streams = self.config, {}
        for number, (name, part) in enumerate(self.parts.items()):
            stills, clips = config.stills.get(name, 0), config.clips.get(name, 0)
            labelled = clips and not part.config.stacks and part.actions
            if labelled and self.actions and part.actions != self.actions:
                raise Problem(
                    f"the clips of {name} have other actions than those of {config.evaluated}, which are learned; "
                    f"leave {name} out of data.clips"
                )
            if stills or clips:
                sized = part.changed(stills_per_batch=stills, clips_per_batch=clips)
                streams[name] = sized.train_stream(seed + 10 * number, process_index, process_count)
        if not streams:
            raise Usage("data.stills and data.clips give nothing to train on")
        return _MixedStream(streams)


class _MixedStream:
    """The streams of the sets drawn together, their batches laid one behind the other."""

    def __init__(self, streams: Mapping[str, Any]):
        self._streams = streams

    def __iter__(self) -> Iterator[dict[str, Batch]]:
        return self

    def __next__(self) -> dict[str, Batch]:
        drawn = [next(stream) for stream in self._streams.values()]
        kinds = dict.fromkeys(kind for batches in drawn for kind in batches)
        return {kind: join([batches[kind] for batches in drawn if kind in batches]) for kind in kinds}

    def get_state(self) -> dict:
        """States of the streams by the names of the sets."""
        return {name: stream.get_state() for name, stream in self._streams.items()}

    def set_state(self, state: dict) -> None:
        """Restore every stream; Problem if the saved ones are of other sets."""
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


def join(batches: list[Batch]) -> Batch:
    """Batches of the same shapes as one, with the keys that training reads; -1 where only others have an action."""
    whole: dict[str, np.ndarray] = {k: np.concatenate([b[k] for b in batches]) for k in _KEPT}  # type: ignore[literal-required]
    if any("action" in batch for batch in batches):
        unknown = [np.full(len(b["frames"]), -1, np.int32) for b in batches]
        whole["action"] = np.concatenate([b.get("action", u) for b, u in zip(batches, unknown, strict=True)])
    return whole  # type: ignore[return-value]
