"""Layers and blocks of the CVPR'18 and TPAMI'20 networks, for images (N, H, W, C).

No convolution has a bias. Padding is Keras' SAME: at stride 2 and even size, one more pixel at the bottom and right.
Weights are initialised with Glorot's uniform distribution, as in Keras.

If a batch norm is the only user of a convolution's output, list the pair (convolution, norm) in the class attribute
`FOLDS`; export merges them.
"""

import math
from collections.abc import Callable
from functools import partial, reduce
from typing import ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from jaxhar.nn.convolution import convolve
from jaxhar.nn.depthwise import depthwise
from jaxhar.nn.platform import result_dtype

Array = jax.Array
Size = int | tuple[int, int]


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def drawn(
    key: jax.Array,
    shape: tuple[int, ...],
    draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray],
    dtype=jnp.float32,
) -> Array:
    """A random array by `draw(generator, shape)`.

    Drawn by numpy on the host: jax.random would compile a program for every shape, half a minute for a network, and
    `jnp.asarray` one for every conversion, half a second.
    """
    if isinstance(key, jax.core.Tracer):  # only the shape is needed
        return jnp.zeros(shape, dtype)
    seed = np.asarray(jax.random.key_data(key)).tolist()
    return jax.device_put(draw(np.random.default_rng(seed), shape).astype(dtype))


def glorot(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
    """Glorot's uniform distribution for a kernel (rows, columns, in, out), as in Keras."""
    rows_columns, (fan_in, fan_out) = math.prod(shape[:-2]), shape[-2:]
    limit = math.sqrt(6 / (rows_columns * (fan_in + fan_out)))
    return drawn(key, shape, lambda rng, shape: rng.uniform(-limit, limit, shape), dtype)


class Norm(nnx.BatchNorm):
    """Batch normalisation, by default with Keras' constants, computed in float32 or a larger type.

    The CVPR'18 networks use a bias without scale, the TPAMI'20 networks both, a linear probe neither.

    Args:
      momentum: share of the running statistics that a step keeps, 0.99 in Keras and 0.9 in PyTorch.
      epsilon: 1e-3 in Keras, 1e-5 in PyTorch.
      unbiased: keep the unbiased variance of the batch, n / (n - 1) of the biased one, as PyTorch does.
    """

    def __init__(
        self,
        features: int,
        *,
        scale: bool = False,
        bias: bool = True,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        unbiased: bool = False,
        rngs: nnx.Rngs,
    ):
        super().__init__(features, use_scale=scale, use_bias=bias, momentum=momentum, epsilon=epsilon, rngs=rngs)
        self.unbiased = unbiased

    def __call__(self, x: Array) -> Array:  # type: ignore[override]
        dtype, x = x.dtype, x.astype(jnp.promote_types(x.dtype, jnp.float32))
        mean, variance = self.mean[...], self.var[...]
        if not self.use_running_average:
            axes = tuple(range(x.ndim - 1))
            mean, square = x.mean(axes), (x * x).mean(axes)
            if self.axis_name is not None:  # in a vmap with this name
                mean, square = jax.lax.pmean((mean, square), self.axis_name)
            variance = jnp.maximum(0, square - mean * mean)
            kept = variance
            if self.unbiased:
                count = math.prod(x.shape[:-1]) * (1 if self.axis_name is None else jax.lax.axis_size(self.axis_name))
                kept = variance * (count / max(count - 1, 1))
            for running, new in ((self.mean, mean), (self.var, kept)):
                running[...] = self.momentum * running[...] + (1 - self.momentum) * new
        factor = jax.lax.rsqrt(variance + self.epsilon)
        if self.scale is not None:
            factor *= self.scale[...]
        # Not (x - mean) * factor: its gradient would need the differences, one more array as large as x.
        shift = -mean * factor if self.bias is None else self.bias[...] - mean * factor
        return (x * factor + shift).astype(dtype)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def product(x: Array, kernel: Array, dtype: DTypeLike) -> Array:
    """Matrix product (..., in) x (in, out) -> (..., out) with results in `dtype`.

    It has its own gradient, because with JAX's XLA:CPU first makes a transposed copy of the output gradient.
    """
    return jnp.matmul(x, kernel, preferred_element_type=dtype)


def _product_bwd(dtype: DTypeLike, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    rows = x.reshape(-1, x.shape[-1]).astype(g.dtype)
    kernel_gradient = jax.lax.dot_general(rows, g.reshape(-1, g.shape[-1]), (((0,), (0,)), ((), ())))
    return jnp.matmul(g, kernel.T).astype(x.dtype), kernel_gradient.astype(kernel.dtype)


product.defvjp(lambda x, kernel, dtype: (product(x, kernel, dtype), (x, kernel)), _product_bwd)


class Conv(nnx.Module):
    """Convolution without bias: (N, H, W, in) -> (N, ceil(H / stride), ceil(W / stride), out)."""

    def __init__(
        self, inputs: int, outputs: int, kernel: Size = 1, stride: int = 1, *, dtype=jnp.float32, rngs: nnx.Rngs
    ):
        self.kernel = nnx.Param(glorot(rngs.params(), (*_pair(kernel), inputs, outputs)))
        self.stride = stride
        self.dtype = dtype

    def arrange(self) -> None:
        """Converts a 1x1 kernel to the arithmetic type."""
        if self.kernel.shape[:2] == (1, 1) and self.kernel.dtype != self.dtype:
            self.kernel = nnx.Param(self.kernel[...].astype(self.dtype))

    def __call__(self, x: Array) -> Array:
        kernel, dtype = self.kernel[...], result_dtype(self.dtype)
        if kernel.shape[:2] == (1, 1) and self.stride == 1:
            # A matrix product, because XLA:CPU would compute the kernel's gradient as a convolution, which is slower.
            return product(x.astype(self.dtype), kernel[0, 0].astype(self.dtype), dtype)
        return convolve(x.astype(dtype), kernel.astype(dtype), self.stride)


@runtime_checkable
class Arranging(Protocol):
    """A layer that can bring its kernel into the form that it computes with once, instead of in every call."""

    def arrange(self) -> None:
        """Replaces arrays of the layer, which can then only be evaluated."""


def arrange(model: nnx.Module) -> None:
    """Calls `arrange` of every layer that has it."""
    for _, module in list(nnx.iter_modules(model)):
        if isinstance(module, Arranging):
            module.arrange()


class ConvTranspose(nnx.Module):
    """Transposed 2x2 convolution with stride 2: (N, H, W, in) -> (N, 2 H, 2 W, out). Kernel (2, 2, out, in)."""

    def __init__(self, inputs: int, outputs: int, *, dtype=jnp.float32, rngs: nnx.Rngs):
        self.kernel = nnx.Param(glorot(rngs.params(), (2, 2, outputs, inputs)))
        self.dtype = dtype

    def __call__(self, x: Array) -> Array:
        n, height, width, _ = x.shape
        x, kernel = x.astype(self.dtype), self.kernel[...].astype(self.dtype)
        y = jnp.einsum("nhwi,rcoi->nhrwco", x, kernel, preferred_element_type=result_dtype(self.dtype))
        return y.reshape(n, 2 * height, 2 * width, -1)


class Depthwise(nnx.Module):
    """Depthwise convolution with an odd-sized kernel: (N, H, W, C) -> (N, ceil(H / stride), ceil(W / stride), C)."""

    def __init__(self, channels: int, kernel: Size, stride: int = 1, *, dtype=jnp.float32, rngs: nnx.Rngs):
        self.kernel = nnx.Param(glorot(rngs.params(), (*_pair(kernel), channels, 1)))
        self.stride = stride
        self.dtype = dtype

    def __call__(self, x: Array) -> Array:
        dtype = result_dtype(self.dtype)
        y = depthwise(x.astype(dtype), self.kernel[...].astype(dtype))
        if self.stride == 1:
            return y
        # With a stride Keras pads less at the start: its windows are every stride-th one of these, with this offset.
        rows, columns = (
            k // 2 - _same_pads(n, k, self.stride)[0] for n, k in zip(x.shape[1:3], self.kernel.shape[:2], strict=True)
        )
        return y[:, rows :: self.stride, columns :: self.stride]


class SeparableConv(nnx.Module):
    """Depthwise convolution followed by a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, kernel: Size, stride: int = 1, *, dtype=jnp.float32, rngs: nnx.Rngs):
        self.depthwise = Depthwise(inputs, kernel, stride, dtype=dtype, rngs=rngs)
        self.pointwise = Conv(inputs, outputs, dtype=dtype, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.pointwise(self.depthwise(x))


class ConvNorm(nnx.Module):
    """Convolution, then batch normalisation, without activation."""

    FOLDS: ClassVar = (("conv", "norm"),)

    def __init__(
        self, inputs: int, outputs: int, kernel: Size = 1, stride: int = 1, *, dtype=jnp.float32, rngs: nnx.Rngs
    ):
        self.conv = Conv(inputs, outputs, kernel, stride, dtype=dtype, rngs=rngs)
        self.norm = Norm(outputs, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.norm(self.conv(x))


class SeparableNorm(nnx.Module):
    """Separable convolution, then batch normalisation."""

    FOLDS: ClassVar = (("conv", "norm"),)

    def __init__(self, inputs: int, outputs: int, kernel: Size, *, dtype=jnp.float32, rngs: nnx.Rngs):
        self.conv = SeparableConv(inputs, outputs, kernel, dtype=dtype, rngs=rngs)
        self.norm = Norm(outputs, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.norm(self.conv(x))


class SeparableResidual(nnx.Module):
    """Separable residual unit "SR" (CVPR'18, appendix); main path and shortcut start with a ReLU of the input."""

    def __init__(self, inputs: int, outputs: int, kernel: Size, *, dtype=jnp.float32, rngs: nnx.Rngs):
        self.main = SeparableNorm(inputs, outputs, kernel, dtype=dtype, rngs=rngs)
        self.shortcut = None if inputs == outputs else ConvNorm(inputs, outputs, dtype=dtype, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        active = nnx.relu(x)
        return (x if self.shortcut is None else self.shortcut(active)) + self.main(active)


class NormConv(nnx.Module):
    """Batch normalisation, ReLU, convolution: the order in the TPAMI'20 networks."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Size = 1,
        stride: int = 1,
        separable: bool = False,
        *,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.norm = Norm(inputs, scale=True, rngs=rngs)
        self.conv = (SeparableConv if separable else Conv)(inputs, outputs, kernel, stride, dtype=dtype, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.conv(nnx.relu(self.norm(x)))


class PreactResidual(nnx.Module):
    """Residual unit of the TPAMI'20 networks; main path and shortcut start from the same normalised input.

    The main path is a separable convolution or, with `bottleneck` channels, a 1x1 and a full convolution.
    """

    FOLDS: ClassVar = (("reduce", "main.norm"),)

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Size,
        stride: int = 1,
        bottleneck: int | None = None,
        *,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        kw = {"dtype": dtype, "rngs": rngs}
        same = inputs == outputs and stride == 1
        self.norm = Norm(inputs, scale=True, rngs=rngs)
        self.shortcut = None if same else Conv(inputs, outputs, 1, stride, **kw)
        self.reduce = None if bottleneck is None else Conv(inputs, bottleneck, **kw)
        self.main: nnx.Module = (
            SeparableConv(inputs, outputs, kernel, stride, **kw)
            if bottleneck is None
            else NormConv(bottleneck, outputs, kernel, stride, **kw)
        )

    def __call__(self, x: Array) -> Array:
        active = nnx.relu(self.norm(x))
        shortcut = x if self.shortcut is None else self.shortcut(active)
        return shortcut + self.main(active if self.reduce is None else self.reduce(active))


def _same_pads(n: int, size: int, stride: int) -> tuple[int, int]:
    """Keras' SAME padding of n pixels, before and after."""
    total = max((-(-n // stride) - 1) * stride + size - n, 0)
    return total // 2, total - total // 2


def _max_along(x: Array, axis: int, size: int, stride: int) -> Array:
    """Maximum over windows of `size` along one axis: n -> ceil(n / stride)."""
    n = x.shape[axis]
    out = -(-n // stride)
    pads = [(0, 0)] * x.ndim
    pads[axis] = _same_pads(n, size, stride)
    x = jnp.pad(x, pads, constant_values=-jnp.inf)
    windows = (jax.lax.slice_in_dim(x, i, i + (out - 1) * stride + 1, stride, axis) for i in range(size))
    return reduce(jnp.maximum, windows)


def max_pool(x: Array, size: int = 2, stride: Size = 2) -> Array:
    """(..., H, W, C) -> (..., ceil(H / stride), ceil(W / stride), C), padded with -inf.

    Computed as maxima of strided slices, rows first, then columns, because XLA:CPU's windowed reduction is slow.
    """
    rows, columns = _pair(stride)
    return _max_along(_max_along(x, x.ndim - 3, size, rows), x.ndim - 2, size, columns)


def max_min_pool(x: Array) -> Array:
    """Maximum plus minimum over 2x2 windows: (..., H, W, C) -> (..., ceil(H / 2), ceil(W / 2), C)."""
    return max_pool(x) - max_pool(-x)


def global_max_min(x: Array) -> Array:
    """Maximum plus minimum over all positions: (..., H, W, C) -> (..., C)."""
    return x.max((-3, -2)) + x.min((-3, -2))


def upsample_to(x: Array, like: Array) -> Array:
    """Repeat every pixel 2x2 and cut to the size of `like`: (..., ceil(H / 2), ceil(W / 2), C) -> (..., H, W, C)."""
    height, width = like.shape[-3:-1]
    return x.repeat(2, axis=-3)[..., :height, :, :].repeat(2, axis=-2)[..., :width, :]
