"""What a scorer found, as data: figures with their units and bounds, tables, pictures. It knows no kind of figure.

`jaxhar.evaluation.results` writes sections to JSON and reads them back, `jaxhar.viz.report` shows them; both loop over
what is here. All numbers in tables and tiles are text already.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from jaxhar.core.skeleton import Skeleton

#: Lowest and highest value that a figure may have.
Bound = tuple[float, float]


@dataclass(frozen=True)
class Tile:
    """A headline figure: shown large, with a sentence below it."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of text.

    Attributes:
      columns: titles; the first column holds the names of the rows.
      rows, foot: as many cells as there are columns; the foot is shown in bold below.
      soft: columns in grey: counts and remarks.
      bars: column -> length of a bar behind each cell of `rows`, in [0, 1].
      best: (row, column) of the cells with a star; row -1 is the column's title.
      brief: the screen shows the foot alone.
      folded: the page shows it on request, the screen never.
      note: a sentence below it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    foot: tuple[tuple[str, ...], ...] = ()
    soft: tuple[int, ...] = ()
    bars: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    best: tuple[tuple[int, int], ...] = ()
    brief: bool = False
    folded: bool = False
    note: str = ""


@dataclass(frozen=True)
class Matrix:
    """Counts by two of the same kind: row n, column m is how often n was taken for m.

    Attributes:
      file: stem of its picture file.
      names: of rows and columns. counts: (N, N).
      rows, columns: what they are, as titles of the axes.
    """

    title: str
    file: str
    names: tuple[str, ...]
    counts: np.ndarray
    rows: str = "true"
    columns: str = "predicted"


@dataclass(frozen=True)
class Picture:
    """An image to look at, or a skeleton, or a skeleton on an image, with a caption. What it lacks is None.

    Attributes:
      file: stem of its picture file; pictures of one stem are numbered.
      image: (H, W, 3) uint8 RGB. Without it the skeleton is drawn on a plain ground.
      skeleton: names the joints of the poses.
      pred: (J, 2), 0 to 1 across the image. confidence: (J,) in [0, 1].
      true: (J, 2) in the same units. valid: (J,) which joints of `true` carry a label.
      name: where it is from, e.g. of a sequence. caption: a line of text.
      answer: the predicted class; truth: the true one; probability: of the answer.
    """

    file: str
    image: np.ndarray | None = None
    skeleton: Skeleton | None = None
    pred: np.ndarray | None = None
    confidence: np.ndarray | None = None
    true: np.ndarray | None = None
    valid: np.ndarray | None = None
    name: str = ""
    caption: str = ""
    answer: str | None = None
    truth: str | None = None
    probability: float | None = None


@dataclass(frozen=True)
class Section:
    """What one scorer found in one view.

    Attributes:
      title: heading; neighbours of the same title are shown as one, their tables of the same title side by side.
      scalars: figures by name, nan where nothing was counted. Fractions are in [0, 1], distances in their unit.
      units: name of a figure -> "%" for a fraction, else the unit of its value; "" for one that is missing here.
      tiles, tables: to show.
      matrices, pictures: to show; pictures are not saved.
      about: how to read the tables, in sentences; for the page alone.
      notes: how the figures were taken, in sentences.
      variant: "deephar" where these figures are counted by other rules: "KEY/deephar" stands beside "KEY".
      json: what is needed to merge or to check the figures, e.g. the sums; saved, never shown.
      if_true: bounds of figures for predictions equal to the truth, which `jaxhar doctor` makes.
      if_learned: bounds of figures for a network that knows the samples by heart, see `jaxhar overfit`.
    """

    title: str
    scalars: Mapping[str, float] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    tiles: tuple[Tile, ...] = ()
    tables: tuple[Table, ...] = ()
    matrices: tuple[Matrix, ...] = ()
    pictures: tuple[Picture, ...] = field(default=(), compare=False)
    about: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    variant: str = ""
    json: Mapping[str, object] = field(default_factory=dict)
    if_true: Mapping[str, Bound] = field(default_factory=dict)
    if_learned: Mapping[str, Bound] = field(default_factory=dict)


def number(value: float, unit: str = "%") -> str:
    """A fraction as a percentage, or another value as it is; a dash where nothing was counted."""
    if np.isnan(value):
        return "–"
    return f"{value * 100:.1f}" if unit == "%" else f"{value:.2f}"


def words(name: str) -> str:
    """A name as it is shown: blanks in place of underscores."""
    return name.replace("_", " ")
