"""The folded forms against XLA's 3-D convolution, with gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from jaxhar.nn.conv3d import ConvNorm3d, convolve_3d, depthwise_3d
from parity_tests.cases import QUICKLY


def xla(x, kernel, stride, groups=1):
    pads = [(size // 2, size // 2) for size in kernel.shape[:3]]
    layout = ("NDHWC", "DHWIO", "NDHWC")
    return lax.conv_general_dilated(x, kernel, stride, pads, dimension_numbers=layout, feature_group_count=groups)


def assert_equal_with_gradients(ours, theirs, x, kernel):
    @partial(jax.jit, compiler_options=QUICKLY)
    def both(x, kernel):
        found, pull = jax.vjp(ours, x, kernel)
        expected, pull_expected = jax.vjp(theirs, x, kernel)
        g = jnp.sin(jnp.arange(found.size, dtype=jnp.float32)).reshape(found.shape)
        return (found, *pull(g)), (expected, *pull_expected(g))

    for a, b in zip(*both(x, kernel), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def arrays(shape, kernel):
    rng = np.random.default_rng(0)
    return (jnp.asarray(rng.standard_normal(s), jnp.float32) for s in (shape, kernel))


@pytest.mark.parametrize(
    ("size", "stride"),
    [
        ((1, 1, 1), (1, 2, 2)),
        ((1, 3, 3), (2, 2, 2)),
        ((3, 1, 1), (1, 1, 1)),
        ((7, 1, 1), (4, 1, 1)),
        ((3, 3, 3), (2, 2, 2)),
    ],
)
def test_convolutions(size, stride):
    x, kernel = arrays((2, 5, 6, 7, 3), (*size, 3, 4))
    assert_equal_with_gradients(lambda x, k: convolve_3d(x, k, stride), lambda x, k: xla(x, k, stride), x, kernel)


@pytest.mark.parametrize("size", [(5, 1, 1), (3, 3, 3)])
def test_depthwise_convolutions(size):
    x, kernel = arrays((2, 4, 6, 5, 3), (*size, 3, 1))
    theirs = lambda x, k: xla(x, k.reshape(*size, 1, 3), (1, 1, 1), 3)  # noqa: E731
    assert_equal_with_gradients(depthwise_3d, theirs, x, kernel)


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("size", [(1, 1, 1), (3, 3, 3)])
def test_a_layer_has_the_size_that_its_strides_say(depthwise, size):
    layer = ConvNorm3d(4, 4, size, (2, 2, 2), depthwise, dtype=jnp.float32, rngs=nnx.Rngs(0))
    assert layer(jnp.ones((2, 5, 6, 8, 4))).shape == (2, 3, 3, 4, 4)
