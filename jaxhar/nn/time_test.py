"""`per_frame` against one batch of all frames and, in training, against a plain vmap over time."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxhar.nn.layers import ConvNorm, Norm, SeparableResidual
from jaxhar.nn.time import per_frame


class Net(nnx.Module):
    def __init__(self, rngs):
        self.entry = ConvNorm(3, 4, 3, rngs=rngs)
        self.residual = SeparableResidual(4, 6, 3, rngs=rngs)

    def __call__(self, images):
        x = self.residual(nnx.relu(self.entry(images)))
        return x, x.mean((1, 2))


def folded(call, net, clips):
    out = call(net, clips.reshape(-1, *clips.shape[2:]))
    return jax.tree.map(lambda y: y.reshape(*clips.shape[:2], *y.shape[1:]), out)


def clips(batch, time, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((batch, time, 6, 5, 3)), jnp.float32)


def vmapped(call, net, clips):
    net = nnx.with_attributes(net, only=nnx.BatchNorm, axis_name="time")
    return nnx.vmap(call, in_axes=(None, 1), out_axes=1, axis_name="time")(net, clips)


def four_steps(over_time, time):
    """Losses of four SGD steps, the last gradients and the running statistics after them."""
    graphdef, params, stats = nnx.split(Net(nnx.Rngs(0)), nnx.Param, nnx.BatchStat)

    @jax.jit
    def step(params, stats, x):
        def loss(params):
            net = nnx.merge(graphdef, params, stats, copy=True)
            maps, means = over_time(Net.__call__, net, x)
            return (maps**2).mean() + jnp.abs(means - 0.3).sum(), nnx.state(net, nnx.BatchStat)

        (value, stats), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradients), stats, value, gradients

    values = []
    for i in range(4):
        params, stats, value, gradients = step(params, stats, clips(2, time, seed=i))
        values.append(value)
    return [*values, *jax.tree.leaves(gradients), *jax.tree.leaves(stats)]


@pytest.mark.parametrize(
    "time", [1, pytest.param(2, marks=pytest.mark.slow), 3, pytest.param(5, marks=pytest.mark.slow), 16]
)
def test_training_steps_equal_folding_and_a_plain_vmap_over_time(time, monkeypatch):
    """The plain vmap has Flax's own normalisation, which gathers over the named axis by `pmean`.

    It sums in another order, and in four steps rounding errors grow where a ReLU is near zero.
    """
    ours = four_steps(per_frame, time)
    for a, b in zip(ours, four_steps(folded, time), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
    monkeypatch.setattr(Norm, "__call__", nnx.BatchNorm.__call__)
    for a, b in zip(ours, four_steps(vmapped, time), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=5e-5)


@pytest.mark.parametrize("time", [1, 2, 3, 5, 16])
def test_evaluation_equals_folding(time):
    net = Net(nnx.Rngs(0))
    net.eval()
    x = clips(2, time)
    for a, b in zip(per_frame(Net.__call__, net, x), folded(Net.__call__, net, x), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def test_the_example_of_the_docs():
    text = (Path(__file__).parents[2] / "docs" / "time.md").read_text()
    space: dict = {}
    for block in text.split("```python\n")[1:]:
        exec(block.split("```")[0], space)
    assert space["joints"].shape == (2, 8, 16, 2)
    # `per_frame` has updated the running averages of `net`, but in training they are not read.
    mine, plain = space["net"].maps.norm.mean[...], space["Joints"](nnx.Rngs(0))
    np.testing.assert_allclose(space["plain"](plain, space["clips"]), space["joints"], rtol=1e-5, atol=1e-6)
    assert np.abs(mine).max() > 0
