"""Tests of runs in several stages, on the small network of loop_test."""

import dataclasses
import subprocess

import jax
import numpy as np
import pytest

from jaxhar.host.errors import Problem, Usage
from jaxhar.training.experiment import Stage, Train
from jaxhar.training.loop_test import command, environment, rows, run, shared_compilation, staged
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.optim import Optimizer
from jaxhar.training.stages import table
from jaxhar.weights.net import Net

__all__ = ["shared_compilation"]  # a fixture that serves every test here


@pytest.fixture(scope="module")
def whole_stages(tmp_path_factory):
    """A run of stages that is never interrupted."""
    workdir = tmp_path_factory.mktemp("stages")
    run(workdir, staged())
    return workdir


@pytest.mark.parametrize(
    "crash", [pytest.param(3, marks=pytest.mark.slow), 5, pytest.param(7, marks=pytest.mark.slow), 10]
)
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


def test_a_mistake_in_the_data_of_a_later_stage_is_told_first_and_may_be_mended(tmp_path):
    wrong = {**staged().stages, "all": dataclasses.replace(staged().stages["all"], data={"siez": 2})}
    with pytest.raises(Usage, match="the data of stage 'all': .*siez"):
        run(tmp_path, dataclasses.replace(staged(), stages=wrong))
    assert not (tmp_path / "metrics.jsonl").exists()
    begin = dataclasses.replace(staged(), train=dataclasses.replace(staged().train, steps=4))
    run(tmp_path, begin)
    other = {**staged().stages, "all": dataclasses.replace(staged().stages["all"], data={"size": 2})}
    run(tmp_path, dataclasses.replace(staged(), stages=other))
    assert rows(tmp_path)[-1]["step"] == 12
    with pytest.raises(Problem, match="stages.all.data.size was 2, now 6"):
        third = {**staged().stages, "all": dataclasses.replace(staged().stages["all"], data={"size": 6})}
        run(tmp_path, dataclasses.replace(staged(), stages=third))


@dataclasses.dataclass(frozen=True)
class Maps:
    """A loss for what the network does not predict."""

    def __call__(self, preds, batch):
        return {"maps": preds["maps"].mean((0, 2, 3, 4))}


@dataclasses.dataclass(frozen=True)
class Silent:
    def __call__(self, preds, batch):
        return {}


@dataclasses.dataclass(frozen=True)
class Covered:
    """A loss for what the data does not have."""

    def __call__(self, preds, batch):
        return {"cover": batch["cover"].mean((1, 2, 3))}


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        (Maps(), "KeyError: 'maps'"),
        (Covered(), "the network or the losses need 'cover', which a batch of stills lacks; it has frames"),
        (Silent(), "have no term for a batch of"),
    ],
)
def test_losses_of_a_later_stage_are_tried_before_the_first_step(tmp_path, losses, words):
    stages = {**staged().stages, "all": dataclasses.replace(staged().stages["all"], losses=losses)}
    with pytest.raises(Problem, match=f"stage 'all': .*{words}"):
        run(tmp_path, dataclasses.replace(staged(), stages=stages))
    assert not (tmp_path / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"losses": "focal"}, "^stages.all.losses is 'focal', which is no function of predictions and a batch"),
        (
            {"optimizer": Optimizer(table=(("(", 0.0), (".*", 1.0)))},
            r"^stage 'all': '\(' in optimizer.table is no regular",
        ),
        ({"optimizer": Optimizer(table=(("trunk.*", 0.0), (".*", 1.0)))}, r"^stage 'all': the pattern 'trunk.\*' of"),
        ({"optimizer": Optimizer(options={"b9": 1})}, "^stage 'all': rmsprop does not fit optimizer.options"),
        ({"data": {"size": -2}}, "^stage 'all': a batch has -2 examples; .* must be 0 or more"),
    ],
)
def test_mistakes_in_the_last_stage_are_one_sentence_before_the_first_step(tmp_path, fields, words):
    stages = {**staged().stages, "all": dataclasses.replace(staged().stages["all"], **fields)}
    with pytest.raises(Problem, match=words) as told:
        run(tmp_path, dataclasses.replace(staged(), stages=stages))
    assert "\n" not in str(told.value) and not (tmp_path / "metrics.jsonl").exists()


def test_the_table_of_stages_says_steps_rates_and_what_is_frozen():
    head, *lines = table(staged())
    assert head.split() == ["stage", "steps", "rule", "rate", "frozen", "data"]
    assert [line.split()[0] for line in lines] == list(staged().stages)
    assert "1 to 4" in lines[0] and "nothing" in lines[0]
    assert any("pose" in line.split("  ")[-2] or "conv" in line for line in lines[1:])
