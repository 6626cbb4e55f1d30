"""2-D convolution without bias, with faster gradients on CPUs.

Their operands are computed once (see `_backward`), and for a few large images, where XLA:CPU's gradients are slow, they
are implemented here as convolutions with stride 1. The test compares them with XLA's gradients.
"""

from collections.abc import Sequence
from itertools import product

import jax
import jax.numpy as jnp
from jax import lax

from jaxhar.nn.platform import forms

Array = jax.Array
Pads = Sequence[tuple[int, int]]
#: Of rows and columns.
Size = tuple[int, int]

_NHWC = ("NHWC", "HWIO", "NHWC")
#: For the kernel's gradient, a convolution in which channels and images exchange their roles.
_CHWN = lax.ConvDimensionNumbers((3, 0, 1, 2), (3, 0, 1, 2), (2, 3, 0, 1))


def convolve(x: Array, kernel: Array, stride: int = 1, pad: int | None = None) -> Array:
    """Convolution with padding.

    Args:
      x: (N, H, W, in).
      kernel: (kh, kw, in, out).
      pad: pixels on every side, as in PyTorch; None for Keras' SAME padding: at stride 2 and even size, one more pixel
        at the bottom and right.

    Returns:
      (N, H', W', out), with SAME padding (N, ceil(H / stride), ceil(W / stride), out).
    """
    return strided(x, kernel, (stride, stride), None if pad is None else (pad, pad))


def strided(x: Array, kernel: Array, strides: Size, pads: Size | None = None) -> Array:
    """The same with strides and pads of rows and columns."""
    return (_with_gradients if forms().images_apart else _plain)(x, kernel, strides, pads)


def _worth_it(shape: tuple[int, ...], kernel: tuple[int, ...], strides: Size) -> bool:
    """Whether the custom gradients are faster: not for small layers, few input channels, or many at stride 1."""
    (kh, kw, inputs, outputs), stride = kernel, max(strides)
    if shape[0] > forms().images_apart or strides != (stride, stride):
        return False
    multiplications = -(-shape[1] // stride) * -(-shape[2] // stride) * kh * kw * inputs * outputs
    return multiplications >= 50e6 and inputs >= 16 and (inputs <= 64 or stride > 1) and min(kh, kw) >= stride


def _plain(x: Array, kernel: Array, strides: Size, pads: Size | None = None) -> Array:
    edges = "SAME" if pads is None else [(pad, pad) for pad in pads]
    return lax.conv_general_dilated(x, kernel, strides, edges, dimension_numbers=_NHWC)


_with_gradients = jax.custom_vjp(_plain, nondiff_argnums=(2, 3))


def _backward(strides: Size, pads: Size | None, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    # The gradient of the kernel needs both in another order. Without the barrier XLA would compute the layers before
    # anew for it, element by element in that order.
    (x, kernel), g = lax.optimization_barrier((saved, g))
    written = _worth_it(x.shape, kernel.shape, strides)
    same = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, "SAME")
    edges = same if pads is None else [(pad, pad) for pad in pads]
    if written and strides[0] > 1:
        of_x = _input_gradient(x.shape, kernel, g, strides[0], edges)
    else:
        (of_x,) = jax.linear_transpose(lambda x: _plain(x, kernel, strides, pads), x)(g)
    if written:
        return of_x, _kernel_gradient(x, kernel.shape, g, strides[0], edges)
    return of_x, *jax.linear_transpose(lambda kernel: _plain(x, kernel, strides, pads), kernel)(g)


_with_gradients.defvjp(lambda x, kernel, strides, pads: (_plain(x, kernel, strides, pads), (x, kernel)), _backward)


def _input_gradient(shape: tuple[int, ...], kernel: Array, g: Array, stride: int, pads: Pads) -> Array:
    """Gradient of the input at a stride: stride**2 convolutions of the output gradient, interleaved.

    Each pixel depends only on every stride-th kernel element. XLA:CPU would insert zeros between the gradient's pixels.
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
    """Gradient of the kernel, image by image; each kernel element depends only on every stride-th pixel.

    XLA:CPU would compute one matrix product with few rows and columns, which does not use several cores well.
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
                image_gradient,
                (1, 1),
                "VALID",
                dimension_numbers=_CHWN,
            )
            for image, image_gradient in images
        )
        below, right = kh - 1 - a - (rows - 1) * stride, kw - 1 - b - (columns - 1) * stride
        between = ((a, below, stride - 1), (b, right, stride - 1), (0, 0, 0), (0, 0, 0))
        total += lax.pad(taps, jnp.zeros((), g.dtype), between)
    return total
