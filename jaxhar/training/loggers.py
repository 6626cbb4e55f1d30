"""Outputs for training metrics besides metrics.jsonl: TensorBoard, or your own class.

`Train.loggers` lists functions (working directory, last completed step) -> `Logger`.
"""

import sys
from pathlib import Path
from typing import Protocol


class Logger(Protocol):
    """Receives the metrics of a training run."""

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Metrics of one step by the names of metrics.jsonl, and "steps_per_second"."""

    def close(self) -> None:
        """Called once at the end of the run, even if it failed."""


class TensorBoard:
    """Writes event files to the folder tensorboard in the working directory."""

    def __init__(self, workdir: Path, step: int):
        """Resumes after `step`: TensorBoard hides earlier events of later steps."""
        self._writer = None
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            print("tensorboardX is not installed: no event files, only metrics.jsonl", file=sys.stderr)
        else:
            self._writer = SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1 if step else None)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
