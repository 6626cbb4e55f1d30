"""Compile times and memory of networks, and growth of time and memory with the number of frames."""

import tempfile
from functools import partial

import jax.numpy as jnp

from benchmarks.common import Contenders, Measured, Row, in_new_process, take_turns
from benchmarks.networks import MAPS, NAMES, inference_runs, pictures, training_runs
from jaxhar import infer, zoo
from jaxhar.core.network import clip_length

LENGTHS = (1, 4, 16, 64)


def compiling(kind: str, name: str, blocks: int = 0) -> Measured:
    """Seconds of the first call of a function: in a new process with an empty cache, and in later processes."""
    with tempfile.TemporaryDirectory() as cache:
        times = [in_new_process("compiling", kind, name, blocks, JAXHAR_CACHE=cache)["seconds"] for _ in range(3)]
    return Measured("s", {"cold": times[:1], "from the cache": times[1:]})


def memory(kind: str, name: str, frames: int) -> Measured:
    """Peak memory in MB of each contender in a new process, with imports."""
    if kind == "inference":
        who = list(inference_runs(name, jnp.float32, frames))
    else:
        who = list(training_runs(name, zoo.tiny(name), 1, 1))
    return Measured("MB", {w: [in_new_process("memory", kind, name, frames, w)["megabytes"]] for w in who})


def growth(name: str, stills: bool) -> Measured:
    """Milliseconds per frame for rising numbers of frames in one call: stills, or one clip of a pose network."""
    config = zoo.config(name)
    model = zoo.create(config)

    def call(count: int):
        frames = pictures(config, *((count, 1) if stills else (1, count)))
        return lambda: infer(model, frames)

    found: Contenders = {str(count): call(count) for count in LENGTHS}
    times = take_turns(found).values
    return Measured("ms/frame", {f"{n} frames": [t / int(n) for t in values] for n, values in times.items()})


def memory_growth(name: str) -> Measured:
    """Peak memory in MB for one clip, by number of frames."""
    counts = (1, 16, 64, 256)
    return Measured(
        "MB", {f"{n} frames": [in_new_process("memory", "inference", name, n, "ours")["megabytes"]] for n in counts}
    )


def rows() -> dict[str, Row]:
    found: dict[str, Row] = {}
    for name in NAMES:
        found[f"{name}, compile time, inference"] = partial(compiling, "inference", name)
        found[f"{name}, compile time, training step"] = partial(compiling, "training", name)
        found[f"{name}, peak memory, inference, 16-frame clip"] = partial(memory, "inference", name, 16)
        frames = clip_length(zoo.config(name))
        found[f"{name}, peak memory, training step, 1x{frames} frames"] = partial(memory, "training", name, frames)
    for name in MAPS:
        frames = zoo.config(name).inputs(1)["frames"].shape[1]
        found[f"{name}, peak memory, inference, {frames} frames"] = partial(memory, "inference", name, frames)
        found[f"{name}, peak memory, training step, 1x{frames} frames"] = partial(memory, "training", name, frames)
    found["reception-mpii, one block, compile time, training step"] = partial(
        compiling, "training", "reception-mpii", 1
    )
    found["reception-mpii, growth, stills in a batch"] = partial(growth, "reception-mpii", True)
    found["reception-mpii, growth, frames of a clip"] = partial(growth, "reception-mpii", False)
    found["reception-mpii, growth, memory, frames of a clip"] = partial(memory_growth, "reception-mpii")
    return found
