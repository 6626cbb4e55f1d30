"""The scorer of heat maps against target maps: the mean squared error that single-person-pose-estimation reports."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from jaxhar.core.batch import Batch, Preds
from jaxhar.core.gaussian import encode_lip
from jaxhar.evaluation.scorer import Context, Example, Predicted
from jaxhar.evaluation.sections import Section, Table


@dataclass(frozen=True)
class MapError:
    """Mean squared error of the last prediction's maps against LIP's targets, over all rows and by the original's rule.

    The original draws targets without the last row and column, and takes the first `share` of the rows, in whole
    batches. Its figure is "map_mse/original"; "map_mse" is that of all rows, with complete targets.

    Attributes:
      share: of the rows. batch: rows of a batch.
    """

    share: float = 0.3
    batch: int = 32
    reads = ("maps",)

    def begin(self, context: Context) -> "_Sums | None":
        """Empty sums; None in "clips" views."""
        return None if context.view.kind == "clips" else _Sums(self, context)

    def truth(self, batch: Batch, context: Context) -> Preds:
        """The complete targets as maps of 64 x 64; {} without joints."""
        if not {"pose", "valid"} <= batch.keys():
            return {}
        cells, present = jnp.asarray(batch["pose"])[..., :2] * 64, jnp.asarray(batch["valid"])[..., :2].all(-1)
        return {"maps": encode_lip(cells, present, (64, 64))[None]}


class _Sums:
    def __init__(self, settings: MapError, context: Context):
        self._settings, self._context = settings, context
        self._limit = settings.batch * int(settings.share * len(context.names) / settings.batch)
        self._all: list[float] = []
        self._original: list[float] = []

    def add(self, example: Example, preds: Predicted) -> None:
        """See `Sums`."""
        if "maps" not in preds or "pose" not in example:
            return
        maps = np.asarray(preds["maps"][-1], np.float64)  # (T, h, w, J)
        size = maps.shape[1], maps.shape[2]
        cells = example["pose"][..., :2].astype(np.float64) * size[::-1]
        present = example["valid"][..., :2].all(-1)

        def error(legacy: bool) -> float:
            target = np.asarray(encode_lip(jnp.asarray(cells), jnp.asarray(present), size, legacy))
            return float(((maps - target) ** 2).mean())

        self._all.append(error(legacy=False))
        if int(example["sequence"]) < self._limit:
            self._original.append(error(legacy=True))

    def sections(self) -> list[Section]:
        """See `Sums`."""
        if not self._all:
            return []
        key = f"map_mse{self._context.suffix}"
        scalars = {key: float(np.mean(self._all))}
        rows = [("all rows", f"{len(self._all):,}", f"{scalars[key]:.7f}")]
        if self._original:
            scalars[f"{key}/original"] = float(np.mean(self._original))
            rows.append(("the original's rule", f"{len(self._original):,}", f"{scalars[f'{key}/original']:.7f}"))
        note = (
            f"The original takes the first {self._settings.share:.0%} of the rows in whole batches of "
            f"{self._settings.batch}, and targets without the last row and column."
        )
        table = Table(
            "Squared error of the heat maps", ("rows", "number", "mean squared error"), tuple(rows), note=note
        )
        return [Section("Heat maps", scalars=scalars, tables=(table,))]
