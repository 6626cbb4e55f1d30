"""Linear layer with normal initial weights, as a matrix product."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxhar.nn.layers import drawn, product
from jaxhar.nn.platform import result_dtype

Array = jax.Array
#: Initial values of a shape.
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def normal(deviation: float) -> Draw:
    """Normal values of mean 0."""
    return lambda rng, shape: rng.normal(0, deviation, shape)


def xavier(inputs: int, outputs: int) -> Draw:
    """Uniform values by Glorot's rule for a layer of these widths."""
    limit = math.sqrt(6 / (inputs + outputs))
    return lambda rng, shape: rng.uniform(-limit, limit, shape)


NORMAL = normal(0.02)


class Linear(nnx.Module):
    """(..., in) -> (..., out); kernel (in, out), by default of deviation 0.02, and bias 0, or none."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        draw: Draw = NORMAL,
        bias: bool = True,
        *,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.kernel = nnx.Param(drawn(rngs.params(), (inputs, outputs), draw))
        self.bias = nnx.Param(jnp.zeros(outputs)) if bias else None
        self.dtype = dtype

    def arrange(self) -> None:
        """Converts the kernel to the arithmetic type."""
        if self.kernel.dtype != self.dtype:
            self.kernel = nnx.Param(self.kernel[...].astype(self.dtype))

    def __call__(self, x: Array) -> Array:
        dtype = result_dtype(self.dtype)
        y = product(x.astype(self.dtype), self.kernel[...].astype(self.dtype), dtype)
        return y if self.bias is None else y + self.bias[...].astype(dtype)
