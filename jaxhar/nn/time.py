"""A network for one image, applied to every frame of a clip with the same weights: Keras' TimeDistributed."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from jaxhar.nn.platform import forms


def is_training(module: nnx.Module) -> bool:
    """Whether batch normalisation anywhere below takes its statistics from the batch."""
    return any(isinstance(m, nnx.BatchNorm) and not m.use_running_average for _, m in nnx.iter_modules(module))


def per_frame(call: Callable[..., Any], module: nnx.Module, clips: jax.Array) -> Any:
    """Run `call(module, frame)` over the time axis.

    The result, gradients and running averages are those of a vmap over time with batch normalisation averaging over
    it, which is the oracle in the test. Folding time into the batch instead lets the kernel gradients sum over
    all frames at once: a training step then takes four fifths of the time (benchmarks/README.md).

    In evaluation the frames are independent and run in the portions that `platform.forms` finds fastest.

    Args:
      call: maps the module and images (N, H, W, C) to a tree of arrays (N, ...).
      module: holds every weight that `call` uses.
      clips: (B, T, H, W, C).

    Returns:
      The tree of `call` with time as second axis, (B, T, ...).
    """
    batch, time = clips.shape[:2]
    frames = clips.reshape(batch * time, *clips.shape[2:])
    step = None if is_training(module) else forms().frames_per_step
    if step is None or batch * time <= step:
        out = call(module, frames)
    else:
        out = jax.lax.map(lambda frame: jax.tree.map(lambda y: y[0], call(module, frame[None])), frames)
    return jax.tree.map(lambda y: y.reshape(batch, time, *y.shape[1:]), out)
