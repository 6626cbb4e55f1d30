"""The figures of a training run as they come: metrics.jsonl, and TensorBoard event files beside it."""

import json
import math
import os
import sys
from pathlib import Path

from jaxhar import files

FILE = "metrics.jsonl"


def read(workdir: Path) -> list[dict[str, float]]:
    """The lines of a run's metrics.jsonl as dicts with "step"; [] if there is none. A torn last line is left out."""
    path = Path(workdir) / FILE
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


class History:
    """Appends rows to metrics.jsonl (floats in full precision, no clock times) and to event files."""

    def __init__(self, workdir: Path, step: int):
        """Opens the files of a run that goes on after `step`: rows of later steps are dropped."""
        self.path = Path(workdir) / FILE
        kept = [row for row in read(workdir) if row["step"] <= step]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        try:
            if not self.path.exists() or self.path.read_text() != text:
                files.write(self.path, text.encode())
            self._file = open(self.path, "a")
        except OSError as error:
            raise files.cannot_write(self.path, error) from error
        self._board = _tensorboard(Path(workdir) / "tensorboard", step)

    def add(self, step: int, values: dict[str, float], clock: dict[str, float] | None = None) -> None:
        """One row. `clock` holds figures that differ from run to run and go to the event files only."""
        try:
            self._file.write(json.dumps({"step": step, **values}) + "\n")
            self._file.flush()
        except OSError as error:
            raise files.cannot_write(self.path, error) from error
        if self._board is not None:
            for name, value in {**values, **(clock or {})}.items():
                self._board.add_scalar(name, value, step)

    def sync(self) -> None:
        """Returns when every row is on the disk."""
        os.fsync(self._file.fileno())
        if self._board is not None:
            self._board.flush()

    def close(self) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()


def mean(rows: list[dict[str, float]]) -> dict[str, float]:
    """Mean of each figure over rows of the same names."""
    return {name: math.fsum(row[name] for row in rows) / len(rows) for name in rows[0]}


def _tensorboard(folder: Path, step: int):
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        print("tensorboardX is not installed: no event files, only metrics.jsonl", file=sys.stderr)
        return None
    # purge_step hides what a killed run logged beyond the checkpoint that this one goes on from.
    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)
