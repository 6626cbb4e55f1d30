"""The figures of a training run as they come: metrics.jsonl, one JSON object a line.

A row has "step" and figures by name: "loss", "STREAM/TERM" of the losses, "gradient_norm", "learning_rate", and
"eval/NAME" of an evaluation. It holds no clock time, so that a resumed run writes the same bytes as one never stopped;
on resuming, rows beyond the checkpoint are cut off. Loggers (`jaxhar.training.loggers`) get every row as well, with
"steps_per_second".
"""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

from jaxhar.host import files
from jaxhar.host.errors import Problem
from jaxhar.training.loggers import Logger

FILE = "metrics.jsonl"


def read(path: Path) -> list[dict[str, float]]:
    """The lines of a metrics.jsonl as dicts with "step"; [] if there is no such file.

    A last line cut short, by a run that was killed, is left out; any other damaged line is a Problem.
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
    """Appends rows to metrics.jsonl (floats in full precision, no clock times) and hands them to the loggers."""

    def __init__(self, workdir: Path, step: int, loggers: Sequence[Logger] = ()):
        """Opens the files of a run that goes on after `step`: rows of later steps are dropped."""
        self.path = Path(workdir) / FILE
        kept = [row for row in read(self.path) if row["step"] <= step]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        try:
            if not self.path.exists() or self.path.read_text() != text:
                files.write(self.path, text.encode())
            self._file = open(self.path, "a")
        except OSError as error:
            raise files.cannot_write(self.path, error) from error
        self._loggers = loggers

    def add(self, step: int, values: dict[str, float], clock: dict[str, float] | None = None) -> None:
        """One row. `clock` holds figures that differ from run to run and go to the loggers only."""
        try:
            self._file.write(json.dumps({"step": step, **values}) + "\n")
            self._file.flush()
        except OSError as error:
            raise files.cannot_write(self.path, error) from error
        for logger in self._loggers:
            logger.scalars(step, {**values, **(clock or {})})

    def sync(self) -> None:
        """Returns when every row is on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
        for logger in self._loggers:
            logger.close()


def mean(rows: list[dict[str, float]]) -> dict[str, float]:
    """Mean of each figure over rows of the same names."""
    return {name: math.fsum(row[name] for row in rows) / len(rows) for name in rows[0]}
