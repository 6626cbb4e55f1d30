"""The written gradients against XLA's."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhar.nn import convolution, platform


def arrays(x, kernel, stride):
    rng = np.random.default_rng(0)
    x, kernel = (rng.standard_normal(shape).astype(np.float32) for shape in (x, kernel))
    return x, kernel, rng.standard_normal(convolution._plain(x, kernel, (stride, stride)).shape).astype(np.float32)


def assert_gradients(x, kernel, g, strides, pads=None):
    """The gradients of both operands are XLA's."""

    def found(function):
        return jax.jit(lambda *args: jax.vjp(lambda *two: function(*two, strides, pads), *args)[1](g))(x, kernel)

    for ours, theirs in zip(found(convolution._with_gradients), found(convolution._plain), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


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
def test_gradients_are_those_of_xla(shape, size, stride, monkeypatch):
    monkeypatch.setattr(convolution, "_worth_it", lambda *_: True)
    x, kernel, g = arrays(shape, (*size, shape[-1], 5), stride)
    assert_gradients(x, kernel, g, (stride, stride))


def test_gradients_of_one_stride_for_each_axis():
    x, kernel, g = arrays((2, 8, 6, 3), (3, 1, 3, 4), 1)
    assert_gradients(x, kernel, g[:, ::2], (2, 1), (1, 0))


def test_what_comes_before_is_computed_once_for_the_gradients():
    def loss(x, kernel):
        for _ in range(6):
            x = jnp.maximum(x + convolution.convolve(x, kernel), 0)
        return x.sum()

    step = platform.jit(jax.grad(loss, 1), barriers=True)
    x, kernel, _ = arrays((16, 8, 8, 4), (3, 3, 4, 4), 1)
    program = step.trace(x, kernel).lower().compile().as_text().split("ENTRY")[1]
    copies = re.findall(r"= f32\[4,8,8,16\]\S* fusion\(([^)]*)\)", program)
    assert len(copies) == 6 and all(operands.count("%") == 1 for operands in copies), copies


def test_a_few_large_images_on_a_cpu_take_the_custom_gradients(monkeypatch):
    def written(shape, size=3, stride=1):
        return convolution._worth_it(shape, (size, size, shape[-1], 64), (stride, stride))

    monkeypatch.setattr(convolution, "forms", lambda: platform._CPU)
    assert written((8, 64, 64, 64)) and written((1, 64, 64, 192), stride=2)
    assert not written((9, 64, 64, 64))
    assert not written((1, 64, 64, 64), stride=2)  # 38 million multiplications
    assert not written((1, 512, 512, 3)) and not written((1, 64, 64, 192))  # too few channels, too many
    assert not written((1, 512, 512, 64), size=1, stride=2)  # a kernel smaller than the stride
    monkeypatch.setattr(convolution, "forms", lambda: platform._ACCELERATOR)
    x, kernel, _ = arrays((2, 8, 8, 3), (3, 3, 3, 4), 1)
    assert "custom_vjp" not in str(jax.make_jaxpr(convolution.convolve)(x, kernel))
