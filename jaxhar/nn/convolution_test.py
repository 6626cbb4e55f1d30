"""The written gradients against XLA's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhar.nn import convolution, platform


def arrays(x, kernel, stride):
    rng = np.random.default_rng(0)
    x, kernel = (rng.standard_normal(shape).astype(np.float32) for shape in (x, kernel))
    return x, kernel, rng.standard_normal(convolution._plain(x, kernel, stride).shape).astype(np.float32)


def gradients(function, x, kernel, stride, g):
    return jax.jit(lambda x, kernel, g: jax.vjp(lambda *args: function(*args, stride), x, kernel)[1](g))(x, kernel, g)


# even and odd sizes, kernels of all sizes down to the stride, strides 1 to 3
@pytest.mark.parametrize(
    ("shape", "size", "stride"),
    [
        ((1, 6, 8, 3), (3, 3), 1),
        ((3, 7, 5, 3), (5, 1), 1),
        ((3, 7, 5, 3), (1, 5), 1),
        ((2, 8, 8, 4), (3, 3), 2),
        ((2, 7, 9, 4), (3, 5), 2),
        ((2, 8, 7, 4), (2, 2), 2),
        ((1, 10, 8, 4), (7, 7), 2),
        ((2, 9, 10, 2), (4, 3), 3),
    ],
)
def test_gradients_are_those_of_xla(shape, size, stride):
    x, kernel, g = arrays(shape, (*size, shape[-1], 5), stride)
    expected = gradients(convolution._plain, x, kernel, stride, g)
    for ours, theirs in zip(gradients(convolution._with_gradients, x, kernel, stride, g), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_few_large_images_on_a_cpu_take_the_custom_gradients(monkeypatch):
    def written(shape, size=3, stride=1):
        x, kernel = jnp.zeros(shape), jnp.zeros((size, size, shape[-1], 64))
        return "custom_vjp" in str(jax.make_jaxpr(lambda x, kernel: convolution.convolve(x, kernel, stride))(x, kernel))

    monkeypatch.setattr(convolution, "forms", lambda: platform._CPU)
    assert written((8, 64, 64, 64)) and written((1, 64, 64, 192), stride=2)
    assert not written((9, 64, 64, 64))
    assert not written((1, 64, 64, 64), stride=2)  # 38 million multiplications
    assert not written((1, 512, 512, 3)) and not written((1, 64, 64, 192))  # too few channels, too many
    assert not written((1, 512, 512, 64), size=1, stride=2)  # a kernel smaller than the stride
    monkeypatch.setattr(convolution, "forms", lambda: platform._ACCELERATOR)
    assert not written((8, 64, 64, 64))
