"""`python -m benchmarks gpu`: every network on a GPU, compared with PyTorch under torch.compile and the GPU's limits.

The shortest possible time of a network (the floor) is the larger of two times: its multiply-adds at the rate of a large
matrix product, and the bytes that its convolutions and matrix products read and write once, at the rate of a large
copy. Both rates are measured in the same run. Operations between matrix products are counted as free, so only fusing
products could be faster. A training step is counted as three forward passes.
"""

import math
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

from benchmarks import networks
from benchmarks.common import Contenders, Measured, Row, jitted, random, take_turns
from benchmarks.layers import convolution, with_gradient
from jaxhar import zoo
from jaxhar.core.network import clip_length, frame_size
from jaxhar.data.generate.film import Synth
from jaxhar.data.penn.settings import Penn
from jaxhar.nn import cost
from jaxhar.nn.depthwise import depthwise

KINDS = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
#: Target loss as a fraction of the loss of the first step, and the largest number of steps.
MARK, MOST = 0.5, 2000


def missing_requirement(tiny: bool) -> str | None:
    """A sentence with the reason if this cannot run here, else None."""
    if tiny or jax.default_backend() == "gpu":
        return None
    return "JAX finds no GPU (pip install 'jaxhar[cuda]'); --tiny runs narrow networks on this machine"


def _seconds(run: Callable[[], object], calls: int = 5) -> float:
    run()
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


def peak_rates(kind: str, tiny: bool) -> tuple[float, float]:
    """Multiply-adds per second of a large matrix product, and bytes per second of a large copy."""
    side = 512 if tiny else 8192
    square = random(side, side).astype(KINDS[kind])
    rate = side**3 / _seconds(jitted(lambda a: a @ a, square))
    large = jnp.zeros((1 << 22) if tiny else (1 << 29), jnp.float32)
    return rate, 2 * large.nbytes / _seconds(jitted(lambda a: a + 1, large))


def _setup(name: str, kind: str, tiny: bool) -> tuple[Any, nnx.Module, int, int]:
    config = zoo.tiny(name) if tiny else zoo.config(name)
    length = clip_length(config)
    frames = 4 if tiny and length > 1 else length
    clips = 1 if tiny else max(1, 64 // frames)
    return config, zoo.create(config, dtype=KINDS[kind]), clips, frames


def _split(model: nnx.Module) -> tuple[Callable[[Any, jax.Array], Any], Any]:
    """A network in evaluation mode as a function of its arrays and the frames, and its arrays."""
    graphdef, state = nnx.split(nnx.view(model, use_running_average=True))
    return lambda state, frames: nnx.merge(graphdef, state)({"frames": frames}), state


def _floor(name: str, kind: str, tiny: bool) -> float:
    """The shortest possible time of one forward pass, in milliseconds."""
    config, model, clips, frames = _setup(name, kind, tiny)
    call, state = _split(model)
    shape = config.inputs(clips, frames)["frames"]
    program = jax.make_jaxpr(call)(state, shape).jaxpr
    operations, moved = cost.multiply_adds(program), cost.bytes_moved(program)
    rate, width = peak_rates(kind, tiny)
    return 1e3 * max(operations / rate, moved / width)


def _synchronised(run: Callable[[], Any]) -> Callable[[], object]:
    def both() -> object:
        out = run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return jax.block_until_ready(out)

    return both


def _with_floor(contenders: Contenders, floor: float, calls: int) -> Measured:
    """Milliseconds per call, the floor, and the floor as a percentage of our time."""
    many: Contenders = {who: partial(_repeat, run, calls) for who, run in contenders.items()}
    values = {who: [t / calls for t in times] for who, times in take_turns(many).values.items()}
    ours = values["ours"]
    shares = {"floor of the chip": [floor] * len(ours), "% of its limit": [100 * floor / t for t in ours]}
    return Measured("ms, %", values | shares)


def _repeat(run: Callable[[], object], calls: int) -> None:
    for _ in range(calls):
        run()


def forward(name: str, kind: str, tiny: bool) -> Measured:
    """Predictions of 64 frames, left on the device."""
    config, model, clips, frames = _setup(name, kind, tiny)
    frames_in = random(*config.inputs(clips, frames)["frames"].shape)
    call, state = _split(model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = torch.compile(networks.channels_last(networks.twin(name, model).to(device)))
    images = networks.channels_inner(torch.from_numpy(np.array(frames_in)).to(device).permute(0, 1, 4, 2, 3))

    def theirs() -> object:
        with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=kind == "bfloat16"):
            return net(images)

    contenders = {
        "ours": jitted(call, state, frames_in),
        "torch.compile": _synchronised(theirs),
    }
    return _with_floor(contenders, _floor(name, kind, tiny), 1 if tiny else 20)


def training(name: str, kind: str, tiny: bool) -> Measured:
    """Training steps on 64 frames that are on the device already."""
    config, model, clips, frames = _setup(name, kind, tiny)
    batches = [networks.training_batch(config, clips, frames)]
    contenders = {
        "ours": _synchronised(networks.our_step(model, batches)),
        "torch.compile": _synchronised(networks.their_step(name, model, batches, True, kind == "bfloat16")),
    }
    return _with_floor(contenders, 3 * _floor(name, kind, tiny), 1 if tiny else 10)


def depthwise_forms(shape: tuple[int, ...], kind: str, size: int, gradients: bool) -> Contenders:
    """Our depthwise convolution compared with XLA's grouped convolution and PyTorch's."""
    x, kernel = random(*shape).astype(KINDS[kind]), random(size, size, shape[-1], 1).astype(KINDS[kind])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images = torch.from_numpy(np.array(x, np.float32)).permute(0, 3, 1, 2).to(device, getattr(torch, kind))
    taps = torch.from_numpy(np.array(kernel, np.float32)).permute(2, 3, 0, 1).to(device, getattr(torch, kind))
    images, taps = images.requires_grad_(gradients), taps.contiguous().requires_grad_(gradients)

    def theirs() -> object:
        y = torch.nn.functional.conv2d(images, taps, padding=size // 2, groups=shape[-1])
        return torch.autograd.grad(y, (images, taps), y) if gradients else y

    def grouped(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return convolution(x, kernel.reshape(size, size, 1, -1), groups=shape[-1])

    make = with_gradient if gradients else jitted
    return {"ours": make(depthwise, x, kernel), "grouped": make(grouped, x, kernel), "torch": _synchronised(theirs)}


def same_loss(name: str, tiny: bool) -> Measured:
    """Seconds of training, without compilation, until the loss of 4 alternating batches has halved."""
    config = zoo.tiny(name)
    frames, clips = (4, 2) if tiny else (clip_length(config), 16)
    settings = Penn(
        synth=Synth(16, 1, 4, 1), clip_frames=frames, image_size=frame_size(config), clips_per_batch=clips, threads=1
    )
    with tempfile.TemporaryDirectory() as folder:
        stream = settings.prepare(Path(folder)).train_stream(0)
        drawn: list[Any] = [next(stream)["clips"] for _ in range(4)]
        stream.close()
    labels = ("pose", "valid", "visible", "action")
    batches = [{"frames": config.pixels(batch), **{key: batch[key] for key in labels}} for batch in drawn]
    model = zoo.create(config)
    ours = networks.our_step(model, batches)
    theirs = networks.their_step(name, model, batches, True, False)
    return Measured("s", {"ours": _until(ours), "torch.compile": _until(theirs)})


def _until(step: Callable[[], Any]) -> list[float]:
    mark = MARK * np.mean([float(step()) for _ in range(4)])
    start = time.perf_counter()
    for _ in range(MOST // 4):
        if np.mean([float(step()) for _ in range(4)]) <= mark:
            return [time.perf_counter() - start]
    return [math.inf]


def rows(tiny: bool) -> dict[str, Row]:
    what = "gpu, tiny" if tiny else "gpu"
    found: dict[str, Row] = {}
    for name in zoo.names():
        for kind in KINDS:
            found[f"{what}, {name}, forward, {kind}"] = partial(forward, name, kind, tiny)
            found[f"{what}, {name}, training step, {kind}"] = partial(training, name, kind, tiny)
    frames = 2 if tiny else 64
    for side, channels in ((32, 576), (16, 288), (8, 192), (32, 384)):
        for gradients in (False, True):
            shape = (frames, side, side, channels)
            row = f"{what}, depthwise 5x5, {'x'.join(map(str, shape))}, bfloat16" + (", gradients" if gradients else "")
            found[row] = partial(depthwise_forms, shape, "bfloat16", 5, gradients)
    for name in ("reception-penn", "spnet-penn"):
        found[f"{what}, {name}, time to the same loss"] = partial(same_loss, name, tiny)
    return found
