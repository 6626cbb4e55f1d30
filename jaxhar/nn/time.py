"""vmap over time: a network for images, applied to every frame of a clip, in place of Keras' TimeDistributed.

`per_frame` is a `jax.vmap` of a function of the network's arrays and one frame. A batching rule says how the mapped
frames are computed: in training as one batch, because batch norms gather their statistics over time too, as in Keras 2;
in evaluation in portions that fit the cache. docs/time.md explains it with an example.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.extend.core import Primitive
from jax.interpreters import batching

from jaxhar.nn.platform import forms

Tree = TypeVar("Tree")


def is_training(module: nnx.Module) -> bool:
    """Whether any batch norm in the module uses the statistics of the batch."""
    return any(isinstance(m, nnx.BatchNorm) and not m.use_running_average for _, m in nnx.iter_modules(module))


def per_frame(call: Callable[..., Tree], module: nnx.Module, clips: jax.Array) -> Tree:
    """`call(module, frame)`, mapped over the time axis.

    In training, batch norms compute their statistics over clips, frames and positions together and update their running
    averages once. In evaluation frames are independent.

    Args:
      call: (module, images (B, H, W, C)) -> a tree of arrays (B, ...).
      module: contains every weight that `call` uses.
      clips: (B, T, H, W, C).

    Returns:
      the tree of `call` with arrays (B, T, ...).
    """
    function = _Function(call, module)
    leaves = jax.vmap(lambda frame: _images.bind(frame, function=function), in_axes=1, out_axes=1)(clips)
    return jax.tree.unflatten(function.tree, leaves)


class _Function:
    """A function of images (N, H, W, C) that returns a list of arrays (N, ...); `tree` is their structure."""

    def __init__(self, call: Callable, module: nnx.Module):
        self.call, self.module = call, module
        self.independent = not is_training(module)

    def __call__(self, images: jax.Array) -> list[jax.Array]:
        leaves, self.tree = jax.tree.flatten(self.call(self.module, images))
        return leaves


#: Images (B, H, W, C) -> arrays (B, ...) by a `_Function`. A primitive, because that is what JAX takes batching rules
#: of; `jax.custom_batching.custom_vmap` would trace the network twice, for one frame and for all.
_images = Primitive("images")
_images.multiple_results = True
_images.def_impl(lambda images, function: function(images))


def _all_frames(args: Sequence[jax.Array], axes: Sequence[int], function: _Function) -> tuple[list, list[int]]:
    """The batching rule of `_images`: what a vmap over the frames computes, and the axes of T in the results."""
    (frames,), (axis,) = args, axes
    clips = jnp.moveaxis(frames, axis, 1)  # (B, T, H, W, C)
    batch, time = clips.shape[:2]
    images = clips.reshape(batch * time, *clips.shape[2:])
    alone = isinstance(batch, int) and batch * time == 1  # no int in jax.export
    if alone or not (forms().frame_by_frame and function.independent):
        leaves = function(images)
    else:
        leaves = jax.lax.map(lambda image: [y[0] for y in function(image[None])], images)
    return [y.reshape(batch, time, *y.shape[1:]) for y in leaves], [1] * len(leaves)


batching.primitive_batchers[_images] = _all_frames
