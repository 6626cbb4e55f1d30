"""Which form of a layer is fast where. The only place that asks for the platform; models do not know about it."""

import contextlib
import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


@dataclass(frozen=True)
class Forms:
    """Choices that change the speed of a network and not its values, beyond rounding.

    Attributes:
      frames_per_step: how many frames inference runs through the trunk at once; None: all of them.
      depthwise_channels: how many channels the depthwise convolution sums in one fused loop; None: all of them.
      images_apart: up to how many images in a batch the gradients of large full convolutions are written out, those of
        the kernels image by image; 0: never.
      only_products: of a network in bfloat16, only the operands of matrix products are in bfloat16, all else is in
        float32, the products among it.
      compiler_options: of XLA. half_options: further ones for a network in bfloat16.
    """

    frames_per_step: int | None
    depthwise_channels: int | None
    images_apart: int
    only_products: bool
    compiler_options: dict[str, object] = field(default_factory=dict)
    half_options: dict[str, object] = field(default_factory=dict)


#: One frame's 32x32x576 tensor (2.4 MB) stays in the cache, sixteen do not.
#: Up to 192 channels, 25 taps and their window of the input (38 KB) fit the 48 KB first-level cache. With 288 inference
#: takes 2 to 8 % longer, with 144 as long, but compiling takes 10 to 60 % longer.
#: With the written gradients of convolutions a training step (reception-mpii, one block) takes 0.94 of its time for
#: four images, 0.97 for eight, 0.99 for sixteen.
#: With float32 results, products in bfloat16 are twice as fast as in float32; with results in bfloat16, and in all
#: convolutions and sums, XLA:CPU is slower in bfloat16.
#: Convolutions and products use both cores better in Eigen than in YNNPACK, XLA's first choice; products in bfloat16
#: are twice as fast in YNNPACK. Vectors of 512 bits: the depthwise sums.
_CPU = Forms(
    frames_per_step=1,
    depthwise_channels=192,
    images_apart=8,
    only_products=True,
    compiler_options={
        "xla_cpu_prefer_vector_width": 512,
        "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE",
    },
    half_options={
        "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE,LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",
    },
)
_ACCELERATOR = Forms(frames_per_step=None, depthwise_channels=None, images_apart=0, only_products=False)


def forms() -> Forms:
    """The forms for JAX's default backend, read while tracing. The depthwise form is measured in benchmarks/."""
    return _CPU if jax.default_backend() == "cpu" else _ACCELERATOR


def wide(dtype: DTypeLike) -> DTypeLike:
    """The type of everything but the operands of matrix products, in a network whose type is `dtype`."""
    return jnp.promote_types(dtype, jnp.float32) if forms().only_products else dtype


class jit:
    """`jax.jit` with the compiler options of the platform, which is asked for at the first call.

    Args:
      half: says of the arguments of a call whether they are a network's in bfloat16.
    """

    def __init__(self, function: Callable, half: Callable[..., bool] = lambda *_: False, **settings: Any):
        self._half, self._made = half, dict[bool, Any]()
        self._make = lambda half: jax.jit(function, compiler_options=_understood(half), **settings)

    def __call__(self, *args: Any) -> Any:
        half = self._half(*args)
        if half not in self._made:
            self._made[half] = self._make(half)
        with uncollected():
            return self._made[half](*args)

    def compilations(self) -> int:
        """How many programs there are by now."""
        return sum(made._cache_size() for made in self._made.values())


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Python looks for no garbage meanwhile.

    Nearly all of the many objects that come of tracing a network stay. Going through them, and through those of every
    imported library, again and again took 0.3 of the 0.8 s of tracing SPNet, and beside torch 0.2 of 0.35 s of
    `inference.prepare`.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@cache
def _understood(half: bool) -> dict[str, object]:
    """The compiler options, without those that this version of XLA does not know."""

    def known(option: str, value: object) -> bool:
        try:
            jax.jit(lambda: 0, compiler_options={option: value})()
        except jax.errors.JaxRuntimeError:
            return False
        return True

    options = forms().compiler_options | (forms().half_options if half else {})
    return {option: value for option, value in options.items() if known(option, value)}
