"""Any clip length, joint count and image size: forward and gradient of the action networks, and with them the pose."""

import dataclasses
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxhar import zoo
from jaxhar.training.losses import multitask as losses
from parity_tests.cases import QUICKLY

TIMES, JOINTS, SIDES = (1, 2, 3, 5, 10, 17), (13, 16, 17, 20, 21), (64, 128, 200, 256)
#: Every value once, odd ones with odd and with even ones.
COVERING = [
    ("reception-ntu", 1, 17, 128),
    ("reception-ntu", 2, 21, 64),
    ("reception-ntu", 5, 16, 200),
    ("reception-ntu", 10, 20, 64),
    ("reception-penn", 3, 13, 72),
    ("reception-penn", 17, 16, 64),
]
#: Of these the values are computed.
COMPUTED = [("reception-ntu", 5, 16, 72), ("reception-penn", 3, 13, 72)]


def forward_and_gradient(name, time, joints, side, compute=True):
    narrowest = {"num_blocks": 1, "width": 12, "kernel_size": 1, "num_actions": 3}
    config = dataclasses.replace(zoo.tiny(name), image_size=side, num_joints=joints, num_frames=time, **narrowest)
    rng = np.random.default_rng(0)
    frames = jnp.asarray(rng.uniform(-1, 1, (2, time, side, side, 3)), jnp.float32)
    batch = {
        "pose": jnp.full((2, time, joints, config.dims), 0.4),
        "valid": jnp.ones((2, time, joints, config.dims), bool),
        "visible": jnp.ones((2, time, joints)),
        "action": jnp.array([0, 2]),
    }
    graphdef, params, stats = nnx.split(zoo.create(config), nnx.Param, nnx.BatchStat)

    def gradient(params, stats, frames):
        def loss(params):
            preds = nnx.merge(graphdef, params, stats, copy=True)({**batch, "frames": frames})
            return sum(term.sum() for term in losses.Multitask()(preds, batch).values()), preds

        return jax.grad(loss, has_aux=True)(params)

    run = jax.jit(gradient, compiler_options=QUICKLY) if compute else partial(jax.eval_shape, gradient)
    gradients, preds = run(params, stats, frames)
    assert preds["pose"].shape == (1, 2, time, joints, config.dims)
    assert preds["visible"].shape == (1, 2, time, joints)
    assert preds["action"].shape == (9, 2, 3)
    if compute:
        assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves((gradients, preds)))


@pytest.mark.parametrize(("name", "time", "joints", "side"), COVERING)
def test_forward_and_gradient_have_their_shapes(name, time, joints, side):
    forward_and_gradient(name, time, joints, side, compute=False)


@pytest.mark.parametrize(("name", "time", "joints", "side"), COMPUTED)
def test_forward_and_gradient_are_finite(name, time, joints, side):
    forward_and_gradient(name, time, joints, side)


@pytest.mark.slow
@pytest.mark.parametrize(("time", "joints", "side"), list(itertools.product(TIMES, JOINTS, SIDES)))
def test_forward_and_gradient_are_finite_for_every_shape(time, joints, side):
    forward_and_gradient("reception-ntu", time, joints, side)
