"""The demo of one's own actions: its parts fit each other, and it tells two handstands apart in people never seen."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jaxhar import zoo
from jaxhar.data.generate.body import SKELETON
from jaxhar.data.generate.film import Synth, plan, shoot
from jaxhar.data.generate.handstands import HANDSTANDS
from jaxhar.training import experiment as config
from jaxhar.training.step import check
from jaxhar.weights.net import Net

CONFIG = Path(__file__).parent / "finetune.py"


def test_the_demos_parts_fit(tmp_path):
    demo = config.load(f"{CONFIG}:demo")
    assert demo.then is not None and demo.then.__name__ == "handstands" and "--turn 180" in demo.banner
    assert {-180, 0, 165} <= {*demo.data.augment_stills.angles}
    data = replace(demo.data, synth=Synth(4, 2, 2, 1, size=(96, 72)), image_size=32, stills_per_batch=2)
    model = replace(demo.model, image_size=32, width=24, stem_width=4, num_blocks=1, kernel_size=1)
    stream = data.prepare(tmp_path).train_stream(0)
    check(Net(zoo.create(model)), demo.losses, next(stream))
    stream.close()


def test_handstands_are_upside_down_and_differ_in_hips_and_knees():
    synth = Synth(12, 0, 6, 0, frames=(6, 8), size=(96, 72), clutter=0.0)
    bends = {name: [] for name in HANDSTANDS}
    for planned in plan(synth, tuple(HANDSTANDS)):
        footage, _ = shoot(synth, planned)
        hip, ankle, wrist, head, thorax, pelvis = (
            footage.joints[:, SKELETON.index(name)]
            for name in ("l_hip", "l_ankle", "l_wrist", "head", "thorax", "pelvis")
        )
        assert (wrist[:, 1] > head[:, 1]).all() and (pelvis[:, 1] < thorax[:, 1]).all()
        trunk = np.linalg.norm(thorax - pelvis, axis=-1)
        bends[planned.action].append(float(np.mean((hip - ankle)[:, 1] / trunk)))
    assert min(bends["straight"]) > max(bends["bent"])


@pytest.mark.slow
def test_the_demo_reaches_its_floor(tmp_path):
    command = [sys.executable, CONFIG.parents[1] / "launch.py", f"--config={CONFIG}:demo", f"--workdir={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CONFIG.parents[1], env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "finetune" / "results.json").read_text())["scalars"]
    assert figures["accuracy/network"] >= 0.9 and {"accuracy/baseline", "accuracy/network/f1"} <= figures.keys()
    assert "logistic regression on the joints: accuracy" in done.stdout and "F1" in done.stdout
