"""Speed of inference and training steps of full networks, compared with PyTorch and ONNX Runtime on equal weights."""

import itertools
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
import torch._inductor.config
from flax import nnx
from torch import nn

import torch_ref
import torch_ref.losses
from benchmarks.common import Contenders, Row, steps_apart
from jaxhar import export, infer, port, zoo
from jaxhar.core.network import clip_length
from jaxhar.training.losses.maps import Maps
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.losses.reconstruction import Reconstruction
from jaxhar.training.step import TrainState, make_step
from jaxhar.weights.net import Net

NAMES = ("reception-mpii", "reception-penn", "spnet-penn")
#: Networks that give heat maps.
MAPS = ("simple-baseline-lip", "simple-baseline-mpii", "multiview-h36m")
WEIGHTS = {"pose": 1.0, "visible": 0.01, "action": 1.0}
RATE = 1e-3
#: Config of a network, by name, for training steps.
SIZES: dict[str, Callable[[str], Any]] = {
    "tiny": zoo.tiny,
    "one block": lambda name: replace(zoo.config(name), num_blocks=1),
    "full": zoo.config,
}


def twin(name: str, model: nnx.Module) -> nn.Module:
    """The network's PyTorch twin with the same weights, in evaluation mode."""
    net = torch_ref.create(name, **asdict(model.config))  # type: ignore[attr-defined]
    weights = port.to_torch(port.to_flat(model), model.config)  # type: ignore[attr-defined]
    state = {key: torch.from_numpy(np.array(a)) for key, a in weights.items()}
    left_out = net.load_state_dict(state, strict=False)
    assert all(key.endswith("num_batches_tracked") for key in sum(left_out, []))
    return net.eval()


def channels_last(net: nn.Module) -> nn.Module:
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def channels_inner(images: torch.Tensor) -> torch.Tensor:
    """Images (B, T, 3, H, W) with the channels innermost in memory."""
    return images.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, images.shape[:2])


def one_by_one(net: Callable, images: torch.Tensor) -> list:
    """Run a pose network on the frames of a clip, one at a time."""
    return [net(images[:, t : t + 1]) for t in range(images.shape[1])]


def pictures(config: Any, batch: int, frames: int | None) -> np.ndarray:
    """Random normalised frames (B, T, H, W, 3) for a network."""
    shape = config.inputs(batch, frames)["frames"].shape
    return np.random.default_rng(0).uniform(*config.pixels.bounds(), shape).astype(np.float32)


def inference_runs(name: str, dtype: Any, frames: int | None) -> dict[str, Callable[[], Callable[[], object]]]:
    """Contender -> function that builds it. All contenders read frames in memory and return arrays."""
    config = zoo.config(name)
    clips = config.inputs(1)["frames"].shape[1] > 1
    if clips and frames and config.classes:
        config = config.for_classes(config.classes[0], frames)
    model = zoo.create(config, dtype=dtype)
    clip = pictures(config, 1, frames)
    images = torch.from_numpy(clip).permute(0, 1, 4, 2, 3)
    mixed = dtype == jnp.bfloat16

    def run(net: Callable, images: torch.Tensor) -> object:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            return net(images)

    def frozen() -> Callable:
        torch._inductor.config.freezing = True
        return torch.compile(channels_last(twin(name, model)))

    def onnx() -> Callable[[], object]:
        with tempfile.TemporaryDirectory() as folder:
            run = export.to_onnx(*export.fold(model), Path(folder) / "net.onnx")
        return lambda: run(clip if clips else clip[0])

    builders: dict[str, Callable[[], Callable[[], object]]] = {
        "ours": lambda: lambda: infer(model, clip),
        "torch eager": lambda: partial(run, twin(name, model), images),
        "torch eager, channels last": lambda: partial(run, channels_last(twin(name, model)), channels_inner(images)),
        "torch.compile, frozen": lambda: partial(run, frozen(), channels_inner(images)),
    }
    if not clips and frames:
        builders["torch.compile, frame by frame"] = lambda: partial(
            run, partial(one_by_one, frozen()), channels_inner(images)
        )
    if not mixed:
        builders["ONNX Runtime"] = onnx
    if find_spec("openvino"):
        builders["OpenVINO"] = lambda: openvino(model, {"frames": clip if clips else clip[0]}, mixed)
    return builders


def openvino(model: nnx.Module, inputs: dict[str, np.ndarray], mixed: bool) -> Callable[[], object]:
    """The network's ONNX file in OpenVINO, on all cores, in float32 or bfloat16."""
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        export.to_onnx(*export.fold(model), Path(folder) / "net.onnx")
        read = openvino.Core().read_model(Path(folder) / "net.onnx")
        read.reshape({key: value.shape for key, value in inputs.items()})
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "bf16" if mixed else "f32"}
        compiled = openvino.compile_model(read, "CPU", hints)
    request = compiled.create_infer_request()
    return lambda: request.infer(inputs, share_inputs=True)


def inference(name: str, dtype: Any, frames: int | None = None) -> Contenders:
    """One image, or one clip of `frames` frames (None: the network's clip length)."""
    return {who: build() for who, build in inference_runs(name, dtype, frames).items()}


def training_batch(config: Any, clips: int, frames: int) -> dict[str, np.ndarray]:
    """Random clips with random labels."""
    joints, dims = config.pose_shape
    rng = np.random.default_rng(0)
    batch = {
        "frames": pictures(config, clips, frames),
        "pose": rng.uniform(0, 1, (clips, frames, joints, dims)).astype(np.float32),
        "valid": np.ones((clips, frames, joints, dims), bool),
        "visible": np.ones((clips, frames, joints), np.float32),
    }
    if config.classes:
        batch["action"] = rng.integers(2, size=clips).astype(np.int32)
    return batch


def our_step(model: nnx.Module, batches: list[dict[str, np.ndarray]]) -> Callable[[], jax.Array]:
    """A function that trains on the next batch by RMSprop at each call; returns the loss without waiting for it."""
    parts, optimizer = Net(model), optax.rmsprop(RATE, decay=0.99, eps_in_sqrt=False)
    config = model.config  # type: ignore[attr-defined]
    losses: dict[str, Any] = {"maps": Maps(), "patches": Reconstruction()}
    chosen = next((losses[key] for key in losses if key in config.predicts), Multitask(**WEIGHTS))
    step = make_step(parts, chosen.of(config) if "patches" in config.predicts else chosen, optimizer)
    state = TrainState(parts.params, parts.stats, optimizer.init(parts.params), jnp.int32(0))
    held = [jax.device_put(jax.tree.map(jnp.copy, state))]
    turn = itertools.cycle([jax.device_put({"clips": batch}) for batch in batches])

    def run() -> jax.Array:
        with jax.transfer_guard("disallow"):
            held[0], metrics = step(held[0], next(turn))
        return metrics["loss"]

    return run


def torch_step(
    net: nn.Module, loss: Callable[[Callable], torch.Tensor], compiled: bool, mixed: bool
) -> Callable[[], torch.Tensor]:
    """A function that trains a PyTorch network by RMSprop at each call; `loss` is given the network to call."""
    rule = torch.optim.RMSprop(net.train().parameters(), RATE, foreach=True)
    call: Any = torch.compile(net) if compiled else net
    device = next(net.parameters()).device.type

    def run() -> torch.Tensor:
        rule.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=mixed):
            value = loss(call)
        value.backward()
        rule.step()
        return value.detach()

    return run


def their_step(
    name: str, model: nnx.Module, batches: list[dict[str, np.ndarray]], compiled: bool, mixed: bool
) -> Callable[[], torch.Tensor]:
    """The function of `our_step` for the PyTorch twin, on the GPU if there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    ready = []
    for batch in batches:
        tensors = {key: torch.from_numpy(value).to(device) for key, value in batch.items()}
        ready.append({**tensors, "frames": channels_inner(tensors["frames"].permute(0, 1, 4, 2, 3))})
    turn = itertools.cycle(ready)

    def loss(call: Callable) -> torch.Tensor:
        tensors = next(turn)
        preds = call(tensors["frames"])
        if "maps" in preds:
            terms = {"maps": torch_ref.losses.maps(preds, tensors)}
        else:
            terms = torch_ref.losses.multitask(preds, tensors, WEIGHTS)
        return torch.stack([term.mean() for term in terms.values()]).sum()

    return torch_step(channels_last(twin(name, model).to(device)), loss, compiled, mixed)


def training_runs(
    name: str, config: Any, clips: int, frames: int, mixed: bool = False
) -> dict[str, Callable[[], Callable[[], object]]]:
    """Contender -> function that builds it; `mixed`: in bfloat16."""
    batches = [training_batch(config, clips, frames)]
    model = zoo.create(config, dtype=jnp.bfloat16 if mixed else jnp.float32)

    def ours() -> Callable[[], object]:
        step = our_step(model, batches)
        return lambda: jax.block_until_ready(step())

    return {
        "ours": ours,
        "torch eager, channels last": lambda: their_step(name, model, batches, False, mixed),
        "torch.compile": lambda: their_step(name, model, batches, True, mixed),
    }


def steps(name: str, size: str, clips: str, frames: str, kind: str = "float32") -> Contenders:
    """A training step by RMSprop: loss, gradients, new weights and statistics."""
    runs = training_runs(name, SIZES[size](name), int(clips), int(frames), kind == "bfloat16")
    return {who: build() for who, build in runs.items()}


def rows() -> dict[str, Row]:
    found: dict[str, Row] = {}
    step = partial(steps_apart, "networks")
    for name in NAMES:
        for kind, dtype in (("float32", jnp.float32), ("bfloat16", jnp.bfloat16)):
            length = clip_length(zoo.config(name))
            if length != 16:
                kind_of_input = f"{length}-frame clip" if length > 1 else "one image"
                found[f"{name}, inference, {kind_of_input}, {kind}"] = partial(inference, name, dtype)
            found[f"{name}, inference, 16-frame clip, {kind}"] = partial(inference, name, dtype, 16)
    for name, clips, frames in (("reception-mpii", 16, 1), ("reception-penn", 2, 8), ("spnet-penn", 2, 8)):
        found[f"{name}, tiny, training step, {clips}x{frames} frames"] = partial(step, name, "tiny", clips, frames)
    name = "reception-mpii"
    found[f"{name}, one block, training step, 4x1 frames"] = partial(step, name, "one block", 4, 1)
    for name, clips, frames in (("reception-mpii", 4, 1), ("reception-penn", 1, 16), ("spnet-penn", 1, 8)):
        found[f"{name}, full, training step, {clips}x{frames} frames"] = partial(step, name, "full", clips, frames)
    for name in MAPS:
        together = zoo.config(name).inputs(1)["frames"].shape[1]
        one = "one image" if together == 1 else f"{together} views"
        for kind, dtype in (("float32", jnp.float32), ("bfloat16", jnp.bfloat16)):
            found[f"{name}, inference, {one}, {kind}"] = partial(inference, name, dtype)
            if together == 1:
                found[f"{name}, inference, 16 images, {kind}"] = partial(inference, name, dtype, 16)
            clips = 4 // together
            row = f"{name}, full, training step, {clips}x{together} frames, {kind}"
            found[row] = partial(step, name, "full", clips, together, kind)
    return found
