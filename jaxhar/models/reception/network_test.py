"""The pose network over time, against folding time into the batch; settings that contradict each other."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxhar import port, zoo
from jaxhar.core.heatmaps import DepthGrid
from jaxhar.models.reception.network import PoseNet, ReceptionConfig
from parity_tests.cases import QUICKLY


def folded(net, clips):
    """Poses (B, T, J, 3) and visibilities of the blocks with time folded into the batch, as Keras 2 did it."""
    maps, _ = net.trunk(clips.reshape(-1, *clips.shape[2:]))
    blocks = [net.decode(m)[:2] for m in maps]
    return jax.tree.map(lambda y: y.reshape(*clips.shape[:2], *y.shape[1:]), blocks)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("time", [1, 2, 3, 5, 16])
def test_frames_of_a_3d_network_equal_folding(time, training):
    """Outputs, and in training the running statistics, in double precision."""
    narrowest = {"image_size": 32, "width": 12, "stem_width": 2, "kernel_size": 1, "depth_maps": 4}
    config = dataclasses.replace(zoo.tiny("reception-h36m"), **narrowest)
    with jax.enable_x64(True):
        clips = jnp.asarray(np.random.default_rng(time).uniform(-1, 1, (2, time, 32, 32, 3)))
        net = zoo.create(config, dtype=jnp.float64)
        net.train() if training else net.eval()
        graphdef, state = nnx.split(net)
        state = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), state)

        def both(state):
            ours, oracle = nnx.merge(graphdef, state, copy=True), nnx.merge(graphdef, state, copy=True)
            preds, blocks = ours({"frames": clips}), folded(oracle, clips)
            return (preds, nnx.state(ours)), (blocks, nnx.state(oracle))

        (preds, moved), (blocks, expected) = jax.jit(both, compiler_options=QUICKLY)(state)
        for b, (pose, visible) in enumerate(blocks):
            np.testing.assert_allclose(preds["pose"][b], pose, atol=1e-9)
            np.testing.assert_allclose(preds["visible"][b], visible, atol=1e-9)
        before, moved, expected = port.flatten(state), port.flatten(moved), port.flatten(expected)
        assert training == any(not np.array_equal(before[name], moved[name]) for name in before)
        for name, value in expected.items():
            np.testing.assert_allclose(moved[name], value, atol=1e-7, err_msg=name)


def test_settings():
    config = ReceptionConfig(num_context=0, depth_maps=8, depth_grid="centres", pose_net="v2")
    assert (config.depth_grid, config.pose_net) == (DepthGrid.CENTRES, PoseNet.V2)
    assert (config.dims, config.num_maps, config.pose_stream) == (3, 128, (12, 224))
    assert (ReceptionConfig().dims, ReceptionConfig().num_maps, ReceptionConfig().pose_stream) == (2, 48, (8, 112))
    assert ReceptionConfig(pose_net="v2", pose_stream_width=28).pose_stream == (12, 28)
    for wrong in ({"depth_maps": 8}, {"depth_maps": 0, "num_context": 0}):
        with pytest.raises(ValueError, match="num_context=0"):
            ReceptionConfig(**wrong)
    for wrong in ({"depth_grid": "middle"}, {"pose_net": "v3"}):
        with pytest.raises(ValueError, match="middle|v3"):
            ReceptionConfig(**wrong)
