"""Multiply-adds against counts by hand."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jaxhar import zoo
from jaxhar.models.reception.network import ReceptionConfig
from jaxhar.nn.convolution import convolve
from jaxhar.nn.cost import bytes_moved, count, multiply_adds
from jaxhar.nn.depthwise import depthwise
from jaxhar.nn.layers import Conv, SeparableNorm
from jaxhar.nn.time import per_frame


def test_layers():
    rngs = nnx.Rngs(0)
    x = jax.ShapeDtypeStruct((2, 9, 8, 6), jnp.float32)
    assert count(Conv(6, 10, (3, 5), rngs=rngs), x) == 2 * 9 * 8 * 10 * 15 * 6
    assert count(Conv(6, 10, 3, stride=2, rngs=rngs), x) == 2 * 5 * 4 * 10 * 9 * 6
    assert count(Conv(6, 10, rngs=rngs), x) == 2 * 9 * 8 * 10 * 6
    norm = SeparableNorm(6, 10, 5, rngs=rngs)
    norm.eval()
    assert count(norm, x) == 2 * 9 * 8 * 6 * 25 + 2 * 9 * 8 * 10 * 6
    assert count(lambda a, b: jnp.einsum("nhwc,nhwj->njc", a, b), x, x) == 2 * 9 * 8 * 6 * 6


def test_frames_one_by_one_count_as_often_as_they_are():
    conv = Conv(3, 4, 3, rngs=nnx.Rngs(0))
    clips = jax.ShapeDtypeStruct((2, 5, 8, 8, 3), jnp.float32)
    assert count(lambda x: per_frame(lambda net, y: net(y), conv, x), clips) == 10 * 8 * 8 * 4 * 9 * 3


def test_a_network():
    """The stem and one block of a narrow network, layer by layer."""
    config = ReceptionConfig(image_size=32, num_blocks=1, num_joints=2, num_context=0, width=8, stem_width=2)
    pixels = {2: 16 * 16, 4: 8 * 8, 8: 4 * 4, 16: 2 * 2, 32: 1}
    stem = pixels[2] * 9 * (3 * 2 + 2 * 2 + 2 * 4)
    stem += pixels[4] * (9 * 4 * 6 + 2 * 10 * 4 + 9 * 4 * 6 + 2 * 5 * 4 * 4 + 9 * 4 * 6)
    stem += pixels[8] * (9 * 12 * 12 + 9 * 24 + 24 * 8 + 24 * 8)
    block = pixels[8] * (25 * 8 + 8 * 8)  # level 1
    block += pixels[16] * (8 * 4 + 2 * (25 * 4 + 4 * 4) + 25 * 4 + 4 * 8 + 4 * 8)
    block += pixels[32] * 3 * (25 * 4 + 4 * 4)
    heads = pixels[8] * (25 * 8 + 8 * 8 + 8 * 2)
    assert zoo.multiply_adds(config) == stem + block + heads


@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_cost_two_forward_passes(stride):
    x, full = jax.ShapeDtypeStruct((2, 8, 8, 6), jnp.float32), jax.ShapeDtypeStruct((3, 3, 6, 4), jnp.float32)
    forward = 2 * (8 // stride) ** 2 * 4 * 9 * 6
    step = jax.grad(lambda x, kernel: (convolve(x, kernel, stride) ** 2).sum(), argnums=(0, 1))
    assert multiply_adds(jax.make_jaxpr(step)(x, full).jaxpr) == 3 * forward
    sums = jax.ShapeDtypeStruct((5, 3, 6, 1), jnp.float32)
    step = jax.grad(lambda x, kernel: (depthwise(x, kernel) ** 2).sum(), argnums=(0, 1))
    assert multiply_adds(jax.make_jaxpr(step)(x, sums).jaxpr) == 3 * 2 * 64 * 6 * 15


def test_bytes_of_a_product_count_each_operand_once():
    a, b = jax.ShapeDtypeStruct((4, 5), jnp.float32), jax.ShapeDtypeStruct((5, 6), jnp.bfloat16)
    product = jax.make_jaxpr(lambda a, b: jnp.dot(a.astype(jnp.bfloat16), b) + 1)(a, b)
    assert bytes_moved(product.jaxpr) == 2 * (4 * 5 + 5 * 6 + 4 * 6)
