"""Run with `python -m benchmarks [WORDS]`: interleaved rounds, medians with their spread, ratios to the first of a row.

Rows whose name holds every one of the words are run. Prints a table and writes benchmarks/results.json. A row takes
seconds to minutes; close other programs.
"""

import json
import os
import platform
import sys
import time
from datetime import date
from pathlib import Path

import jax
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks import layers, networks
from benchmarks.common import Contenders

ROUNDS = 9


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


def main(words: list[str]) -> None:
    table = Table("row", "contender", "median ms", "quartiles", "x ours")
    results = {}
    for row, build in (layers.rows() | networks.rows()).items():
        if not all(word in row for word in words):
            continue
        print(row, flush=True)
        times = measure(build())
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
    main(sys.argv[1:])
