"""Order of the predictions, parameter counts, shapes of every kind, and the network in parts."""

import dataclasses
import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxhar import infer, port, zoo
from jaxhar.models.spnet.config import BlockPosition, SPNetConfig
from jaxhar.training.losses import multitask as losses
from parity_tests import cases


def count(shapes, prefix):
    return sum(math.prod(shape) for name, shape in shapes.items() if name.startswith(prefix))


#: Keras' counts of the units to and the blocks at each level, with the way back into the trunk.
UNITS = {(1, 1): 229_536, (1, 2): 379_776, (1, 3): 566_880, (0, 2): 569_664, (0, 1): 382_560, (0, 0): 232_320}
BLOCKS = {
    "spnet-penn": {1: 343_296, 2: 521_280, 3: 736_128, 0: 202_176},
    "spnet-ntu": {1: 357_888, 2: 539_520, 3: 758_016, 0: 213_120},
}
ACTIONS = {
    "spnet-penn": (27_680, [593_580, 641_580, 656_940, 641_580, 626_220, 589_260]),
    "spnet-ntu": (39_360, [984_948, 1_050_228, 1_068_660, 1_050_228, 1_031_796, 909_684]),
}


@pytest.mark.parametrize(("name", "total"), [("spnet-penn", 20_314_088), ("spnet-ntu", 12_713_752)])
def test_parameter_counts_of_the_published_networks(name, total):
    config = zoo.config(name)
    shapes = port.shapes(config)
    replica = 16 if config.pose_replica else 0
    assert count(shapes, "pose.entry.") == 1_314_304
    *positions, last = config.predictions
    for k, position in enumerate(positions):
        width = 288 + 96 * position.level
        assert count(shapes, f"pose.steps.{k}.unit.") == UNITS[position.pyramid % 2, position.level]
        block = BLOCKS[name][position.level] + replica * width * position.action
        assert count(shapes, f"pose.steps.{k}.block.") == block
    assert count(shapes, f"pose.steps.{len(positions)}.block.") == {"spnet-penn": 192_960, "spnet-ntu": 193_536}[name]
    carry, blocks = ACTIONS[name]
    for k, block in enumerate(blocks):
        assert count(shapes, f"actions.{k}.") == block + (carry if k else 0)
    assert count(shapes, "") == total


def test_parameter_count_of_the_pose_network():
    assert count(port.shapes(zoo.config("spnet-pose")), "") == 21_801_472


def test_predictions_go_down_and_up_the_levels():
    config = SPNetConfig(num_pyramids=3, num_levels=4, action_pyramids=(2,), num_actions=(5,), num_predictions=7)
    order = [(1, 1), (1, 2), (1, 3), (2, 2), (2, 1), (2, 0), (3, 1)]
    assert config.predictions == tuple(BlockPosition(p, level, p == 2) for p, level in order)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"action_pyramids": (3,), "num_actions": 4}, "action_pyramids must be some of"),
        ({"image_div": 12}, "image_div"),
        ({"num_levels": 1}, "num_levels"),
        ({"num_predictions": 5}, "num_predictions must lie in 1..4"),
        ({"downsampling": "average"}, "average"),
        ({"num_actions": (4,), "num_pose_features": 8}, "num_pose_features"),
    ],
)
def test_settings_that_make_no_network(changes, reason):
    with pytest.raises(ValueError, match=reason):
        SPNetConfig.tiny(**changes)


def test_pose_networks_and_single_label_sets_are_understood():
    assert SPNetConfig(num_actions=()).num_actions is None
    assert SPNetConfig(num_actions=7).num_actions == (7,)
    assert SPNetConfig.tiny().dims == 2
    assert SPNetConfig.tiny(depth_maps=True).dims == 3


TIMES, JOINTS, SIDES = (1, 2, 3, 5, 10, 17), (13, 16, 17, 20, 21), (64, 128, 200, 256)
# each clip length, number of joints and size of image at least once; pyramids, levels: four levels end in one pixel
SHAPES = [
    (1, 17, 200, 2, 2),
    (2, 13, 64, 1, 2),
    (3, 21, 128, 1, 2),
    (5, 20, 64, 1, 4),
    (10, 16, 256, 1, 2),
    (17, 17, 64, 1, 2),
]


@pytest.mark.parametrize(("time", "joints", "side", "pyramids", "levels"), SHAPES)
def test_forward_and_gradient_have_their_shapes(time, joints, side, pyramids, levels):
    _check(time, joints, side, pyramids, levels, compute=False)


@pytest.mark.parametrize(("time", "joints", "side", "pyramids", "levels"), [(3, 20, 64, 1, 4)])
def test_forward_and_gradient_are_finite(time, joints, side, pyramids, levels):
    _check(time, joints, side, pyramids, levels)


@pytest.mark.slow
@pytest.mark.parametrize(("time", "joints", "side"), [*itertools.product(TIMES, JOINTS, SIDES)])
def test_forward_and_gradient_are_finite_in_every_combination(time, joints, side):
    _check(time, joints, side, 2, 2)


def _check(time: int, joints: int, side: int, pyramids: int, levels: int, compute: bool = True):
    changes = {"num_pyramids": pyramids, "num_levels": levels, "depth_maps": joints == 17, "kernel_size": 1}
    config = SPNetConfig.tiny(image_size=side, num_joints=joints, action_pyramids=(1,), num_actions=3, **changes)
    dims, positions = config.dims, config.predictions
    rng = np.random.default_rng(0)
    frames = rng.uniform(-1, 1, (1, time, side, side, 3)).astype(np.float32)
    batch = {
        "pose": jnp.full((1, time, joints, dims), 0.4),
        "valid": jnp.ones((1, time, joints, dims), bool),
        "visible": jnp.ones((1, time, joints)),
        "action": jnp.array([2]),
    }
    graphdef, params, stats = nnx.split(zoo.create(config), nnx.Param, nnx.BatchStat)

    def gradient(params, stats):
        def loss(params):
            preds = nnx.merge(graphdef, params, stats, copy=True)({**batch, "frames": jnp.asarray(frames)})
            return sum(term.sum() for term in losses.Multitask()(preds, batch).values()), preds

        return jax.grad(loss, has_aux=True)(params)

    run = jax.jit(gradient, compiler_options=cases.QUICKLY) if compute else partial(jax.eval_shape, gradient)
    gradients, preds = run(params, stats)
    assert preds["pose"].shape == (len(positions), 1, time, joints, dims)
    assert preds["visible"].shape == (len(positions), 1, time, joints)
    assert preds["action"].shape == (sum(position.action for position in positions), 1, 3)
    if compute:
        assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves((gradients, preds)))


@pytest.fixture(scope="module")
def network():
    """A seeded network of three predictions with a replica and two sets of labels, and frames for it."""
    config = SPNetConfig.tiny(
        num_levels=2, num_pyramids=3, action_pyramids=(1, 2), num_actions=(5, 3), pose_replica=True
    )
    frames = np.random.default_rng(0).uniform(-1, 1, (2, 3, 64, 64, 3)).astype(np.float32)
    model = port.from_flat(cases.seeded_weights(config), config)
    return model, frames, infer(model, frames)


def test_a_cut_network_makes_the_first_predictions_of_the_whole(network):
    model, frames, whole = network
    cut = port.cut(model, 2)
    assert not any(name.startswith(("pose.steps.1.block.remap", "actions.1.remap")) for name in port.to_flat(cut))
    preds = infer(cut, frames)
    np.testing.assert_allclose(preds["pose"], whole["pose"][:2], atol=1e-6)
    np.testing.assert_allclose(preds["visible"], whole["visible"][:2], atol=1e-6)
    for ours, both in zip(preds["action"], whole["action"], strict=True):
        assert both.shape[0] == 2
        np.testing.assert_allclose(ours, both[: len(ours)], atol=1e-6)


def test_pose_and_action_functions_make_up_the_network(network):
    model, frames, whole = network
    preds, sights = jax.jit(type(model).pose_forward)(model, {"frames": frames})
    np.testing.assert_allclose(preds["pose"], whole["pose"], atol=1e-6)
    assert "action" not in preds
    logits = jax.jit(type(model).action_forward)(model, sights)
    assert [a.shape for a in logits] == [(2, 2, 5), (2, 2, 3)]
    for ours, both in zip(logits, whole["action"], strict=True):
        np.testing.assert_allclose(jax.nn.softmax(ours), both, atol=1e-6)


def test_the_replica_gives_the_action_blocks_joints_of_their_own(network):
    model, frames, whole = network
    seen = jax.jit(type(model).decoupled)(model, {"frames": frames})
    assert [maps.shape for maps in seen["maps"]] == [(2, 3, 4, 4, 16), (2, 3, 8, 8, 16)]
    np.testing.assert_allclose(seen["maps"][1].sum((-3, -2)), 1, atol=1e-5)
    assert seen["pose"].shape == (2, 2, 3, 16, 2) and seen["visible"].shape == (2, 2, 3, 16)
    assert np.abs(seen["pose"] - whole["pose"][:2]).max() > 0.01
    config = dataclasses.replace(model.config, pose_replica=False)
    flat = port.to_flat(model)
    plain = port.from_flat({name: flat[name] for name in port.shapes(config)}, config)
    seen = jax.jit(type(plain).decoupled)(plain, {"frames": frames})
    np.testing.assert_allclose(seen["pose"], whole["pose"][:2], atol=1e-6)


def test_training_on_poses_leaves_the_action_blocks_alone():
    tiny = SPNetConfig.tiny(
        image_size=16, image_div=4, num_pyramids=1, num_levels=2, action_pyramids=(1,), num_actions=4
    )
    model = zoo.create(tiny)
    before = port.to_flat(model)
    preds = model({"frames": jnp.zeros((1, 2, 16, 16, 3))})
    assert preds.keys() == {"pose", "visible"}
    moved = {name for name, leaf in port.to_flat(model).items() if not np.array_equal(leaf, before[name])}
    assert moved and all(name.startswith("pose.") for name in moved)


def test_bfloat16_stays_near_float32():
    config = SPNetConfig.tiny(num_pyramids=1, num_levels=2, action_pyramids=(1,), num_actions=4, growth=16)
    exact, half = zoo.create(config), zoo.create(config, dtype=jnp.bfloat16)
    frames = np.random.default_rng(0).uniform(-1, 1, (1, 3, 64, 64, 3)).astype(np.float32)
    a, b = infer(exact, frames), infer(half, frames)
    assert b["pose"].dtype == b["action"].dtype == np.float32
    np.testing.assert_allclose(a["pose"], b["pose"], atol=0.02)
    np.testing.assert_allclose(a["action"], b["action"], atol=0.02)
