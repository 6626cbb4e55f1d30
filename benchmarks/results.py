"""Reads and writes benchmarks/results.json: the last measurement of every row, by machine."""

import json
import os
import platform
from datetime import date
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.common import Measured
from jaxhar.host import files

PATH = Path(__file__).with_name("results.json")


def machine() -> dict[str, Any]:
    """Processor, system and library versions."""
    import torch

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    devices = sorted({device.device_kind for device in jax.devices() if device.platform != "cpu"})
    return {
        "processor": cpu,
        "cores": os.cpu_count(),
        "accelerators": devices,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "torch": torch.__version__,
    }


def add(row: str, measured: Measured, command: str, path: Path = PATH) -> None:
    """Adds a row to the file, or replaces the same row of the same machine."""
    here = machine()
    found = json.loads(path.read_text()) if path.exists() else []
    record = next((r for r in found if r["machine"] == here), None)
    if record is None:
        record = {"machine": here, "rows": {}}
        found.append(record)
    entry = {"date": str(date.today()), "command": command, "unit": measured.unit, "values": measured.values}
    record["rows"][row] = entry
    files.write(path, json.dumps(found, indent=1).encode())


def summary(measured: Measured) -> list[tuple[str, str, str, str]]:
    """For each contender: its name, median, quartiles, and the median of its rounds' ratios to the first."""
    first = np.array(next(iter(measured.values.values())))
    lines = []
    for name, values in measured.values.items():
        low, middle, high = np.percentile(values, [25, 50, 75])
        ratio = f"{np.median(np.array(values) / first):.2f}" if len(values) == len(first) else ""
        lines.append((name, f"{middle:.4g} {measured.unit}", f"{low:.4g} - {high:.4g}", ratio))
    return lines
