"""Whole networks: inference and training steps, ours against PyTorch and ONNX Runtime on the same weights."""

import tempfile
from collections.abc import Callable
from functools import partial
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
from benchmarks.common import Contenders, jitted, random
from jaxhar import export, losses, port, zoo
from jaxhar.train import Net, TrainState, make_step

NAMES = ("reception-mpii", "reception-penn", "spnet-penn")


def twin(name: str, model: nnx.Module) -> nn.Module:
    net = torch_ref.create(name)
    net.load_state_dict({key: torch.from_numpy(np.array(a)) for key, a in port.to_torch(port.to_flat(model)).items()})
    return net.eval()


def channels_last(net: nn.Module) -> nn.Module:
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def last(images: torch.Tensor) -> torch.Tensor:
    """The same (B, T, 3, H, W) with the channels innermost in memory."""
    return images.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, images.shape[:2])


def inference(name: str, dtype: Any) -> Contenders:
    """One image, or one clip of the network's own length."""
    config = zoo.config(name)
    model = zoo.create(config, dtype=dtype)
    graphdef, state = nnx.split(nnx.view(model, use_running_average=True))
    frames = random(1, config.num_frames or 1, config.image_size, config.image_size, 3)
    images = torch.from_numpy(np.array(frames)).permute(0, 1, 4, 2, 3)
    mixed = dtype == jnp.bfloat16

    def run(net: Callable, images: torch.Tensor) -> object:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            return net(images)

    torch._inductor.config.freezing = True
    contenders: Contenders = {
        "ours": jitted(lambda state, frames: nnx.merge(graphdef, state)(frames), state, frames),
        "torch eager": partial(run, twin(name, model), images),
        "torch eager, channels last": partial(run, channels_last(twin(name, model)), last(images)),
        "torch.compile, frozen": partial(run, torch.compile(channels_last(twin(name, model))), last(images)),
    }
    if not mixed:
        with tempfile.TemporaryDirectory() as folder:
            onnx = export.to_onnx(*export.fold(model), Path(folder) / "net.onnx")
        given = np.array(frames) if config.num_frames else np.array(frames)[:, 0]
        contenders["ONNX Runtime"] = lambda: onnx(given)
    return contenders


def training(name: str, clips: int, frames: int) -> Contenders:
    """A step of RMSprop: loss, gradients, new weights and statistics."""
    config = zoo.tiny(name)
    side, joints, dims = config.image_size, config.num_joints, config.dims
    rng = np.random.default_rng(0)
    batch = {
        "frames": rng.uniform(-1, 1, (clips, frames, side, side, 3)).astype(np.float32),
        "pose": rng.uniform(0, 1, (clips, frames, joints, dims)).astype(np.float32),
        "valid": np.ones((clips, frames, joints, dims), bool),
        "visible": np.ones((clips, frames, joints), np.float32),
    }
    if config.num_actions is not None:
        batch["action"] = rng.integers(2, size=clips).astype(np.int32)
    model = zoo.create(config)
    parts, optimizer = Net(model), optax.rmsprop(1e-3)
    step = make_step(parts, losses.Multitask(), optimizer)
    state = TrainState(parts.params, parts.stats, optimizer.init(parts.params), jnp.int32(0))
    held = [jax.tree.map(jnp.copy, state)]
    ready = jax.device_put({"clips": batch})

    def ours() -> object:
        held[0], metrics = step(held[0], ready)
        return jax.block_until_ready(metrics)

    tensors = {key: torch.from_numpy(value) for key, value in batch.items()}
    tensors["frames"] = last(tensors["frames"].permute(0, 1, 4, 2, 3))

    def theirs(compiled: bool) -> Callable[[], object]:
        net = torch_ref.create(name, **config.TINY)
        net.load_state_dict({k: torch.from_numpy(np.array(a)) for k, a in port.to_torch(port.to_flat(model)).items()})
        rule = torch.optim.RMSprop(channels_last(net).train().parameters(), 1e-3)
        call: Any = torch.compile(net) if compiled else net

        def step() -> object:
            rule.zero_grad()
            terms = torch_ref.losses.multitask(
                call(tensors["frames"]), tensors, {"pose": 1.0, "visible": 0.01, "action": 1.0}
            )
            sum(term.mean() for term in terms.values()).backward()
            rule.step()
            return terms

        return step

    return {"ours": ours, "torch eager, channels last": theirs(False), "torch.compile": theirs(True)}


def rows() -> dict[str, Callable[[], Contenders]]:
    found: dict[str, Callable[[], Contenders]] = {}
    for name in NAMES:
        found[f"{name}, inference, float32"] = partial(inference, name, jnp.float32)
        found[f"{name}, inference, bfloat16"] = partial(inference, name, jnp.bfloat16)
    for name, clips, frames in (("reception-mpii", 16, 1), ("reception-penn", 2, 8), ("spnet-penn", 2, 8)):
        found[f"{name}, tiny, training step, {clips}x{frames} frames"] = partial(training, name, clips, frames)
    return found
