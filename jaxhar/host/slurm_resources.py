"""What a job of SLURM asks for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxhar.host.errors import Usage

#: Days, hours or minutes, and up to two further parts.
_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")
#: Options of sbatch that are set here -> how to set them.
_SET = {
    "time": " by --time",
    "nodes": " by --nodes",
    "gpus-per-node": " by --gpus-per-node",
    "ntasks-per-node": " by --tasks-per-node",
    "cpus-per-task": " by --cpus-per-task",
    "mem": " by --mem",
    "partition": " by --partition",
    "account": " by --account",
    "exclude": " by --exclude",
    "comment": " by --comment",
    "array": " by --shards and --at-once",
    "signal": " by --signal-delay-s",
    **dict.fromkeys(("output", "error", "open-mode", "requeue", "no-requeue", "job-name", "ntasks"), ""),
}


def minutes(text: str) -> int:
    """A time limit in SLURM's forms as minutes, rounded up; Usage for anything else, and for no limit.

    They are M, M:S, H:M:S, D-H, D-H:M and D-H:M:S of days, hours, minutes and seconds.
    """
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise Usage(
            f"--time {text!r} is not a time of SLURM: write minutes, minutes:seconds, hours:minutes:seconds, "
            "days-hours, days-hours:minutes or days-hours:minutes:seconds"
        )
    days, *parts = (None if part is None else int(part) for part in found.groups())
    first, second, third = parts
    if days is not None or third is not None:
        seconds = 86400 * (days or 0) + 3600 * (first or 0) + 60 * (second or 0) + (third or 0)
    else:
        seconds = 60 * (first or 0) + (second or 0)
    if not seconds:
        raise Usage("--time 0 would be no limit, before which a job cannot be told to save; give one, e.g. 4:00:00")
    return -(-seconds // 60)


@dataclass(frozen=True)
class Resources:
    """What a job asks SLURM for. Usage if parts of it do not go together.

    Attributes:
      time: limit in minutes. nodes: machines. gpus: of each. tasks: processes on each; None for one for each GPU.
      cpus: of each process. memory: of each machine, in SLURM's form, e.g. 64G.
      signal_delay: seconds before the limit at which the job is told to save.
      requeues: how many times it may be put back after its limit; preemptions do not count.
      at_once: jobs of an array that run at the same time.
      setup: lines of shell before the command.
      others: further options of sbatch by name, with a value, or True for one that has none.
    """

    time: int
    name: str = "jaxhar"
    nodes: int = 1
    gpus: int = 0
    tasks: int | None = None
    cpus: int | None = None
    memory: str | None = None
    partition: str | None = None
    account: str | None = None
    exclude: str | None = None
    comment: str | None = None
    signal_delay: int = 120
    requeues: int = 30
    at_once: int = 256
    setup: tuple[str, ...] = ()
    others: Mapping[str, str | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        least = {"nodes": 1, "gpus_per_node": 0, "tasks_per_node": 1, "cpus_per_task": 1, "at_once": 1}
        given = (self.nodes, self.gpus, self.tasks, self.cpus, self.at_once)
        for (name, lowest), value in zip(least.items(), given, strict=True):
            if value is not None and value < lowest:
                raise Usage(f"--{name.replace('_', '-')} is {value}; it must be at least {lowest}")
        if self.tasks not in (None, 1, self.gpus) and self.gpus:
            raise Usage(
                f"--tasks-per-node {self.tasks} does not fit {self.gpus} GPUs: give 1, one process for all of them, or "
                "leave it out, one process for each"
            )
        if not 0 < self.signal_delay < 60 * self.time:
            raise Usage(
                f"--signal-delay-s {self.signal_delay} must lie within the {60 * self.time} seconds of --time; it is "
                "how long before its end the job is told to save"
            )
        if self.requeues < 0:
            raise Usage(f"--max-requeues is {self.requeues}; it must be 0 or more")
        if self.memory is not None and not re.fullmatch(r"\d+[KMGT]?", self.memory):
            raise Usage(f"--mem {self.memory!r} is not a size of SLURM, e.g. 64G")
        for name in self.others:
            if not re.fullmatch(r"[a-z]+(-[a-z]+)*", name):
                raise Usage(f"--sbatch {name!r} is no option of sbatch; write its long name, e.g. constraint=h100")
            if name in _SET:
                raise Usage(f"--sbatch {name} cannot be set so, because jaxhar slurm sets it{_SET[name]}")
        words = (self.name, self.partition, self.account, self.exclude, self.comment, *self.others.values())
        for word in words:
            if isinstance(word, str) and len(word.splitlines()) > 1:
                raise Usage(f"{word!r} has more than one line, which no option of sbatch takes")

    def parameters(self) -> dict[str, Any]:
        """Parameters of submitit's executor."""
        given = {
            "job_name": self.name,
            "time": self.time,
            "nodes": self.nodes,
            "ntasks_per_node": self.tasks or self.gpus or 1,
            "gpus_per_node": self.gpus or None,
            "cpus_per_task": self.cpus,
            "mem": self.memory,
            "partition": self.partition,
            "account": self.account,
            "exclude": self.exclude,
            "comment": self.comment,
            "signal_delay_s": self.signal_delay,
            "array_parallelism": self.at_once,
            "stderr_to_stdout": True,
            "setup": list(self.setup),
            "additional_parameters": {"requeue": True, **self.others},
        }
        return {name: value for name, value in given.items() if value is not None}
