"""Predicts many sources with one network: a folder of results for each, a table of all, and a sheet of stills."""

import contextlib
import csv
import hashlib
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from jaxhar.data import listing
from jaxhar.data.formats.picture import read_image
from jaxhar.data.formats.video import Video
from jaxhar.host import files
from jaxhar.host.errors import Problem, Usage
from jaxhar.predict import many_videos
from jaxhar.predict import sources as paths
from jaxhar.predict.options import Options
from jaxhar.predict.predictor import LoadedNetwork, Summary
from jaxhar.predict.progress import Progress
from jaxhar.viz import draw

#: In the folder of each source: what was found there, by which settings. It is written last.
RECORD = "summary.json"
_COLUMNS = ("source", "results", "frames", "persons", "action", "probability", "warnings")
#: Size of a still in pixels, height of the line above it, and number of stills on a sheet.
_STILL, _LINE, _SHEET = (320, 240), 24, 60


@dataclass(frozen=True)
class Row:
    """What was found in a source.

    Attributes:
      source: the file or folder. results: name of its folder of results; "" if it could not be read.
      frames, persons: numbers of them; of several pictures, persons are the most in one picture; None if nobody was
        looked for.
      action, probability: of the person who is there for longest; None if none is named.
      warnings: sentences. complete: whether all of the source could be read.
      still: file of the overlay, relative to the results, and the seconds of the picture for the sheet.
    """

    source: str
    results: str = ""
    frames: int = 0
    persons: int | None = 0
    action: str | None = None
    probability: float | None = None
    warnings: tuple[str, ...] = ()
    complete: bool = False
    still: tuple[str, float] | None = None


@dataclass
class Report:
    """What a call has done.

    Attributes:
      rows: of all sources, in their order. skipped: number of those that were done before. files: table and sheets.
    """

    rows: list[Row] = field(default_factory=list)
    skipped: int = 0
    files: list[Path] = field(default_factory=list)


def run(
    network: LoadedNetwork,
    arguments: Sequence[Path],
    out: Path,
    options: Options,
    *,
    forms: Sequence[str] = (),
    maps: str | None = None,
    again: bool = False,
    shard: str | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] = print,
) -> Report:
    """Predict every source into a folder of its own below `out`; go on after one that cannot be read.

    A source is skipped if its results are complete, made by the same weights and settings, and the source has not
    changed since. The table is written after each source.

    Args:
      arguments: see `sources.expand`. forms, maps: see `LoadedNetwork.write`.
      again: predict what is done anew. shard: "K/N" takes every N-th source, beginning with the K-th.
      tell: called with a line for each source.

    Raises:
      Problem: an argument means nothing; the results cannot be written. Usage: options that are not for many sources.
    """
    if options.boxes is not None:
        raise Usage("--boxes holds the boxes of one source; predict it alone")
    every = paths.expand(arguments, out)
    table, sheet = "summary", "contact"
    named = dict(zip(every, paths.names(every, (f"{table}.csv", f"{sheet}.jpg")), strict=True))
    if shard is not None:
        every = paths.shard(every, shard)
        table, sheet = (f"{name}_{shard.replace('/', '_of_')}" for name in (table, sheet))
    settings = {"forms": sorted({*forms} - {"json"}), "maps": maps, **network.fingerprint(options)}
    report = Report()

    def done(source: Path) -> Row | None:
        return None if again else _done(out / named[source], source, settings)

    def work(source: Path) -> Row:
        return _predict(network, source, out / named[source], options, forms, maps, progress, settings)

    for source, row, before in many_videos.each(every, done, work):
        results = out / named[source]
        said = f"done before, in {results}"
        report.skipped += before
        if isinstance(row, Problem):
            row, said = Row(str(source), warnings=(str(row),)), f"failed: {row}"
            with contextlib.suppress(OSError):
                results.rmdir()  # if it is empty
        elif not before:
            said = _in_words(row)
        tell(f"[{len(report.rows) + 1}/{len(every)}] {source.name}: {said}")
        report.rows.append(row)
        _write_table(out / f"{table}.csv", report.rows)
    if not every:  # more shards than sources
        _write_table(out / f"{table}.csv", [])
    report.files = [out / f"{table}.csv", *_write_sheets(out, sheet, report.rows)]
    return report


def _predict(
    network: LoadedNetwork,
    source: Path,
    results: Path,
    options: Options,
    forms: Sequence[str],
    maps: str | None,
    progress: Progress | None,
    settings: dict[str, object],
) -> Row:
    if results.resolve() == source.resolve():
        raise Usage(f"the results would lie in {source} itself; give another --out")
    state = _state(source)
    try:
        (results / RECORD).unlink(missing_ok=True)
    except OSError as error:
        raise files.cannot_write(results, error) from error
    summary = network.write(source, results, options, forms=forms, maps=maps, progress=progress)
    row = _row(source, results.name, summary)
    written = [path.name for path in summary.files]
    record = {"settings": settings, "state": state, "path": str(source.resolve()), "files": written, "row": asdict(row)}
    files.write(results / RECORD, json.dumps(record).encode())
    return row


def _row(source: Path, results: str, summary: Summary) -> Row:
    assert summary.still is not None
    path, time = summary.still
    return Row(
        str(source),
        results,
        summary.frames,
        summary.found,
        summary.action,
        summary.probability,
        summary.warnings,
        not summary.broken,
        (path.name, time),
    )


def _state(source: Path) -> str:
    """A digest of names, sizes and times of a source, which changes with it. Problem if there is none."""
    try:
        inside = listing.ordered(source.iterdir()) if source.is_dir() else [source]
        found = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in inside if path.is_file()]
    except OSError as error:
        raise Problem(f"{source} cannot be read ({error.strerror})") from error
    return hashlib.sha256(repr(found).encode()).hexdigest()


def _done(results: Path, source: Path, settings: dict[str, object]) -> Row | None:
    """The row of a source whose results are complete and as they would be now; else None.

    Raises:
      Problem: the results are those of another source.
    """
    try:
        record = json.loads((results / RECORD).read_bytes())
        kept = {**record["row"], "source": str(source)}
        row = Row(**{**kept, "warnings": tuple(kept["warnings"]), "still": tuple(kept["still"])})
        same = record["settings"] == json.loads(json.dumps(settings)) and record["state"] == _state(source)
        whole = all((results / name).is_file() for name in record["files"])
        other = Path(record["path"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # there are none, or they are damaged
    if other != source.resolve():
        raise Problem(f"{results} holds the results of {other}; give another --out, or --again to replace them")
    return row if same and whole else None


def _in_words(row: Row) -> str:
    action = "" if row.action is None else f", {row.action} ({row.probability:.1%})"
    warned = f" ({'; '.join(row.warnings)})" if row.warnings else ""
    persons = "" if row.persons is None else f", {row.persons} person{'' if row.persons == 1 else 's'}"
    return f"{row.frames} frames{persons}{action}{warned}"


def _write_table(path: Path, rows: Sequence[Row]) -> None:
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(_COLUMNS)
    for row in rows:
        counts = (row.frames, "" if row.persons is None else row.persons) if row.results else ("", "")
        probability = "" if row.probability is None else f"{row.probability:.4f}"
        table.writerow([row.source, row.results, *counts, row.action or "", probability, "; ".join(row.warnings)])
    files.write(path, text.getvalue().encode())


def _write_sheets(out: Path, name: str, rows: Sequence[Row]) -> list[Path]:
    """Pictures with a still of each source, its name and action; NAME.jpg, and NAME_2.jpg, ... for more than 60."""
    written = []
    for number, start in enumerate(range(0, len(rows), _SHEET), 1):
        cells = [_cell(out, row) for row in rows[start : start + _SHEET]]
        columns = max(1, round(math.sqrt(len(cells))))
        written.append(out / f"{name}{'' if number == 1 else f'_{number}'}.jpg")
        with files.replacing(written[-1]) as part:
            Image.fromarray(draw.contact_sheet(cells, columns)).save(part, format="jpeg", quality=90)
    return written


def _cell(out: Path, row: Row) -> np.ndarray:
    """A still of a source below a line with its name and what was found in it."""
    width, height = _STILL
    cell = np.full((_LINE + height, width, 3), 24, np.uint8)
    action = "" if row.action is None else f": {row.action.replace('_', ' ')} {row.probability:.0%}"
    if row.still is None:
        action = ": failed"
    else:
        still = _still(out / row.results / row.still[0], row.still[1])
        scale = min(width / still.shape[1], height / still.shape[0])
        size = [max(1, round(side * scale)) for side in still.shape[1::-1]]
        still = cv2.resize(still, size, interpolation=cv2.INTER_AREA)
        x, y = (width - size[0]) // 2, _LINE + (height - size[1]) // 2
        cell[y : y + size[1], x : x + size[0]] = still
    cell[:_LINE] = draw.draw_words(cell[:_LINE], f"{row.results or Path(row.source).name}{action}")
    return cell


def _still(path: Path, time: float) -> np.ndarray:
    """A picture, or the frame of a video at this time."""
    if path.suffix != ".mp4":
        return read_image(path)
    with contextlib.closing(Video(path).between(time, None, lambda index: index == 0)) as frames:
        image = next(frames).image
    assert image is not None
    return image
