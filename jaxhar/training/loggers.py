"""Outputs for training metrics besides metrics.jsonl: TensorBoard, Weights & Biases, or your own class.

`Train.loggers` lists functions (working directory, last completed step) -> `Logger`, and `Train.log` may name one of
`NAMED` to have besides. A logger that raises an error is left out for the rest of the run, see
`jaxhar.training.history`.
"""

import importlib.util
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from jaxhar.host import files
from jaxhar.host.errors import Problem

if TYPE_CHECKING:
    import wandb

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


class WandB:
    """Sends metrics to Weights & Biases, or with WANDB_MODE=offline into the folder wandb, for `wandb sync`.

    The run is named as its working directory, in the project $WANDB_PROJECT or "jaxhar". A run that goes on is the same
    one there, by the file wandb/id.
    """

    def __init__(self, workdir: Path, step: int):
        """Problem if wandb is not installed; a connection is made with the first metrics."""
        found = importlib.util.find_spec("wandb")
        if found is None or found.origin is None:  # a folder of that name, as wandb makes, is no module
            raise Problem("train.log is wandb, which is not installed: pip install 'jaxhar[wandb]', or leave it out")
        self._workdir = Path(workdir)
        self._id = self._workdir / "wandb" / "id"
        self._goes_on = step > 0 and self._id.is_file()
        self._run: wandb.Run | None = None

    def scalars(self, step: int, values: dict[str, float]) -> None:
        if self._run is None:
            import wandb

            if not self._goes_on:
                files.write(self._id, secrets.token_hex(4).encode())
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "jaxhar"),
                name=self._workdir.resolve().name,
                id=files.read(self._id, "name of the run for wandb").decode(),
                resume="allow",
                dir=self._workdir,
                settings=wandb.Settings(console="off", quiet=True),
            )
        self._run.log(values, step=step)

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()


#: Loggers by their names in `Train.log`.
NAMED: dict[str, Callable[[Path, int], Logger]] = {"wandb": WandB}
