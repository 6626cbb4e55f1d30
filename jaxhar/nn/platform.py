"""Which form of a layer is fast where. The only place that asks for the platform; models do not know about it."""

from dataclasses import dataclass

import jax


@dataclass(frozen=True)
class Forms:
    """Choices that change the speed of a network and never its values.

    Attributes:
      frames_per_step: how many frames inference runs through the trunk at once; None: all of them.
      depthwise_channels: how many channels the depthwise convolution sums in one fused loop; None: all of them.
    """

    frames_per_step: int | None
    depthwise_channels: int | None


#: One frame's 32x32x576 tensor (2.4 MB) stays in the cache, sixteen do not.
#: Up to 144 channels, 25 taps and their window of the input fit the 48 KB first-level cache.
_CPU = Forms(frames_per_step=1, depthwise_channels=144)
_ACCELERATOR = Forms(frames_per_step=None, depthwise_channels=None)


def forms() -> Forms:
    """The forms for JAX's default backend, read while tracing. The depthwise form is measured in benchmarks/."""
    return _CPU if jax.default_backend() == "cpu" else _ACCELERATOR
