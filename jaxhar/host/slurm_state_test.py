import json
import os
import socket

import pytest

from jaxhar.host import slurm_state
from jaxhar.host.errors import Problem


def test_how_jobs_stand_without_slurm(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    folder = tmp_path / "slurm"
    with pytest.raises(Problem, match="has no job: .*jobs.json is missing"):
        slurm_state.jobs(folder)
    folder.mkdir()
    (folder / "jobs.json").write_text(json.dumps({"ids": ["7"]}))
    assert slurm_state.jobs(folder)[0].state == "unknown to SLURM"
    note = {"state": "running", "code": None, "starts": 1, "host": socket.gethostname(), "time": "today"}
    here, gone = os.getpid(), 1 << 30
    slurm_state.write_submission(folder, [str(here), str(gone)], [["a"], ["b"]], local=True)
    assert [(job.state, job.active) for job in slurm_state.jobs(folder)] == [
        ("starting", True),
        ("gone before it began", False),
    ]
    for job in (here, gone):
        (folder / f"{job}.json").write_text(json.dumps(note))
    assert [(job.state, job.active) for job in slurm_state.jobs(folder)] == [
        ("running at today", True),
        ("gone, its process has ended (running at today)", False),
    ]
    (folder / "jobs.json").write_text("{}")
    with pytest.raises(Problem, match="are damaged .*; remove jobs.json in it and submit again"):
        slurm_state.jobs(folder)
