"""deephar's SPNet files: settings inferred from them, and files that do not fit."""

import dataclasses

import numpy as np
import pytest

from jaxhar import port, zoo
from jaxhar.host.errors import Problem
from jaxhar.models.spnet.config import SPNetConfig
from jaxhar.weights import keras
from jaxhar.weights.keras.file import LEAF
from parity_tests import cases

KERAS_LEAF = {ours: theirs for theirs, ours in LEAF.items()}


def groups_of(config: SPNetConfig, shapes: dict):
    """What a file of a network with these settings and leaves holds, all its weights zero."""
    groups = {}
    for name, kinds in keras.layout(config).items():
        ((layer, (target,)),) = kinds.items()
        if isinstance(target, str):
            leaves = {leaf[len(target) + 1 :]: shape for leaf, shape in shapes.items() if leaf.startswith(f"{target}.")}
            target = {KERAS_LEAF[leaf]: np.broadcast_to(np.float32(0), shape) for leaf, shape in leaves.items()}
        groups[name] = {layer: target}
    return groups


# a pose network's file does not tell the features of action blocks it lacks
POSE = {"num_pose_features": 128, "num_visual_features": 128}
TINY = {
    "2-D": SPNetConfig.tiny(**POSE),
    "one pyramid of four levels": SPNetConfig.tiny(num_pyramids=1, num_levels=4, growth=12, kernel_size=5, **POSE),
    "quarter resolution": SPNetConfig.tiny(image_div=4, num_joints=20, image_size=200, **POSE),
    "sixteenth resolution": SPNetConfig.tiny(image_div=16, depth_maps=True, **POSE),
    "strided": SPNetConfig.tiny(num_pyramids=3, downsampling="conv", depth_maps=True, num_joints=17, **POSE),
    "action with replica": SPNetConfig.tiny(num_actions=(4,), action_pyramids=(2,), num_frames=8, pose_replica=True),
    "three label sets": SPNetConfig.tiny(num_actions=(4, 9, 2), num_frames=8, num_pose_features=40, depth_maps=True),
    "action now and then": SPNetConfig.tiny(num_actions=5, num_pyramids=4, action_pyramids=(1, 4), num_frames=8),
    "one action block": SPNetConfig.tiny(num_actions=5, action_pyramids=(2,), num_levels=2, num_frames=8),
    "cut": SPNetConfig.tiny(num_actions=5, action_pyramids=(2,), num_frames=8, num_predictions=3),
}


@pytest.mark.parametrize("kind", TINY)
def test_settings_are_read_off_a_file_and_it_has_a_place_for_every_leaf(kind):
    config = TINY[kind]
    shapes = port.shapes(config)
    groups = groups_of(config, shapes)
    assert keras.infer_config(groups) == config
    flat, complaints = keras.assign(groups, config)
    assert not complaints
    assert {name: array.shape for name, array in flat.items()} == shapes


@pytest.mark.parametrize(
    ("name", "groups", "constants"),
    [("spnet-penn", 397, 227_328), ("spnet-ntu", 246, 121_176), ("spnet-pose", 381, 242_352)],
)
def test_files_of_the_published_networks(name, groups, constants):
    """Groups and stored constants as Keras counts them, the settings of the zoo inferred from the file."""
    config = zoo.config(name)
    file = groups_of(config, port.shapes(config))
    assert len(file) == groups
    grids = [weights for name, group in file.items() if name.endswith(("_x", "_y")) for weights in group.values()]
    assert sum(array.size for weights in grids for array in weights.values()) == constants
    assert keras.infer_config(file) == config


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    path = cases.write_h5(cases.groups("sp_ntu_small"), tmp_path_factory.mktemp("h5") / "weights.hdf5")
    return keras.read(path)


def test_settings_of_deephars_files(golden, tmp_path):
    """All but the length of the clips, which leaves no trace."""
    assert keras.infer_config(golden) == dataclasses.replace(cases.config("sp_ntu_small"), num_frames=8)
    penn = cases.write_h5(cases.groups("sp_penn_small"), tmp_path / "weights.hdf5")
    assert keras.infer_config(keras.read(penn)) == cases.config("sp_penn_small")


def test_the_number_of_the_first_action_block_does_not_matter(golden):
    """A network built after another in the same process goes on counting."""
    config = cases.config("sp_ntu_small")

    def later(name):
        return name.replace("act2_", "act9_").replace("act1_", "act8_")

    renamed = {later(name): {later(layer): weights for layer, weights in g.items()} for name, g in golden.items()}
    assert keras.infer_config(renamed) == keras.infer_config(golden)
    flat, complaints = keras.assign(renamed, config)
    expected, _ = keras.assign(golden, config)
    assert not complaints and flat.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(flat[name], array, err_msg=name)


def without(name):
    return lambda groups: {n: g for n, g in groups.items() if n != name}


def wrong_grid(groups):
    ((layer, weights),) = groups["up2_pb0_xy_x"].items()
    return groups | {"up2_pb0_xy_x": {layer: weights | {"depthwise_kernel": weights["depthwise_kernel"] + 0.01}}}


BROKEN = {
    "a group too few": (without("up2_pb1_depthmaps_conv1"), "group up2_pb1_depthmaps_conv1 is missing"),
    "an action block too few": (without("act2_action_pred_conv2h1"), "group act2_action_pred_conv2h1 is missing"),
    "a layer that leads nowhere": (
        lambda g: g | {"act2_action_pred_conv3": {"act2_action_pred_conv3": {"kernel": np.zeros((3, 3, 75, 192))}}},
        "left over: group act2_action_pred_conv3",
    ),
    "another soft-argmax grid": (wrong_grid, "up2_pb0_xy_x/up2_pb0_xy_x/depthwise_kernel is not the soft-argmax"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_files_that_do_not_fit(fault, golden):
    change, reason = BROKEN[fault]
    complaints = keras.assign(change(golden), cases.config("sp_ntu_small"))[1]
    assert len(complaints) == 1 and complaints[0].startswith(reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda g: {}, "no prediction blocks"),
        (lambda g: {"Stem": {}, "rBlock1": {}}, "not a file of an SPNet"),
        (without("res0_conv2"), "it has no res0_conv2/kernel"),
        (without("up2_uu0_action_r0_bn1"), "cannot tell .* which pyramids .* its 2 action blocks"),
    ],
)
def test_settings_cannot_be_read_off_other_files(change, reason, golden):
    with pytest.raises(Problem, match=reason):
        keras.infer_config(change(golden))


def test_other_settings_are_refused(golden):
    config = cases.config("sp_ntu_small")
    for changes, reason in (
        ({"image_size": 256}, "has shape"),
        ({"pose_replica": True}, "heatmaps_conv1_replica is missing"),
        ({"num_actions": (60,)}, "left over: group act1_action_pred_conv2h1"),
        ({"num_pyramids": 3}, "group dp3_du1_r0_bn1 is missing"),
    ):
        complaints = keras.assign(golden, dataclasses.replace(config, **changes))[1]
        assert any(reason in complaint for complaint in complaints), (changes, complaints[:3])
