"""Platform-dependent choices for speed. Networks do not depend on the platform otherwise."""

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
    """Choices that affect the speed of a network, and its results only by rounding.

    Attributes:
      frame_by_frame: in evaluation, frames pass through the trunk one after the other, instead of all at once.
      depthwise_channels: number of channels of a depthwise convolution in one fused loop; None: all.
      images_apart: largest batch for which large full convolutions use the image-by-image gradients
        of `nn.convolution`; 0: never.
      only_products: in a bfloat16 network, only operands of matrix products are bfloat16; everything else, including
        the results of the products, is float32.
      attention_scores: about how many scores of `nn.attention` are computed at once; 0: those of 512 queries.
      compiler_options: options of XLA.
      half_options: further options of XLA for a bfloat16 network.
      barrier_options: further options of XLA for programs whose barriers must last.
    """

    frame_by_frame: bool
    depthwise_channels: int | None
    images_apart: int
    only_products: bool
    attention_scores: int
    compiler_options: dict[str, object] = field(default_factory=dict)
    half_options: dict[str, object] = field(default_factory=dict)
    barrier_options: dict[str, object] = field(default_factory=dict)


# frame_by_frame: one frame's 32x32x576 tensor (2.4 MB) fits the cache, sixteen do not.
# depthwise_channels: up to 192 channels, a 5x5 kernel and its input window (38 KB) fit the 48 KB first-level cache.
# With 288 inference takes 2 to 8 % longer; with 144 the same time, but compiling takes 10 to 60 % longer.
# images_apart: with the gradients of `nn.convolution` a training step (reception-mpii, one block) takes 0.94 of its
# time for four images, 0.97 for eight, 0.99 for sixteen.
# only_products: bfloat16 products with float32 results are twice as fast as float32 products; with bfloat16 results,
# and in convolutions and sums, XLA:CPU is slower in bfloat16.
# attention_scores: 1.6 MB fit the second-level caches of two cores, 1 MB each.
# XLA's options: Eigen uses two cores better than YNNPACK (XLA's default), except for bfloat16 products, which are twice
# as fast in YNNPACK. Vectors of 512 bits speed up the depthwise sums. XLA:CPU drops barriers before it fuses operations
# and, of `jax.checkpoint`, before it looks for equal ones, unless it is told not to.
_CPU = Forms(
    frame_by_frame=True,
    depthwise_channels=192,
    images_apart=8,
    only_products=True,
    attention_scores=400_000,
    compiler_options={
        "xla_cpu_prefer_vector_width": 512,
        "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE",
    },
    half_options={
        "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE,LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",
    },
    barrier_options={"xla_disable_hlo_passes": "cse_barrier_expander"},
)
_ACCELERATOR = Forms(
    frame_by_frame=False, depthwise_channels=None, images_apart=0, only_products=False, attention_scores=0
)


#: Choices of `planned` in place of those for the backend.
_planned: list[Forms] = []


def forms() -> Forms:
    """The choices for JAX's default backend, applied during tracing."""
    if _planned:
        return _planned[-1]
    return _CPU if jax.default_backend() == "cpu" else _ACCELERATOR


@contextlib.contextmanager
def planned() -> Iterator[None]:
    """Context in which programs are traced as for a GPU, wherever they are compiled, to look at their costs there."""
    _planned.append(_ACCELERATOR)
    try:
        yield
    finally:
        _planned.pop()


def result_dtype(dtype: DTypeLike) -> DTypeLike:
    """Type of all values except operands of matrix products in a network of type `dtype`."""
    return jnp.promote_types(dtype, jnp.float32) if forms().only_products else dtype


class jit:
    """`jax.jit` with the compiler options of the platform, chosen at the first call.

    Args:
      half: tells from the arguments of a call whether the network computes in bfloat16.
      barriers: whether its barriers must last: in a training step those of gradients and of `jax.checkpoint`.
    """

    def __init__(
        self,
        function: Callable,
        half: Callable[..., bool] = lambda *_: False,
        barriers: bool = False,
        **settings: Any,
    ):
        self._half, self._compiled = half, dict[bool, Any]()
        self._make = lambda half: jax.jit(function, compiler_options=_supported_options(half, barriers), **settings)

    def __call__(self, *args: object) -> Any:
        with garbage_collection_off():
            return self._function(*args)(*args)

    def trace(self, *args: object) -> jax.stages.Traced:
        """The program for arguments of these shapes, to look at or to compile."""
        with garbage_collection_off():
            return self._function(*args).trace(*args)

    def _function(self, *args: object) -> jax.stages.Wrapped:
        half = self._half(*args)
        if half not in self._compiled:
            self._compiled[half] = self._make(half)
        return self._compiled[half]

    def compilations(self) -> int:
        """Number of programs compiled so far."""
        return sum(function._cache_size() for function in self._compiled.values())


@contextlib.contextmanager
def garbage_collection_off() -> Iterator[None]:
    """Context in which Python's garbage collection is off.

    Tracing a network creates many objects that stay alive; garbage collection took 0.3 of the 0.8 s of tracing SPNet
    and, with torch imported, 0.2 of the 0.35 s of `inference.prepare`.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@cache
def _supported_options(half: bool, barriers: bool = False) -> dict[str, object]:
    """The compiler options that this version of XLA supports."""

    def supported(option: str, value: object) -> bool:
        try:
            jax.jit(lambda: 0, compiler_options={option: value})()
        except jax.errors.JaxRuntimeError:
            return False
        return True

    chosen = forms()
    options = chosen.compiler_options | (chosen.half_options if half else {})
    options |= chosen.barrier_options if barriers else {}
    return {option: value for option, value in options.items() if supported(option, value)}
