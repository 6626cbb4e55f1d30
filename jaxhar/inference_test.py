"""A network is taken apart once, and again when it changes; parity_tests/entries_test.py cuts many frames."""

import gc
import weakref

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxhar import infer, inference, zoo
from jaxhar.core.pixels import Pixels
from jaxhar.inference import prepare
from jaxhar.nn.layers import Conv, SeparableNorm
from jaxhar.nn.linear import Linear


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        infer(zoo.create(zoo.tiny("reception-mpii")), np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("frames", "sentence"),
    [
        (
            np.full((1, 64, 64, 3), 128.0),
            "values from 128 to 128; give uint8 pixels from 0 to 255, or floats from -1 to 1",
        ),
        (np.full((1, 64, 64, 3), 128), "type int64 are not understood; give uint8"),
        (np.full((1, 64, 64, 3), 128, np.uint16), "type uint16 are not understood"),
        (np.full((1, 64, 64, 3), np.nan, np.float32), "frames holds values that are not finite"),
        (
            np.zeros((1, 32, 48, 3), np.uint8),
            r"reads frames of 64x64 pixels \(height x width\), not 32x48; .*jaxhar.crop",
        ),
        (np.zeros((1, 64, 64, 4), np.uint8), r"not \(1, 64, 64, 4\)"),
    ],
)
def test_frames_that_are_not_understood_are_refused(frames, sentence):
    model = zoo.create(zoo.tiny("reception-mpii"))
    with pytest.raises(ValueError, match=sentence):
        infer(model, frames)


def test_floats_from_0_to_1_are_told():
    with pytest.warns(UserWarning, match="no pixel is below 0"):
        infer(zoo.create(zoo.tiny("reception-mpii")), np.full((1, 64, 64, 3), 0.5))


def test_bounds_of_pixels():
    assert Pixels.SIGNED.bounds() == (-1, 1)
    np.testing.assert_allclose(Pixels.IMAGENET.bounds(), (-2.1179, 2.64), atol=1e-4)


class Net(nnx.Module):
    def __init__(self, dtype):
        self.first = SeparableNorm(3, 4, 3, dtype=dtype, rngs=nnx.Rngs(0))
        self.rest = nnx.List([Conv(4, 2, dtype=dtype, rngs=nnx.Rngs(1))])
        self.last = Linear(2, 2, dtype=dtype, rngs=nnx.Rngs(2))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_only_the_kernels_of_products_change_their_type(dtype):
    net = Net(dtype)
    _, state = prepare(net)
    types = {".".join(map(str, path)): variable[...].dtype for path, variable in nnx.to_flat_state(state)}
    assert {name for name, found in types.items() if found == jnp.bfloat16} == (
        {"first.conv.pointwise.kernel", "rest.0.kernel", "last.kernel"} if dtype == jnp.bfloat16 else set()
    )
    assert all(leaf.dtype == jnp.float32 for leaf in (net.rest[0].kernel[...], net.first.conv.pointwise.kernel[...]))
    assert not net.first.norm.use_running_average


def change_a_value(net):
    net.first.norm.bias[...] = jnp.ones(4)


def change_a_variable(net):
    net.rest[0].kernel = nnx.Param(jnp.ones((1, 1, 4, 2)))


def change_a_setting(net):
    net.rest[0].stride = 2


def change_the_structure(net):
    net.rest.append(Conv(2, 2, rngs=nnx.Rngs(2)))


@pytest.mark.parametrize("change", [change_a_value, change_a_variable, change_a_setting, change_the_structure])
def test_prepared_anew_only_after_a_change(change):
    net = Net(jnp.float32)
    first = prepare(net)
    assert prepare(net) is first
    change(net)
    structure, state = prepare(net)
    expected, leaves = nnx.split(nnx.view(net, use_running_average=True))
    assert structure == inference.Structure(expected) and hash(structure) == hash(expected)
    for a, b in zip(nnx.to_flat_state(state), nnx.to_flat_state(leaves), strict=True):
        np.testing.assert_array_equal(a[1][...], b[1][...])


def test_a_prepared_network_can_go():
    model = zoo.create(zoo.tiny("reception-mpii"))
    prepare(model)
    seen = weakref.ref(model)
    del model
    gc.collect()
    assert seen() is None
