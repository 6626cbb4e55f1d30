"""`jaxhar export`: a network as one file that runs without this package, for any number of clips at a time.

Batch normalisation that directly follows a convolution is folded into its kernel; what stays of it is an offset.
The file takes frames (B, T, H, W, 3), or (B, H, W, 3) of a network for stills, float32 RGB as the network's pixel
statistics make them ([-1, 1] for deephar); of a network that reads other keys of a batch, a dict of these. It gives
what `jaxhar.infer` gives, for deephar: pose (K, B, T, J, D), visible (K, B, T, J) and, of an action network, action
(K', B, A).
"""

from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import export

from jaxhar.core.network import NetworkConfig
from jaxhar.host import files
from jaxhar.host.errors import Problem
from jaxhar.inference import infer
from jaxhar.nn.layers import SeparableConv
from jaxhar.weights import checkpoint
from jaxhar.weights.flat import to_flat
from jaxhar.weights.torch import to_torch, twin, twin_network

Array = jax.Array
#: What an artifact or `jaxhar.infer` gives for frames.
Infer = Callable[[Any], dict[str, object]]

#: Where an artifact of `jax.export` can run.
PLATFORMS = ("cpu", "cuda")


class Offset(nnx.Module):
    """What is left of a batch normalisation when its factor has gone into the convolution before it."""

    def __init__(self, bias: np.ndarray):
        self.bias = nnx.Param(jnp.asarray(bias, jnp.float32))

    def __call__(self, x: Array) -> Array:
        return x + self.bias[...].astype(x.dtype)


def fold(model: nnx.Module) -> tuple[nnx.Module, list[str]]:
    """A copy of a network with batch normalisation folded into the convolutions before it.

    A class of modules says in `FOLDS` which of its norms directly follows which of its convolutions; others stay.

    Returns:
      the network in evaluation mode, and the dotted paths of the norms that are offsets now.
    """
    model = nnx.clone(model)
    model.eval()
    offsets = []
    for path, module in list(nnx.iter_modules(model)):
        for conv_name, norm_name in getattr(type(module), "FOLDS", ()):
            conv = _below(module, conv_name)
            if conv is None:  # this one is built without it
                continue
            norm = _below(module, norm_name)
            kernel = (conv.pointwise if isinstance(conv, SeparableConv) else conv).kernel  # (rows, columns, in, out)
            mean, var, bias = (np.asarray(v[...], np.float64) for v in (norm.mean, norm.var, norm.bias))
            factor = 1 / np.sqrt(var + norm.epsilon)
            if norm.scale is not None:
                factor *= np.asarray(norm.scale[...], np.float64)
            kernel[...] = jnp.asarray(np.asarray(kernel[...], np.float64) * factor, jnp.float32)
            *above, last = norm_name.split(".")
            setattr(_below(module, ".".join(above)), last, Offset(bias - mean * factor))
            offsets.append(".".join(map(str, (*path, norm_name))))
    return model, offsets


def _below(module: nnx.Module, path: str) -> Any:
    return reduce(getattr, path.split("."), module) if path else module


def to_jax(model: nnx.Module, out: Path) -> Infer:
    """Write a folded network by jax.export; returns the artifact, read back."""
    try:
        import flatbuffers  # noqa: F401  what jax.export writes with
    except ImportError as error:
        raise Problem(f"this needs more packages: pip install 'jaxhar[export]' ({error})") from error

    def forward(inputs: Any) -> dict[str, object]:
        batch = inputs
        if not isinstance(inputs, dict):
            batch = {"frames": inputs if inputs.ndim == 5 else inputs[:, None]}
        preds = dict(model(batch))  # type: ignore[operator]
        if "action" in preds:
            preds["action"] = jax.tree.map(jax.nn.softmax, preds["action"])
        return preds

    (batch,) = export.symbolic_shape("batch")
    inputs = _inputs(model, batch)
    blob = bytes(export.export(jax.jit(forward), platforms=PLATFORMS)(inputs).serialize())
    files.write(out, blob)
    artifact = export.deserialize(bytearray(out.read_bytes()))
    return lambda inputs: artifact.call(inputs)


def to_onnx(model: nnx.Module, offsets: list[str], out: Path) -> Infer:
    """Write a folded network as ONNX, through the PyTorch twin; returns the artifact as ONNX Runtime runs it."""

    try:
        import onnxruntime
        import onnxscript  # noqa: F401  what torch.onnx writes with
    except ImportError as error:
        raise Problem(f"ONNX needs more packages: pip install 'jaxhar[export]' ({error})") from error
    net = twin_network(model.config)  # type: ignore[attr-defined]
    shape = _inputs(model, 1).shape[1:]
    with files.replacing(out) as temporary:
        twin().save_onnx(net, to_torch(to_flat(model)), offsets, shape, temporary)
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])

    def run(frames: np.ndarray) -> dict[str, object]:
        found = dict(zip([o.name for o in session.get_outputs()], session.run(None, {"frames": frames}), strict=True))
        sets = [found.pop(name) for name in list(found) if name.startswith("action_")]
        return found | ({"action": tuple(sets)} if sets else {})

    return run


def differences(a: dict[str, object], b: dict[str, object]) -> dict[str, float]:
    """Largest difference of each output."""
    apart = jax.tree.map(lambda x, y: float(np.abs(np.asarray(x) - np.asarray(y)).max()), a, b)
    return {name: max(jax.tree.leaves(value)) for name, value in apart.items()}


def run(weights: Path, out: Path, form: str) -> dict[str, float]:
    """Export a network and compare it with the live one.

    Args:
      weights: what `jaxhar.weights.checkpoint.load_model` takes.
      out: the file to write.
      form: "jax" or "onnx".

    Returns:
      the largest difference from `jaxhar.infer` in each output, on two seeded random clips, images or other inputs.

    Raises:
      Problem: the weights cannot be read, packages are missing, the file cannot be written.
    """

    model = checkpoint.load_model(weights)[0]
    folded, offsets = fold(model)
    artifact = to_jax(folded, out) if form == "jax" else to_onnx(folded, offsets, out)
    rng = np.random.default_rng(0)
    inputs = jax.tree.map(lambda one: rng.uniform(-1, 1, one.shape).astype(one.dtype), _inputs(model, 2))
    return differences(infer(model, inputs), artifact(inputs))


def _inputs(model: nnx.Module, batch: Any) -> Any:
    """What the file takes for that many examples: frames, of stills without T, or a dict."""
    config: NetworkConfig = model.config  # type: ignore[attr-defined]
    inputs = config.inputs(batch)
    if set(inputs) != {"frames"}:
        return inputs
    frames = inputs["frames"]
    size, length, *image = frames.shape
    return frames if length > 1 else jax.ShapeDtypeStruct((size, *image), frames.dtype)
