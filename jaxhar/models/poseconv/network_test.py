"""PoseConv3D beyond what every entry of the zoo is tested for."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

import torch_ref
from jaxhar import infer, port, zoo
from jaxhar.core.volume import COCO_LIMBS
from jaxhar.host.errors import Problem
from jaxhar.models.poseconv.network import PoseConvConfig
from jaxhar.models.poseconv.rgbpose import RGBPoseConfig
from parity_tests import cases

TINY = PoseConvConfig(base=4, blocks=(1, 1, 1), size=(12, 8), eval_size=(8, 12), limbs=COCO_LIMBS, num_actions=3)


def test_the_volume_has_the_size_of_training_or_of_evaluation():
    model = zoo.create(TINY)
    batch = {key: np.abs(value) for key, value in cases.seeded_inputs(TINY, 1, 2).items()}
    assert model.volume(batch).shape == (1, 2, 12, 8, 17)
    model.eval()
    assert model.volume(batch).shape == (1, 2, 8, 12, 17)


def test_mirrored_volumes_are_those_of_the_twin():
    weights = cases.seeded_weights(TINY)
    model = port.from_flat(weights, TINY)
    given = {key: np.abs(value) for key, value in cases.seeded_inputs(TINY, 2, 3).items()}
    given["mirrored"] = np.array([False, True])
    volume = np.asarray(model.volume(given))
    plain = np.asarray(model.volume({**given, "mirrored": np.array([False, False])}))
    np.testing.assert_array_equal(volume[0], plain[0])
    np.testing.assert_array_equal(volume[1], plain[1][:, :, ::-1, list(TINY.partners)])
    net = torch_ref.create("poseconv3d-ntu60-joint", **asdict(TINY))
    net.load_state_dict({name: torch.from_numpy(array) for name, array in port.to_torch(weights, TINY).items()})
    np.testing.assert_allclose(torch_ref.infer(net, given)["action"], infer(model, given)["action"], atol=1e-5)


def test_settings_that_make_no_sense_are_named():
    with pytest.raises(ValueError, match="name joint 16, but the joints are 0 to 12"):
        replace(TINY, num_joints=13)
    with pytest.raises(ValueError, match="blocks must be three numbers"):
        replace(TINY, blocks=(1, 1))
    for name in ("base", "num_actions", "num_persons", "num_frames", "size", "eval_size"):
        with pytest.raises(ValueError, match=f"{name} must be 1 or more, not 0"):
            replace(TINY, **{name: 0})
    with pytest.raises(ValueError, match="size must be 1 or more, not .8, 0."):
        replace(TINY, size=(8, 0))
    for config in (TINY, RGBPoseConfig()):
        for name in ("sigma", "epsilon", "dropout"):
            with pytest.raises(ValueError, match=f"{name} must be a number from .* not nan"):
                replace(config, **{name: float("nan")})
    for change in ({"rgb_base": 0}, {"pose_blocks": (1, 0, 1)}, {"num_persons": 0}, {"image_size": -32}):
        with pytest.raises(ValueError, match="must be 1 or more, not"):
            replace(RGBPoseConfig(), **change)


def test_other_joints_are_refused_with_a_sentence():
    with pytest.raises(ValueError, match="is missing"):
        infer(zoo.create(TINY), {"points": np.zeros((1, 2, 1, 17, 2), np.float32)})
    kinect = {"points": np.zeros((1, 2, 1, 25, 2), np.float32), "score": np.ones((1, 2, 1, 25), np.float32)}
    with pytest.raises(ValueError, match="17 joints in 2 coordinates, not [(]1, 2, 1, 25, 2[)]"):
        infer(zoo.create(TINY), kinect)
    with pytest.raises(Problem, match="backbone.conv1.conv.kernel"):
        port.from_flat(cases.seeded_weights(TINY), replace(TINY, limbs=COCO_LIMBS[:5]))
