"""Inference: predictions of a network as numpy arrays, with `infer`."""

import math
import warnings
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
from jaxhar.core.network import NetworkConfig, frame_size
from jaxhar.nn import platform
from jaxhar.nn.layers import arrange

#: Maximum number of frames in one call of the network, to limit memory.
CHUNK = 64
#: How far a normalised pixel may lie outside of the range of pixels: interpolation and noise overshoot a little.
_SLACK = 0.5


class Structure:
    """Static structure of a network, with a cached hash; hashing a `GraphDef` takes milliseconds in every call.

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


#: Decorator for functions (structure, state, ...) of a prepared network.
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


@jit
def _appearance(structure: Structure, state: nnx.State, batch: Batch) -> jax.Array:
    return structure.merge(state).appearance(batch)


def appearance(model: nnx.Module, frames: np.ndarray) -> np.ndarray:
    """Features (B, T, S) of frames (B, T, H, W, 3) by a `Describing` network; `frames` as in `infer`."""
    config: NetworkConfig = model.config  # type: ignore[attr-defined]
    return np.asarray(_appearance(*prepare(model), _as_batch(frames, config)))


@jit
def _shows(structure: Structure, state: nnx.State, batch: Batch) -> dict[str, jax.Array]:
    return structure.merge(state).shows(batch)


def shows(model: nnx.Module, batch: Batch) -> dict[str, np.ndarray]:
    """What a `Showing` network sees in the clips of a batch."""
    return jax.tree.map(np.asarray, _shows(*prepare(model), batch))


def infer(model: nnx.Module, inputs: np.ndarray | Mapping[str, np.ndarray], chunk: int = CHUNK) -> dict[str, Any]:
    """Runs a network; compiled once for every network structure and input shape.

    Args:
      model: a network of the zoo; it is run in evaluation mode and not modified.
      inputs: frames (B, H, W, 3) of stills or (B, T, H, W, 3) of clips, RGB, uint8 or normalised as the network needs
        them ([-1, 1] for deephar); or a dict with the keys of a batch that the network reads, and perhaps `step`.
      chunk: maximum number of frames in one call. More frames than this run in equal pieces; a clip is split only if
        the network processes every frame independently.

    Returns:
      The predictions, every value (K, B, ...), the last of the K is the final one; `action` as probabilities. deephar:
      pose (K, B, T, J, D) in units of the crop, visible (K, B, T, J), and, for action networks, action (K', B, A), or
      a tuple of such arrays with several label sets. The heads of a CVPR'18 action network are the four blocks of the
      pose stream, the four of the visual stream and their sum; it returns the pose of its last block, K = 1. T is 1 for
      stills.

    Raises:
      ValueError: frames of another type, range or size, or with another number of axes; values that are not finite; a
        missing key.
    """
    config: NetworkConfig = model.config  # type: ignore[attr-defined]
    batch = _as_batch(inputs, config)
    run = partial(_probabilities, *prepare(model))
    size = batch_size(batch)
    time = next((batch[key].shape[1] for key in ("frames", "points") if key in batch), 1)  # type: ignore[literal-required]
    if size * time <= chunk:
        return checked(jax.tree.map(np.asarray, run(batch)), size)
    if time > 1 and config.frames_apart and batch.keys() == {"frames"}:
        frames = batch["frames"]
        preds = _in_pieces(run, {"frames": frames.reshape(size * time, 1, *frames.shape[2:])}, chunk)
        return {key: value.reshape(len(value), size, time, *value.shape[3:]) for key, value in preds.items()}
    return _in_pieces(run, batch, max(1, chunk // time))


def _as_batch(inputs: np.ndarray | Mapping[str, np.ndarray], config: NetworkConfig) -> Batch:
    arrays = dict(inputs) if isinstance(inputs, Mapping) else {"frames": inputs}
    missing = [key for key in config.reads if key not in arrays]
    if missing:
        wanted = ", ".join(config.reads)
        raise ValueError(f"the network reads {wanted}; {', '.join(missing)} is missing: give a dict of them")
    batch = {key: np.asarray(value) for key, value in arrays.items()}
    for key, value in batch.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ValueError(f"{key} holds values that are not finite (NaN or infinity)")
    if "points" in batch and "points" in config.reads:
        wanted_shape, found = config.inputs(1)["points"].shape[3:], batch["points"].shape
        if len(found) != 5 or found[3:] != wanted_shape:
            raise ValueError(
                f"the network reads points (B, T, M, {wanted_shape[0]}, {wanted_shape[1]}) of {wanted_shape[0]} joints "
                f"in {wanted_shape[1]} coordinates, not {found}"
            )
    if "frames" in batch:
        batch["frames"] = _as_frames(batch["frames"], config)
    return batch  # type: ignore[return-value]


def _as_frames(frames: np.ndarray, config: NetworkConfig) -> np.ndarray:
    """Frames (B, T, H, W, 3), uint8 or normalised float32; ValueError for what the network does not understand."""
    assert config.pixels is not None
    if frames.ndim not in (4, 5) or frames.shape[-1] != 3:
        raise ValueError(f"frames must be (B, H, W, 3) or (B, T, H, W, 3), not {frames.shape}")
    height, width = frame_size(config)
    if frames.shape[-3:-1] != (height, width):
        raise ValueError(
            f"the network reads frames of {height}x{width} pixels (height x width), not "
            f"{frames.shape[-3]}x{frames.shape[-2]}; cut and scale them by jaxhar.crop"
        )
    if frames.dtype != np.uint8:
        low, high = config.pixels.bounds()
        advice = f"give uint8 pixels from 0 to 255, or floats from {low:.3g} to {high:.3g}"
        if frames.dtype.kind != "f":
            raise ValueError(f"frames of type {frames.dtype} are not understood; {advice}")
        if frames.size and (frames.min() < low - _SLACK or frames.max() > high + _SLACK):
            raise ValueError(f"frames have values from {frames.min():.3g} to {frames.max():.3g}; {advice}")
        if low < 0 and frames.size and frames.min() >= 0 and frames.max() > 0:
            warnings.warn(f"no pixel is below 0: floats from 0 to 1 are another scale; {advice}", stacklevel=3)
        frames = frames.astype(np.float32)
    return frames[:, None] if frames.ndim == 4 else frames


def checked(preds: dict[str, Any], size: int) -> dict[str, Any]:
    """Returns the predictions unchanged; ValueError unless every value is (K, B, ...) with B = `size`."""
    for key, value in preds.items():
        for array in value if isinstance(value, tuple) else (value,):
            if array.ndim < 2 or array.shape[1] != size:
                raise ValueError(f"the network's {key} is {array.shape}; it must be (K, B, ...) with B = {size}")
    return preds


def _in_pieces(run: Callable[[Batch], dict[str, Any]], batch: Batch, most: int) -> dict[str, Any]:
    """`run` on pieces of equal size, at most `most` examples; the last one is padded to avoid recompilation."""
    total = batch_size(batch)
    size = math.ceil(total / math.ceil(total / most))
    found = []
    for start in range(0, total, size):
        piece = {}
        for key, value in batch.items():
            if key == "step":
                piece[key] = value
                continue
            part = value[start : start + size]  # type: ignore[index]
            piece[key] = np.concatenate([part, np.zeros((size - len(part), *part.shape[1:]), part.dtype)])
        found.append(checked(jax.tree.map(np.asarray, run(piece)), size))  # type: ignore[arg-type]
    return jax.tree.map(lambda *parts: np.concatenate(parts, axis=1)[:, :total], *found)


def prepare(model: Any) -> tuple[Structure, nnx.State]:
    """Structure and state of a network in evaluation mode, with kernels in the arithmetic type.

    The result is cached, because this takes as long as running the network on an image, until an array or setting of
    the network is replaced.
    """
    before, parts = _prepared.get(model, (None, None))
    if before is None or parts is None or before.changed():
        with platform.garbage_collection_off():
            view = nnx.view(model, use_running_average=True, deterministic=True, raise_if_not_found=False)
            arrange(view)  # the arrays of `model` are not changed
            graphdef, state = nnx.split(view)
            parts = Structure(graphdef, any(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(state))), state
            _prepared[model] = _Contents(model), parts
    return parts


class _Contents:
    """Arrays and settings of a network, to detect whether one of them was replaced.

    Checked before every call, so the network is traversed once and its contents are stored in flat lists.
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


#: Network -> its contents when it was last prepared, and the result of `prepare`.
_prepared: WeakKeyDictionary[nnx.Module, tuple[_Contents, tuple[Structure, nnx.State]]] = WeakKeyDictionary()
