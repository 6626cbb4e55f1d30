"""The results of an evaluation: sections of figures, written to JSON and read back, whatever the figures are."""

import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxhar.evaluation.sections import Matrix, Section, Table, Tile
from jaxhar.host import files
from jaxhar.host.errors import Problem


@dataclass(frozen=True)
class Published:
    """A published figure to compare with.

    Attributes:
      key: name of our figure in `Results.scalars`.
      value: a fraction, or a distance in `unit`.
      protocol: how it was measured, and the source.
    """

    key: str
    value: float
    protocol: str
    unit: str = "%"


@dataclass(frozen=True)
class Results:
    """The results of one evaluation.

    Attributes:
      examples: number of examples by view.
      sections: results of the scorers.
      notes: sentences about the data; sections have notes of their own.
      published: published figures, or sentences.
    """

    split: str
    examples: dict[str, int]
    sections: tuple[Section, ...] = ()
    notes: tuple[str, ...] = ()
    published: tuple[str | Published, ...] = ()

    def scalars(self) -> dict[str, float]:
        """All figures by name: fractions in [0, 1], distances in their unit, NaN where nothing was counted."""
        return {key: value for section in self.sections for key, value in section.scalars.items()}

    def units(self) -> dict[str, str]:
        """Name of a figure -> "%" for a fraction, else its unit."""
        return {key: unit for section in self.sections for key, unit in section.units.items()}

    def sentences(self) -> tuple[str, ...]:
        """All notes on how the figures were measured, without repetition."""
        return tuple(dict.fromkeys((*self.notes, *(note for section in self.sections for note in section.notes))))

    def save(self, path: Path) -> None:
        """Write everything but the pictures as JSON, and large arrays as .npz files beside it, atomically."""
        tree = {
            "split": self.split,
            "scalars": _numbers(self.scalars()),
            "examples": self.examples,
            "notes": self.notes,
            "published": [one if isinstance(one, str) else vars(one) for one in self.published],
            "sections": [_to_tree(section) for section in self.sections],
        }
        files.write(Path(path), json.dumps(tree, indent=1, allow_nan=False).encode())
        for section in self.sections:
            for name, arrays in section.arrays.items():
                buffer = io.BytesIO()
                np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
                files.write(Path(path).with_name(f"{name}.npz"), buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> "Results":
        """Read a file that `save` wrote; Problem if it is something else."""
        try:
            tree = json.loads(Path(path).read_bytes())
            return cls(
                split=tree["split"],
                examples=tree["examples"],
                sections=tuple(_from_tree(section) for section in tree["sections"]),
                notes=tuple(tree["notes"]),
                published=tuple(one if isinstance(one, str) else Published(**one) for one in tree["published"]),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Problem(f"{path} is not a results file of an evaluation ({error}); evaluate again") from error


def _numbers(scalars: Mapping[str, float]) -> dict[str, float | None]:
    return {key: None if math.isnan(value) else value for key, value in scalars.items()}


def _to_tree(section: Section) -> dict[str, object]:
    return vars(section) | {
        "scalars": _numbers(section.scalars),
        "tiles": [asdict(tile) for tile in section.tiles],
        "tables": [asdict(table) for table in section.tables],
        "matrices": [vars(matrix) | {"counts": matrix.counts.tolist()} for matrix in section.matrices],
        "pictures": [],
        "arrays": {},
    }


def _from_tree(tree: dict[str, Any]) -> Section:
    return Section(
        **tree
        | {
            "scalars": {key: math.nan if value is None else value for key, value in tree["scalars"].items()},
            "tiles": tuple(Tile(**tile) for tile in tree["tiles"]),
            "tables": tuple(_table(table) for table in tree["tables"]),
            "matrices": tuple(
                Matrix(**one | {"names": tuple(one["names"]), "counts": np.array(one["counts"])})
                for one in tree["matrices"]
            ),
            "pictures": (),
            "arrays": {},
            "about": tuple(tree["about"]),
            "notes": tuple(tree["notes"]),
            "if_true": _bounds(tree["if_true"]),
            "if_learned": _bounds(tree["if_learned"]),
        }
    )


def _bounds(tree: dict[str, list[float]]) -> dict[str, tuple[float, float]]:
    return {key: (low, high) for key, (low, high) in tree.items()}


def _table(tree: dict[str, Any]) -> Table:
    return Table(
        **tree
        | {
            "columns": tuple(tree["columns"]),
            "rows": tuple(map(tuple, tree["rows"])),
            "foot": tuple(map(tuple, tree["foot"])),
            "soft": tuple(tree["soft"]),
            "bars": {int(column): tuple(shares) for column, shares in tree["bars"].items()},
            "best": tuple((row, column) for row, column in tree["best"]),
        }
    )
