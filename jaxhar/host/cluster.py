"""Several processes, on one machine or many, that run one experiment together by `jax.distributed`.

With one process nothing of this does anything. The others say nothing on stdout; what one process says, all could say.
"""

import contextlib
import ctypes
import itertools
import os
import pickle
import signal
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax._src import distributed
from jax._src.clusters import ClusterEnv
from jax.experimental import multihost_utils

from jaxhar.host.errors import Problem, Usage, guard

#: Seconds without a sign of life after which a process counts as lost.
LOST_AFTER = 30
#: Seconds that processes wait for one that works alone, e.g. packs the data.
_PATIENCE = 24 * 3600
#: Numbers of processes that launchers started which JAX does not know: MPICH, torchrun.
_FOREIGN = ("PMI_SIZE", "WORLD_SIZE")
_LOST = (
    "another process of this run has ended or cannot be reached, see what it printed; start all processes again, and "
    "the run goes on from its newest checkpoint"
)
_barriers = itertools.count()


@dataclass(frozen=True)
class Member:
    """One of several processes started by hand.

    Attributes:
      coordinator: HOST:PORT of process 0, a free port. count: number of processes. index: of this one, from 0.
    """

    coordinator: str
    count: int
    index: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise Usage(f"--process={self.index} is not one of {self.count} processes: they count from 0")
        if not self.coordinator.rpartition(":")[2].isdigit() or self.coordinator.startswith(":"):
            raise Usage(f"--coordinator={self.coordinator} is not HOST:PORT, e.g. 10.0.0.1:1234")


def count() -> int:
    """Number of processes of this run."""
    return jax.process_count()


def index() -> int:
    """Which of them this process is, from 0."""
    return jax.process_index()


def first() -> bool:
    """Whether this is process 0, which writes what is written once."""
    return index() == 0


@contextlib.contextmanager
def joined(member: Member | None = None) -> Iterator[None]:
    """Context in which this process belongs to the run that a launcher, or a hand, started several processes of.

    When one fails, all end: it prints its error and exits at once.

    Args:
      member: how this process was started by hand; None to ask SLURM, Open MPI or Kubernetes, as far as JAX knows them.

    Raises:
      Problem: several processes were started, but by a launcher that JAX does not know.
    """
    launcher = None if member else _launcher()
    processes = member.count if member else launcher[1] if launcher else 1
    if processes == 1:
        _refuse_foreign()
        yield
        return
    _supervise()
    code = guard(lambda: _initialize(member, processes), debug="--debug" in sys.argv)
    if code:
        _exit(code)
    if not first():
        sys.stdout = open(os.devnull, "w")
    stopped = None
    try:
        try:
            yield
        except SystemExit as stop:
            if stop.code:
                raise
            stopped = stop  # on request: all leave at the same step
        wait()
    except BaseException as error:
        _fail(error)
    if stopped:
        raise stopped


def wait() -> None:
    """Waits until every process is here."""
    if count() > 1:
        _barrier(_PATIENCE)


@contextlib.contextmanager
def first_before_others() -> Iterator[None]:
    """Context that process 0 enters before the others, for work of which they find the result."""
    if not first():
        wait()
    yield
    if first():
        wait()


def gather(value: object) -> list[Any]:
    """The values of all processes, in their order; every process must call it."""
    if count() == 1:
        return [value]
    wait()  # an exchange would give up on a process that comes half a minute late
    data = np.frombuffer(pickle.dumps(value), np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(len(data))).ravel()
    room = 1 << int(sizes.max() - 1).bit_length()  # few different sizes, because each is compiled
    rows = multihost_utils.process_allgather(np.pad(data, (0, room - len(data))))
    return [pickle.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def stop_agreed(step: int) -> bool:
    """Whether all processes stop after this step because one of them got SIGTERM; to be called at every step."""
    return multihost_utils.reached_preemption_sync_point(step)


def own_devices(environment: dict[str, str]) -> list[int] | None:
    """Numbers of the GPUs of this process, if not JAX's choice: under SLURM and Open MPI, one GPU of several tasks.

    A single task of a machine takes all GPUs; a task that sees only one GPU takes that.
    """
    tasks = environment.get("SLURM_STEP_TASKS_PER_NODE", environment.get("OMPI_COMM_WORLD_LOCAL_SIZE", ""))
    visible = [device for device in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if device]
    if tasks.partition("(")[0] == "1" and visible:
        return list(range(len(visible)))
    return [0] if len(visible) == 1 else None


def _launcher() -> tuple[str, int] | None:
    """The launcher that started this process, as JAX names it, and the number of processes; None if there is none."""
    for known in ClusterEnv._cluster_types:
        if known.opt_in_only_method or known.name == "k8s" and "JOB_COMPLETION_INDEX" not in os.environ:
            continue
        if known.is_env_present():
            if known.name == "slurm":  # not SLURM_NTASKS, which a batch script without srun has too
                return known.name, int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))
            return known.name, known.get_process_count()
    return None


def _refuse_foreign() -> None:
    for name in _FOREIGN:
        found = os.environ.get(name, "")
        if found.isdigit() and int(found) > 1:
            raise Problem(
                f"{found} processes of this command were started ({name}) by a launcher that is not known here; start "
                "them by srun or mpirun of Open MPI, or give each --coordinator=HOST:PORT --processes=N --process=I"
            )


def _supervise() -> None:
    """Goes on in a child of this process, which passes signals to it and says how it ended if it cannot say so itself.

    If a process is lost, a thread of JAX aborts the others at once, wherever they are.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads, which JAX has not started yet
        child = os.fork()
    if not child:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: end with the parent
        return
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda number, _: os.kill(child, number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the child, too
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        killed = f"a process of this run was ended by {signal.Signals(-code).name}"
        print(f"error: {_LOST if -code == signal.SIGABRT else killed}", file=sys.stderr)
    sys.stderr.flush()
    os._exit(code if code >= 0 else 1)


def _initialize(member: Member | None, processes: int) -> None:
    try:
        if member is not None:
            jax.distributed.initialize(
                member.coordinator, member.count, member.index, heartbeat_timeout_seconds=LOST_AFTER
            )
        else:
            devices = own_devices(dict(os.environ))
            jax.distributed.initialize(
                num_processes=processes, local_device_ids=devices, heartbeat_timeout_seconds=LOST_AFTER
            )
    except (RuntimeError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise Problem(f"the {processes} processes of this run did not find each other: {reason}") from error


def _barrier(seconds: float) -> None:
    client: Any = distributed.global_state.client
    client.wait_at_barrier(f"jaxhar/{next(_barriers)}", int(seconds * 1000))


def _fail(error: BaseException) -> None:
    """Prints an error and exits, after a moment in which other processes with the same error print theirs."""

    def fail() -> None:
        if _is_loss(error):
            reason = " ".join(str(error).split())[:200]
            raise Problem(f"{_LOST} ({reason})") from error
        raise error

    code = guard(fail, debug="--debug" in sys.argv)
    with contextlib.suppress(Exception):
        _barrier(2)
    _exit(code)


def _is_loss(error: BaseException) -> bool:
    """Whether an exchange between processes failed: with gloo, NCCL or the coordinator."""
    words = ("Gloo", "NCCL", "coordination", "Barrier", "barrier", "DEADLINE_EXCEEDED", "UNAVAILABLE")
    return isinstance(error, ValueError | RuntimeError) and any(word in str(error) for word in words)


def _exit(code: int) -> None:
    """Ends this process without `jax.distributed.shutdown`, which waits for the others."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
