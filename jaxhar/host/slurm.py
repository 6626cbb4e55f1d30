"""Jobs of SLURM: their script, their submission by submitit, and what they run.

A job runs one command, whose working directory tells how far it is. Some time before its limit SLURM sends the job a
signal: the command gets SIGUSR1, on which a training saves and ends, and the job is put back into the queue. A job that
is preempted without a warning, or whose machine is lost, is put back by SLURM itself.
"""

import dataclasses
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from jaxhar.host import files, slurm_state
from jaxhar.host.errors import Problem, Usage
from jaxhar.host.slurm_resources import Resources

#: Jobs of submitit on this machine, which outlive the process that started them; Python warns of forgotten ones.
_background: list[object] = []


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
        slurm_state.write_note(self.folder, here.job_id, here.hostname, state, code)


def _ignore_signal() -> None:
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def _check(folder: Path) -> None:
    """Usage if the path of a folder is a pattern for SLURM, or has a line break."""
    if len(str(folder).splitlines()) > 1 or {*str(folder)} & {"%", "\\"}:
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


def script(commands: Sequence[Sequence[str]], resources: Resources, folder: Path, local: bool = False) -> str:
    """The script that `submit` gives to sbatch, with the commands as comments; several commands are a job array.

    It needs the file with the command that `submit` writes. With `local`, for which SLURM is not asked, it has just the
    lines before the commands, and the commands.

    Raises:
      Problem: submitit is not installed.
      Usage: SLURM would write the logs elsewhere than in `folder`.
    """
    _check(folder)
    if local:
        return "\n".join((*resources.setup, *map(shlex.join, commands)))
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
      folder: for logs and notes, in the working directory of the command; see `slurm_state.jobs`.
      local: start them on this machine in the background, as one process each, with the lines before the command, the
        limit, the signal and the returns that SLURM would give them; memory and cores are not limited.

    Raises:
      Problem: there is no SLURM here, or it refuses the job.
      Usage: SLURM would write the logs elsewhere than in `folder`, or jobs of this folder still wait or run.
    """
    package = submitit()
    _check(folder)
    if slurm_state.has_jobs(folder):
        for job in slurm_state.jobs(folder):
            if job.active:
                raise Usage(
                    f"job {job.id} of {folder.parent} has not ended ({job.state}); wait for its end, cancel it, or "
                    "give another --workdir"
                )
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
    slurm_state.write_submission(folder, ids, commands, local)
    return ids
