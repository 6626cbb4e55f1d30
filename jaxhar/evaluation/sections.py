"""Results of a scorer as plain data: figures with units and bounds, tables, pictures.

`jaxhar.evaluation.results` writes sections to JSON and reads them back; `jaxhar.viz.report` shows them. Neither depends
on the kind of figure. Numbers in tables and tiles are formatted as text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from jaxhar.core.skeleton import Skeleton

#: Lowest and highest value that a figure may have.
Bound = tuple[float, float]


@dataclass(frozen=True)
class Tile:
    """A headline figure, shown in large type with a sentence below."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of text.

    Attributes:
      columns: titles; the first column holds the names of the rows.
      rows, foot: one cell per column; foot rows are shown in bold below the others.
      soft: indices of columns in grey, for counts and remarks.
      bars: column -> length of a bar behind each cell of `rows`, in [0, 1].
      best: (row, column) of the cells with a star; row -1 is the column's title.
      brief: print only the foot on the terminal.
      folded: collapsed on the HTML page, and not printed on the terminal.
      note: a sentence below the table.
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
    """A confusion matrix: row n, column m counts how often n was predicted as m.

    Attributes:
      file: name of its picture file, without the suffix.
      names: of rows and columns. counts: (N, N).
      rows, columns: titles of the axes.
    """

    title: str
    file: str
    names: tuple[str, ...]
    counts: np.ndarray
    rows: str = "true"
    columns: str = "predicted"


@dataclass(frozen=True)
class Picture:
    """An image, a skeleton, or both, or what a network sees in a clip of skeletons. Missing values are None.

    Attributes:
      file: name of its picture file, without the suffix; pictures of the same name are numbered.
      image: (H, W, 3) uint8 RGB. Without it the skeleton is drawn on a plain background.
      skeleton: of the poses.
      pred: (J, 2) predicted joints, 0 to 1 across the image. confidence: (J,) in [0, 1].
      true: (J, 2) true joints in the same units. valid: (J,) mask of labelled joints.
      name: of its source, e.g. the sequence. caption: a line of text.
      answer: the predicted class. truth: the true class. probability: of the predicted class.
      volume: (T, h, w, C) heat maps of joints or limbs over time. attention: (T, J) shares of the joints over time.
      rollout: (T', h, w) shares of the patches over time. frames: (T', H, W, 3) uint8 RGB, below them.
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
    volume: np.ndarray | None = None
    attention: np.ndarray | None = None
    rollout: np.ndarray | None = None
    frames: np.ndarray | None = None


@dataclass(frozen=True)
class Section:
    """Results of one scorer in one view.

    Attributes:
      title: heading. Neighbouring sections of the same title are shown as one, with tables of the same title joined.
      scalars: figures by name: fractions in [0, 1], distances in their unit, NaN where nothing was counted.
      units: name of a figure -> "%" for a fraction, else the unit of its value; a missing name means "".
      tiles, tables, matrices: to show.
      pictures: to show; they are not written to JSON.
      about: sentences that explain the tables, shown on the HTML page only.
      notes: sentences on how the figures were measured.
      variant: "deephar" if these figures follow deephar's rules: "KEY/deephar" is shown beside "KEY".
      json: data to merge or check the figures, e.g. the sums; written to JSON, never shown.
      arrays: name of a file without the suffix -> large data by name, written as NAME.npz beside the JSON, never shown.
      if_true: bounds of figures for predictions equal to the truth, checked by `jaxhar doctor`.
      if_learned: bounds of figures for a network that has learned the samples by heart, checked by `jaxhar overfit`.
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
    arrays: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict, compare=False)
    if_true: Mapping[str, Bound] = field(default_factory=dict)
    if_learned: Mapping[str, Bound] = field(default_factory=dict)


def number(value: float, unit: str = "%") -> str:
    """A figure as text: a fraction as a percentage, other values unchanged, a dash for NaN."""
    if np.isnan(value):
        return "–"
    return f"{value * 100:.1f}" if unit == "%" else f"{value:.2f}"


def words(name: str) -> str:
    """A name for display, with spaces instead of underscores."""
    return name.replace("_", " ")
