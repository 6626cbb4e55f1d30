"""The experiment of the person detector: its parts fit each other, and the demo runs end to end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from configs.recipes_test import QUICKLY
from jaxhar import zoo
from jaxhar.data.generate.film import Synth
from jaxhar.data.mpii import generate as mpii_generate
from jaxhar.host.errors import Usage
from jaxhar.host.settings import override
from jaxhar.training import experiment as config
from jaxhar.training.step import check
from jaxhar.weights.net import Net

CONFIG = Path(__file__).parent / "people.py"
SMALL = {
    "data.synth.train_sequences": "4",
    "data.synth.test_sequences": "2",
    "data.image_size": "32",
    "data.stills_per_batch": "2",
    "model.image_size": "32",
    "model.widths": "(4, 4, 4, 4)",
    "model.blocks": "(1, 1, 1, 1)",
    "model.neck": "4",
    "train.steps": "2",
    "train.log_every": "2",
    "optimizer.schedule_options.warmup_steps": "1",
}


def test_network_losses_and_data_fit(tmp_path):
    experiment = override(config.load(f"{CONFIG}:demo"), SMALL)
    stream = experiment.data.prepare(tmp_path).train_stream(0)
    net = Net(zoo.create(experiment.model))
    assert experiment.optimizer.build(net.params, 2).init(net.params)
    check(net, experiment.losses, next(stream))
    stream.close()


def test_which_experiment():
    full = config.load(str(CONFIG))
    assert full.name == "people" and not full.banner and full.data.root is None
    assert full.model.image_size == full.data.image_size
    assert sum(array.size for array in Net(zoo.create(full.model)).params.values()) < 1_000_000
    with pytest.raises(Usage, match="there is no experiment :papre; there are only :demo, :mpii and :paper"):
        config.load(f"{CONFIG}:papre")


@pytest.mark.slow
def test_demo_end_to_end(tmp_path):
    words = [f"--config={CONFIG}:demo", *(f"--config.{key}={value}" for key, value in SMALL.items())]
    command = [sys.executable, CONFIG.parents[1] / "launch.py", f"--workdir={tmp_path}", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CONFIG.parents[1], env={**os.environ, **QUICKLY})
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert 0 <= results["scalars"]["ap@0.5"] <= 1 and results["examples"] == {"single": 2}


@pytest.mark.slow
def test_photos_of_mpii_and_scenes_are_trained_together(tmp_path):
    mpii_generate.write(tmp_path / "MPII", Synth(6, 2, 3, 2, size=(96, 72)), progress=False)
    small = {key: value for key, value in SMALL.items() if not key.startswith("data.")}
    changes = small | {
        "data.sets.scenes.synth.train_sequences": "4",
        "data.sets.scenes.synth.test_sequences": "2",
        "data.sets.scenes.image_size": "32",
        "data.sets.mpii.image_size": "32",
        "stages.small.steps": "2",
        "stages.large.steps": "2",
        "train.steps": "None",
    }
    words = [f"--config={CONFIG}:mpii", *(f"--config.{key}={value}" for key, value in changes.items())]
    command = [sys.executable, CONFIG.parents[1] / "launch.py", f"--workdir={tmp_path / 'run'}", *words]
    environment = {**os.environ, **QUICKLY, "JAXHAR_DATA": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=CONFIG.parents[1], env=environment)
    assert done.returncode == 0, done.stderr
    for part, count in (("", 2), ("scenes", 2)):
        results = json.loads((tmp_path / "run" / part / "results.json").read_text())
        assert 0 <= results["scalars"]["ap@0.5"] <= 1 and results["examples"] == {"single": count}
