"""Jobs without SLURM: the script, and a job that submitit's local executor stops and starts again."""

import os
import shlex
import sys
import time

import pytest

from jaxhar.host import slurm, slurm_state
from jaxhar.host.errors import Problem, Usage
from jaxhar.host.slurm_resources import Resources

pytest.importorskip("submitit", reason="submitit is not installed: pip install 'jaxhar[slurm]'")


def test_the_script_asks_for_what_was_given(tmp_path):
    resources = Resources(240, "ntu", 2, gpus=8, partition="a100", others={"constraint": "h100"}, setup=("ml x",))
    text = slurm.script([["python", "launch.py", "--config=c.py"]], resources, tmp_path)
    for line in (
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks-per-node=8",
        "#SBATCH --gpus-per-node=8",
        "#SBATCH --time=240",
        "#SBATCH --signal=USR2@120",
        "#SBATCH --requeue",
        "#SBATCH --open-mode=append",
        "#SBATCH --constraint=h100",
        "ml x",
        "#   python launch.py --config=c.py",
    ):
        assert line in text.splitlines(), text
    assert not list(tmp_path.iterdir())
    # What a user wrote stays within quotes, and comments within their lines.
    odd, flags = "a b'c$HOME\nrm x\rrm y", Resources(5, others={"exclusive": True}, comment="it's $HOME")
    text = slurm.script([["echo", odd]], flags, tmp_path / "b'c $HOME")
    assert "#SBATCH --exclusive" in text.splitlines() and not [line for line in text.splitlines() if line[:2] == "rm"]
    ran = [line for line in text.splitlines() if line.startswith("srun")]
    assert shlex.split(ran[0])[-1] == str(tmp_path / "b'c $HOME")
    for name in ("50%j", "a\\b", "a\nb"):
        for call in (slurm.script, slurm.submit):
            with pytest.raises(Usage, match="logs cannot lie in .*; give another --workdir"):
                call([["a"]], flags, tmp_path / name)
    shares = slurm.script([["a"], ["b"], ["c"]], Resources(5, at_once=2), tmp_path)
    assert "#SBATCH --array=0-2%2" in shares and "--gpus" not in shares and "%A_%a" in shares


def test_a_job_saves_before_its_limit_goes_on_and_ends(tmp_path):
    code = (
        "import os, signal, sys, time; from pathlib import Path; saved = Path(sys.argv[1])\n"
        "assert os.environ['WORDS'] == 'a b'\n"
        "def stop(*_):\n"
        "    saved.write_text('saved'); print('saved', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGUSR1, stop)\n"
        "print('goes on' if saved.exists() else 'begins', flush=True)\n"
        "time.sleep(0 if saved.exists() else 60)\n"
        "sys.exit(3)\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "state")]
    resources = Resources(1, signal_delay=58, setup=("export WORDS='a b'", "# a comment"))
    (job,) = slurm.submit([words], resources, tmp_path / "slurm", local=True)
    deadline = time.monotonic() + 55
    while "ended" not in (standing := slurm_state.jobs(tmp_path / "slurm")[0]).state:
        assert time.monotonic() < deadline, standing
        time.sleep(0.1)
    assert standing.id == job and standing.starts == 2 and "ended with code 3" in standing.state
    said = standing.log.read_text()
    assert [word for word in said.splitlines() if word in ("begins", "saved", "goes on")] == [
        "begins",
        "saved",
        "goes on",
    ]
    assert "Traceback" not in said


def test_without_slurm_or_submitit_there_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Problem, match="there is no SLURM here .srun is not found.; --dry-run prints the script"):
        slurm.submit([["true"]], Resources(5), tmp_path / "slurm")
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(Problem, match=r"pip install 'jaxhar\[slurm\]'"):
        slurm.submitit()


def test_no_second_job_while_one_waits_or_runs(tmp_path, monkeypatch):
    (queue := tmp_path / "squeue").write_text("#!/bin/sh\necho '7_0|COMPLETED'; echo '7_1|PENDING'\n")
    queue.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (folder := tmp_path / "run" / "slurm").mkdir(parents=True)
    slurm_state.write_submission(folder, ["7_0", "7_1"], [["a"], ["b"]], local=False)
    before = (folder / "jobs.json").read_bytes()
    with pytest.raises(Usage, match="job 7_1 of .*run has not ended .PENDING.; .* give another --workdir"):
        slurm.submit([["true"]], Resources(5), folder)
    assert [path.name for path in folder.iterdir()] == ["jobs.json"] and (folder / "jobs.json").read_bytes() == before
    slurm_state.write_submission(folder, [str(os.getpid())], [["a"]], local=True)
    with pytest.raises(Usage, match=f"job {os.getpid()} of .* has not ended .starting."):
        slurm.submit([["true"]], Resources(5), folder)
    queue.write_text("#!/bin/sh\necho '7_0|COMPLETED'; echo '7_1|CANCELLED by 0'\n")
    slurm_state.write_submission(folder, ["7_0", "7_1"], [["a"], ["b"]], local=False)
    with pytest.raises(Problem, match="there is no SLURM here"):
        slurm.submit([["true"]], Resources(5), folder)
