"""The experiment for joints of one's own: its parts fit, and a run starts from weights, end to end."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from flax import nnx

from jaxhar import zoo
from jaxhar.core.skeleton import COCO, PA16
from jaxhar.data.coco.settings import Coco
from jaxhar.data.generate.film import Synth
from jaxhar.evaluation import evaluate
from jaxhar.host.errors import Usage
from jaxhar.models.baseline.network import BaselineConfig
from jaxhar.models.reception.network import ReceptionConfig
from jaxhar.training import experiment as config
from jaxhar.training import loop
from jaxhar.training.losses.maps import Maps
from jaxhar.training.step import check
from jaxhar.weights import checkpoint
from jaxhar.weights.net import Net

CONFIG = Path(__file__).parent / "own_joints.py"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder in COCO's format, and the weights of two tiny networks."""
    out = tmp_path_factory.mktemp("joints")
    Coco().generate(out / "mine", Synth(4, 2, 2, 1, size=(96, 72), clutter=0.0))
    small = ReceptionConfig.tiny(image_size=32, num_blocks=1, width=16)
    checkpoint.save_model(out / "regression", zoo.create(small, rngs=nnx.Rngs(0)), PA16, ())
    return out


@pytest.mark.slow
def test_a_run_starts_from_weights_and_ends_with_both_figures(root, tmp_path):
    made = config.load(f"{CONFIG}:{root / 'mine'},{root / 'regression'}")
    schedule = replace(made.train, steps=2, eval_every=0, checkpoint_every=0, best="", loggers=())
    optimizer = replace(made.optimizer, schedule_options={"warmup_steps": 1})
    data = replace(made.data, cache=str(tmp_path / "cache"), stills_per_batch=2)
    short = replace(made, train=schedule, optimizer=optimizer, data=data)
    prepared = short.data.prepare(tmp_path)
    model = loop.run(short, tmp_path / "run", zoo.create(short.model), prepared, progress=False)
    figures = evaluate.run(model, prepared, made.evals["own"], progress=False).scalars()
    assert {"pck@0.2", "oks_ap", "oks_ap@0.5", "oks_ap/flip"} <= figures.keys()
    json.dumps(figures)


def test_each_kind_of_network_has_its_loss(root, tmp_path):
    made = config.load(f"{CONFIG}:{root / 'mine'},{root / 'regression'}")
    assert made.data.skeleton == PA16 and made.data.image_size == (32, 32)
    assert made.init_from == str(root / "regression")
    stream = replace(made.data, cache=str(tmp_path / "cache"), stills_per_batch=2).prepare(tmp_path).train_stream(0)
    check(Net(zoo.create(made.model)), made.losses, next(stream))
    stream.close()
    network = replace(
        zoo.config("simple-baseline-coco"), depth=18, width=4, deconv_filters=(4, 4, 4), image_size=(64, 32)
    )
    assert isinstance(network, BaselineConfig)
    checkpoint.save_model(tmp_path / "maps", zoo.create(network, rngs=nnx.Rngs(0)), COCO, ())
    made = config.load(f"{CONFIG}:{root / 'mine'},{tmp_path / 'maps'}")
    assert made.losses == Maps(weight=1 / 34) and made.data.skeleton == COCO and made.data.image_size == (64, 32)
    stream = replace(made.data, cache=str(tmp_path / "cache"), stills_per_batch=2).prepare(tmp_path).train_stream(0)
    check(Net(zoo.create(network)), made.losses, next(stream))
    stream.close()


def test_the_demos_parts_fit(tmp_path):
    demo = config.load(f"{CONFIG}:demo")
    assert "EMBEDDED DEMO" in demo.banner and demo.init_from is None
    data = replace(demo.data, synth=Synth(4, 2, 2, 1, size=(96, 72)), image_size=32, stills_per_batch=2)
    model = replace(demo.model, image_size=32, width=24, stem_width=4, num_blocks=1, kernel_size=1)
    stream = data.prepare(tmp_path).train_stream(0)
    check(Net(zoo.create(model)), demo.losses, next(stream))
    stream.close()


def test_mistakes(tmp_path):
    with pytest.raises(Usage, match="the folder is missing"):
        config.load(str(CONFIG))


def test_what_lies_around_a_box_is_hidden_on_request(root):
    where = f"{CONFIG}:{root / 'mine'},{root / 'regression'}"
    assert config.load(where).data.augment.fixed_around is None
    changes = {"data.augment_stills.around": "(0, 0.05, None)", "data.augment.fixed_around": "0.03"}
    data = config.load(where, changes).data
    assert data.augment_stills.around == (0.0, 0.05, None) and data.augment.fixed().around == 0.03
    for text in ("(-1,)", "()", "('a',)", "0.1"):
        with pytest.raises(Usage, match="data.augment_stills.around="):
            config.load(where, {"data.augment_stills.around": text})
