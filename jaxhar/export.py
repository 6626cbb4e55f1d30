"""Export of a network to a file that runs without jaxhar (the command `jaxhar export`), with variable batch size.

A batch norm that directly follows a convolution is merged into its kernel; only its bias remains. The input of the file
is frames (B, T, H, W, 3), or (B, H, W, 3) for stills, float32 RGB and normalised ([-1, 1] for deephar); for networks
that read other keys of a batch, a dict of them. The output is that of `jaxhar.infer`, for deephar: pose
(K, B, T, J, D), visible (K, B, T, J) and, for action networks, action (K', B, A).
"""

import json
from collections.abc import Callable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import export

from jaxhar.core.network import NetworkConfig, frame_size
from jaxhar.host import files
from jaxhar.host.errors import Problem
from jaxhar.inference import infer
from jaxhar.nn.conv3d import Depthwise3d
from jaxhar.nn.deconv import Deconv
from jaxhar.nn.layers import SeparableConv
from jaxhar.nn.symmetric import Depthwise
from jaxhar.weights import checkpoint
from jaxhar.weights.flat import to_flat
from jaxhar.weights.torch import to_torch, twin, twin_network

Array = jax.Array
#: An exported network: frames -> predictions.
Infer = Callable[[Any], dict[str, object]]

#: Version of the form of an ONNX file (IR version) -> the first release of ONNX Runtime that reads it.
_RUNTIMES = {8: "1.14", 9: "1.15", 10: "1.18"}

#: Platforms on which a file of `jax.export` can run.
PLATFORMS = ("cpu", "cuda")


class Offset(nnx.Module):
    """The remaining bias of a batch norm that was merged into the preceding convolution."""

    def __init__(self, bias: np.ndarray):
        self.bias = nnx.Param(jnp.asarray(bias, jnp.float32))

    def __call__(self, x: Array) -> Array:
        return x + self.bias[...].astype(x.dtype)


def fold(model: nnx.Module) -> tuple[nnx.Module, list[str]]:
    """A copy of a network with batch norms merged into the preceding convolutions.

    The class attribute `FOLDS` of a module lists the pairs (convolution, norm) to merge.

    Returns:
      the network in evaluation mode, and the dotted paths of the merged norms, which are `Offset`s now.
    """
    model = nnx.clone(model)
    model.eval()
    offsets = []
    for path, module in list(nnx.iter_modules(model)):
        for conv_name, norm_name in getattr(type(module), "FOLDS", ()):
            conv = _below(module, conv_name)
            if conv is None:  # the layer is optional
                continue
            norm = _below(module, norm_name)
            kernel = (conv.pointwise if isinstance(conv, SeparableConv) else conv).kernel  # (rows, columns, in, out)
            out_last = not isinstance(conv, Deconv | Depthwise | Depthwise3d)  # those are (rows, columns, out, in or 1)
            mean, var, bias = (np.asarray(v[...], np.float64) for v in (norm.mean, norm.var, norm.bias))
            factor = 1 / np.sqrt(var + norm.epsilon)
            if norm.scale is not None:
                factor *= np.asarray(norm.scale[...], np.float64)
            scaled = np.asarray(kernel[...], np.float64) * (factor if out_last else factor[:, None])
            kernel[...] = jnp.asarray(scaled, jnp.float32)
            if isinstance(conv, Deconv) and conv.bias is not None:
                mean = mean - np.asarray(conv.bias[...], np.float64)
                conv.bias[...] = jnp.zeros_like(conv.bias[...])
            *above, last = norm_name.split(".")
            setattr(_below(module, ".".join(above)), last, Offset(bias - mean * factor))
            offsets.append(".".join(map(str, (*path, norm_name))))
    return model, offsets


def _below(module: nnx.Module, path: str) -> Any:
    return reduce(getattr, path.split("."), module) if path else module


def to_jax(model: nnx.Module, out: Path) -> Infer:
    """Writes a folded network with jax.export; returns the exported network, read from the file."""
    try:
        import flatbuffers  # noqa: F401  needed by jax.export
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


#: How the input of an exported network is cut from an image.
CROP = (
    "the smallest box of the shape height x width around the person's box, with some margin (jaxhar predict: 1.5 times "
    "the extent of the joints), scaled to height x width, black outside of the image; poses are in units of the crop"
)


def about(meta: checkpoint.Meta) -> dict[str, str]:
    """What a program needs to use an exported network: names of joints and classes (JSON), its input, the crop."""
    found = {"actions": json.dumps(meta.actions)}
    if meta.skeleton is not None:
        found["joints"] = json.dumps(meta.skeleton.joints)
    if meta.config.pixels is not None:
        (height, width), (low, high) = frame_size(meta.config), meta.config.pixels.bounds()
        found |= {"height": str(height), "width": str(width), "frames": str(meta.config.inputs(1)["frames"].shape[1])}
        found["pixels"] = f"{meta.config.pixels}: RGB float32 from {low:.4g} to {high:.4g}"
        found["crop"] = CROP
        if meta.around is not None:
            found["crop"] += f"; black further from the person's box than {meta.around:g} of its longer side"
    else:
        found["inputs"] = json.dumps({key: one.shape[1:] for key, one in meta.config.inputs(1).items()})
    return found


def to_onnx(model: nnx.Module, offsets: list[str], out: Path, metadata: Mapping[str, str] | None = None) -> Infer:
    """Writes a folded network as ONNX with PyTorch; returns the exported network, run by ONNX Runtime.

    The metadata of the file are `metadata` and which release of ONNX Runtime it needs: opset, ir_version, onnxruntime.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  what torch.onnx writes with
    except ImportError as error:
        raise Problem(f"ONNX needs more packages: pip install 'jaxhar[export]' ({error})") from error
    net = twin_network(model.config)  # type: ignore[attr-defined]
    inputs = _inputs(model, 1)
    shapes = {key: one.shape[1:] for key, one in _named(inputs).items()}
    with files.replacing(out) as temporary:
        config: NetworkConfig = model.config  # type: ignore[attr-defined]
        flat = to_flat(model)
        names = [next(iter(to_torch({f"{path}.bias": flat[f"{path}.bias"]}, config))) for path in offsets]
        norms = [name.removesuffix(".bias") for name in names]
        twin().save_onnx(net, to_torch(flat, config), norms, shapes, temporary)
        proto = onnx.load(temporary)
        needed = _RUNTIMES.get(proto.ir_version, onnxruntime.__version__)  # or the one that it is tried with below
        opset = max(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
        told = {"opset": str(opset), "ir_version": str(proto.ir_version), "onnxruntime": f">={needed}"}
        onnx.helper.set_model_props(
            proto, {entry.key: entry.value for entry in proto.metadata_props} | told | dict(metadata or {})
        )
        onnx.save(proto, temporary)
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])

    def run(inputs: Any) -> dict[str, object]:
        outputs = [output.name for output in session.get_outputs()]
        found = dict(zip(outputs, session.run(None, _named(inputs)), strict=True))
        sets = [found.pop(name) for name in list(found) if name.startswith("action_")]
        return found | ({"action": tuple(sets)} if sets else {})

    return run


def differences(a: dict[str, object], b: dict[str, object]) -> dict[str, float]:
    """Largest absolute difference of each output."""
    apart = jax.tree.map(lambda x, y: float(np.abs(np.asarray(x) - np.asarray(y)).max()), a, b)
    return {name: max(jax.tree.leaves(value)) for name, value in apart.items()}


def run(weights: Path, out: Path, form: str) -> dict[str, float]:
    """Exports a network and compares it with the original.

    Args:
      weights: a path for `jaxhar.weights.checkpoint.load_model`.
      out: the file to write.
      form: "jax" or "onnx".

    Returns:
      the largest difference from `jaxhar.infer` of each output, on three random examples.

    Raises:
      Problem: the weights cannot be read, packages are missing, or the file cannot be written.
    """
    model, meta = checkpoint.load_model(weights)
    folded, offsets = fold(model)
    if form == "onnx":
        artifact = to_onnx(folded, offsets, out, about(meta))
    else:
        artifact = to_jax(folded, out)
        files.write(out.with_name(f"{out.name}.json"), json.dumps(about(meta), indent=2).encode())
    rng = np.random.default_rng(0)
    low, high = meta.config.pixels.bounds() if meta.config.pixels is not None else (-1.0, 1.0)
    # another number than the file was made with, so that a fixed batch does not stay unseen
    inputs = jax.tree.map(lambda one: rng.uniform(low, high, one.shape).astype(one.dtype), _inputs(model, 3))
    return differences(infer(model, inputs), artifact(inputs))


def _named(inputs: Any) -> dict[str, Any]:
    """Inputs by key, from frames alone or such a dict."""
    return inputs if isinstance(inputs, dict) else {"frames": inputs}


def _inputs(model: nnx.Module, batch: Any) -> Any:
    """Input shapes of the file for a batch size: frames, without T for stills, or a dict."""
    config: NetworkConfig = model.config  # type: ignore[attr-defined]
    inputs = config.inputs(batch)
    if set(inputs) != {"frames"}:
        return inputs
    frames = inputs["frames"]
    size, length, *image = frames.shape
    return frames if length > 1 else jax.ShapeDtypeStruct((size, *image), frames.dtype)
