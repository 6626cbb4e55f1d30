"""Files that an earlier version wrote (commit f3a94f7, before its modules moved) are read, ported and gone on with.

old_files/ holds a model folder of an SPNet with two sets of labels, a pose network as .safetensors and .pth, and two
training runs of it on generated data: one of 4 steps to its end, one stopped after step 2, in its second stage.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from jaxhar import infer, port, zoo
from jaxhar.cli import main as cli
from jaxhar.core.skeleton import PA16, PA17
from jaxhar.data import transforms
from jaxhar.data.generate.film import Synth
from jaxhar.data.penn.settings import Penn
from jaxhar.host.errors import Problem
from jaxhar.models.reception.network import ReceptionConfig
from jaxhar.training import loop
from jaxhar.training.experiment import Experiment, Stage, Train
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.optim import Optimizer, keras_rmsprop, muon
from jaxhar.weights import checkpoint, forms

OLD = Path(__file__).parent / "old_files"
POSE = ReceptionConfig(image_size=32, num_blocks=1, width=4, stem_width=1, num_context=0, kernel_size=3)


def test_a_model_folder():
    model, meta = checkpoint.load_model(OLD / "folder")
    assert meta.skeleton == PA17 and meta.actions == (("a", "b", "c"), ("d", "e"))
    assert zoo.family(meta.config).name == "spnet" and meta.config.classes == (3, 2)
    action = infer(model, np.zeros((1, 2, 32, 32, 3), np.float32))["action"]
    assert [array.shape[-1] for array in action] == [3, 2]


@pytest.mark.parametrize("name", ["pose.safetensors", "pose.pth", "finished", "stopped"])
def test_a_network_in_every_form(name, tmp_path):
    options = ["--model", "reception-mpii"] if name.endswith(".pth") else []
    for setting in ("image_size=32", "num_blocks=1", "width=4", "stem_width=1", "num_context=0", "kernel_size=3"):
        options += ["--set", setting] if options else []
    assert cli.main(["port", str(OLD / name), "--out", str(tmp_path / "m"), *options]) == 0
    model, meta = checkpoint.load_model(tmp_path / "m")
    assert meta == checkpoint.Meta(PA16, (), POSE)
    if name != "stopped":
        found, finished = port.to_flat(model), port.to_flat(forms.load(OLD / "finished").model)
        for path, array in finished.items():
            np.testing.assert_array_equal(found[path], array, err_msg=path)


def experiment(**changes):
    table = ((r"stem\..*", 0.0), (".*", 1.0))
    plain = transforms.NONE
    synth = Synth(
        train_sequences=3, test_sequences=1, train_performers=2, test_performers=1, frames=(4, 4), size=(48, 40)
    )
    data = Penn(
        synth=synth,
        augment=plain,
        augment_stills=plain,
        clip_frames=2,
        image_size=32,
        clips_per_batch=0,
        stills_per_batch=2,
    )
    fields = {
        "name": "old",
        "model": POSE,
        "data": data,
        "losses": Multitask(pose=1.0, visible=0.01, action=0.0),
        "optimizer": Optimizer(muon, learning_rate=1e-3),
        "train": Train(steps=None, checkpoint_every=1, keep_last=1, log_every=1),
        "stages": {"first": Stage(1), "second": Stage(3, Optimizer(keras_rmsprop, learning_rate=1e-3, table=table))},
    }
    return Experiment(**fields | changes)


def rows(workdir):
    found = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "steps_per_second"} for row in found]


def test_a_run_goes_on_and_a_finished_one_is_loaded(tmp_path):
    """Its settings name functions by the modules that they were in, and lack those that came later."""
    for name in ("stopped", "finished"):
        shutil.copytree(OLD / name, tmp_path / name)
        prepared = experiment().data.prepare(tmp_path / name)
        model = zoo.create(POSE, rngs=nnx.Rngs(0))
        model = loop.run(experiment(), tmp_path / name, model, prepared, progress=False)
        expected = port.to_flat(forms.load(OLD / "finished").model)
        for path, array in port.to_flat(model).items():
            np.testing.assert_allclose(array, expected[path], atol=1e-5, err_msg=path)
    ours, theirs = rows(tmp_path / "stopped"), rows(OLD / "finished")
    assert [row["step"] for row in ours] == [1, 2, 3, 4]
    for a, b in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys()
        np.testing.assert_allclose(list(a.values()), list(b.values()), rtol=1e-3)


def test_other_settings_than_the_old_runs_are_refused(tmp_path):
    shutil.copytree(OLD / "stopped", tmp_path / "run")
    other = experiment(optimizer=Optimizer(keras_rmsprop, learning_rate=1e-3))
    prepared = other.data.prepare(tmp_path / "run")
    with pytest.raises(Problem, match=r"optimizer.rule was .*muon\(.*, now optax.*rmsprop"):
        loop.run(other, tmp_path / "run", zoo.create(POSE), prepared, progress=False)
