"""Gradients, statistics and random numbers with and without computing blocks again; memory with it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxhar import zoo
from jaxhar.host.errors import Problem
from jaxhar.nn.recompute import Blocks, recomputing
from jaxhar.training.losses.maps import Maps
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.losses.reconstruction import Reconstruction
from jaxhar.training.step import TrainState, make_step
from jaxhar.weights.net import Net


class Layer(nnx.Module):
    """A product, batch normalisation and dropout, in two outputs."""

    def __init__(self, rngs):
        self.linear = nnx.Linear(16, 16, rngs=rngs)
        self.norm = nnx.BatchNorm(16, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x, shift):
        for _ in range(3):
            x = jnp.tanh(self.linear(x))
        y = self.dropout(self.norm(x))
        return (y if shift is None else y + shift), y.mean(-1)


class Layers(Blocks):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.blocks = nnx.List(Layer(rngs) for _ in range(2))

    def __call__(self, batch):
        x, means = batch["x"], []
        for number, block in enumerate(self.blocks):
            x, mean = self.through(block, x, 0.1 * x if number % 2 else None)
            means.append(mean)
        return {"x": x, "mean": jnp.stack(means)}


def steps(model, losses, batch):
    """States and metrics after a step without and with recomputing, and the temporary memory of both steps."""
    found = []
    for recompute in (False, True):
        net, rule = Net(model), optax.sgd(0.1)
        step = make_step(net, losses, rule, recompute=recompute)
        state = TrainState(net.params, net.stats, rule.init(net.params), jnp.int32(0))
        compiled = step.trace(state, {"clips": batch}).lower().compile()
        values = compiled(jax.tree.map(jnp.copy, state), {"clips": batch})
        found.append((*values, compiled.memory_analysis().temp_size_in_bytes))
    return found


def assert_same(plain, again):
    keys = plain[0].stats.keys()
    assert keys == again[0].stats.keys()
    for name, array in (plain[0].params | plain[0].stats).items():
        other = (again[0].params | again[0].stats)[name]
        if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
            array, other = jax.random.key_data(array), jax.random.key_data(other)
        np.testing.assert_allclose(other, array, rtol=2e-5, atol=2e-6, err_msg=name)
    for name, value in plain[1].items():
        np.testing.assert_allclose(again[1][name], value, rtol=1e-5, err_msg=name)


def losses(preds, batch):
    return {"x": (preds["x"] ** 2).mean(-1), "mean": preds["mean"].sum(0)}


def test_a_step_is_the_same_and_needs_less_memory():
    batch = {"x": jax.random.normal(jax.random.key(0), (512, 16))}
    plain, again = steps(Layers(), losses, batch)
    assert_same(plain, again)
    assert any(name.endswith("dropout.rngs.count") and count == 1 for name, count in again[0].stats.items())
    assert again[2] < 0.9 * plain[2]  # more with more blocks


def test_only_networks_of_blocks_can():
    assert recomputing(Layers()) and not recomputing(Layer(nnx.Rngs(0)))
    with pytest.raises(Problem, match="Layer has no blocks to compute again"):
        Net(Layer(nnx.Rngs(0))).recomputing()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mae-st-vit-b", "reception-penn", "spnet-penn", "simple-baseline-mpii"])
def test_networks_of_the_zoo(name):
    from benchmarks.networks import training_batch  # which imports torch

    config = zoo.tiny(name)
    if name.startswith("mae"):
        config = dataclasses.replace(config, depth=3)
        frames = jax.random.uniform(jax.random.key(0), config.inputs(2)["frames"].shape)
        plain, again = steps(zoo.create(config), Reconstruction(config.patching), {"frames": frames})
    else:
        loss = Maps() if "maps" in config.predicts else Multitask()
        plain, again = steps(zoo.create(config), loss, training_batch(config, 2, 1 if "maps" in config.predicts else 2))
    assert_same(plain, again)
    assert again[2] < plain[2]
