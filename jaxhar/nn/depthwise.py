"""Depthwise 2-D convolution as a sum of shifted products.

XLA:CPU's grouped convolution is slow. A k x k depthwise convolution is k*k multiply-adds of shifted images, which XLA
fuses into one loop. The automatic derivative would be k*k separate reductions, so it is implemented here as well.
The test compares both with XLA's grouped convolution.
"""

from functools import partial, reduce

import jax
import jax.numpy as jnp
from jax import lax

from jaxhar.nn.platform import forms

Array = jax.Array


@jax.custom_vjp
def depthwise(x: Array, kernel: Array) -> Array:
    """Correlate every channel with its own odd-sized kernel; stride 1, zero padding to the same size.

    Args:
      x: (N, H, W, C).
      kernel: (kh, kw, C, 1), as Keras stores it.

    Returns:
      (N, H, W, C), in the type of `x`.
    """
    return depthwise_sums(x, kernel, forms().depthwise_channels)


def _pad(x: Array, kh: int, kw: int) -> Array:
    return jnp.pad(x, ((0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2), (0, 0)))


# Traced once for each shape, not once for each layer: tracing k*k products takes long.
@partial(jax.jit, static_argnums=2)
def depthwise_sums(x: Array, kernel: Array, limit: int | None) -> Array:
    """`depthwise` by fused loops over at most `limit` channels; None: all."""
    kh, kw, channels, _ = kernel.shape
    n, height, width, _ = x.shape
    # The barriers stop XLA from fusing parts of the sum with other operations and storing every shifted copy.
    padded = lax.optimization_barrier(_pad(x, kh, kw))

    def product(i: int, j: int, lo: int, hi: int) -> Array:
        # `lax` functions, because indexing and operators take 2.7 times as long to trace.
        window = lax.slice(padded, (0, i, j, lo), (n, i + height, j + width, hi))
        tap = lax.reshape(lax.slice(kernel, (i, j, lo, 0), (i + 1, j + 1, hi, 1)), (hi - lo,))
        return lax.mul(window, lax.broadcast_in_dim(tap, window.shape, (3,)))

    def sums(lo: int, hi: int) -> Array:
        return reduce(lax.add, (product(i, j, lo, hi) for i in range(kh) for j in range(kw)))

    pieces = 1 if limit is None else next(p for p in range(-(-channels // limit), channels + 1) if channels % p == 0)
    step = channels // pieces
    parts = lax.optimization_barrier(tuple(sums(c, c + step) for c in range(0, channels, step)))
    return parts[0] if pieces == 1 else jnp.concatenate(parts, axis=-1)


@partial(jax.jit, static_argnums=(2, 3))
def depthwise_kernel_gradient(x: Array, g: Array, kh: int, kw: int) -> Array:
    """Gradient of the kernel, (kh, kw, C, 1): input times output gradient, summed over images and positions.

    A scan over image rows carries (kw, kh, lanes, C) partial sums; each step is element-wise, so that XLA keeps them in
    registers. `images` and `lanes` limit the length of the unrolled sum: twice the length is not faster and compiles
    longer, half the length takes three times as long.
    """
    n, height, width, channels = g.shape
    images = n
    while images * width > 128 and images % 2 == 0:
        images //= 2
    lanes = 1
    while images * width // lanes > 16 and width % (2 * lanes) == 0:
        lanes *= 2

    def group(xg: tuple[Array, Array]) -> Array:
        x, g = xg
        padded = _pad(x, kh, kw)

        def row(carry: tuple[Array, ...], r: Array) -> tuple[tuple[Array, ...], None]:
            grow = lax.dynamic_index_in_dim(g, r, 1, keepdims=False)  # (images, W, C)
            slab = lax.dynamic_slice_in_dim(padded, r, kh, 1)  # (images, kh, W + kw - 1, C)
            grow, slab = lax.optimization_barrier((grow, slab))
            out = []
            for j, total in enumerate(carry):
                for i in range(images):
                    for w in range(0, width, lanes):
                        total = total + slab[i, :, w + j : w + j + lanes] * grow[i, w : w + lanes]
                out.append(total)
            return tuple(out), None

        zeros = jnp.zeros((kh, lanes, channels), g.dtype)
        columns, _ = lax.scan(row, (zeros,) * kw, jnp.arange(height))
        return jnp.stack(columns, axis=1).sum(2)

    if images == n:
        return group((x, g))[..., None]
    groups = jax.tree.map(lambda a: a.reshape(n // images, images, *a.shape[1:]), (x, g))
    return lax.map(group, groups).sum(0)[..., None]


def _fwd(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return depthwise_sums(x, kernel, forms().depthwise_channels), (x, kernel)


def _bwd(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    kh, kw = kernel.shape[:2]
    of_x = depthwise_sums(g, kernel[::-1, ::-1], forms().depthwise_channels)
    return of_x, depthwise_kernel_gradient(x, g, kh, kw).astype(kernel.dtype)


depthwise.defvjp(_fwd, _bwd)
