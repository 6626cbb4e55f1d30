"""The scorer of directed masks: how much of what lies inside of person boxes is removed, and of the rest (dmae_st)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jaxhar.core import masks
from jaxhar.core.batch import Batch, Preds
from jaxhar.core.network import Reconstructing
from jaxhar.core.patches import Patching
from jaxhar.evaluation.scorer import Context, Example, Predicted
from jaxhar.evaluation.sections import Section, Table, number

#: Shares of the patches of a clip, see `jaxhar.core.masks.box_shares`, and the titles of their columns.
_SHARES = {
    "in_box": "inside of boxes",
    "removed_in_box": "removed of these",
    "out_box": "outside",
    "removed_out_box": "removed of these",
}


@dataclass(frozen=True)
class BoxCoverage:
    """Shares of the patches inside and outside of person boxes, and how many of each are removed: means over clips.

    A patch is inside if boxes cover at least half of it, also where masks are flipped. Clips without patches inside
    count in none of the shares that are removed inside. Nothing is scored without boxes.

    Attributes:
      temperatures: also try masks V1 of these temperatures on the same clips, drawn anew and with as many kept patches.
    """

    temperatures: tuple[float, ...] = ()
    reads = ("removed",)

    def begin(self, context: Context) -> "_Sums | None":
        """Empty sums; None for a network that reconstructs nothing."""
        network = context.network
        return _Sums(network.patching, self.temperatures, context) if isinstance(network, Reconstructing) else None

    def truth(self, batch: Batch, context: Context) -> Preds:
        """No mask is the true one: {}."""
        return {}


class _Sums:
    def __init__(self, patching: Patching, temperatures: tuple[float, ...], context: Context):
        self._patching, self._temperatures, self._context = patching, temperatures, context
        self._rows: dict[str, list[list[float]]] = {}
        self._empty: list[float] = []

    def add(self, example: Example, preds: Predicted) -> None:
        """See `Sums`."""
        if "removed" not in preds or "cover" not in example:
            return
        covered = masks.coverage(jnp.asarray(example["cover"])[None], self._patching.t_patch, self._patching.patch)
        removed = jnp.asarray(preds["removed"][-1], jnp.float32)[None]
        self._count("", covered, removed)
        rng = np.random.default_rng([int(example.get("sequence", 0)), len(self._empty)])
        for temperature in self._temperatures:
            noise = jnp.asarray(rng.random(removed.shape, np.float32))
            keys = masks.directed_keys(noise, covered, masks.preference(temperature, divides=True))
            kept = removed.size - int(removed.sum())
            self._count(f"/{temperature:g}", covered, masks.order(keys, kept).removed)

    def _count(self, name: str, covered: jax.Array, removed: jax.Array) -> None:
        found = {key: float(value[0]) for key, value in masks.box_shares(covered, removed).items()}
        self._rows.setdefault(name, []).append([found[key] for key in _SHARES])
        if not name:
            self._empty.append(found["empty"])

    def sections(self) -> list[Section]:
        """See `Sums`."""
        if not self._rows:
            return []
        means = {name: _means(np.array(rows)) for name, rows in self._rows.items()}
        suffix = self._context.suffix
        scalars = {
            f"boxes/{key}{name}{suffix}": value
            for name, row in means.items()
            for key, value in zip(_SHARES, row, strict=True)
            if not name or key.startswith("removed")
        }
        empty = float(np.mean(self._empty))
        scalars[f"boxes/empty{suffix}"] = empty
        rows = tuple(
            (f"V1, temperature {name[1:]}" if name else "the network", *map(number, row)) for name, row in means.items()
        )
        note = f"Means over {len(self._empty):,} clips, of which {number(empty)} % have no box."
        return [
            Section(
                "Masks and persons",
                scalars=scalars,
                units=dict.fromkeys(scalars, "%"),
                tables=(Table("Patches, %", ("masks", *_SHARES.values()), rows, note=note),),
                about=("A patch is inside if boxes cover at least half of it.",),
            )
        ]


def _means(values: np.ndarray) -> list[float]:
    """The means of the columns of (N, M) without NaN; NaN for one of these alone."""
    return [float(column[np.isfinite(column)].mean()) if np.isfinite(column).any() else np.nan for column in values.T]
