"""The command `jaxhar slurm` as a user types it; no SLURM is needed."""

import json
import shlex
import sys

import pytest

from jaxhar.cli import main as cli

pytest.importorskip("submitit", reason="submitit is not installed: pip install 'jaxhar[slurm]'")


def run(*words):
    return cli.main(["slurm", *map(str, words)])


def told(text):
    """The commands in a script."""
    return [shlex.split(line[1:]) for line in text.splitlines() if line.startswith("#   ")]


def test_an_experiment_becomes_a_script(capsys):
    words = ("configs/penn.py", "--nodes", 2, "--gpus-per-node", 8, "--time", "4:00:00", "--config.train.seed=3")
    assert run(*words, "--dry-run", "--sbatch", "exclusive", "--sbatch=--constraint=a b") == 0
    text = capsys.readouterr().out
    assert "#SBATCH --exclusive\n" in text and "#SBATCH --constraint='a b'\n" in text
    assert "#SBATCH --time=240" in text and "#SBATCH --ntasks-per-node=8" in text
    assert "/runs/penn-demo/slurm/%j_0_log.out" in text
    (command,) = told(text)
    assert command[1:] == "-u launch.py --config=configs/penn.py --config.train.seed=3 --workdir=runs/penn-demo".split()


def test_a_command_in_shares_becomes_an_array(tmp_path, capsys):
    predict = ("predict", "films/a b.mp4", "--weights", "penn", "--out", tmp_path)
    assert run("--shards", 3, "--time", 30, "--at-once", 2, "--dry-run", "--", *predict) == 0
    text = capsys.readouterr().out
    assert "#SBATCH --array=0-2%2" in text and f"{tmp_path}/slurm/%A_%a_0_log.out" in text
    start = "-u -m jaxhar.cli.main predict".split()
    rest = ["films/a b.mp4", "--weights", "penn", "--out", str(tmp_path)]
    assert [words[1:] for words in told(text)] == [[*start, *rest, f"--shard={k}/3"] for k in (1, 2, 3)]
    sweep = ("sweep", "configs/penn.py", "--config.train.seed=1,2", "--out", tmp_path)
    assert run("--shards", 2, "--time", 30, "--gpus-per-node", 1, "--dry-run", "--", *sweep) == 0
    commands = told(text := capsys.readouterr().out)
    assert "#SBATCH --gpus-per-node=1" in text
    assert [words[5:] for words in commands] == [
        ["configs/penn.py", "--set=train.seed=1,2", "--out", str(tmp_path), f"--shard={k}/2"] for k in (1, 2)
    ]


def test_what_needs_no_submitit_is_told_without_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    words = ("configs/penn.py", "--time", 5, "--dry-run", "--workdir", tmp_path, "--setup", "module load x")
    assert run(*words, "--local") == 0
    setup, command = capsys.readouterr().out.splitlines()
    assert setup == "module load x"
    assert shlex.split(command)[1:] == f"-u launch.py --config=configs/penn.py --workdir={tmp_path}".split()
    assert run(*words) == 1
    told = capsys.readouterr()
    assert told.out.splitlines() == [command] and "pip install 'jaxhar[slurm]'" in told.err


def test_jobs_of_a_command_that_writes_a_file_have_a_folder_beside_it(tmp_path, capsys):
    poses = ("--", "data", "skeletons", "videos", "--weights", "penn", "--out", tmp_path / "poses.pkl")
    assert run("--shards", 2, "--time", 5, "--dry-run", *poses) == 0
    assert f"--output={tmp_path}/poses.pkl.jobs/slurm/%A_%a_0_log.out" in capsys.readouterr().out
    assert not [*tmp_path.iterdir()]


def test_what_is_wrong_is_told_before_anything_is_submitted(tmp_path, capsys, monkeypatch):
    predict = ("--", "predict", "a.mp4", "--weights", "penn", "--out", "out")
    wrong = {
        (): "name an experiment",
        ("status",): "name an experiment",
        ("configs/penn.py",): "--time is missing",
        ("configs/penn.py", "--time", "4h"): "--time '4h' is not a time of SLURM",
        ("configs/penn.py", "--time", 5, "--shards", 2): "--shards is for a command after --",
        ("configs/penn.py", "--time", 5, "--config.train.step=3"): "did you mean 'steps'",
        ("configs/none.py", "--time", 5): "configs/none.py",
        ("--time", 5, "--shards", 0, *predict): "--shards is 0",
        ("--time", 5, "--nodes", 2, *predict): "predict is one process; share its work by --shards N",
        ("--time", 5, "--", "zoo"): "give --workdir",
        ("configs/penn.py", "--time", 5, "--local", "--nodes", 2): "--local is one process",
        ("--time", 5, "--local", "--shards", 3, "--at-once", 2, *predict): "--local starts all 3 shares",
        ("configs/penn.py", "--time", 5, "--sbatch=--signal=INT"): "--sbatch signal cannot be set so",
        ("configs/penn.py", "--time", 5, "--workdir", "a%j"): "SLURM takes % and",
        ("status", tmp_path): "has no job",
    }
    for words, sentence in wrong.items():
        assert run(*words) in (1, 2), words
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and sentence in error, error
    with pytest.raises(SystemExit):
        run("--time", 5, "--", "predict", "a.mp4", "--wights", "penn")
    monkeypatch.chdir(tmp_path)
    assert run("configs/penn.py", "--time", 5) == 2
    assert "there is no launch.py in this folder" in capsys.readouterr().err


def test_status_shows_job_step_and_log(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (folder := tmp_path / "slurm").mkdir()
    (folder / "jobs.json").write_text(json.dumps({"ids": ["7"], "commands": [["a"]]}))
    (folder / "7.json").write_text(
        json.dumps({"state": "running", "code": None, "starts": 3, "host": "n1", "time": "2026-11-29 10:00:00"})
    )
    (folder / "7_0_log.out").write_text("first\ntrain: 1/9\rtrain: 2/9\n")
    (tmp_path / "metrics.jsonl").write_text('{"step": 40, "loss": 1.0}\n')
    assert run("status", tmp_path, "--lines", 1) == 0
    assert capsys.readouterr().out.splitlines() == [
        "job 7: running at 2026-11-29 10:00:00, begun 3 times, on n1",
        f"  {folder}/7_0_log.out:",
        "    train: 2/9",
        "metrics up to step 40",
    ]
