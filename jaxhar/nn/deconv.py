"""Transposed convolution with stride 2, as in the heads of Simple Baselines (Xiao et al., ECCV'18).

Every second row and column of the result depends on the same elements of the kernel, so the result is four ordinary
convolutions of the input, interleaved. XLA would insert zeros between the pixels of the input and multiply them too.
"""

from itertools import product
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jaxhar.nn.layers import drawn
from jaxhar.nn.platform import result_dtype
from jaxhar.nn.symmetric import Init, batch_norm, narrow

Array = jax.Array

_NHWC = ("NHWC", "HWIO", "NHWC")
#: Size of the kernel -> padding in PyTorch; size 3 has an output padding of 1, so that all give the double size.
PADS = {4: 1, 3: 1, 2: 0}


def taps(size: int, phase: int) -> tuple[list[int], tuple[int, int]]:
    """The rows of a kernel that the output rows 2 i + `phase` depend on.

    Returns:
      the rows, in the order of the input rows i + d that they are multiplied with, and the padding of the input before
      and after, so that an ordinary convolution reads these rows.
    """
    found = [(d, phase + PADS[size] - 2 * d) for d in (-1, 0, 1)]
    found = [(d, row) for d, row in found if 0 <= row < size]
    return [row for _, row in found], (-found[0][0], found[-1][0])


def phases(kernel: Array) -> list[Array]:
    """The kernels (rows, columns, in, out) of the four convolutions, from a kernel (k, k, out, in)."""
    size = kernel.shape[0]
    rows = [taps(size, phase)[0] for phase in (0, 1)]
    return [
        jnp.stack([jnp.stack([kernel[r, c].T for c in rows[b]]) for r in rows[a]]) for a, b in product((0, 1), repeat=2)
    ]


def deconvolve(x: Array, kernels: list[Array], size: int) -> Array:
    """(N, H, W, in) -> (N, 2 H, 2 W, out) with the kernels of `phases`; `size` of the whole kernel is 2, 3 or 4."""
    n, height, width, _ = x.shape
    edges = [taps(size, phase)[1] for phase in (0, 1)]
    parts = [
        lax.conv_general_dilated(x, kernel, (1, 1), (edges[a], edges[b]), dimension_numbers=_NHWC)
        for (a, b), kernel in zip(product((0, 1), repeat=2), kernels, strict=True)
    ]
    rows = [jnp.stack(parts[a : a + 2], axis=3) for a in (0, 2)]
    return jnp.stack(rows, axis=2).reshape(n, 2 * height, 2 * width, -1)


class Deconv(nnx.Module):
    """Transposed convolution with stride 2: (N, H, W, in) -> (N, 2 H, 2 W, out); kernel (k, k, out, in), k = 2 to 4."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 4,
        bias: bool = False,
        *,
        init: Init = narrow,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.kernel = nnx.Param(drawn(rngs.params(), (kernel, kernel, outputs, inputs), init))
        self.bias = nnx.Param(jnp.zeros(outputs)) if bias else None
        self.size, self.dtype = kernel, dtype
        #: The kernels of `phases` after `arrange`; until then they are made in every call.
        self.arranged: nnx.List | None = nnx.data(None)

    def arrange(self) -> None:
        """Makes the kernels of `phases` once, instead of in every call; the network can then no longer be trained."""
        self.arranged = nnx.data(nnx.List(nnx.Param(k) for k in jax.jit(phases)(self.kernel[...])))
        self.kernel = nnx.Param(jnp.zeros(0))

    def __call__(self, x: Array) -> Array:
        dtype = result_dtype(self.dtype)
        kernels = phases(self.kernel[...]) if self.arranged is None else [k[...] for k in self.arranged]
        y = deconvolve(x.astype(dtype), [kernel.astype(dtype) for kernel in kernels], self.size)
        return y if self.bias is None else y + self.bias[...].astype(dtype)


class DeconvNorm(nnx.Module):
    """Transposed convolution, then batch normalisation; no activation."""

    FOLDS: ClassVar = (("conv", "norm"),)

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        bias: bool,
        *,
        init: Init,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.conv = Deconv(inputs, outputs, kernel, bias, init=init, dtype=dtype, rngs=rngs)
        self.norm = batch_norm(outputs)

    def __call__(self, x: Array) -> Array:
        return self.norm(self.conv(x))
