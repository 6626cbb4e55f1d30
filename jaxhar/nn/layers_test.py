"""Primitives against literals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from jaxhar.nn.layers import (
    Conv,
    ConvTranspose,
    Depthwise,
    Norm,
    PreactResidual,
    SeparableResidual,
    global_max_min,
    max_min_pool,
    max_pool,
    product,
    upsample_to,
)


def image(values):
    return jnp.asarray(values, jnp.float32)[None, :, :, None]


@pytest.mark.parametrize(("size", "tap"), [(3, 0), (5, 1), (7, 2)])
def test_keras_padding_at_stride_two(size, tap):
    """An impulse in the corner of an even image meets the kernel's entry (tap, tap)."""
    conv = Conv(1, 1, size, 2, rngs=nnx.Rngs(0))
    conv.kernel[...] = jnp.arange(size * size, dtype=jnp.float32).reshape(size, size, 1, 1)
    corner = jnp.zeros((8, 8)).at[0, 0].set(1)
    assert conv(image(corner)).shape == (1, 4, 4, 1)
    assert conv(image(corner))[0, 0, 0, 0] == tap * size + tap


def test_max_pool_pads_bottom_and_right_and_never_with_zeros():
    x = image([[-5.0, -1, -7], [-4, -9, -3], [-8, -6, -2]])
    np.testing.assert_array_equal(max_pool(x)[0, :, :, 0], [[-1, -3], [-6, -2]])
    np.testing.assert_array_equal(max_pool(x, 3)[0, :, :, 0], [[-1, -1], [-4, -2]])


def test_max_pool_at_even_size_starts_at_the_first_pixel():
    x = image(np.arange(16).reshape(4, 4))
    np.testing.assert_array_equal(max_pool(x, 3)[0, :, :, 0], [[10, 11], [14, 15]])


def test_max_min_pool_ignores_padding():
    x = image(np.arange(1, 26).reshape(5, 5))
    np.testing.assert_array_equal(max_min_pool(x)[0, :, :, 0], [[8, 12, 15], [28, 32, 35], [43, 47, 50]])


def test_global_max_min():
    np.testing.assert_array_equal(global_max_min(image([[3.0, -8], [5, 1]])), [[-3]])


def test_upsample_cuts_to_odd_sizes():
    like = jnp.zeros((1, 3, 4, 1))
    x = image([[1.0, 2], [3, 4]])
    np.testing.assert_array_equal(upsample_to(x, like)[0, :, :, 0], [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4]])


@pytest.mark.parametrize("height", [1, 2, 5, 8])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_strided_depthwise_convolution(height, kernel):
    layer = Depthwise(4, kernel, 2, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, height, 7, 4)), jnp.float32)
    weights = layer.kernel[...].reshape(kernel, kernel, 1, 4)
    numbers = ("NHWC", "HWIO", "NHWC")
    oracle = jax.lax.conv_general_dilated(x, weights, (2, 2), "SAME", dimension_numbers=numbers, feature_group_count=4)
    np.testing.assert_allclose(layer(x), oracle, atol=1e-6)


def test_transposed_convolution_writes_the_kernel_times_the_pixel():
    layer = ConvTranspose(1, 1, rngs=nnx.Rngs(0))
    layer.kernel[...] = jnp.asarray([[1.0, 2], [3, 4]])[..., None, None]
    y = layer(image([[1.0, 0], [0, 10]]))[0, :, :, 0]
    np.testing.assert_array_equal(y, [[1, 2, 0, 0], [3, 4, 0, 0], [0, 0, 10, 20], [0, 0, 30, 40]])


def test_max_pool_with_a_stride_of_its_own_for_each_axis():
    x = image(np.arange(12).reshape(3, 4))
    np.testing.assert_array_equal(max_pool(x, 2, (1, 2))[0, :, :, 0], [[5, 7], [9, 11], [9, 11]])


def test_preact_residual_gives_both_paths_the_same_normalised_input():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 4, 4, 3)), jnp.float32)
    unit = PreactResidual(3, 3, 3, rngs=nnx.Rngs(0))
    unit.main.pointwise.kernel[...] = jnp.zeros((1, 1, 3, 3))
    np.testing.assert_array_equal(unit(x), x)
    unit = PreactResidual(3, 5, 3, 2, bottleneck=2, rngs=nnx.Rngs(0))
    unit.main.conv.kernel[...] = jnp.zeros((3, 3, 2, 5))
    active = nnx.relu(unit.norm(x))[:, ::2, ::2]
    np.testing.assert_allclose(unit(x), active @ unit.shortcut.kernel[0, 0], atol=1e-6)


def test_norm_computes_in_float32_and_returns_the_input_type():
    norm = Norm(2, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).normal(300, 1, (4, 8, 8, 2)), jnp.bfloat16)
    y = norm(x)
    assert y.dtype == jnp.bfloat16
    exact = np.asarray(x, np.float64)
    exact = (exact - exact.mean((0, 1, 2))) / np.sqrt(exact.var((0, 1, 2)) + 1e-3)
    np.testing.assert_allclose(np.asarray(y, np.float64), exact, atol=0.02)


def test_residual_without_change_of_width_keeps_the_raw_input():
    unit = SeparableResidual(4, 4, 3, rngs=nnx.Rngs(0))
    unit.main.conv.pointwise.kernel[...] = jnp.zeros((1, 1, 4, 4))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 5, 5, 4)), jnp.float32)
    np.testing.assert_array_equal(unit(x), x)
    assert SeparableResidual(4, 6, 3, rngs=nnx.Rngs(0))(x).shape == (1, 5, 5, 6)


@pytest.mark.parametrize("operands", [jnp.float32, jnp.bfloat16])
def test_gradient_of_a_product_is_that_of_matmul(operands):
    rng = np.random.default_rng(0)
    x, kernel, weights = (jnp.asarray(rng.standard_normal(shape), operands) for shape in ((2, 5, 7, 3), (3, 4), (4,)))

    def gradients(multiply):
        return jax.grad(lambda x, kernel: jnp.sin(multiply(x, kernel) * weights).sum(), (0, 1))(x, kernel)

    ours = gradients(lambda x, kernel: product(x, kernel, jnp.float32))
    oracle = gradients(lambda x, kernel: jnp.matmul(x, kernel, preferred_element_type=jnp.float32))
    for a, b in zip(ours, oracle, strict=True):
        assert a.dtype == operands
        np.testing.assert_allclose(np.float32(a), np.float32(b), atol=2e-2 if operands == jnp.bfloat16 else 1e-5)


def test_norm_with_pytorchs_constants_keeps_the_unbiased_variance():
    norm = Norm(3, scale=True, momentum=0.9, epsilon=1e-5, unbiased=True, rngs=nnx.Rngs(0))
    twin = torch.nn.BatchNorm2d(3)
    x = np.random.default_rng(0).normal(2, 3, (2, 3, 2, 3)).astype(np.float32)
    norm.train()
    for _ in range(2):
        ours, theirs = norm(jnp.asarray(x)), twin(torch.from_numpy(x).permute(0, 3, 1, 2))
    np.testing.assert_allclose(ours, theirs.detach().permute(0, 2, 3, 1), atol=1e-5)
    np.testing.assert_allclose(norm.mean[...], twin.running_mean, rtol=1e-5)
    np.testing.assert_allclose(norm.var[...], twin.running_var, rtol=1e-5)
