"""3-D convolutions with PyTorch's conventions, for clips (N, T, H, W, C): odd kernels, symmetric padding.

XLA:CPU's 3-D convolution is slow, so every kernel is computed by 2-D convolutions or matrix products:

    1 x 1 x 1   a product
    1 x k x k   a 2-D convolution of all frames as images
    k x 1 x 1   a 2-D convolution over time and positions, (N, T, H W, C)
    k x k x k   a 2-D convolution of frames whose channels are those of k successive frames
    depthwise   the sum over k frames of 2-D depthwise convolutions, or one over time and positions

Milliseconds on two cores of a CPU for the shapes of SlowOnly at 48 x 56 x 56, alone and with gradients; "sum" adds k
products of shifted clips, "side by side" is one product of k clips along the channels:

    kernel       clip                     lax 3-D        here       others
    1x7x7        48x56x56x17 to 32    1118   2983    188   543
    1x3x3        48x28x28x32 to 32      68    483     15    87
    1x3x3        48x14x14x64 to 64      40    538     13    99
    3x1x1        48x28x28x128 to 64    113    476     39   176    sum 113  304, side by side 155  408
    3x1x1        48x14x14x256 to 64     53    275     20    76    sum  26  176, side by side  80  173
    3x1x1        24x7x7x512 to 128      13    100      7    32    sum   7   33, side by side   8   39
    3x3x3        48x28x28x32 to 64     249    818     95   271    sum of 2-D convolutions 141  303
"""

from functools import reduce
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jaxhar.nn.convolution import convolve, strided
from jaxhar.nn.depthwise import depthwise
from jaxhar.nn.layers import drawn, product
from jaxhar.nn.platform import result_dtype
from jaxhar.nn.symmetric import batch_norm, he

Array = jax.Array
#: Frames, rows, columns.
Size = tuple[int, int, int]


def convolve_3d(x: Array, kernel: Array, stride: Size = (1, 1, 1)) -> Array:
    """(N, T, H, W, in) by a kernel (kt, k, k, in, out) of odd sizes -> (N, T', H', W', out), rounded up.

    Rows and columns have one size and one stride.
    """
    frames, side = kernel.shape[:2]
    assert kernel.shape[1] == kernel.shape[2] and stride[1] == stride[2]
    if side == 1:
        x = x[:, :, :: stride[1], :: stride[2]] if stride[1] > 1 else x
        return _over_time(x, kernel[:, :, 0], stride[0])
    if frames > 1:
        x = jnp.concatenate(shifted(x, frames, stride[0]), axis=-1)
        kernel = jnp.moveaxis(kernel, 0, 2).reshape(1, side, side, -1, kernel.shape[-1])
    elif stride[0] > 1:
        x = x[:, :: stride[0]]
    n, time = x.shape[:2]
    y = convolve(x.reshape(n * time, *x.shape[2:]), kernel[0], stride[1], side // 2)
    return y.reshape(n, time, *y.shape[1:])


def _over_time(x: Array, kernel: Array, stride: int) -> Array:
    """A kernel (kt, 1, in, out)."""
    n, time, height, width, channels = x.shape
    frames = kernel.shape[0]
    y = strided(x.reshape(n, time, height * width, channels), kernel, (stride, 1), (frames // 2, 0))
    return y.reshape(n, y.shape[1], height, width, -1)


def shifted(x: Array, frames: int, stride: int = 1) -> list[Array]:
    """Clips (N, T', H, W, C) of the first, second, ... of `frames` successive frames, with zeros beyond the ends."""
    padded = jnp.pad(x, [(0, 0), (frames // 2,) * 2, (0, 0), (0, 0), (0, 0)])
    last = stride * (-(-x.shape[1] // stride) - 1) + 1
    return [lax.slice_in_dim(padded, i, i + last, stride, 1) for i in range(frames)]


def depthwise_3d(x: Array, kernel: Array) -> Array:
    """(N, T, H, W, C) by a kernel (kt, kh, kw, C, 1) of odd sizes, every channel by its own -> the same shape."""
    n, time, height, width, channels = x.shape
    if kernel.shape[1:3] == (1, 1):
        y = depthwise(x.reshape(n, time, height * width, channels), kernel[:, :, 0])
    else:
        parts = (clip.reshape(n * time, height, width, channels) for clip in shifted(x, kernel.shape[0]))
        y = reduce(jnp.add, (depthwise(part, kernel[i]) for i, part in enumerate(parts)))
    return y.reshape(x.shape)


class Conv3d(nnx.Module):
    """Convolution without bias; see `convolve_3d`."""

    def __init__(
        self, inputs: int, outputs: int, kernel: Size = (1, 1, 1), stride: Size = (1, 1, 1), *, dtype, rngs: nnx.Rngs
    ):
        self.kernel = nnx.Param(drawn(rngs.params(), (*kernel, inputs, outputs), he))
        self.stride, self.dtype = stride, dtype

    def __call__(self, x: Array) -> Array:
        kernel, dtype = self.kernel[...], result_dtype(self.dtype)
        if kernel.shape[:3] == (1, 1, 1):  # a product, of operands in the arithmetic type
            t, h, w = self.stride
            return product(x[:, ::t, ::h, ::w].astype(self.dtype), kernel[0, 0, 0].astype(self.dtype), dtype)
        return convolve_3d(x.astype(dtype), kernel.astype(dtype), self.stride)


class Depthwise3d(nnx.Module):
    """Depthwise convolution; see `depthwise_3d`. The strides leave out results."""

    def __init__(self, channels: int, kernel: Size, stride: Size = (1, 1, 1), *, dtype, rngs: nnx.Rngs):
        self.kernel = nnx.Param(drawn(rngs.params(), (*kernel, channels, 1), he))
        self.stride, self.dtype = stride, dtype

    def __call__(self, x: Array) -> Array:
        dtype = result_dtype(self.dtype)
        t, h, w = self.stride
        return depthwise_3d(x.astype(dtype), self.kernel[...].astype(dtype))[:, ::t, ::h, ::w]


class ConvNorm3d(nnx.Module):
    """Convolution without bias, then batch normalisation; no activation. `depthwise` makes it a depthwise one."""

    FOLDS: ClassVar = (("conv", "norm"),)

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Size = (1, 1, 1),
        stride: Size = (1, 1, 1),
        depthwise: bool = False,
        *,
        dtype,
        rngs: nnx.Rngs,
    ):
        kw = {"dtype": dtype, "rngs": rngs}
        self.conv: nnx.Module = (
            Depthwise3d(inputs, kernel, stride, **kw) if depthwise else Conv3d(inputs, outputs, kernel, stride, **kw)
        )
        self.norm = batch_norm(outputs)

    def __call__(self, x: Array) -> Array:
        return self.norm(self.conv(x))
