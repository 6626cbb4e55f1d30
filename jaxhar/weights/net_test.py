"""How a run begins with the weights of another network."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from jaxhar import zoo
from jaxhar.core.family import Family, Transfer
from jaxhar.host.errors import Problem
from jaxhar.training.experiment import Stage
from jaxhar.training.loop_test import Data, Stream, Tiny, TinyConfig, experiment, run
from jaxhar.training.stages import networks
from jaxhar.weights import checkpoint, start
from jaxhar.weights.net import Net


def test_a_run_starts_from_another_ones_weights(tmp_path):
    first = Net(run(tmp_path / "first", experiment(3)))
    begin = dataclasses.replace(experiment(0), init_from=str(tmp_path / "first"))
    second = Net(run(tmp_path / "second", begin, model=Tiny(seed=5)))
    jax.tree.map(np.testing.assert_array_equal, first.params, second.params)
    np.testing.assert_array_equal(first.stats["norm.mean"], second.stats["norm.mean"])
    with pytest.raises(Problem, match=r"does not fit .*first: wrong shape: action.bias is \(4,\), .*\(7,\)"):
        run(tmp_path / "third", begin, model=Tiny(TinyConfig(num_actions=7)))


class WholeConfig(TinyConfig):
    """Of a network whose part `pose` is a whole network of the other kind."""


def test_a_pose_network_starts_the_pose_part_of_an_action_network(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(zoo, "FAMILIES", list(zoo.FAMILIES))
    whole = Transfer(renames=((".*", r"pose.\g<0>"),), fresh=(r"action\..*",), unused=(r"action\..*",))
    zoo.register(Family("whole", WholeConfig, lambda config, *, dtype, rngs: Whole(), transfer=whole))

    class Pose(Tiny):
        def __init__(self, seed=0):
            super().__init__(seed=seed)
            del self.action

        def __call__(self, batch):
            return super().__call__({"frames": batch["frames"]})

    class Whole(nnx.Module):
        def __init__(self):
            self.config, self.pose, self.action = WholeConfig(), Pose(seed=5), nnx.Linear(3, 4, rngs=nnx.Rngs(1))

        def __call__(self, batch):
            preds = self.pose(batch)
            return preds | ({"action": self.action(batch["frames"].mean((1, 2, 3)))[None]} if "action" in batch else {})

    class Stills(Stream):
        def __next__(self):
            return {"stills": super().__next__()["stills"]}

    class StillData(Data):
        actions = ()

        def train_stream(self, seed):
            return Stills(seed, self.size)

    first = Net(run(tmp_path / "first", experiment(1, StillData()), model=Pose()))
    begin = dataclasses.replace(experiment(0), init_from=str(tmp_path / "first"))
    second = Net(run(tmp_path / "second", begin, None, model=Whole()))
    for name in ("conv.kernel", "pose.0.bias"):
        np.testing.assert_array_equal(first.params[name], second.params[f"pose.{name}"])
    np.testing.assert_array_equal(first.stats["norm.mean"], second.stats["pose.norm.mean"])
    assert "first fills part of the network; initial values are kept in action (2 leaves)" in capsys.readouterr().out


def test_an_experiment_says_what_of_a_file_goes_where_and_what_stays_fresh(tmp_path, capsys):
    run(tmp_path / "first", experiment(3))
    first = Net(run(tmp_path / "first", experiment(3)))
    table = Transfer(renames=((r"action\.(.*)", r"pose.0.\1"),), fresh=(r"action\..*", r"pose\..*"), unused=(".*",))
    begin = dataclasses.replace(experiment(0), init_from=str(tmp_path / "first"), init_table=table)
    wide = TinyConfig(num_actions=7)
    second = Net(run(tmp_path / "second", begin, None, model=Tiny(wide, seed=5)))
    np.testing.assert_array_equal(second.params["conv.kernel"], first.params["conv.kernel"])
    assert second.params["action.bias"].shape == (7,)
    assert "initial values are kept in action" in capsys.readouterr().out
    with pytest.raises(Problem, match="has no weights of action .*, and nothing is trained: random values would be"):
        run(tmp_path / "tested", begin, model=Tiny(wide))


def test_positions_of_other_clips_are_told_with_what_to_do(tmp_path):
    trained, tuned = zoo.tiny("mae-st-vit-b"), zoo.tiny("mae-st-vit-b-k400")
    path = tmp_path / "mae.safetensors"
    checkpoint.save_model(path, zoo.create(trained), None, ())
    assert len(start.load(str(path), tuned)[0]) > 20
    for changes in ({"image_size": 64}, {"num_frames": 8}):
        with pytest.raises(Problem, match="mae.safetensors has positions for clips of another size .*--resize"):
            start.load(str(path), dataclasses.replace(tuned, **changes))
    with pytest.raises(Problem, match=r"of another form \(.*pos_embed_spatial.*\) than the network \(encoder.pos"):
        start.load(str(path), dataclasses.replace(tuned, positions="joint"))
    stages = {"pretrain": Stage(1, model=trained), "all": Stage(1)}
    two = dataclasses.replace(experiment(None), model=dataclasses.replace(tuned, image_size=64), stages=stages)
    with pytest.raises(Problem, match="the network before stage 'all' has positions for clips of another size"):
        networks(two, Net(zoo.create(two.model)))
