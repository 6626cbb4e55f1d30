"""Metrics of a training run in metrics.jsonl, one JSON object per line.

A row has "step" and metrics by name: "loss", "STREAM/TERM" of the losses, "gradient_norm", "learning_rate", and
"eval/NAME" of an evaluation. It contains no clock times, so that a resumed run writes the same bytes as one without
interruption; on resuming, rows after the checkpoint are removed. Loggers (`jaxhar.training.loggers`) also get
every row, with "steps_per_second"; one that fails is left out, and the run goes on.
"""

import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from jaxhar.host import files
from jaxhar.host.errors import Problem
from jaxhar.training.loggers import Logger

FILE = "metrics.jsonl"


def read(path: Path) -> list[dict[str, float]]:
    """The lines of a metrics.jsonl as dicts with "step"; [] if there is no such file.

    An incomplete last line (of a killed run) is ignored; Problem for any other damaged line.
    """
    rows: list[dict[str, float]] = []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            rows.append({**row, "step": int(row["step"])})
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                break
            raise Problem(f"line {number} of {path} is not a record of metrics; remove the line") from error
    return rows


class History:
    """Appends rows to metrics.jsonl (floats in full precision, no clock times) and passes them to the loggers."""

    def __init__(self, workdir: Path, step: int, loggers: Sequence[Logger] = ()):
        """Opens the file of a run that resumes after `step`; rows of later steps are removed."""
        self.path = Path(workdir) / FILE
        kept = [row for row in read(self.path) if row["step"] <= step]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        try:
            if not self.path.exists() or self.path.read_text() != text:
                files.write(self.path, text.encode())
            self._file = open(self.path, "a")
        except OSError as error:
            raise files.cannot_write(self.path, error) from error
        self._loggers = list(loggers)

    def add(self, step: int, values: dict[str, float], clock: dict[str, float] | None = None) -> None:
        """Adds a row. `clock`: metrics that differ between runs, for the loggers only."""
        try:
            self._file.write(json.dumps({"step": step, **values}) + "\n")
            self._file.flush()
        except OSError as error:
            raise files.cannot_write(self.path, error) from error
        for logger in tuple(self._loggers):
            self._attempt(logger, partial(logger.scalars, step, {**values, **(clock or {})}))

    def sync(self) -> None:
        """Flushes all rows to the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
        for logger in tuple(self._loggers):
            self._attempt(logger, logger.close)

    def _attempt(self, logger: Logger, call: Callable[[], None]) -> None:
        """Calls a logger; after an error of any kind it is told and left out, since its output is a by-product."""
        try:
            call()
        except Exception as error:
            self._loggers.remove(logger)
            with contextlib.suppress(Exception):
                logger.close()
            reason = " ".join(str(error).split()) or type(error).__name__
            print(
                f"{type(logger).__name__} gets no more metrics ({reason}); the run goes on, and all are in {self.path}",
                file=sys.stderr,
            )


def mean(rows: list[dict[str, float]]) -> dict[str, float]:
    """Mean of each metric over rows with the same names."""
    return {name: math.fsum(row[name] for row in rows) / len(rows) for name in rows[0]}
