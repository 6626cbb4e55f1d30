"""Tests of runs in several stages, on the small network of train_test."""

import dataclasses
import subprocess

import jax
import numpy as np
import pytest

from jaxhar.host.errors import Problem
from jaxhar.training.experiment import Stage, Train
from jaxhar.training.loop_test import command, environment, rows, run, shared_compilation, staged
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.optim import Optimizer
from jaxhar.weights.net import Net

__all__ = ["shared_compilation"]  # a fixture that serves every test here


@pytest.fixture(scope="module")
def whole_stages(tmp_path_factory):
    """A run of stages that is never interrupted."""
    workdir = tmp_path_factory.mktemp("stages")
    run(workdir, staged())
    return workdir


@pytest.mark.parametrize("crash", [3, 5, 7, 10])
def test_stages_killed_in_the_middle_or_between_go_on_bit_for_bit(tmp_path, whole_stages, crash):
    killed = subprocess.run(command(tmp_path, stages=1, crash=crash), env=environment(), timeout=120)
    assert killed.returncode == 9
    model = run(tmp_path, staged())
    assert (tmp_path / "metrics.jsonl").read_bytes() == (whole_stages / "metrics.jsonl").read_bytes()
    jax.tree.map(np.testing.assert_array_equal, Net(model).params, Net(run(whole_stages, staged())).params)


def test_stages_have_losses_rates_and_frozen_parts_of_their_own(tmp_path, whole_stages):
    written = [row for row in rows(whole_stages) if "loss" in row]
    assert [row["step"] for row in written] == [2, 4, 6, 7, 8, 10, 12]
    assert [row["learning_rate"] for row in written] == pytest.approx([0.01] * 2 + [0.05] * 5)
    assert all((row["clips/action"] == 0) == (row["step"] <= 4) for row in written)
    saved = {}
    for step in (0, 4, 7, 12):
        exp = dataclasses.replace(staged(), train=dataclasses.replace(staged().train, steps=step))
        saved[step] = Net(run(tmp_path, exp)).params
    same = {
        (name, a, b): np.array_equal(saved[a][name], saved[b][name])
        for name in saved[0]
        for a, b in ((0, 4), (4, 7), (7, 12))
    }
    for (name, first, _), equal in same.items():
        assert equal == (name.startswith("action") if first == 0 else first == 4 and not name.startswith("action"))


def test_stages_are_settings_of_the_run(tmp_path):
    run(tmp_path, dataclasses.replace(staged(), train=Train(steps=2)))
    shorter = {**staged().stages, "pose": Stage(3, losses=Multitask(action=0.0), data={"size": 2})}
    with pytest.raises(Problem, match="stages.pose.steps was 4, now 3"):
        run(tmp_path, dataclasses.replace(staged(), stages=shorter))
    with pytest.raises(Problem, match="train.steps is 13, but the stages have 12"):
        run(tmp_path, dataclasses.replace(staged(), train=Train(steps=13)))
    nothing = {**staged().stages, "all": Stage(5, Optimizer(table=(("no such leaf", 1.0), (".*", 1.0))))}
    with pytest.raises(Problem, match="'no such leaf' of optimizer.table decides no parameter"):
        run(tmp_path / "other", dataclasses.replace(staged(), stages=nothing))
