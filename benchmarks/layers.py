"""Speed of single layers in our forms, compared with XLA's operations."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import lax

from benchmarks.common import Contenders, jitted, random
from jaxhar.nn import platform
from jaxhar.nn.convolution import convolve
from jaxhar.nn.deconv import deconvolve, phases
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


def transposed(size: int, inputs: int, outputs: int) -> dict[str, Callable[[], Contenders]]:
    """The row of a transposed 4x4 convolution with stride 2; ours has its kernels arranged, as for inference."""

    def contenders() -> Contenders:
        x, kernel = random(1, size, size, inputs), random(4, 4, outputs, inputs)
        ours = with_options(lambda x, *parts: deconvolve(x, list(parts), 4), x, *phases(kernel))
        dilated = with_options(lambda x, k: lax.conv_transpose(x, k, (2, 2), "SAME"), x, jnp.swapaxes(kernel, 2, 3))
        image = torch.from_numpy(np.asarray(x)).permute(0, 3, 1, 2)  # channels last in memory
        weight = torch.from_numpy(np.array(jnp.moveaxis(kernel, (3, 2), (0, 1))))
        weight = weight.contiguous(memory_format=torch.channels_last)
        theirs = partial(torch.nn.functional.conv_transpose2d, image, weight, stride=2, padding=1)
        return {"ours": ours, "XLA's, zeros between the pixels": dilated, "torch, channels last": theirs}

    return {f"transposed 4x4/2, 1x{size}x{size}x{inputs} to {outputs}": contenders}


def first_layer() -> Contenders:
    """A ResNet's first convolution, 7x7 with stride 2."""
    x, kernel = random(1, 256, 256, 3), random(7, 7, 3, 64)
    pads, layout = ((3, 3), (3, 3)), ("NHWC", "HWIO", "NHWC")
    image = torch.from_numpy(np.asarray(x)).permute(0, 3, 1, 2)
    weight = torch.from_numpy(np.array(jnp.moveaxis(kernel, (3, 2), (0, 1))))
    weight = weight.contiguous(memory_format=torch.channels_last)

    def blocked(x, k):
        """2x2 pixels as channels, then 4x4 with stride 1: the kernel has a row and a column of zeros more."""
        k = jnp.pad(k, ((1, 0), (1, 0), (0, 0), (0, 0))).reshape(4, 2, 4, 2, 3, 64)
        k = k.transpose(0, 2, 1, 3, 4, 5).reshape(4, 4, 12, 64)
        x = x.reshape(1, 128, 2, 128, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(1, 128, 128, 12)
        return lax.conv_general_dilated(x, k, (1, 1), ((2, 1), (2, 1)), dimension_numbers=layout)

    return {
        "ours, XLA's": with_options(
            lambda x, k: lax.conv_general_dilated(x, k, (2, 2), pads, dimension_numbers=layout), x, kernel
        ),
        "2x2 pixels as channels": with_options(blocked, x, kernel),
        "torch, channels last": partial(torch.nn.functional.conv2d, image, weight, stride=2, padding=3),
    }


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
        **transposed(8, 2048, 256),
        **transposed(32, 256, 256),
        **transposed(32, 512, 512),
        "7x7/2, 1x256x256x3 to 64": first_layer,
        "1x1, 1x32x32x576, bfloat16": lambda: {
            "ours, float32 out": with_options(product, *halves),
            "bfloat16 out": with_options(jnp.matmul, *halves),
            "float32 in and out": with_options(jnp.matmul, wide, square),
        },
    }
