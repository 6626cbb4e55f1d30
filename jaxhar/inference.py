"""One call from frames to numbers."""

import math
from collections.abc import Callable
from functools import partial
from operator import is_
from typing import Any
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxhar.core.batch import Batch, network_input
from jaxhar.nn import platform
from jaxhar.nn.layers import ready_kernels

#: Frames that go through the network at once, where it can choose: what bounds the memory for any number of them.
CHUNK = 64


class Structure:
    """What is static in a network. Its hash is taken once: that of a `GraphDef` takes milliseconds at each call.

    Attributes:
      half: whether it computes in bfloat16.
    """

    def __init__(self, graphdef: nnx.GraphDef, half: bool = False):
        self._graphdef, self._hash = graphdef, hash(graphdef)
        self.half = half

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or isinstance(other, Structure) and self._graphdef == other._graphdef

    def merge(self, state: nnx.State) -> Any:
        return nnx.merge(self._graphdef, state)


#: Decorates a function of a prepared network, its structure and state, and of what it is given.
jit = partial(platform.jit, static_argnums=0, half=lambda structure, *_: structure.half)


@jit
def _forward(structure: Structure, state: nnx.State, frames: jax.Array) -> dict[str, Any]:
    preds = dict(structure.merge(state)(network_input(Batch(frames=frames))))
    if "action" in preds:
        preds["action"] = jax.tree.map(jax.nn.softmax, preds["action"])
    return preds


def infer(model: nnx.Module, frames: np.ndarray, chunk: int = CHUNK) -> dict[str, Any]:
    """Run a network on frames; compiled once for every network structure and shape.

    Args:
      model: any network of the zoo; it is run in evaluation mode and left as it is.
      frames: (B, H, W, 3) stills or (B, T, H, W, 3) clips, RGB, uint8 or in [-1, 1].
      chunk: frames at a time. More are cut, clips of a pose network anywhere and clips of an action network between
        two of them, into pieces of the same size.

    Returns:
      pose (K, B, T, J, D) in units of the crop, visible (K, B, T, J), and, for action networks, action (K', B, A)
      probabilities, or a tuple of such arrays for a network of several sets of labels. Blocks and heads are in the
      authors' order (p1..p4, v1..v4, m); a CVPR'18 action network gives the pose of its last block, K = 1. T is 1 for
      stills.

    Raises:
      ValueError: frames of another rank, or not three channels.
    """
    frames = np.asarray(frames)
    frames = frames if frames.dtype == np.uint8 else frames.astype(np.float32)
    if frames.ndim == 4:
        frames = frames[:, None]
    if frames.ndim != 5 or frames.shape[-1] != 3:
        raise ValueError(f"frames must be (B, H, W, 3) or (B, T, H, W, 3), not {frames.shape}")
    run = partial(_forward, *prepare(model))
    batch, time = frames.shape[:2]
    if batch * time <= chunk:
        return jax.tree.map(np.asarray, run(frames))
    if getattr(model.config, "num_actions", None) is None:  # type: ignore[attr-defined]
        # without an action head no frame knows of another
        preds = _in_pieces(run, frames.reshape(batch * time, 1, *frames.shape[2:]), chunk)
        return {key: value.reshape(len(value), batch, time, *value.shape[3:]) for key, value in preds.items()}
    return _in_pieces(run, frames, max(1, chunk // time))


def _in_pieces(run: Callable[[np.ndarray], dict[str, Any]], clips: np.ndarray, most: int) -> dict[str, Any]:
    """`run` on at most that many clips at a time; the last piece is filled up, so that there is one shape."""
    size = math.ceil(len(clips) / math.ceil(len(clips) / most))
    found = []
    for start in range(0, len(clips), size):
        piece = clips[start : start + size]
        full = np.concatenate([piece, np.zeros((size - len(piece), *piece.shape[1:]), piece.dtype)])
        found.append(jax.tree.map(np.asarray, run(full)))
    return jax.tree.map(lambda *parts: np.concatenate(parts, axis=1)[:, : len(clips)], *found)


def prepare(model: nnx.Module) -> tuple[Structure, nnx.State]:
    """A network in evaluation mode, taken apart, its kernels in the type of the arithmetic.

    As that takes as long as running the network on an image, it is done anew only if something in the network is
    another object than last time.
    """
    before, parts = _prepared.get(model, (None, None))
    if before is None or parts is None or before.changed():
        with platform.uncollected():
            view = nnx.view(model, use_running_average=True, deterministic=True, raise_if_not_found=False)
            ready_kernels(view)  # the model's own stay as they are
            graphdef, state = nnx.split(view)
            parts = Structure(graphdef, any(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(state))), state
            _prepared[model] = _Contents(model), parts
    return parts


class _Contents:
    """Every array and setting in a network, to see whether one of them is another object later.

    Looked at before every call, so it walks over the network once and keeps what it found in flat lists.
    """

    def __init__(self, model: nnx.Module):
        modules = [module for _, module in nnx.iter_modules(model)]
        values = [value for module in modules for value in vars(module).values()]
        self._attributes = [(vars(module), [*vars(module).values()]) for module in modules]
        self._arrays = [(value, value.get_raw_value()) for value in values if isinstance(value, nnx.Variable)]

    def changed(self) -> bool:
        return any(
            len(now) != len(then) or not all(map(is_, now.values(), then)) for now, then in self._attributes
        ) or any(variable.get_raw_value() is not array for variable, array in self._arrays)


#: Of a network: what was in it when it was last prepared, and what came of it.
_prepared: WeakKeyDictionary[nnx.Module, tuple[_Contents, tuple[Structure, nnx.State]]] = WeakKeyDictionary()
