"""Run with `python -m benchmarks`: interleaved rounds, medians with their spread, ratios to the first of each row.

Prints a table and writes benchmarks/results.json. A row takes seconds; close other programs.
"""

import json
import os
import platform
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from jax import lax
from rich.console import Console
from rich.table import Table

import torch_ref
from jaxhar import zoo
from jaxhar.nn.depthwise import depthwise
from jaxhar.nn.layers import max_pool

ROUNDS = 9
Contenders = dict[str, Callable[[], object]]
_rng = np.random.default_rng(0)


def random(*shape: int) -> jax.Array:
    return jnp.asarray(_rng.standard_normal(shape), jnp.float32)


def jitted(function: Callable, *args) -> Callable[[], object]:
    compiled = jax.jit(function)
    return lambda: jax.block_until_ready(compiled(*args))


def with_gradient(function: Callable, *args) -> Callable[[], object]:
    """Value and the gradients of all arguments."""

    def both(*args):
        out, pull = jax.vjp(function, *args)
        return out, pull(out)

    return jitted(both, *args)


def convolution(x, kernel, groups=1):
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout, feature_group_count=groups)


def layers() -> dict[str, Contenders]:
    x, k, small = random(2, 32, 32, 576), random(5, 5, 576, 1), random(64, 8, 8, 192)
    point, stem = random(192, 192), random(64, 32, 32, 24)

    def grouped(x, k):
        return convolution(x, k.reshape(5, 5, 1, -1), groups=k.shape[2])

    def windowed(x):
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")

    return {
        "depthwise 5x5, 2x32x32x576": {"ours": jitted(depthwise, x, k), "grouped": jitted(grouped, x, k)},
        "same with gradients": {"ours": with_gradient(depthwise, x, k), "grouped": with_gradient(grouped, x, k)},
        "1x1, 64x8x8x192, with gradients": {
            "ours, as product": with_gradient(lambda x, w: x @ w, small, point),
            "as convolution": with_gradient(lambda x, w: convolution(x, w[None, None]), small, point),
        },
        "max-pool 3x3/2, 64x32x32x24, with gradients": {
            "ours": with_gradient(lambda x: max_pool(x, 3), stem),
            "reduce_window": with_gradient(windowed, stem),
        },
    }


def networks() -> dict[str, Contenders]:
    rows = {}
    for name, time_axis in (("reception-mpii", 1), ("reception-penn", 16)):
        model, net = zoo.create(zoo.config(name)), torch_ref.create(name).eval()
        graphdef, state = nnx.split(nnx.view(model, use_running_average=True))
        frames = random(1, time_axis, 256, 256, 3)
        images = torch.from_numpy(np.array(frames)).permute(0, 1, 4, 2, 3)

        def ours(state, frames, graphdef=graphdef):
            return nnx.merge(graphdef, state)(frames)

        def twin(net=net, images=images):
            with torch.no_grad():
                return net(images)

        def twin_last(net=net, images=images):
            last = images.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, images.shape[:2])
            with torch.no_grad():
                return net.to(memory_format=torch.channels_last)(last)

        rows[f"{name}, inference, batch 1"] = {
            "ours": jitted(ours, state, frames),
            "torch eager": twin,
            "torch eager, channels last": twin_last,
        }
    return rows


def measure(contenders: Contenders) -> dict[str, list[float]]:
    """Milliseconds of every round, contenders taking turns in alternating order."""
    for run in contenders.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for r in range(ROUNDS):
        for name, run in list(contenders.items())[:: 1 if r % 2 else -1]:
            start = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - start))
    return times


def main() -> None:
    table = Table("row", "contender", "median ms", "quartiles", "x ours")
    results = {}
    for row, contenders in (layers() | networks()).items():
        times = measure(contenders)
        results[row] = times
        first = np.array(next(iter(times.values())))
        for name, values in times.items():
            low, middle, high = np.percentile(values, [25, 50, 75])
            ratio = np.median(np.array(values) / first)
            table.add_row(row, name, f"{middle:.2f}", f"{low:.2f} - {high:.2f}", f"{ratio:.2f}")
        table.add_section()
    Console(width=120).print(table)
    machine = {"cores": os.cpu_count(), "platform": platform.platform(), "jax": jax.__version__}
    machine |= {"torch": torch.__version__, "date": str(date.today())}
    path = Path(__file__).with_name("results.json")
    path.write_text(json.dumps({"machine": machine, "milliseconds": results}, indent=1))
    print(f"{machine}\n{path}")


if __name__ == "__main__":
    main()
