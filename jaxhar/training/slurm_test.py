"""A training of two processes under a real SLURM, which is stopped in every way and put back into the queue."""

import shutil
import subprocess
import time

import pytest

from jaxhar.host import slurm, slurm_state
from jaxhar.host.slurm_resources import Resources
from jaxhar.training.loop_test import command, rows, shared_compilation  # noqa: F401
from jaxhar.training.processes_test import alone, metrics

pytestmark = pytest.mark.slow


def said(*words):
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def cluster():
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'jaxhar[slurm]'")
    if shutil.which("sinfo") is None or subprocess.run(["sinfo"], capture_output=True).returncode:
        pytest.skip("no SLURM answers here: start one, and set SLURM_CONF")


def test_metrics_of_a_job_that_is_stopped_five_times_are_those_of_one_left_alone(tmp_path, cluster, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    run, options = tmp_path / "run", {"steps": 30, "slow": 500}
    alone(tmp_path / "whole", 2, steps=30)
    (job,) = slurm.submit([command(run, **options)], Resources(9, tasks=2, signal_delay=60), run / "slurm")
    try:
        for stop in range(5):
            until(lambda: slurm_state.jobs(run / "slurm")[0].starts > stop, job, run)  # noqa: B023
            written = len(rows(run)) if stop else 0
            until(lambda: (run / "metrics.jsonl").exists() and len(rows(run)) > written, job, run)  # noqa: B023
            # With a warning, as before the limit; and as one that is preempted is stopped: by SIGTERM, and then killed.
            said(*(["scontrol", "requeue", job] if stop % 2 else ["scancel", "--signal=USR2", job]))
        until(lambda: slurm_state.jobs(run / "slurm")[0].state.startswith("COMPLETED"), job, run)
    finally:
        subprocess.run(["scancel", job], capture_output=True)
    (standing,) = slurm_state.jobs(run / "slurm")
    assert standing.starts == 6 and "ended with code 0" in standing.state
    assert metrics(run) == metrics(tmp_path / "whole")


def until(condition, job, run):
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline, said("scontrol", "show", "job", job) + log(run)
        time.sleep(0.2)


def log(run):
    return "".join(path.read_text()[-3000:] for path in run.glob("slurm/*_log.out"))
