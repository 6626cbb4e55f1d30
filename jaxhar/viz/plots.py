"""Plots of the report: learning curves from metrics.jsonl, and matrices; and of the runs of a sweep.

pyplot is not used because of its global state.
"""

import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxhar.evaluation.sections import Matrix
from jaxhar.training import history

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINES = ("#3b82c4", "#e07b39", "#4aa564", "#a05fb4", "#c7a52f", "#4fb3bf", "#c75b7a", "#8c8c8c")
_INK = "#7d848c"  # legible on light and on dark pages
_NOT_CURVES = {"step", "time", "epoch"}


def read_history(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name -> (steps, values) from a metrics.jsonl; empty if there is no such file.

    If a resumed run wrote a step twice, the last values count. Damaged lines are treated as in `history.read`.
    """
    series: dict[str, dict[int, float]] = {}
    for row in history.read(Path(path)):
        for key, value in row.items():
            if key not in _NOT_CURVES and isinstance(value, int | float) and math.isfinite(value):
                series.setdefault(key, {})[int(row["step"])] = float(value)
    return {k: (np.array(sorted(v)), np.array([v[step] for step in sorted(v)])) for k, v in series.items()}


def _panels(names: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """Title of a plot -> (label, key) of its curves: "eval/pck@0.2/best" is the curve "best" of "pck@0.2",
    "clips/pose" is the curve "clips" of "pose". Evaluation comes first."""
    panels: dict[str, list[tuple[str, str]]] = {}
    for key in sorted(names, key=lambda k: not k.startswith("eval/")):
        if key.startswith("eval/"):
            title, _, label = key.removeprefix("eval/").partition("/")
            title = f"{title} (evaluation)"
        else:
            label, _, title = key.rpartition("/")
        panels.setdefault(title, []).append((label, key))
    return panels


def _axes(titles: Sequence[str]) -> tuple["Figure", "Sequence[Axes]"]:
    """A figure with a plot for each title, at most three side by side."""
    from matplotlib.figure import Figure

    columns = min(3, len(titles))
    rows = -(-len(titles) // columns)
    figure = Figure(figsize=(3.7 * columns, 2.5 * rows), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(titles) :]:
        axis.set_axis_off()
    for axis, title in zip(axes, titles, strict=False):
        axis.set_title(title, fontsize=10, color=_INK, loc="left")
        axis.patch.set_alpha(0)
        axis.tick_params(colors=_INK, labelsize=8, which="both")
        axis.grid(color=_INK, alpha=0.2, linewidth=0.6)
        for side, spine in axis.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(_INK)
    return figure, list(axes[: len(titles)])


def curves_figure(curves: dict[str, tuple[np.ndarray, np.ndarray]]) -> "Figure":
    panels = _panels(list(curves))
    figure, axes = _axes(list(panels))
    for axis, lines in zip(axes, panels.values(), strict=True):
        lowest, highest = np.inf, -np.inf
        for (label, key), colour in zip(lines, _LINES * len(lines), strict=False):
            steps, values = curves[key]
            lowest, highest = min(lowest, values.min()), max(highest, values.max())
            if len(values) > 40 and _is_noisy(values):
                axis.plot(steps, values, color=colour, alpha=0.22, linewidth=0.8)
                values = _smoothed(values)
            marker = "o" if len(values) < 25 else ""
            axis.plot(steps, values, color=colour, linewidth=1.6, marker=marker, markersize=3, label=label or "last")
        if lowest > 0 and highest > 30 * lowest:
            axis.set_yscale("log")
        if len(lines) > 1:
            axis.legend(fontsize=8, labelcolor=_INK, frameon=False)
    return figure


def settings_figure(
    setting: str, values: Sequence[str], panels: Mapping[str, Mapping[str, Sequence[float]]]
) -> "Figure":
    """How figures depend on a setting.

    Args:
      values: of the setting, as text; numbers have their place on the axis, on a logarithmic one if far apart.
      panels: title of a plot -> label of a line -> its figure for each of the values, NaN where there is none.
    """
    figure, axes = _axes(list(panels))
    try:
        places = [float(value) for value in values]
    except ValueError:
        places = []
    numbers = bool(places) and all(map(math.isfinite, places))
    for axis, lines in zip(axes, panels.values(), strict=True):
        for (label, found), colour in zip(lines.items(), _LINES * len(lines), strict=False):
            where = places if numbers else list(range(len(values)))
            order = sorted(range(len(where)), key=where.__getitem__)
            x, y = ([items[n] for n in order] for items in (where, found))
            axis.plot(x, y, color=colour, linewidth=1.6, marker="o", markersize=3, label=label)
        if numbers and min(places) > 0 and max(places) >= 10 * min(places):
            axis.set_xscale("log")
        if not numbers:
            axis.set_xticks(range(len(values)), values)
        axis.set_xlabel(setting, fontsize=8, color=_INK)
        if len(lines) > 1:
            axis.legend(fontsize=8, labelcolor=_INK, frameon=False)
    return figure


def _is_noisy(values: np.ndarray) -> bool:
    """Whether neighbouring values differ more than those of a smooth or stepwise curve (e.g. a learning rate)."""
    return bool(np.abs(np.diff(values, 2)).mean() > 0.005 * np.ptp(values))


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Exponential moving average over about a fiftieth of the run, with bias correction at the start."""
    decay = 1 - 1 / max(2.0, len(values) / 50)
    total = weight = 0.0
    out = np.empty(len(values))
    for n, value in enumerate(values):
        total, weight = decay * total + value, decay * weight + 1
        out[n] = total / weight
    return out


def matrix_figure(matrix: Matrix) -> "Figure":
    """A matrix of counts; the colour of a cell shows its share of the row."""
    from matplotlib.figure import Figure

    counts, names = matrix.counts, matrix.names
    side = 2.6 + 0.34 * len(names)
    figure = Figure(figsize=(side, side), layout="constrained")
    axis = figure.subplots()
    axis.imshow(counts / np.maximum(counts.sum(1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    axis.set_xticks(range(len(names)), names, rotation=90)
    axis.set_yticks(range(len(names)), names)
    axis.set_xlabel(matrix.columns)
    axis.set_ylabel(matrix.rows)
    axis.set_title(matrix.title)
    for i, j in zip(*np.nonzero(counts), strict=True):
        dark = counts[i, j] > 0.55 * counts[i].sum()
        axis.text(j, i, counts[i, j], ha="center", va="center", color="w" if dark else "k", fontsize=8)
    return figure


def rendered(figure: "Figure", form: str) -> bytes:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    buffer = BytesIO()
    options = {"facecolor": "white", "dpi": 130} if form == "png" else {"metadata": {"Date": None}}
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "jaxhar"}):
        figure.savefig(buffer, format=form, **options)
    return buffer.getvalue()


def inline_svg(figure: "Figure") -> str:
    text = rendered(figure, "svg").decode()
    return text[text.index("<svg") :].replace("<svg ", '<svg class="curves" ', 1)
