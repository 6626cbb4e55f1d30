"""Speed of single layers in our forms, compared with XLA's operations."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.common import Contenders, jitted, random
from jaxhar.nn import platform
from jaxhar.nn.convolution import convolve
from jaxhar.nn.depthwise import depthwise
from jaxhar.nn.layers import max_pool


def value_and_gradients(function: Callable) -> Callable:
    """A function that returns the value and the gradients of all arguments."""

    def both(*args):
        out, pull = jax.vjp(function, *args)
        return out, pull(out)

    return both


def with_gradient(function: Callable, *args) -> Callable[[], object]:
    return jitted(value_and_gradients(function), *args)


def convolution(x, kernel, stride=1, groups=1):
    layout, strides = ("NHWC", "HWIO", "NHWC"), (stride, stride)
    return lax.conv_general_dilated(x, kernel, strides, "SAME", dimension_numbers=layout, feature_group_count=groups)


def with_options(function: Callable, *args) -> Callable[[], object]:
    """As `jitted`, with our compiler options for the platform."""
    compiled = platform.jit(function)
    return lambda: jax.block_until_ready(compiled(*args))


def stem(images: int, size: int, inputs: int, outputs: int, stride: int) -> dict[str, Callable[[], Contenders]]:
    """The row of a 3x3 convolution of a network's stem, with gradients."""

    def contenders() -> Contenders:
        x, kernel = random(images, size, size, inputs), random(3, 3, inputs, outputs)
        forms = {"ours": convolve, "XLA's": convolution}
        return {
            name: with_options(value_and_gradients(partial(form, stride=stride)), x, kernel)
            for name, form in forms.items()
        }

    form = "3x3" if stride == 1 else f"3x3/{stride}"
    return {f"{form}, {images}x{size}x{size}x{inputs} to {outputs}, with gradients": contenders}


def product(x, kernel):
    """Matrix product of bfloat16 operands with float32 sums and results."""
    return jnp.matmul(x, kernel, preferred_element_type=jnp.float32)


def rows() -> dict[str, Callable[[], Contenders]]:
    x, k, small = random(2, 32, 32, 576), random(5, 5, 576, 1), random(64, 8, 8, 192)
    point, pooled = random(192, 192), random(64, 32, 32, 24)
    image, full = random(1, 128, 128, 32), random(3, 3, 32, 64)
    wide, square = random(1024, 576), random(576, 576)
    halves = wide.astype(jnp.bfloat16), square.astype(jnp.bfloat16)

    def grouped(x, k):
        return convolution(x, k.reshape(5, 5, 1, -1), groups=k.shape[2])

    def windowed(x):
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")

    return {
        "depthwise 5x5, 2x32x32x576": lambda: {"ours": jitted(depthwise, x, k), "grouped": jitted(grouped, x, k)},
        "same with gradients": lambda: {
            "ours": with_gradient(depthwise, x, k),
            "grouped": with_gradient(grouped, x, k),
        },
        "1x1, 64x8x8x192, with gradients": lambda: {
            "ours, as product": with_gradient(lambda x, w: x @ w, small, point),
            "as convolution": with_gradient(lambda x, w: convolution(x, w[None, None]), small, point),
        },
        "max-pool 3x3/2, 64x32x32x24, with gradients": lambda: {
            "ours": with_gradient(lambda x: max_pool(x, 3), pooled),
            "reduce_window": with_gradient(windowed, pooled),
        },
        "3x3, 1x128x128x32 to 64": lambda: {
            "ours, with the platform's options": with_options(convolution, image, full),
            "without": jitted(convolution, image, full),
            "without, in bfloat16": jitted(convolution, image.astype(jnp.bfloat16), full.astype(jnp.bfloat16)),
        },
        **stem(4, 128, 32, 64, 1),
        **stem(4, 64, 64, 96, 1),
        **stem(4, 128, 64, 96, 2),
        **stem(8, 64, 192, 192, 2),
        "1x1, 1x32x32x576, bfloat16": lambda: {
            "ours, float32 out": with_options(product, *halves),
            "bfloat16 out": with_options(jnp.matmul, *halves),
            "float32 in and out": with_options(jnp.matmul, wide, square),
        },
    }
