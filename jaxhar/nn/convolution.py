"""Full convolution without bias.

In training, the full convolutions in the stem of the CVPR'18 networks take three times as long backward as forward. For
a few large images XLA:CPU's gradients are slow, so they are written out here, as convolutions at stride 1. The oracle
is XLA's gradient, in the test beside this file.
"""

from collections.abc import Sequence
from itertools import product

import jax
import jax.numpy as jnp
from jax import lax

from jaxhar.nn.platform import forms

Array = jax.Array
Pads = Sequence[tuple[int, int]]

_NHWC = ("NHWC", "HWIO", "NHWC")
#: A kernel's gradient is a convolution, too: the channels are its images, and the images its channels.
_CHWN = lax.ConvDimensionNumbers((3, 0, 1, 2), (3, 0, 1, 2), (2, 3, 0, 1))


def convolve(x: Array, kernel: Array, stride: int = 1) -> Array:
    """Convolution with Keras' SAME padding: at stride 2 and an even size the extra pixel lies at the bottom and right.

    Args:
      x: (N, H, W, in).
      kernel: (kh, kw, in, out).

    Returns:
      (N, ceil(H / stride), ceil(W / stride), out).
    """
    few = isinstance(x.shape[0], int) and x.shape[0] <= forms().images_apart  # no number: in jax.export
    written = few and _worth_it(x.shape, kernel.shape, stride)
    return (_written if written else _plain)(x, kernel, stride)


def _worth_it(shape: tuple[int, ...], kernel: tuple[int, ...], stride: int) -> bool:
    """Small layers, the first with its three channels, and wide ones at stride 1 are no faster than XLA's."""
    kh, kw, inputs, outputs = kernel
    multiplications = -(-shape[1] // stride) * -(-shape[2] // stride) * kh * kw * inputs * outputs
    return multiplications >= 50e6 and inputs >= 16 and (inputs <= 64 or stride > 1) and min(kh, kw) >= stride


def _plain(x: Array, kernel: Array, stride: int) -> Array:
    return lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=_NHWC)


_written = jax.custom_vjp(_plain, nondiff_argnums=(2,))


def _backward(stride: int, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    pads = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], (stride, stride), "SAME")
    if stride > 1:
        of_x = _input_gradient(x.shape, kernel, g, stride, pads)
    else:
        (of_x,) = jax.vjp(lambda x: _plain(x, kernel, stride), x)[1](g)
    return of_x, _kernel_gradient(x, kernel.shape, g, stride, pads)


_written.defvjp(lambda x, kernel, stride: (_plain(x, kernel, stride), (x, kernel)), _backward)


def _input_gradient(shape: tuple[int, ...], kernel: Array, g: Array, stride: int, pads: Pads) -> Array:
    """Every stride-th pixel sees every stride-th tap only: stride**2 convolutions of the gradient, then interleaved.

    XLA:CPU convolves the gradient with zeros put between its pixels.
    """
    (top, _), (left, _) = pads
    height, width = -(-(shape[1] + top) // stride), -(-(shape[2] + left) // stride)
    phases = []
    for a, b in product(range(stride), repeat=2):
        taps = kernel[a::stride, b::stride][::-1, ::-1].swapaxes(2, 3)
        edges = [(taps.shape[0] - 1, height - g.shape[1]), (taps.shape[1] - 1, width - g.shape[2])]
        phases.append(lax.conv_general_dilated(g, taps, (1, 1), edges, dimension_numbers=_NHWC))
    rows = [jnp.stack(phases[a : a + stride], axis=3) for a in range(0, stride**2, stride)]
    padded = jnp.stack(rows, axis=2).reshape(len(g), height * stride, width * stride, -1)
    return padded[:, top : top + shape[1], left : left + shape[2]]


def _kernel_gradient(x: Array, shape: tuple[int, ...], g: Array, stride: int, pads: Pads) -> Array:
    """Image by image, with the padding written out; every stride-th tap sees every stride-th pixel only.

    XLA:CPU makes one product of few rows and columns of it, which two cores share badly.
    """
    (height, width), (kh, kw) = g.shape[1:3], shape[:2]
    edges = ((0, 0), *((before, after + stride - 1) for before, after in pads), (0, 0))
    images = [(jnp.pad(x[i : i + 1], edges), g[i : i + 1]) for i in range(len(x))]
    total = jnp.zeros(shape, g.dtype)
    for a, b in product(range(stride), repeat=2):
        rows, columns = len(range(a, kh, stride)), len(range(b, kw, stride))
        taps = sum(
            lax.conv_general_dilated(
                image[:, a::stride, b::stride][:, : height + rows - 1, : width + columns - 1],
                of_image,
                (1, 1),
                "VALID",
                dimension_numbers=_CHWN,
            )
            for image, of_image in images
        )
        below, right = kh - 1 - a - (rows - 1) * stride, kw - 1 - b - (columns - 1) * stride
        between = ((a, below, stride - 1), (b, right, stride - 1), (0, 0, 0), (0, 0, 0))
        total += lax.pad(taps, jnp.zeros((), g.dtype), between)
    return total
