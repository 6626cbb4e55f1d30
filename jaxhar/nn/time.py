"""A network for one image, applied to every frame of a clip with the same weights: vmap in place of TimeDistributed."""

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

    In training, batch normalisation takes its statistics over batch, frames and positions together and moves its
    running averages once, as Keras 2 did by folding time into the batch. In evaluation the frames are independent and
    run in the portions that `platform.forms` finds fastest.

    Args:
      call: maps the module and images (B, H, W, C) to a tree of arrays (B, ...).
      module: holds every weight that `call` uses.
      clips: (B, T, H, W, C).

    Returns:
      The tree of `call` with time as second axis, (B, T, ...).
    """
    if is_training(module):
        module = nnx.with_attributes(module, only=nnx.BatchNorm, axis_name="time")
        return nnx.vmap(call, in_axes=(None, 1), out_axes=1, axis_name="time")(module, clips)
    batch, time = clips.shape[:2]
    step = forms().frames_per_step
    frames = clips.reshape(batch * time, *clips.shape[2:])
    symbolic = not isinstance(batch, int)  # in jax.export
    if step is None or (not symbolic and batch * time <= step):
        out = call(module, frames)
    else:
        out = jax.lax.map(lambda frame: jax.tree.map(lambda y: y[0], call(module, frame[None])), frames)
    return jax.tree.map(lambda y: y.reshape(batch, time, *y.shape[1:]), out)
