"""Measurements that need a new process; prints one line of JSON. Run by `benchmarks.common.in_new_process`."""

import importlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any


def peak() -> float:
    """Peak memory of this process in MB; 0 if the system does not report it."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0.0
    return next(float(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def compiling(kind: str, name: str, blocks: str) -> dict[str, float]:
    """Seconds of the first call of a function, with tracing and compiling (or reading from the compilation cache)."""
    import jax.numpy as jnp

    from benchmarks import networks
    from jaxhar import zoo
    from jaxhar.core.network import clip_length
    from jaxhar.host import compile_cache as compiled

    compiled.enable()
    config = zoo.config(name)
    config = replace(config, num_blocks=int(blocks)) if int(blocks) else config
    if kind == "inference":
        builders = networks.inference_runs(name, jnp.float32, None)
    else:
        builders = networks.training_runs(name, config, 1, clip_length(config))
    run = builders["ours"]()
    start = time.perf_counter()
    run()
    first = time.perf_counter() - start
    start = time.perf_counter()
    run()
    return {"seconds": first - (time.perf_counter() - start)}


def memory(kind: str, name: str, frames: str, contender: str) -> dict[str, float]:
    """Peak memory in MB of three calls of one contender, with imports."""
    import jax.numpy as jnp

    from benchmarks import networks
    from jaxhar import zoo

    if kind == "inference":
        builders = networks.inference_runs(name, jnp.float32, int(frames))
    else:
        builders = networks.training_runs(name, zoo.config(name), 1, int(frames))
    run = builders[contender]()
    for _ in range(3):
        run()
    return {"megabytes": peak()}


def steps(module: str, *args: str) -> dict[str, list[float]]:
    """Milliseconds of the contenders of `steps` of a module of benchmarks, in alternating order."""
    from jaxhar.host import process

    process.keep_freed_memory()  # must be called before threads start

    from benchmarks.common import take_turns

    return take_turns(importlib.import_module(f"benchmarks.{module}").steps(*args)).values


def reading(width: str, height: str) -> dict[str, list[float]]:
    """Clips per second of the data pipeline and of decoding only, in alternating order."""
    from jaxhar.host import process

    process.keep_freed_memory()

    from benchmarks import data

    return data.reading((int(width), int(height)))


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    "compiling": compiling,
    "memory": memory,
    "steps": steps,
    "reading": reading,
}

if __name__ == "__main__":
    print(json.dumps(JOBS[sys.argv[1]](*sys.argv[2:])))
