"""Speed of ViT-B on clips of 16 frames of 224 x 224: pretraining, and the classifier that is trained from it."""

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
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.common import Contenders, Row, steps_apart
from benchmarks.networks import openvino, our_step, pictures, torch_step, twin
from jaxhar import export, infer, zoo

PRETRAINING, CLASSIFIER = "mae-st-vit-b", "mae-st-vit-b-k400"
#: Network -> clips of a training step: one video twice (`repeat` 2), of whose tokens a tenth is kept; one video.
CLIPS = {PRETRAINING: 2, CLASSIFIER: 1}


def settings(name: str) -> Any:
    """The network without dropout, so that contenders draw nothing but masks."""
    config = zoo.config(name)
    return config if name == PRETRAINING else replace(config, dropout=0.0, path_dropout=0.0)


def clips_of(config: Any, size: int) -> tuple[np.ndarray, torch.Tensor]:
    """Random clips for us and, as (B, T, 3, H, W), for PyTorch."""
    frames = pictures(config, size, config.num_frames)
    return frames, torch.from_numpy(frames).movedim(-1, 2)


def all_scores(call: Callable[[], object]) -> object:
    """A call whose attention holds all scores at once, instead of PyTorch's fused attention."""
    with sdpa_kernel(SDPBackend.MATH):
        return call()


def forward(dtype: Any) -> Contenders:
    """The classifier on one clip."""
    model, mixed = zoo.create(settings(CLASSIFIER), dtype=dtype), dtype == jnp.bfloat16
    model.eval()
    ours, theirs = clips_of(model.config, 1)  # type: ignore[attr-defined]

    def run(net: Callable) -> object:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            return net(theirs)

    torch._inductor.config.freezing = True
    eager = partial(run, twin(CLASSIFIER, model))
    found: Contenders = {
        "ours": lambda: infer(model, ours),
        "torch eager, fused attention": eager,
        "torch eager, all scores": lambda: all_scores(eager),
        "torch.compile, frozen": partial(run, torch.compile(twin(CLASSIFIER, model))),
    }
    if find_spec("openvino"):
        found["OpenVINO"] = openvino(model, {"frames": ours}, mixed)
    if not mixed:
        with tempfile.TemporaryDirectory() as folder:
            onnx = export.to_onnx(*export.fold(model), Path(folder) / "net.onnx")
        found["ONNX Runtime"] = lambda: onnx(ours)
    return found


def steps(name: str, kind: str) -> Contenders:
    """A training step by RMSprop: loss, gradients and new weights."""
    mixed = kind == "bfloat16"
    model = zoo.create(settings(name), dtype=jnp.bfloat16 if mixed else jnp.float32)
    ours, theirs = clips_of(model.config, CLIPS[name])  # type: ignore[attr-defined]
    labels = np.zeros(len(ours), np.int32)
    step = our_step(model, [{"frames": ours} if name == PRETRAINING else {"frames": ours, "action": labels}])

    target = torch.from_numpy(labels).long()

    def twin_step(compiled: bool) -> Callable[[], object]:
        net: Any = twin(name, model)

        def loss(call: Callable) -> torch.Tensor:
            preds = call(theirs)
            return net.loss(preds, theirs) if name == PRETRAINING else F.cross_entropy(preds["action"][0], target)

        return torch_step(net, loss, compiled, mixed)

    eager = twin_step(False)
    return {
        "ours": lambda: jax.block_until_ready(step()),
        "torch eager, fused attention": eager,
        "torch eager, all scores": lambda: all_scores(eager),
        "torch.compile": twin_step(True),
    }


def rows() -> dict[str, Row]:
    found: dict[str, Row] = {}
    for kind, dtype in (("float32", jnp.float32), ("bfloat16", jnp.bfloat16)):
        found[f"{PRETRAINING}, training step, 2 clips, {kind}"] = partial(steps_apart, "vit", PRETRAINING, kind)
        found[f"{CLASSIFIER}, inference, one clip, {kind}"] = partial(forward, dtype)
        found[f"{CLASSIFIER}, training step, one clip, {kind}"] = partial(steps_apart, "vit", CLASSIFIER, kind)
    return found
