import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxhar.nn.deconv import PADS, Deconv


def scattered(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Transposed convolution by its definition: every pixel adds its kernel to twice its place, less the padding."""
    n, height, width, _ = x.shape
    size, pad = len(kernel), PADS[len(kernel)]
    full = np.zeros((n, 2 * height + 4, 2 * width + 4, kernel.shape[2]))
    for row in range(height):
        for column in range(width):
            full[:, 2 * row : 2 * row + size, 2 * column : 2 * column + size] += np.einsum(
                "ni,rcoi->nrco", x[:, row, column], kernel
            )
    return full[:, pad : pad + 2 * height, pad : pad + 2 * width]


@pytest.mark.parametrize("size", PADS)
def test_it_is_a_transposed_convolution(size):
    rng = np.random.default_rng(size)
    with jax.enable_x64(True):
        layer = Deconv(3, 5, size, bias=True, dtype=jnp.float64, rngs=nnx.Rngs(0))
        kernel, bias = rng.normal(size=(size, size, 5, 3)), rng.normal(size=5)
        layer.kernel, layer.bias = nnx.Param(jnp.asarray(kernel)), nnx.Param(jnp.asarray(bias))
        x = rng.normal(size=(2, 4, 3, 3))
        expected = scattered(x, kernel) + bias
        np.testing.assert_allclose(layer(jnp.asarray(x)), expected, atol=1e-12)
        layer.arrange()
        np.testing.assert_allclose(layer(jnp.asarray(x)), expected, atol=1e-12)
