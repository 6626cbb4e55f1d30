"""The report of an evaluation: tables on the terminal, `report.html` and picture files.

It shows the sections of the results, whatever their figures are.
"""

import base64
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
from markupsafe import Markup
from rich.console import Console

from jaxhar.core.skeleton import Skeleton
from jaxhar.evaluation.results import Results
from jaxhar.evaluation.sections import Matrix, Picture, Section, Table
from jaxhar.host import files
from jaxhar.viz import draw as viz
from jaxhar.viz import heat, plots, published, skeletons, tables

TRUTH: viz.Colour = (245, 245, 245)
_LEGEND = {
    "truth": TRUTH,
    "predicted right side": viz.RIGHT,
    "predicted left side": viz.LEFT,
    "predicted trunk and head": viz.CENTRE,
}
_SIDE = 420  # of a picture, about


def write(
    workdir: Path, results: Results, title: str, history: Path | None = None, console: Console | None = None
) -> Path:
    """Print the results and write `report.html` (a single file without links) and `pictures/*.png`.

    Args:
      workdir: made if it does not exist.
      results: of `evaluate.run`.
      title: heading of the page.
      history: metrics.jsonl, one JSON object with "step" per line; None takes that of `workdir`. Without the file there
        are no curves.
      console: prints the tables; None for the terminal.

    Returns:
      Path of the page.

    Raises:
      Problem: the folder cannot be written, or a line of the history is damaged.
    """
    workdir = Path(workdir)
    folder = workdir / "pictures"
    show(results, console)
    curves = plots.read_history(history or workdir / "metrics.jsonl")
    svg = ""
    if curves:
        figure = plots.curves_figure(curves)
        svg = plots.inline_svg(figure)
        files.write(folder / "curves.png", plots.rendered(figure, "png"))
    for matrix in (matrix for section in results.sections for matrix in section.matrices):
        files.write(folder / f"{matrix.file}.png", plots.rendered(plots.matrix_figure(matrix), "png"))
    drawn = [_drawn(section.pictures) for section in results.sections]
    _write_pictures(folder, results, drawn)
    page = workdir / "report.html"
    files.write(page, _page(results, title, svg, drawn).encode())
    return page


def show(results: Results, console: Console | None = None) -> None:
    """Print the tables of the report, then our figures beside published ones, then the notes."""
    console = console or Console()
    shown = [table for group in _groups(results) for table in group.tables if not table.folded]
    for table in shown:
        tables.show(table, console)
    if any(table.best for table in shown):
        console.print(
            "* best prediction block or head on this data; the last one is the network's prediction", style="dim"
        )
    compared = published.table(results)
    if compared is not None:
        tables.show(compared, console)
    for line in (*_sentences(results), *results.sentences()):
        console.print(line, highlight=False)


def _sentences(results: Results) -> list[str]:
    return [line for line in results.published if isinstance(line, str)]


@dataclass(frozen=True)
class _Group:
    """Neighbouring sections of the same title, with their drawn pictures."""

    title: str
    sections: tuple[Section, ...]
    images: tuple[np.ndarray | None, ...] = ()

    @property
    def tables(self) -> list[Table]:
        return tables.side_by_side(table for section in self.sections for table in section.tables)

    @property
    def about(self) -> str:
        return " ".join(dict.fromkeys(line for section in self.sections for line in section.about))

    @property
    def matrices(self) -> list[Matrix]:
        return [matrix for section in self.sections for matrix in section.matrices]

    @property
    def pictures(self) -> list[Picture]:
        return [picture for section in self.sections for picture in section.pictures]


def _groups(results: Results, drawn: Sequence[Sequence[np.ndarray | None]] | None = None) -> list[_Group]:
    """The sections that have something to show."""
    images = drawn or [[] for _ in results.sections]
    found = []
    pairs = zip(results.sections, images, strict=True)
    for title, group in itertools.groupby(pairs, key=lambda pair: pair[0].title):
        sections, pictures = zip(*group, strict=True)
        found.append(_Group(title, sections, tuple(itertools.chain(*pictures))))
    return [group for group in found if group.tables or group.matrices or group.pictures]


def _page(results: Results, title: str, svg: str, drawn: Sequence[Sequence[np.ndarray | None]]) -> str:
    import jinja2

    source = resources.files("jaxhar.viz").joinpath("report.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    counts = " · ".join(f"{n:,} examples (view “{view}”)" for view, n in results.examples.items())
    groups = _groups(results, drawn)
    compared = published.table(results)
    sections = [_section(group) for group in groups]
    return environment.from_string(source).render(
        title=title,
        subtitle=f"{results.split} split · {counts}" if counts else f"{results.split} split",
        tiles=[tile for section in results.sections for tile in section.tiles],
        compared=None if compared is None else _table(compared),
        published=_sentences(results),
        notes=results.sentences(),
        sections=[section for section in sections if section["tables"] or section["matrices"]],
        galleries=[section for section in sections if not section["tables"] and not section["matrices"]],
        curves=Markup(svg),
        colours=_LEGEND,
    )


def _section(group: _Group) -> dict[str, object]:
    made = [_table(table) | {"folded": table.folded} for table in group.tables]
    return {
        "title": group.title,
        "about": group.about,
        "tables": [table for table in made if not table["folded"]],
        "folded": [table for table in made if table["folded"]],
        "matrices": [_matrix(matrix) for matrix in group.matrices],
        "gallery": [_card(p, image) for p, image in zip(group.pictures, group.images, strict=True)],
        "legend": any(picture.skeleton is not None for picture in group.pictures),
    }


def _table(table: Table) -> dict[str, object]:
    best = set(table.best)

    def cells(row: tuple[str, ...], n: int) -> list[dict[str, object]]:
        return [
            {
                "text": text,
                "soft": column in table.soft,
                "best": (n, column) in best,
                "bar": f"{100 * table.bars[column][n]:.1f}" if column in table.bars and n >= 0 else "",
            }
            for column, text in enumerate(row)
        ]

    return {
        "title": table.title,
        "head": cells(table.columns, -1),
        "rows": [cells(row, n) for n, row in enumerate(table.rows)],
        "foot": [cells(row, -2) for row in table.foot],
        "note": table.note,
    }


def _matrix(matrix: Matrix) -> dict[str, object]:
    shares = np.nan_to_num(matrix.counts / np.maximum(matrix.counts.sum(1, keepdims=True), 1))
    return {
        "title": matrix.title,
        "note": f"Rows: {matrix.rows}; columns: {matrix.columns}. The colour of a cell is its share of the row.",
        "names": matrix.names,
        "rows": [
            {
                "name": name,
                "cells": [
                    {
                        "name": other,
                        "count": int(matrix.counts[i, j]),
                        "kind": "right" if i == j else "wrong",
                        "tint": f"{0.06 * (i == j) + 0.8 * shares[i, j]:.2f}",
                    }
                    for j, other in enumerate(matrix.names)
                ],
            }
            for i, name in enumerate(matrix.names)
        ],
    }


def _card(picture: Picture, image: np.ndarray | None) -> dict[str, object]:
    encoded = "" if image is None else base64.b64encode(_encoded(image, ".jpg")).decode()
    return {
        "image": encoded and f"data:image/jpeg;base64,{encoded}",
        "alt": f"{picture.file} {picture.name}".strip(),
        "name": picture.name,
        "caption": picture.caption,
        "answer": picture.answer or "",
        "truth": picture.truth or "",
        "probability": "" if picture.probability is None else f"{picture.probability:.0%}",
        "verdict": "" if picture.truth is None else "ok" if picture.truth == picture.answer else "no",
    }


def _write_pictures(folder: Path, results: Results, drawn: Sequence[Sequence[np.ndarray | None]]) -> None:
    """Write picture files, numbered by their names; files of an earlier report are removed."""
    written: set[Path] = set()
    numbers: dict[str, int] = {}
    for section, images in zip(results.sections, drawn, strict=True):
        for picture, image in zip(section.pictures, images, strict=True):
            if image is not None:
                numbers[picture.file] = numbers.get(picture.file, 0) + 1
                path = folder / f"{picture.file}_{numbers[picture.file]:02d}.png"
                files.write(path, _encoded(image, ".png"))
                written.add(path)
    for old in folder.glob("*_[0-9][0-9].png"):
        if old not in written:
            old.unlink()


def _drawn(pictures: Sequence[Picture]) -> list[np.ndarray | None]:
    """The pictures of one section as images; None for a picture without image and skeleton."""
    return [_draw(picture, _labelled_joints(pictures, picture.skeleton)) for picture in pictures]


def _labelled_joints(pictures: Sequence[Picture], skeleton: Skeleton | None) -> np.ndarray:
    """Indices of the joints to draw: those labelled in at least one picture; all if no picture has labels.

    A network also predicts joints that its training data never labels, at random places; these are not drawn.
    """
    count = 0 if skeleton is None else len(skeleton)
    labels = [p.valid for p in pictures if p.valid is not None and len(p.valid) == count]
    labelled = np.any(labels, axis=0) if labels else np.zeros(count, bool)
    return np.flatnonzero(labelled if labelled.any() else ~labelled)


def _draw(picture: Picture, joints: np.ndarray) -> np.ndarray | None:
    """The image enlarged to about `_SIDE` pixels, or a dark background, true pose white, prediction coloured.

    Or what a network sees.
    """
    if picture.volume is not None:
        return skeletons.volume(picture.volume, picture.skeleton)
    if picture.attention is not None:
        return skeletons.attention(picture.attention, picture.skeleton)
    if picture.rollout is not None and picture.frames is not None:
        return heat.clip(picture.frames, picture.rollout)
    if picture.image is None and (picture.skeleton is None or (picture.true is None and picture.pred is None)):
        return None
    frame = np.full((_SIDE, _SIDE, 3), 24, np.uint8) if picture.image is None else picture.image
    height, width = frame.shape[:2]
    scale = max(1, round(_SIDE / max(height, width)))
    image = cv2.resize(frame, (width * scale, height * scale), interpolation=cv2.INTER_CUBIC)
    if picture.skeleton is None:
        return image
    skeleton = Skeleton(picture.skeleton.name, tuple(picture.skeleton.joints[j] for j in joints))
    size = np.array([width, height]) * scale
    if picture.true is not None:
        valid = np.ones(len(picture.true), bool) if picture.valid is None else picture.valid
        image = _draw_truth(image, np.where(valid[:, None], picture.true * size, np.nan)[joints], skeleton)
    if picture.pred is not None:
        confidence = None if picture.confidence is None else picture.confidence[joints]
        image = viz.draw_skeleton(image, picture.pred[joints] * size, skeleton, confidence)
    return image


def _draw_truth(image: np.ndarray, pose: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Draw the true pose as thin lines of one colour with a dark edge, and rings."""
    image = image.copy()
    at = {j: np.clip(p, -1e4, 1e4).astype(int).tolist() for j, p in enumerate(pose) if np.isfinite(p).all()}
    thick = max(1, round(max(image.shape[:2]) / 220))
    for colour, wider in ((viz.OUTLINE, 2), (TRUTH, 0)):
        for a, b in skeleton.limbs:
            if a in at and b in at:
                cv2.line(image, at[a], at[b], colour, thick + wider, cv2.LINE_AA)
        for point in at.values():
            cv2.circle(image, point, 3 * thick, colour, thick + wider, cv2.LINE_AA)
    return image


def _encoded(image: np.ndarray, suffix: str) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, 88] if suffix == ".jpg" else []
    return cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1].tobytes()
