"""Functions and types for all benchmark rows."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

#: The contenders of a row to be timed, by name; the first one is ours.
Contenders = dict[str, Callable[[], object]]
_rng = np.random.default_rng(0)


@dataclass(frozen=True)
class Measured:
    """The measured values of a row.

    Attributes:
      unit: of the values, e.g. "s". values: contender -> a number for each round.
    """

    unit: str
    values: dict[str, list[float]]


Row = Callable[[], Contenders | Measured]


def random(*shape: int) -> jax.Array:
    return jnp.asarray(_rng.standard_normal(shape), jnp.float32)


def jitted(function: Callable, *args) -> Callable[[], object]:
    compiled = jax.jit(function)
    return lambda: jax.block_until_ready(compiled(*args))


def take_turns(contenders: Contenders, seconds: float = 40.0) -> Measured:
    """Milliseconds of 3 to 9 rounds, as many as fit into `seconds`, with contenders in alternating order.

    In each round a contender runs twice and the second run is measured, with warm caches and threads, as in a stream of
    images or training steps.
    """
    for run in contenders.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    begun, rounds = time.perf_counter(), 0
    while rounds < 3 or (rounds < 9 and (time.perf_counter() - begun) * (rounds + 1) / rounds < seconds):
        for name, run in list(contenders.items())[:: 1 if rounds % 2 else -1]:
            time.sleep(0.05)  # until the threads of the previous contender are idle
            run()
            start = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - start))
        rounds += 1
    return Measured("ms", times)


def in_new_process(job: str, *args: Any, **environment: str) -> dict[str, Any]:
    """Run a job of `benchmarks.child` in a new process and return its output."""
    words = [sys.executable, "-m", "benchmarks.child", job, *map(str, args)]
    done = subprocess.run(words, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def steps_apart(module: str, *args: object) -> Measured:
    """The contenders of `steps(*args)` of a module of benchmarks, in a new process with the memory of launch.py."""
    return Measured("ms", in_new_process("steps", module, *args))
