"""One call from frames, or other inputs, to numbers."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from operator import is_
from typing import Any
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxhar.core.batch import Batch, batch_size
from jaxhar.core.network import NetworkConfig
from jaxhar.nn import platform
from jaxhar.nn.layers import cast_kernels

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
def forward(structure: Structure, state: nnx.State, batch: Batch) -> dict[str, Any]:
    """Predictions of a prepared network for a batch, actions as logits; compiled once for every structure and shape."""
    return dict(structure.merge(state)(batch))


@jit
def _probabilities(structure: Structure, state: nnx.State, batch: Batch) -> dict[str, Any]:
    preds = dict(structure.merge(state)(batch))
    if "action" in preds:
        preds["action"] = jax.tree.map(jax.nn.softmax, preds["action"])
    return preds


def infer(model: nnx.Module, inputs: np.ndarray | Mapping[str, np.ndarray], chunk: int = CHUNK) -> dict[str, Any]:
    """Run a network on its inputs; compiled once for every network structure and shape.

    Args:
      model: any network of the zoo; it is run in evaluation mode and left as it is.
      inputs: frames (B, H, W, 3) of stills or (B, T, H, W, 3) of clips, RGB, uint8 or as the network's pixel statistics
        make them ([-1, 1] for deephar); or a dict of the keys of a batch that the network reads.
      chunk: frames at a time. More are cut into pieces of the same size: anywhere if the network sees every frame for
        itself, else between two clips.

    Returns:
      The predictions, every value (K, B, ...), the last of K is the answer; `action` as probabilities. For deephar:
      pose (K, B, T, J, D) in units of the crop, visible (K, B, T, J), and, for action networks, action (K', B, A), or
      a tuple of such arrays for a network of several sets of labels. Blocks and heads are in deephar's order (p1..p4,
      v1..v4, m); a CVPR'18 action network gives the pose of its last block, K = 1. T is 1 for stills.

    Raises:
      ValueError: frames of another rank, or not three channels; a key that the network reads is missing.
    """
    config: NetworkConfig = model.config  # type: ignore[attr-defined]
    batch = _as_batch(inputs, config.reads)
    run = partial(_probabilities, *prepare(model))
    size = batch_size(batch)
    time = batch["frames"].shape[1] if "frames" in batch else 1
    if size * time <= chunk:
        return checked(jax.tree.map(np.asarray, run(batch)), size)
    if time > 1 and config.frames_apart and batch.keys() == {"frames"}:
        frames = batch["frames"]
        preds = _in_pieces(run, {"frames": frames.reshape(size * time, 1, *frames.shape[2:])}, chunk)
        return {key: value.reshape(len(value), size, time, *value.shape[3:]) for key, value in preds.items()}
    return _in_pieces(run, batch, max(1, chunk // time))


def _as_batch(inputs: np.ndarray | Mapping[str, np.ndarray], reads: tuple[str, ...]) -> Batch:
    given = dict(inputs) if isinstance(inputs, Mapping) else {"frames": inputs}
    missing = [key for key in reads if key not in given]
    if missing:
        raise ValueError(f"the network reads {', '.join(reads)}; {', '.join(missing)} is missing: give a dict of them")
    batch = {key: np.asarray(value) for key, value in given.items()}
    if "frames" in batch:
        frames = batch["frames"]
        frames = frames if frames.dtype == np.uint8 else frames.astype(np.float32)
        if frames.ndim == 4:
            frames = frames[:, None]
        if frames.ndim != 5 or frames.shape[-1] != 3:
            raise ValueError(f"frames must be (B, H, W, 3) or (B, T, H, W, 3), not {frames.shape}")
        batch["frames"] = frames
    return batch  # type: ignore[return-value]


def checked(preds: dict[str, Any], size: int) -> dict[str, Any]:
    """Predictions as they are; ValueError unless every value is (K, B, ...) with B = `size`."""
    for key, value in preds.items():
        for array in value if isinstance(value, tuple) else (value,):
            if array.ndim < 2 or array.shape[1] != size:
                raise ValueError(f"the network's {key} is {array.shape}; it must be (K, B, ...) with B = {size}")
    return preds


def _in_pieces(run: Callable[[Batch], dict[str, Any]], batch: Batch, most: int) -> dict[str, Any]:
    """`run` on at most that many examples at a time; the last piece is filled up, so that there is one shape."""
    total = batch_size(batch)
    size = math.ceil(total / math.ceil(total / most))
    found = []
    for start in range(0, total, size):
        piece = {}
        for key, value in batch.items():
            part = value[start : start + size]  # type: ignore[index]
            piece[key] = np.concatenate([part, np.zeros((size - len(part), *part.shape[1:]), part.dtype)])
        found.append(checked(jax.tree.map(np.asarray, run(piece)), size))  # type: ignore[arg-type]
    return jax.tree.map(lambda *parts: np.concatenate(parts, axis=1)[:, :total], *found)


def prepare(model: Any) -> tuple[Structure, nnx.State]:
    """A network in evaluation mode, taken apart, its kernels in the type of the arithmetic.

    As that takes as long as running the network on an image, it is done anew only if something in the network is
    another object than last time.
    """
    before, parts = _prepared.get(model, (None, None))
    if before is None or parts is None or before.changed():
        with platform.garbage_collection_off():
            view = nnx.view(model, use_running_average=True, deterministic=True, raise_if_not_found=False)
            cast_kernels(view)  # the model's own stay as they are
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
