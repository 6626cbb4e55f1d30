"""Linear layer with normal initial weights, as a matrix product."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxhar.nn.layers import drawn, product
from jaxhar.nn.platform import result_dtype

Array = jax.Array


class Linear(nnx.Module):
    """(..., in) -> (..., out); kernel (in, out) with deviation `deviation`, bias 0."""

    def __init__(self, inputs: int, outputs: int, deviation: float = 0.02, *, dtype=jnp.float32, rngs: nnx.Rngs):
        def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
            return rng.normal(0, deviation, shape)

        self.kernel = nnx.Param(drawn(rngs.params(), (inputs, outputs), normal))
        self.bias = nnx.Param(jnp.zeros(outputs))
        self.dtype = dtype

    def __call__(self, x: Array) -> Array:
        dtype = result_dtype(self.dtype)
        y = product(x.astype(self.dtype), self.kernel[...].astype(self.dtype), dtype)
        return y + self.bias[...].astype(dtype)
