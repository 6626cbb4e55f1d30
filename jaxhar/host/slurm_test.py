"""Jobs without SLURM: times, options, the script, and a job that submitit's local executor stops and starts again."""

import json
import os
import shlex
import socket
import sys
import time

import pytest

from jaxhar.host import slurm
from jaxhar.host.errors import Problem, Usage

pytest.importorskip("submitit", reason="submitit is not installed: pip install 'jaxhar[slurm]'")


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90", 90),
        ("1:30", 2),
        ("4:00:00", 240),
        ("0:59:01", 60),
        ("2-0", 2880),
        ("1-12:30", 2190),
        ("1-00:00:01", 1441),
    ],
)
def test_times_are_those_of_slurm(text, minutes):
    assert slurm.minutes(text) == minutes


@pytest.mark.parametrize("text", ["", "4h", "1:2:3:4", "1-", "-5", "1.5", "1-2:3:4:5", "0", "0-0:00"])
def test_other_times_are_one_sentence(text):
    with pytest.raises(Usage, match=r"^--time .*(days-hours|e\.g\. 4:00:00)"):
        slurm.minutes(text)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"nodes": 0}, "--nodes is 0; it must be at least 1"),
        ({"gpus": -1}, "--gpus-per-node is -1"),
        ({"cpus": 0}, "--cpus-per-task is 0"),
        ({"gpus": 8, "tasks": 4}, "--tasks-per-node 4 does not fit 8 GPUs"),
        ({"signal_delay": 600}, "--signal-delay-s 600 must lie within the 600 seconds of --time"),
        ({"requeues": -1}, "--max-requeues is -1"),
        ({"memory": "64 gigabytes"}, "--mem '64 gigabytes' is not a size"),
        ({"comment": "a\n#SBATCH --uid=0"}, "has more than one line"),
        ({"others": {"constraint": "a\rb"}}, "has more than one line"),
        ({"others": {"qos=\n#": "a"}}, "is no option of sbatch"),
        ({"others": {"ntasks-per-node": "4"}}, "jaxhar slurm sets it by --tasks-per-node"),
        ({"others": {"no-requeue": True}}, "because jaxhar slurm sets it$"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(wrong, sentence):
    with pytest.raises(Usage, match=sentence):
        slurm.Resources(10, **wrong)


def test_the_script_asks_for_what_was_given(tmp_path):
    resources = slurm.Resources(240, "ntu", 2, gpus=8, partition="a100", others={"constraint": "h100"}, setup=("ml x",))
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
    odd, flags = "a b'c$HOME\nrm x\rrm y", slurm.Resources(5, others={"exclusive": True}, comment="it's $HOME")
    text = slurm.script([["echo", odd]], flags, tmp_path / "b'c $HOME")
    assert "#SBATCH --exclusive" in text.splitlines() and not [line for line in text.splitlines() if line[:2] == "rm"]
    ran = [line for line in text.splitlines() if line.startswith("srun")]
    assert shlex.split(ran[0])[-1] == str(tmp_path / "b'c $HOME")
    for name in ("50%j", "a\\b", "a\nb"):
        for call in (slurm.script, slurm.submit):
            with pytest.raises(Usage, match="logs cannot lie in .*; give another --workdir"):
                call([["a"]], flags, tmp_path / name)
    shares = slurm.script([["a"], ["b"], ["c"]], slurm.Resources(5, at_once=2), tmp_path)
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
    resources = slurm.Resources(1, signal_delay=58, setup=("export WORDS='a b'", "# a comment"))
    (job,) = slurm.submit([words], resources, tmp_path / "slurm", local=True)
    deadline = time.monotonic() + 55
    while "ended" not in (standing := slurm.jobs(tmp_path / "slurm")[0]).state:
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


def test_no_slurm_and_no_job_are_sentences(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Problem, match="there is no SLURM here .srun is not found.; --dry-run prints the script"):
        slurm.submit([["true"]], slurm.Resources(5), tmp_path / "slurm")
    with pytest.raises(Problem, match="has no job: .*jobs.json is missing"):
        slurm.jobs(tmp_path / "slurm")
    (tmp_path / "slurm" / "jobs.json").write_text(json.dumps({"ids": ["7"]}))
    assert slurm.jobs(tmp_path / "slurm")[0].state == "unknown to SLURM"
    note = {"state": "running", "code": None, "starts": 1, "host": socket.gethostname(), "time": "today"}
    for job, said in ((os.getpid(), "running at today"), (1 << 30, "gone, its process has ended (running at today)")):
        (tmp_path / "slurm" / "jobs.json").write_text(json.dumps({"ids": [str(job)], "local": True}))
        (tmp_path / "slurm" / f"{job}.json").write_text(json.dumps(note))
        assert slurm.jobs(tmp_path / "slurm")[0].state.startswith(said)
    (tmp_path / "slurm" / "jobs.json").write_text("{}")
    with pytest.raises(Problem, match="are damaged"):
        slurm.jobs(tmp_path / "slurm")
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(Problem, match=r"pip install 'jaxhar\[slurm\]'"):
        slurm.submitit()
