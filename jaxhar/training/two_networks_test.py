"""A run whose stages have networks of their own: what the next one takes over, and that it resumes exactly."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from jaxhar import zoo
from jaxhar.core.family import Family, Transfer
from jaxhar.host.errors import Problem
from jaxhar.training.experiment import Stage
from jaxhar.training.loop_test import SGD, Tiny, TinyConfig, experiment, run
from jaxhar.weights import checkpoint
from jaxhar.weights.net import Net


class FirstConfig(TinyConfig):
    """Of the network of the first stage."""


class LastConfig(TinyConfig):
    """Of the network that the run ends with; its action head starts fresh."""


@pytest.fixture(autouse=True)
def families(monkeypatch):
    monkeypatch.setattr(zoo, "FAMILIES", list(zoo.FAMILIES))
    heads = Transfer(fresh=(r"action\..*",), unused=(r"action\..*",))
    zoo.register(Family("first", FirstConfig, lambda config, *, dtype, rngs: Tiny(config, seed=3)))
    zoo.register(Family("last", LastConfig, lambda config, *, dtype, rngs: Tiny(config), transfer=heads))


def two(steps=None, **first):
    stages = {"before": Stage(3, SGD, model=FirstConfig(**{"num_actions": 7, **first})), "after": Stage(4)}
    options = {"best": "", "log_every": 1, "eval_every": 0}
    return dataclasses.replace(experiment(steps, **options), model=LastConfig(), stages=stages)


def test_the_next_network_takes_over_what_its_family_permits(tmp_path, capsys):
    run(tmp_path, two(3), model=Tiny(LastConfig()))
    first = Net(checkpoint.load_model(tmp_path)[0])
    assert type(checkpoint.load_model(tmp_path)[1].config) is FirstConfig and first.params["action.bias"].shape == (7,)
    run(tmp_path, two(4), model=Tiny(LastConfig()))
    last = Net(checkpoint.load_model(tmp_path)[0])
    assert type(checkpoint.load_model(tmp_path)[1].config) is LastConfig
    assert "stage 'after' starts with initial values in action (2 leaves)" in capsys.readouterr().out
    fresh = Tiny(LastConfig())
    for name, near in (("conv.kernel", first.params), ("action.kernel", Net(fresh).params)):
        assert np.abs(last.params[name] - near[name]).max() < 0.011, "one step of Adam away"


def test_a_run_of_two_networks_is_resumed_bit_for_bit(tmp_path):
    whole = run(tmp_path / "once", two(), model=Tiny(LastConfig()))
    for steps in (2, 3, 5, None):  # within the first stage, between both, within the second
        parts = run(tmp_path / "parts", two(steps), model=Tiny(LastConfig()))
    once, twice = Net(whole), Net(parts)
    jax.tree.map(np.testing.assert_array_equal, once.params, twice.params)
    texts = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("once", "parts")]
    rows = [[{**json.loads(row), "steps_per_second": 0} for row in text.splitlines()] for text in texts]
    assert rows[0] == rows[1] and len(rows[0]) == 7


def test_a_network_that_does_not_fit_is_told_before_the_first_step(tmp_path):
    with pytest.raises(Problem, match="does not fit the weights of the network before stage 'after': wrong shape"):
        run(tmp_path, two(num_joints=2), model=Tiny(LastConfig()))
    assert not (tmp_path / "metrics.jsonl").exists()
