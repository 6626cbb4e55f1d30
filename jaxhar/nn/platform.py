"""Which form of a layer is fast where. The only place that asks for the platform; models do not know about it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Forms:
    """Choices that change the speed of a network and not its values, beyond rounding.

    Attributes:
      frames_per_step: how many frames inference runs through the trunk at once; None: all of them.
      depthwise_channels: how many channels the depthwise convolution sums in one fused loop; None: all of them.
      only_products: of a network in bfloat16, only the operands of matrix products are in bfloat16, all else is in
        float32, the products among it.
      compiler_options: of XLA.
    """

    frames_per_step: int | None
    depthwise_channels: int | None
    only_products: bool
    compiler_options: dict[str, Any] = field(default_factory=dict)


#: One frame's 32x32x576 tensor (2.4 MB) stays in the cache, sixteen do not.
#: Up to 144 channels, 25 taps and their window of the input fit the 48 KB first-level cache.
#: With float32 results, products in bfloat16 are twice as fast as in float32; with results in bfloat16, and in all
#: convolutions and sums, XLA:CPU is slower in bfloat16.
#: Full convolutions use both cores better in Eigen than in YNNPACK, XLA's first choice; products in bfloat16 are twice
#: as fast in YNNPACK. Vectors of 512 bits: the depthwise sums.
_CPU = Forms(
    frames_per_step=1,
    depthwise_channels=144,
    only_products=True,
    compiler_options={
        "xla_cpu_prefer_vector_width": 512,
        "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE,LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",
    },
)
_ACCELERATOR = Forms(frames_per_step=None, depthwise_channels=None, only_products=False)


def forms() -> Forms:
    """The forms for JAX's default backend, read while tracing. The depthwise form is measured in benchmarks/."""
    return _CPU if jax.default_backend() == "cpu" else _ACCELERATOR


def wide(dtype: Any) -> Any:
    """The type of everything but the operands of matrix products, in a network whose type is `dtype`."""
    return jnp.promote_types(dtype, jnp.float32) if forms().only_products else dtype


class jit:
    """`jax.jit` with the compiler options of the platform, which is asked for at the first call."""

    def __init__(self, function: Callable, **settings: Any):
        self._make = cache(lambda: jax.jit(function, compiler_options=_understood(), **settings))

    def __call__(self, *args: Any) -> Any:
        return self._make()(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._make(), name)


@cache
def _understood() -> dict[str, Any]:
    """The compiler options, without those that this version of XLA does not know."""

    def known(option: str, value: Any) -> bool:
        try:
            jax.jit(lambda: 0, compiler_options={option: value})()
        except jax.errors.JaxRuntimeError:
            return False
        return True

    return {option: value for option, value in forms().compiler_options.items() if known(option, value)}
