"""Every network at full size: JAX against PyTorch, and bfloat16 against float32. Minutes long."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import torch_ref
from jaxhar import infer, port, zoo
from parity_tests import cases
from parity_tests.tolerances import DOUBLE, HALF, HALF_MAPS, LATE, OUTPUTS, distance
from torch_ref.layers import Norm

pytestmark = pytest.mark.slow


#: Those that find something in pictures; the others are compared on the originals' outputs.
NAMES = [name for name in zoo.names() if {"pose", "maps", "centres"} & {*zoo.config(name).predicts}]


@pytest.fixture(scope="module", params=NAMES)
def network(request):
    """A network, seeded and settled, on a clip of its own length: weights, frames, outputs of both, the torch net.

    Settled: in the pose part the running statistics are those of the clip, as training would leave them. With random
    ones the heat maps triple from block to block, and a soft-argmax over logits in the thousands turns any rounding
    error into another joint.
    """
    name = request.param
    config = zoo.config(name)
    frames = cases.mosaic(config.inputs(1)["frames"].shape, seed=0)
    weights = cases.seeded_weights(config)
    net = torch_ref.create(name)
    state = {k: torch.from_numpy(v) for k, v in port.to_torch(weights, config).items()}
    assert not net.load_state_dict(state, strict=False).unexpected_keys
    norms = [m for m in getattr(net, "pose", net).modules() if isinstance(m, Norm | nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(_settle) for norm in norms]
    torch_ref.infer(net, frames)
    for hook in hooks:
        hook.remove()
    weights = port.from_torch({k: v.numpy() for k, v in net.state_dict().items()}, config)
    ours, twins = infer(port.from_flat(weights, config), frames), torch_ref.infer(net, frames)
    return SimpleNamespace(name=name, config=config, weights=weights, frames=frames, net=net, ours=ours, twins=twins)


def _settle(norm: Norm | nn.BatchNorm2d, inputs: tuple[torch.Tensor]):
    norm.running_mean.copy_(inputs[0].mean((0, 2, 3)))
    norm.running_var.copy_(inputs[0].var((0, 2, 3), unbiased=False))


def test_jax_and_torch_give_the_same(network):
    far = {key: distance(network.ours[key], value) for key, value in network.twins.items()}
    print(network.name, far)
    assert far.keys() == network.ours.keys()
    assert far.pop("action", 0) < OUTPUTS
    if {"maps", "centres"} & far.keys():  # a joint, a box is a cell: of two that are equally high either may be found
        far = {key: value for key, value in far.items() if key not in ("pose", "boxes", "scores")}
    assert max(far.values()) < LATE.get(network.name, OUTPUTS), far


def test_bfloat16_gives_nearly_the_same_pose(network):
    """The pose, which is the last prediction; those before it move no more than by half a grey level of noise.

    SPNet's coarse maps of 4 x 4 and 8 x 8 are that sensitive with random weights: rounding nothing but the weights to
    bfloat16 moves their predictions by up to 0.04, rounding nothing but the pictures by 0.02.
    """
    half = infer(port.from_flat(network.weights, network.config, dtype=jnp.bfloat16), network.frames)
    for key in {"maps", "centres"} & half.keys():  # joints and boxes are cells, others where two are nearly as high
        assert distance(half[key], network.ours[key]) < HALF_MAPS
        return
    far = np.abs(half["pose"] - network.ours["pose"])
    sign = np.sign(np.random.default_rng(0).standard_normal(network.frames.shape))
    noisy = network.frames + (sign * 0.5 / 127.5).astype(np.float32)
    noise = np.abs(infer(port.from_flat(network.weights, network.config), noisy)["pose"] - network.ours["pose"]).max()
    print(network.name, "in bfloat16: last", far[-1].max(), "any", far.max(), "by noise", noise)
    assert far[-1].max() < HALF
    assert far.max() < max(HALF, noise)


def test_spnet_in_double_precision():
    """Equal in float64; in float32 each is as near to that as its noise allows, which grows from pyramid to pyramid."""
    name = "spnet-penn"
    config, weights, net = zoo.config(name), cases.seeded_weights(zoo.config(name)), torch_ref.create(name)
    net.load_state_dict({k: torch.from_numpy(v) for k, v in port.to_torch(weights).items()})
    frames = cases.seeded_batch(config, 1, 2)["frames"]
    singles = infer(port.from_flat(weights, config), frames), torch_ref.infer(net, frames)
    with torch.no_grad():
        exact = net.eval().double()(torch.from_numpy(frames).double().permute(0, 1, 4, 2, 3))
    exact = {key: value.numpy() for key, value in exact.items()} | {"action": exact["action"].softmax(-1).numpy()}
    with jax.enable_x64(True):
        wide = {path: leaf.astype(np.float64) for path, leaf in weights.items()}
        double = infer(port.from_flat(wide, config, dtype=jnp.float64), frames)
    early = 2 * (config.num_levels - 1)  # the first two pyramids
    for key, value in exact.items():
        assert double[key].dtype == np.float64
        assert distance(double[key], value) < DOUBLE, key
        for single in singles:
            assert distance(single[key], value) < LATE[name], key
            if key != "action":
                assert distance(single[key][:early], value[:early]) < OUTPUTS, key
