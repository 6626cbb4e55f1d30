"""Outputs for training metrics besides metrics.jsonl: TensorBoard, or your own class.

`Train.loggers` lists functions (working directory, last completed step) -> `Logger`. A logger that raises an error is
left out for the rest of the run, see `jaxhar.training.history`.
"""

import importlib.util
import socket
import sys
import time
from pathlib import Path
from typing import Any, Protocol

#: Seconds between two writes of the event file to the disk.
_FLUSH_EVERY = 20.0


class Logger(Protocol):
    """Receives the metrics of a training run."""

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Metrics of one step by the names of metrics.jsonl, and "steps_per_second"."""

    def close(self) -> None:
        """Called once at the end of the run, even if it failed."""


class TensorBoard:
    """Writes event files to the folder tensorboard in the working directory.

    They are written by the calling thread. A thread that dies of an error, as that of tensorboardX's `SummaryWriter`,
    would let the training wait for ever at a queue that nobody empties.
    """

    def __init__(self, workdir: Path, step: int):
        """Resumes after `step`: TensorBoard hides earlier events of later steps."""
        self._folder, self._step = Path(workdir) / "tensorboard", step
        self._writer: Any = None
        self._flushed = 0.0
        self._installed = importlib.util.find_spec("tensorboardX") is not None
        if not self._installed:
            print("tensorboardX is not installed: no event files, only metrics.jsonl", file=sys.stderr)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        if not self._installed:
            return
        from tensorboardX.summary import scalar

        if self._writer is None:
            self._open()
        for name, value in values.items():
            self._write(step=step, summary=scalar(name, value))
        if time.monotonic() - self._flushed > _FLUSH_EVERY:
            self._writer.flush()
            self._flushed = time.monotonic()

    def _open(self) -> None:
        from tensorboardX.proto.event_pb2 import SessionLog
        from tensorboardX.record_writer import RecordWriter

        self._folder.mkdir(parents=True, exist_ok=True)
        self._writer = RecordWriter(
            str(self._folder / f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}")
        )
        self._write(file_version="brain.Event:2")
        if self._step:
            self._write(step=self._step + 1, session_log=SessionLog(status=SessionLog.START))

    def _write(self, **event: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write(Event(wall_time=time.time(), **event).SerializeToString())

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
