"""The demo of masked autoencoders, smaller: three stages with two networks, stopped and resumed bit for bit."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxhar import port, run
from jaxhar.host.errors import Problem
from jaxhar.host.settings import override
from jaxhar.training import experiment as config
from jaxhar.weights import checkpoint

SMALL = {
    "data.synth.train_sequences": 4,
    "data.synth.test_sequences": 2,
    "data.synth.frames": (24, 24),
    "data.clips_per_batch": 2,
    "data.image_size": 32,
    "train.checkpoint_every": 2,
    "train.eval_every": 2,
    "train.log_every": 1,
    "evals.penn.views": ("single",),
    "optimizer.schedule_options.warmup_steps": 1,
    "stages.pretrain.model.mask_schedule": "random",
    "stages.pretrain.model.mask_ratio_end": 0.5,
    **{f"stages.{name}.steps": 2 for name in ("pretrain", "probe", "all")},
    **{f"stages.{name}.optimizer.schedule_options.warmup_steps": 1 for name in ("probe", "all")},
}
NARROW = {"image_size": 32, "width": 16, "heads": 2, "patch": 16}


def small(**changes):
    words = {
        f"{network}.{key}": value for network in ("model", "stages.pretrain.model") for key, value in NARROW.items()
    }
    words = {key: str(value) for key, value in (SMALL | words | changes).items()}
    return override(config.load(f"{Path(__file__).parent / 'mae.py'}:demo"), words)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("mae")
    run.run(small(), workdir, "train")
    return workdir


def rows(workdir):
    found = [json.loads(row) for row in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "steps_per_second"} for row in found]


@pytest.mark.slow
def test_reconstructions_then_actions_are_learned_and_scored(trained):
    losses = [{key for key in row if key.startswith("clips/")} for row in rows(trained) if "loss" in row]
    assert losses == [{"clips/reconstruction"}] * 2 + [{"clips/action"}] * 4
    scores = [{key for key in row if key.startswith("eval/")} for row in rows(trained) if "loss" not in row]
    assert "eval/reconstruction" in scores[0] and "eval/accuracy/single" in scores[1]
    assert 0 <= json.loads((trained / "results.json").read_text())["scalars"]["accuracy/single"] <= 1


@pytest.mark.slow
def test_a_probe_leaves_the_encoder_as_pretraining_left_it(tmp_path, trained):
    for steps in (1, 2):
        run.run(small(**{"train.steps": steps}), tmp_path, "train")
    pretrained = port.to_flat(checkpoint.load_model(tmp_path)[0])
    assert any(name.startswith("decoder.") for name in pretrained)
    run.run(small(**{"train.steps": 3}), tmp_path, "train")
    probed = port.to_flat(checkpoint.load_model(tmp_path)[0])
    shared = [name for name in probed if name.startswith("encoder.")]
    assert len(shared) > 20 and not any(name.startswith("decoder.") for name in probed)
    for name in shared:
        np.testing.assert_array_equal(probed[name], pretrained[name])
    # stopped three times, within stages and between two networks, and resumed
    run.run(small(), tmp_path, "train")
    once, twice = (port.to_flat(checkpoint.load_model(folder)[0]) for folder in (trained, tmp_path))
    jax.tree.map(np.testing.assert_array_equal, once, twice)
    trains = [[row for row in rows(folder) if "loss" in row] for folder in (trained, tmp_path)]
    assert trains[0] == trains[1]


#: Mistakes in the last stage, and the sentence that tells them.
MISTAKES = {
    "stages.all.losses=focal": "stages.all.losses is 'focal', which is no function of predictions and a batch",
    "model.num_actions=12": "the network of mae-demo has 12 action classes, but the data has 15",
    "stages.all.data={'clip_frames': 16}": r"stage 'all': .* the network reads clips .*, not \(2, 16, 32, 32, 3\)",
    "stages.all.data={'root': '/missing'}": "stage 'all': data.root decides which records are packed; it cannot change",
    "data.root=/missing": "/missing",
    "evals.penn.views=('tripled',)": "the data has no view 'tripled'; it has single, multi",
    "stages.all.optimizer.table=(('trunk.*', 0.0), ('.*', 1.0))": r"stage 'all': the pattern 'trunk.\*' of optimizer",
    "stages.all.optimizer.schedule_options.warmup_steps=50": "stage 'all': optimizer.schedule does not fit a run of 2",
}


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_last_stage_is_told_before_the_first_step(tmp_path, mistake):
    name, _, text = mistake.partition("=")
    with pytest.raises(Problem, match=MISTAKES[mistake]) as told:
        run.run(small(**{name: text}), tmp_path, "train")
    assert "\n" not in str(told.value) and not (tmp_path / "metrics.jsonl").exists()


def test_a_later_network_that_does_not_fit_is_told_before_the_first_step(tmp_path):
    with pytest.raises(Problem, match="does not fit the weights of the network before stage 'probe'"):
        run.run(small(**{"model.width": 32}), tmp_path, "train")
    assert not (tmp_path / "metrics.jsonl").exists()
