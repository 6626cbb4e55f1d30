"""deephar's outputs, reproduced by the JAX and PyTorch networks from deephar's weight files."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import torch_ref
from jaxhar import infer, port
from parity_tests import cases
from parity_tests.tolerances import GOLDEN, HALF, OUTPUTS, distance

pytestmark = pytest.mark.usefixtures("optimised")  # what users get is compared


@pytest.mark.parametrize("case", cases.CASES)
def test_both_reproduce_deephars_outputs(case, tmp_path):
    config, frames, expected = cases.config(case), cases.frames(case), cases.expected(case)
    model = port.load_keras(cases.write_h5(cases.groups(case), tmp_path / "weights.h5"), config)
    ours = infer(model, frames)
    assert ours.keys() == expected.keys()
    for key, value in expected.items():
        assert distance(ours[key], value) < GOLDEN[case], key

    net = torch_ref.create(cases.CASES[case][0], **cases.overrides(case))
    torch_ref.save(port.to_torch(port.to_flat(model)), tmp_path / "twin.pth")
    net.load_state_dict(torch.load(tmp_path / "twin.pth", weights_only=True))
    twins = torch_ref.infer(net, frames)
    assert twins.keys() == expected.keys()
    for key, value in expected.items():
        assert distance(twins[key], value) < GOLDEN[case], key
        assert distance(ours[key], twins[key]) < max(OUTPUTS, GOLDEN[case]), key


@pytest.mark.parametrize(
    "case",
    [
        "pe2d_small",
        pytest.param("pe3d_small", marks=pytest.mark.slow),
        pytest.param("ar_penn_small", marks=pytest.mark.slow),
        "ar_ntu_small",
        "sp_penn_small",
    ],
)
def test_bfloat16_gives_the_same_action_and_nearly_the_same_pose(case, tmp_path):
    config, expected = cases.config(case), cases.expected(case)
    flat, _ = port.read_keras(cases.write_h5(cases.groups(case), tmp_path / "weights.h5"), config)
    half = infer(port.from_flat(flat, config, dtype=jnp.bfloat16), cases.frames(case))
    assert half["pose"].dtype == np.float32
    assert np.abs(half["pose"] - expected["pose"]).max() < HALF
    if "action" in expected:
        np.testing.assert_array_equal(half["action"].argmax(-1), expected["action"].argmax(-1))
