"""Speed of networks on skeletons, compared with PyTorch, ONNX Runtime and OpenVINO on equal weights."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch._inductor.config
import torch.nn.functional as F

from benchmarks.common import Contenders, Row, steps_apart
from benchmarks.networks import openvino, our_step, torch_step, twin
from jaxhar import export, infer, zoo
from jaxhar.core import volume
from jaxhar.models.skeleton.network import SkeletonTransformerConfig

Inputs = dict[str, np.ndarray]

SLOWONLY = "poseconv3d-ntu60-joint"
TRANSFORMER = "skeleton-transformer-ntu"
#: Row -> name of the network, its settings, examples of inference and of a training step. SlowOnly on 17 x 48 x 56 x 56
#: (PoseConv3D, table 1), the transformer on 1601 tokens.
NETWORKS: dict[str, tuple[str, Any, int, int]] = {
    "slowonly 17x48x56x56": (SLOWONLY, replace(zoo.config(SLOWONLY), eval_size=None), 1, 4),
    "transformer, width 16, 1601 tokens": (
        TRANSFORMER,
        replace(SkeletonTransformerConfig.reference(), num_persons=2),
        4,
        4,
    ),
    "transformer, width 128, 1601 tokens": (TRANSFORMER, replace(zoo.config(TRANSFORMER), dropout=0.0), 4, 4),
}


def examples(config: Any, size: int) -> Inputs:
    """Random joints inside of the picture, or in metres, with scores where the network reads them."""
    rng = np.random.default_rng(0)
    return {
        key: rng.uniform(0.1, 0.9, one.shape).astype(np.float32)
        for key, one in config.inputs(size).items()
        if key in config.reads
    }


def tensors(inputs: Inputs) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(value) for key, value in inputs.items()}


def last(net: torch.nn.Module) -> torch.nn.Module:
    """The kernels of 3-D convolutions with the channels innermost in memory."""
    return net.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def volumes_last(inputs: dict[str, torch.Tensor], net: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The inputs of a PoseConv3D as the volume (B, T, H, W, C) that its network makes of them; others unchanged."""
    if not hasattr(net, "volume"):
        return inputs
    with torch.no_grad():
        return {"volume": net.volume(**inputs).contiguous()}  # type: ignore[operator]


def inference(row: str, dtype: Any) -> Contenders:
    """From joints to scores; the contenders of PyTorch are given the volume, which ours makes itself."""
    name, config, size, _ = NETWORKS[row]
    model = zoo.create(config, dtype=dtype)
    model.eval()
    inputs, mixed = examples(config, size), dtype == jnp.bfloat16
    net = twin(name, model)
    given = volumes_last(tensors(inputs), net)

    def run(net: Callable) -> object:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            return net(**given)

    torch._inductor.config.freezing = True
    found: Contenders = {
        "ours": lambda: infer(model, inputs),
        "torch eager": partial(run, net),
        "torch.compile, frozen": partial(run, torch.compile(twin(name, model))),
    }
    if hasattr(net, "volume"):
        found["torch eager, channels last"] = partial(run, last(twin(name, model)))
    if not mixed:
        with tempfile.TemporaryDirectory() as folder:
            onnx = export.to_onnx(*export.fold(model), Path(folder) / "net.onnx")
        found["ONNX Runtime"] = lambda: onnx(inputs)
    if find_spec("openvino"):
        found["OpenVINO"] = openvino(model, inputs, mixed)
    return found


def steps(row: str, kind: str) -> Contenders:
    """A step by RMSprop on one batch: loss, gradients, new weights and statistics."""
    name, config, _, size = NETWORKS[row]
    mixed = kind == "bfloat16"
    model = zoo.create(config, dtype=jnp.bfloat16 if mixed else jnp.float32)
    inputs = examples(config, size)
    labels = (np.arange(size) % config.classes[0]).astype(np.int32)
    step = our_step(model, [{**inputs, "action": labels}])

    given, target = tensors(inputs), torch.from_numpy(labels).long()

    def loss(call: Callable) -> torch.Tensor:
        return F.cross_entropy(call(**given)["action"][0].float(), target)

    def theirs(net: torch.nn.Module, compiled: bool) -> Callable[[], object]:
        return torch_step(net, loss, compiled, mixed)

    found: Contenders = {
        "ours": lambda: jax.block_until_ready(step()),
        "torch eager": theirs(twin(name, model), False),
        "torch.compile": theirs(twin(name, model), True),
    }
    if name == SLOWONLY:
        found["torch eager, channels last"] = theirs(last(twin(name, model)), False)
    return found


def encoding() -> Contenders:
    """The volumes of a training step of 4 clips beside the whole step."""
    _, config, _, size = NETWORKS["slowonly 17x48x56x56"]
    inputs = examples(config, size)
    labels = (np.arange(size) % config.classes[0]).astype(np.int32)
    step = our_step(zoo.create(config), [{**inputs, "action": labels}])
    cells = jnp.asarray(inputs["points"]) * 56
    encode = jax.jit(lambda cells, score: volume.encode(cells, score, (56, 56), config.sigma, (), config.epsilon))
    score = jnp.asarray(inputs["score"])
    return {
        "the step": lambda: jax.block_until_ready(step()),
        "its volumes alone": lambda: jax.block_until_ready(encode(cells, score)),
    }


def rows() -> dict[str, Row]:
    found: dict[str, Row] = {}
    for row, (_, _, size, batch) in NETWORKS.items():
        for kind, dtype in (("float32", jnp.float32), ("bfloat16", jnp.bfloat16)):
            found[f"{row}, inference, batch {size}, {kind}"] = partial(inference, row, dtype)
            found[f"{row}, training step, batch {batch}, {kind}"] = partial(steps_apart, "skeletons", row, kind)
    found["slowonly 17x48x56x56, encoding of the volumes, batch 4"] = encoding
    return found
