"""Choices by platform."""

from dataclasses import replace

import jax.numpy as jnp
import pytest
from flax import nnx

from jaxhar.nn import platform
from jaxhar.nn.layers import Conv, ConvTranspose, Depthwise, SeparableResidual


def test_options_that_xla_does_not_know_are_left_out(monkeypatch):
    options = {"xla_cpu_prefer_vector_width": 256, "xla_no_such_option": 1, "xla_cpu_experimental_ynn_fusion_type": "X"}
    monkeypatch.setattr(platform, "forms", lambda: replace(platform._CPU, compiler_options=options))
    assert platform._supported_options.__wrapped__(False) == {"xla_cpu_prefer_vector_width": 256}


def test_this_version_of_xla_knows_all_options():
    assert platform._supported_options(False) == platform._CPU.compiler_options
    assert platform._supported_options(True) == platform._CPU.compiler_options | platform._CPU.half_options


@pytest.mark.parametrize(("forms", "type_out"), [(platform._CPU, "float32"), (platform._ACCELERATOR, "bfloat16")])
def test_networks_in_bfloat16_are_float32_outside_of_products_on_cpus(monkeypatch, forms, type_out):
    monkeypatch.setattr(platform, "forms", lambda: forms)
    kw = {"dtype": jnp.bfloat16, "rngs": nnx.Rngs(0)}
    x = jnp.full((1, 4, 4, 8), 1 + 2**-10)  # rounded to 1 in bfloat16
    for layer in (Conv(8, 4, **kw), Conv(8, 4, 3, **kw), Conv(8, 4, 1, 2, **kw), ConvTranspose(8, 4, **kw)):
        assert layer(x).dtype == type_out
    assert SeparableResidual(8, 4, 3, **kw)(x).dtype == type_out
    depthwise = Depthwise(8, 1, **kw)
    depthwise.kernel[...] = jnp.ones((1, 1, 8, 1))
    assert bool((depthwise(x) == (x if type_out == "float32" else 1)).all())
