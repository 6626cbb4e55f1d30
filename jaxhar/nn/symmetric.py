"""Layers with PyTorch's conventions, for images (N, H, W, C): symmetric padding, bias, constants of batch norm.

At stride 2 a convolution of odd size k pads k // 2 pixels on every side, where Keras' SAME padding pads one pixel less
at the top and left. Norms have momentum 0.9 and epsilon 1e-5, and keep the unbiased variance.
"""

import functools
import math
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from jaxhar.nn.convolution import convolve
from jaxhar.nn.depthwise import depthwise
from jaxhar.nn.layers import Norm, drawn, product
from jaxhar.nn.platform import result_dtype

Array = jax.Array
#: (generator, shape of a kernel (rows, columns, in, out)) -> its initial values.
Init = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def he(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """He's normal distribution by the fan out, as in torchvision's ResNet; any number of spatial axes."""
    return rng.normal(0, math.sqrt(2 / (math.prod(shape[:-2]) * shape[-1])), shape)


def narrow(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal with deviation 0.001: the heads of Simple Baselines (Xiao et al., ECCV'18)."""
    return rng.normal(0, 1e-3, shape)


def torch_default(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform within 1 / sqrt(fan in), PyTorch's default for convolutions."""
    limit = 1 / math.sqrt(shape[0] * shape[1] * shape[2])
    return rng.uniform(-limit, limit, shape)


class _NoSeeds(nnx.Rngs):
    """Takes the place of random seeds where ones and zeros are the initial values: a seed costs 30 ms of tracing."""

    def __init__(self) -> None:
        super().__init__(0)

    def params(self) -> None:  # type: ignore[override]
        return None


def batch_norm(features: int) -> Norm:
    """A batch norm with PyTorch's constants."""
    return Norm(features, scale=True, momentum=0.9, epsilon=1e-5, unbiased=True, rngs=_no_seeds())


@functools.cache
def _no_seeds() -> _NoSeeds:
    """Made when it is needed: an array starts JAX, before which several processes must have found each other."""
    return _NoSeeds()


class Conv(nnx.Module):
    """Convolution of odd size: (N, H, W, in) -> (N, ceil(H / stride), ceil(W / stride), out)."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        bias: bool = False,
        *,
        init: Init = he,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        shape = (kernel, kernel, inputs, outputs)
        self.kernel = nnx.Param(drawn(rngs.params(), shape, init))
        self.bias = nnx.Param(jnp.zeros(outputs)) if bias else None
        self.stride, self.dtype = stride, dtype

    def arrange(self) -> None:
        """Converts a 1x1 kernel to the arithmetic type."""
        if self.kernel.shape[0] == 1 and self.kernel.dtype != self.dtype:
            self.kernel = nnx.Param(self.kernel[...].astype(self.dtype))

    def __call__(self, x: Array) -> Array:
        kernel, dtype = self.kernel[...], result_dtype(self.dtype)
        size = kernel.shape[0]
        if size == 1:
            x = x[:, :: self.stride, :: self.stride] if self.stride > 1 else x
            y = product(x.astype(self.dtype), kernel[0, 0].astype(self.dtype), dtype)
        else:
            y = convolve(x.astype(dtype), kernel.astype(dtype), self.stride, size // 2)
        return y if self.bias is None else y + self.bias[...].astype(y.dtype)


class Depthwise(nnx.Module):
    """Depthwise convolution of odd size: (N, H, W, C) -> (N, ceil(H / stride), ceil(W / stride), C)."""

    def __init__(self, channels: int, kernel: int, stride: int = 1, *, dtype=jnp.float32, rngs: nnx.Rngs):
        self.kernel = nnx.Param(drawn(rngs.params(), (kernel, kernel, channels, 1), he))
        self.stride, self.dtype = stride, dtype

    def __call__(self, x: Array) -> Array:
        dtype = result_dtype(self.dtype)
        y = depthwise(x.astype(dtype), self.kernel[...].astype(dtype))
        return y if self.stride == 1 else y[:, :: self.stride, :: self.stride]


class ConvNorm(nnx.Module):
    """Convolution without bias, then batch normalisation; no activation. `depthwise` makes it a depthwise one."""

    FOLDS: ClassVar = (("conv", "norm"),)

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        depthwise: bool = False,
        *,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        kw = {"dtype": dtype, "rngs": rngs}
        self.conv: nnx.Module = (
            Depthwise(inputs, kernel, stride, **kw) if depthwise else Conv(inputs, outputs, kernel, stride, **kw)
        )
        self.norm = batch_norm(outputs)

    def __call__(self, x: Array) -> Array:
        return self.norm(self.conv(x))


def max_pool_3(x: Array) -> Array:
    """Maxima of 3x3 windows at stride 2 with one pixel of padding: (N, H, W, C) -> (N, ceil(H/2), ceil(W/2), C).

    As maxima of strided slices, rows first, because XLA:CPU's windowed reduction is slow.
    """
    for axis in (1, 2):
        count = -(-x.shape[axis] // 2)
        pads = [(1, 1) if a == axis else (0, 0) for a in range(4)]
        padded = jnp.pad(x, pads, constant_values=-jnp.inf)
        first, second, third = (lax.slice_in_dim(padded, i, i + 2 * count - 1, 2, axis) for i in range(3))
        x = jnp.maximum(jnp.maximum(first, second), third)
    return x
