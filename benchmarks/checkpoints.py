"""Cost of a training checkpoint: the time that the step loses, until all is on the disk, of restoring, and its size."""

import tempfile
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

from benchmarks.common import Measured, Row
from benchmarks.networks import SIZES
from jaxhar import zoo
from jaxhar.training.packing import pack
from jaxhar.training.step import TrainState
from jaxhar.weights.net import Net
from jaxhar.weights.store import Saved, Store

SAVES = 8


def checkpoints(name: str, size: str) -> Measured:
    """Eight saves of network and Adam's state, after a step each, and three times reading the last one."""
    net = Net(zoo.create(SIZES[size](name)))
    state = TrainState(net.params, net.stats, optax.adam(1e-3).init(net.params), jnp.int32(0))
    step = jax.jit(lambda state: jax.tree.map(lambda a: a * 1.01 + 1, state), donate_argnums=0)
    state = step(jax.device_put(jax.tree.map(jnp.copy, state)))
    values: dict[str, list[float]] = {
        "the step loses": [],
        "until on the disk": [],
        "restoring": [],
        "MB on the disk": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        for number in range(SAVES):
            start = time.perf_counter()
            store.save(Saved(number, *pack(state), {}), {})
            values["the step loses"].append(1e3 * (time.perf_counter() - start))
            store.wait()
            values["until on the disk"].append(1e3 * (time.perf_counter() - start))
            state = step(state)
        for _ in range(3):
            start = time.perf_counter()
            store.restore()
            values["restoring"].append(1e3 * (time.perf_counter() - start))
        newest = store.folder / str(SAVES - 1)
        values["MB on the disk"].append(sum(p.stat().st_size for p in newest.rglob("*") if p.is_file()) / 1e6)
        store.close()
    return Measured("ms, MB", values)


def rows() -> dict[str, Row]:
    return {f"reception-penn, {size}, checkpoint": partial(checkpoints, "reception-penn", size) for size in SIZES}
