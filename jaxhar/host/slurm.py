"""Jobs of SLURM: what they ask for, their script, their submission by submitit, and how they stand.

A job runs one command, whose working directory tells how far it is. Some time before its limit SLURM sends the job a
signal: the command gets SIGUSR1, on which a training saves and ends, and the job is put back into the queue. A job that
is preempted without a warning, or whose machine is lost, is put back by SLURM itself.
"""

import dataclasses
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxhar.host import files
from jaxhar.host.errors import Problem, Usage

#: In the folder of the jobs: the ids and commands of the newest submission.
_JOBS = "jobs.json"
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
#: Jobs of submitit on this machine, which outlive the process that started them; Python warns of forgotten ones.
_background: list[object] = []
#: Commands that lists of the states of jobs come from: of those that wait, run or ended lately, and of all.
_LISTS = (
    ("squeue", "--noheader", "--states=all", "--array", "--format=%i|%T"),
    ("sacct", "--noheader", "--allocations", "--parsable2", "--format=JobID,State"),
)


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
            if isinstance(word, str) and _lines(word) > 1:
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


@dataclass
class Job:
    """A command as a job; submitit calls it in every task, and `checkpoint` of the first one on the signal.

    Attributes:
      words: the command. folder: of the notes on how the job stands.
      grace: seconds that the command gets to save after the signal.
    """

    words: tuple[str, ...]
    folder: Path
    grace: float
    process: subprocess.Popen | None = None

    def __call__(self) -> None:
        """Runs the command, and exits with its code unless it is 0."""
        self._note("running")
        print(f"$ {shlex.join(self.words)}", flush=True)
        # SLURM signals every process of the job. Only this one is to hear that, and to pass it on.
        self.process = subprocess.Popen(self.words, preexec_fn=_ignore_signal)
        while self.process.poll() is None:
            time.sleep(0.2)
        code = self.process.returncode
        self._note("ended", code)
        if code:
            raise SystemExit(code if code > 0 else 128 - code)

    def checkpoint(self) -> object:
        """Lets the command save and end; returns what is put back into the queue."""
        deadline = time.monotonic() + self.grace
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGUSR1)
            while self.process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.2)
        self._note("told to save, and put back into the queue unless it was too often")
        return submitit().helpers.DelayedSubmission(dataclasses.replace(self, process=None))

    def _note(self, state: str, code: int | None = None) -> None:
        here = submitit().JobEnvironment()
        if here.global_rank:
            return
        path = _note(self.folder, here.job_id)
        starts = json.loads(path.read_text())["starts"] if path.exists() else 0
        note = {"state": state, "code": code, "starts": starts + (state == "running"), "host": here.hostname}
        files.write(path, json.dumps({**note, "time": time.strftime("%Y-%m-%d %H:%M:%S")}).encode())


def _ignore_signal() -> None:
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def _note(folder: Path, job: str) -> Path:
    return folder / f"{job}.json"


def _lines(text: str) -> int:
    return len(text.splitlines())


def _check(folder: Path) -> None:
    """Usage if the path of a folder is a pattern for SLURM, or has a line break."""
    if _lines(str(folder)) > 1 or {*str(folder)} & {"%", "\\"}:
        raise Usage(
            f"logs cannot lie in {str(folder)!r}: SLURM takes % and \\ in a path for a pattern, and no line breaks; "
            "give another --workdir"
        )


def submitit() -> ModuleType:
    """The package; Problem if it is not installed."""
    try:
        import submitit
    except ImportError as error:
        raise Problem(f"submitit cannot be imported ({error}); install it with pip install 'jaxhar[slurm]'") from error
    return submitit


def script(commands: Sequence[Sequence[str]], resources: Resources, folder: Path) -> str:
    """The script that `submit` gives to sbatch, with the commands as comments; several commands are a job array.

    It needs the file with the command that `submit` writes.

    Raises:
      Usage: SLURM would write the logs elsewhere than in `folder`.
    """
    _check(folder)
    words = [sys.executable, "-u", "-m", "submitit.core._submit", str(folder)]
    parameters = resources.parameters()
    told = [f"#   {' '.join(shlex.join(command).splitlines())}" for command in commands]
    about = "# The job reads its command from a file of this folder, which is written when it is submitted:"
    parameters["setup"] = [about, *told, *parameters["setup"]]
    count = len(commands) if len(commands) > 1 else None
    return submitit().slurm.slurm._make_sbatch_string(shlex.join(words), folder, map_count=count, **parameters)


def submit(commands: Sequence[Sequence[str]], resources: Resources, folder: Path, local: bool = False) -> list[str]:
    """Submits a command, or several as a job array; returns their ids.

    Args:
      folder: for logs and notes, in the working directory of the command; see `jobs`.
      local: start them on this machine in the background, as one process each, with the lines before the command, the
        limit, the signal and the returns that SLURM would give them; memory and cores are not limited.

    Raises:
      Problem: there is no SLURM here, or it refuses the job.
      Usage: SLURM would write the logs elsewhere than in `folder`.
    """
    package = submitit()
    _check(folder)
    # SLURM's script has the lines before the command; `exec`, so that signals reach the command.
    before = ("bash", "-c", "\n".join((*resources.setup, 'exec "$@"')), "bash") if local and resources.setup else ()
    jobs = [Job((*before, *words), folder, max(1.0, 0.9 * resources.signal_delay - 5)) for words in commands]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if local:
            executor = package.LocalExecutor(folder, max_num_timeout=resources.requeues)
            limits = {"timeout_min": resources.time, "signal_delay_s": resources.signal_delay}
            executor.update_parameters(**limits, gpus_per_node=resources.gpus, stderr_to_stdout=True)
        else:
            executor = package.SlurmExecutor(folder, max_num_timeout=resources.requeues)
            executor.update_parameters(**resources.parameters())
        with executor.batch():
            submitted = [executor.submit(job) for job in jobs]
        ids = [job.job_id for job in submitted]
        _background.extend(submitted)
    except OSError as error:
        raise files.cannot_write(folder, error) from error
    except (RuntimeError, subprocess.SubprocessError) as error:
        if "srun" in str(error):
            raise Problem("there is no SLURM here (srun is not found); --dry-run prints the script") from error
        raise Problem(f"the job could not be submitted: {' '.join(str(error).split())[:500]}") from error
    told = {"ids": ids, "commands": [list(words) for words in commands], "local": local}
    files.write(folder / _JOBS, json.dumps(told).encode())
    return ids


@dataclass(frozen=True)
class Standing:
    """How a job stands.

    Attributes:
      id: as SLURM's commands take it. state: by SLURM's words, or as the job itself noted. starts: how often it began.
      host: machine of its first process; "" before it began. log: file with what it printed; None if there is none.
    """

    id: str
    state: str
    starts: int
    host: str
    log: Path | None


def jobs(folder: Path) -> list[Standing]:
    """The jobs of the newest submission into a folder; Problem if there are none."""
    if not (folder / _JOBS).exists():
        raise Problem(f"{folder.parent} has no job: {folder / _JOBS} is missing; jaxhar slurm writes it")
    try:
        told = files.read_json(folder / _JOBS, "list of jobs")
        ids = [str(job) for job in told["ids"]]
        notes = {job: files.read_json(_note(folder, job), "note") for job in ids if _note(folder, job).exists()}
        known = _ended(notes) if told.get("local") else _states(ids)
        return [_standing(folder, job, known.get(job), notes.get(job)) for job in ids]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Problem(f"the notes on the jobs in {folder} are damaged ({error}); submit again") from error


def _standing(folder: Path, job: str, known: str | None, note: Mapping[str, Any] | None) -> Standing:
    state = known or "unknown to SLURM"
    if note is not None:
        code = "" if note["code"] is None else f" with code {note['code']}"
        said = f"{note['state']}{code} at {note['time']}"
        state = f"{known} ({said})" if known else said
    log = folder / f"{job}_0_log.out"
    starts, host = (int(note["starts"]), str(note["host"])) if note else (0, "")
    return Standing(job, state, starts, host, log if log.exists() else None)


def _ended(notes: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The state of the jobs on this machine that ended without a note, as by a kill; their ids are of processes."""
    here = [job for job, note in notes.items() if note["host"] == socket.gethostname() and note["code"] is None]
    return {job: "gone, its process has ended" for job in here if not _is_alive(int(job))}


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        pass
    return True


def _states(ids: Sequence[str]) -> dict[str, str]:
    """The state of every job that SLURM knows; {} where there is no SLURM."""
    states: dict[str, str] = {}
    for words in _LISTS:
        missing = {job.partition("_")[0] for job in ids if job not in states}
        if not missing:
            break
        try:
            done = subprocess.run(
                [*words, f"--jobs={','.join(sorted(missing))}"], capture_output=True, text=True, timeout=60
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        lines = (line.strip().split("|") for line in done.stdout.splitlines())
        states = {**{job: state for job, state, *_ in (line for line in lines if len(line) > 1)}, **states}
    return states
