"""The shifted sums against XLA's grouped convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxhar.nn import platform
from jaxhar.nn.depthwise import depthwise


def grouped(x, kernel):
    kh, kw, channels, _ = kernel.shape
    return lax.conv_general_dilated(
        x,
        kernel.reshape(kh, kw, 1, channels),
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=channels,
    )


def arrays(n, h, w, c, k, seed=0):
    rng = np.random.default_rng(seed)
    x, g = (rng.standard_normal((n, h, w, c)).astype(np.float32) for _ in range(2))
    return x, g, rng.standard_normal((*k, c, 1)).astype(np.float32)


# odd and even sizes, one channel and many, channels beyond one slice, a rectangular kernel, images in several groups
@pytest.mark.parametrize(
    "shape",
    [
        (1, 8, 8, 4, (5, 5)),
        (3, 7, 9, 10, (3, 3)),
        (2, 16, 16, 290, (5, 5)),
        (2, 5, 6, 3, (5, 1)),
        (12, 32, 32, 4, (3, 3)),
        (2, 1, 1, 7, (1, 1)),
        (5, 1, 2, 6, (5, 5)),
    ],
)
def test_value_and_gradients(shape):
    x, g, kernel = arrays(*shape)

    @jax.jit
    def both(x, kernel, g):
        ours, pull = jax.vjp(depthwise, x, kernel)
        oracle, pull_oracle = jax.vjp(grouped, x, kernel)
        return (ours, *pull(g)), (oracle, *pull_oracle(g))

    for ours, oracle in zip(*both(x, kernel, g), strict=True):
        np.testing.assert_allclose(ours, oracle, rtol=0, atol=2e-6 * float(jnp.abs(oracle).max()))


def test_the_form_is_that_of_the_call_whatever_was_traced_before():
    x, _, kernel = arrays(1, 4, 4, 300, (3, 3))
    with platform.planned():
        whole = str(jax.make_jaxpr(lambda x: depthwise(x, kernel))(x))
    assert "concatenate" in str(jax.make_jaxpr(lambda x: depthwise(x, kernel))(x)) and "concatenate" not in whole


def test_vmap_over_time_shares_the_kernel():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, 3, 8, 8, 5)).astype(np.float32)
    kernel = rng.standard_normal((5, 5, 5, 1)).astype(np.float32)

    def loss(convolve):
        return jax.jit(jax.grad(lambda k, x: (jax.vmap(convolve, (1, None), 1)(x, k) ** 2).sum(), (0, 1)))(kernel, x)

    for ours, oracle in zip(loss(depthwise), loss(grouped), strict=True):
        np.testing.assert_allclose(ours, oracle, rtol=0, atol=2e-6 * float(jnp.abs(oracle).max()))
