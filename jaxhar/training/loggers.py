"""Where the figures of a training run go besides metrics.jsonl: TensorBoard, or a class of your own.

`Train.loggers` of an experiment lists them: each is called with the working directory and the step that the run begins
after, and gives a `Logger`.
"""

import sys
from pathlib import Path
from typing import Protocol


class Logger(Protocol):
    """Takes figures as they come."""

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Figures of one step by the names of metrics.jsonl, "steps_per_second" among them."""

    def close(self) -> None:
        """Called once at the end of the run, also of one that failed."""


class TensorBoard:
    """Event files in the folder tensorboard of the working directory."""

    def __init__(self, workdir: Path, step: int):
        """Events of steps after `step`, of a run that was killed, are hidden."""
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
