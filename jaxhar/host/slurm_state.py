"""How jobs of SLURM stand: by SLURM's own lists, and by what the jobs note in their folder."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jaxhar.host import files
from jaxhar.host.errors import Problem

#: In the folder of the jobs: the ids and commands of the newest submission.
_JOBS = "jobs.json"
#: SLURM's words for jobs that neither wait nor run, nor are put back into the queue.
_ENDED = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
}
#: Commands that lists of the states of jobs come from: of those that wait, run or ended lately, and of all.
_LISTS = (
    ("squeue", "--noheader", "--states=all", "--array", "--format=%i|%T"),
    ("sacct", "--noheader", "--allocations", "--parsable2", "--format=JobID,State"),
)


@dataclass(frozen=True)
class Standing:
    """How a job stands.

    Attributes:
      id: as SLURM's commands take it. state: by SLURM's words, or as the job itself noted. starts: how often it began.
      host: machine of its first process; "" before it began. log: file with what it printed; None if there is none.
      active: whether it is known to wait or to run.
    """

    id: str
    state: str
    starts: int
    host: str
    log: Path | None
    active: bool


def write_submission(folder: Path, ids: Sequence[str], commands: Sequence[Sequence[str]], local: bool) -> None:
    """Notes which jobs were submitted, in place of those before."""
    told = {"ids": [*ids], "commands": [list(words) for words in commands], "local": local}
    files.write(folder / _JOBS, json.dumps(told).encode())


def write_note(folder: Path, job: str, host: str, state: str, code: int | None) -> None:
    """Notes in its folder that a job is "running", has "ended" with a code, or is otherwise in some state."""
    path = _note(folder, job)
    starts = json.loads(path.read_text())["starts"] if path.exists() else 0
    note = {"state": state, "code": code, "starts": starts + (state == "running"), "host": host}
    files.write(path, json.dumps({**note, "time": time.strftime("%Y-%m-%d %H:%M:%S")}).encode())


def jobs(folder: Path) -> list[Standing]:
    """The jobs of the newest submission into a folder; Problem if there are none."""
    if not has_jobs(folder):
        raise Problem(f"{folder.parent} has no job: {folder / _JOBS} is missing; jaxhar slurm writes it")
    try:
        told = files.read_json(folder / _JOBS, "list of jobs")
        ids, local = [str(job) for job in told["ids"]], bool(told.get("local"))
        notes = {job: files.read_json(_note(folder, job), "note") for job in ids if _note(folder, job).exists()}
        if local:
            return [_standing_here(folder, job, notes.get(job)) for job in ids]
        known = _states(ids)
        return [_standing(folder, job, known.get(job), notes.get(job)) for job in ids]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Problem(
            f"the notes on the jobs in {folder} are damaged ({error}); remove {_JOBS} in it and submit again"
        ) from error


def has_jobs(folder: Path) -> bool:
    """Whether jobs were submitted into a folder."""
    return (folder / _JOBS).exists()


def _note(folder: Path, job: str) -> Path:
    return folder / f"{job}.json"


def _standing(folder: Path, job: str, known: str | None, note: Mapping[str, Any] | None) -> Standing:
    """How a job stands of which SLURM says `known`."""
    active = known is not None and known.split()[0] not in _ENDED  # "CANCELLED by 1000"
    state = known or "unknown to SLURM"
    if note is not None:
        code = "" if note["code"] is None else f" with code {note['code']}"
        said = f"{note['state']}{code} at {note['time']}"
        state = f"{known} ({said})" if known else said
    log = folder / f"{job}_0_log.out"
    starts, host = (int(note["starts"]), str(note["host"])) if note else (0, "")
    return Standing(job, state, starts, host, log if log.exists() else None, active)


def _standing_here(folder: Path, job: str, note: Mapping[str, Any] | None) -> Standing:
    """How a job stands that was started without SLURM; its id is that of a process."""
    standing = _standing(folder, job, None, note)
    if note is None:
        alive = _is_alive(int(job))
        return replace(standing, state="starting" if alive else "gone before it began", active=alive)
    if note["code"] is not None:
        return standing
    if note["host"] == socket.gethostname() and not _is_alive(int(job)):  # as after a kill
        return replace(standing, state=f"gone, its process has ended ({standing.state})")
    return replace(standing, active=True)


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
