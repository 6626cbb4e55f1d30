"""The whole way, as the README tells it: generate, train, evaluate, look, predict; only smaller."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from configs.recipes_test import QUICKLY
from jaxhar.cli import main as cli
from jaxhar.host.errors import Usage
from jaxhar.training import experiment as config

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "penn.py"
SMALL = {
    "model.num_blocks": 1,
    "model.width": 24,
    "model.stem_width": 4,
    "model.kernel_size": 1,
    "model.num_frames": 4,
    "data.clip_frames": 4,
    "data.clips_per_batch": 2,
    "data.stills_per_batch": 2,
    "data.synth.train_sequences": 15,
    "data.synth.test_sequences": 15,
    "data.synth.train_performers": 3,
    "data.synth.test_performers": 2,
    "data.synth.frames": (10, 12),
    "data.synth.size": (96, 72),
    "stages.pose.steps": 2,
    "stages.pose.data.stills_per_batch": 2,
    "stages.heads.steps": 2,
    "stages.heads.data.clips_per_batch": 2,
    "stages.heads.optimizer.schedule_options.warmup_steps": 1,
    "stages.all.steps": 2,
    "stages.all.optimizer.schedule_options.warmup_steps": 1,
}


def launch(*words, workdir):
    command = [sys.executable, ROOT / "launch.py", f"--workdir={workdir}", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **QUICKLY})


def test_demo_end_to_end(tmp_path):
    workdir = tmp_path / "run"
    words = [f"--config={CONFIG}:demo", *(f"--config.{key}={value}" for key, value in SMALL.items())]
    done = launch(*words, "--config.optimizer.schedule=constant_schedule", workdir=workdir)
    assert done.returncode == 1 and "schedule_options" in done.stderr  # what the demo's own schedule was given
    done = launch(*words, "--config.optimizer.schedule_options.warmup_steps=1", workdir=workdir)
    assert done.returncode == 0, done.stderr
    assert "EMBEDDED DEMO" in done.stdout and "JAXHAR_DATA" in done.stdout
    assert "pushup" in done.stdout and "r wrist" in done.stdout
    for name in ("report.html", "results.json", "metrics.jsonl", "pictures/confusion_single.png"):
        assert (workdir / name).stat().st_size > 0
    assert list((workdir / "tensorboard").glob("events*"))
    assert len((workdir / "report.html").read_text()) > 10_000

    photos = next((workdir / "data").glob("synthetic-*/frames/0001"))
    assert cli.main(["predict", str(photos), "--weights", str(workdir), "--out", str(tmp_path / "seen")]) == 0
    found = json.loads((tmp_path / "seen" / "poses.json").read_text())
    assert len(found["frames"]) == len(list(photos.glob("*.jpg")))
    assert found["version"] == 2 and all("persons" in frame for frame in found["frames"])


def test_which_experiment(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXHAR_DATA", str(tmp_path))
    (tmp_path / "Penn_Action").mkdir()
    assert config.load(str(CONFIG)).name == "penn-demo"
    (tmp_path / "MPII").mkdir()
    assert config.load(str(CONFIG)).name == "penn"
    assert config.load(f"{CONFIG}:demo").name == "penn-demo"
    alone = config.load(f"{CONFIG}:alone")
    assert (alone.model.num_blocks, alone.model.num_frames, alone.model.image_size) == (4, 16, 256)
    assert list(config.load(f"{CONFIG}:paper").stages) == ["pose", "heads", "all"]
    with pytest.raises(Usage, match="only :demo, :paper, :alone"):
        config.load(f"{CONFIG}:penn")


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--config=configs/pen.py"], 2, "no config file at configs/pen.py"),
        (["--config=configs/penn.py:demo", "--config.train.step=3"], 2, "did you mean 'steps'?"),
        (["--config=configs/penn.py:demo", "--config.train.steps=many"], 2, "expected int"),
        (["--config=configs/penn.py:alone", "--config.data.root=configs"], 1, "expected"),
    ],
)
def test_mistakes_are_one_sentence(words, code, sentence, tmp_path):
    done = launch(*words, workdir=tmp_path / "run")
    assert done.returncode == code
    assert sentence in done.stderr and "Traceback" not in done.stderr, done.stderr
