"""Safetensors files whose header describes them and has a crc32 of itself and of every array.

Reading executes no code; damage is detected; files are written atomically.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from jaxhar.host import files
from jaxhar.host.errors import Problem

Flat = dict[str, np.ndarray]


def write(path: Path, flat: Mapping[str, np.ndarray], description: dict[str, object]) -> None:
    """Writes arrays by name and a JSON-serialisable description; Problem if the write fails."""
    flat = {name: np.asarray(array, order="C") for name, array in flat.items()}
    text = json.dumps({**description, "crc32": {name: checksum(array) for name, array in flat.items()}})
    header = {"jaxhar": text, "crc32": str(zlib.crc32(text.encode()))}
    files.write(path, save(flat, metadata=header))


def read(path: Path) -> tuple[Flat, dict[str, Any]]:
    """Arrays and description of a file from `write`; Problem if a checksum differs."""
    description = read_header(path)
    try:
        with safe_open(path, "np") as file:
            flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise Problem(f"{path} is damaged or cannot be read: {error}") from error
    checksums = description.pop("crc32")
    bad = [n for n in flat.keys() | checksums.keys() if n not in flat or checksums.get(n) != checksum(flat[n])]
    if bad:
        raise Problem(f"{path} is damaged: the checksum of {min(bad)} differs")
    return flat, description


def read_header(path: Path) -> dict[str, Any]:
    """The description, and the checksums of the arrays under "crc32"; Problem if it is damaged."""
    try:
        with safe_open(path, "np") as file:
            header = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise Problem(f"{path} is damaged or not a safetensors file: {error}") from error
    if "jaxhar" not in header:
        raise Problem(f"{path} was not written by jaxhar: it does not say which network its weights belong to")
    if str(zlib.crc32(header["jaxhar"].encode())) != header.get("crc32"):
        raise Problem(f"{path} is damaged: the checksum of its description differs")
    return json.loads(header["jaxhar"])


def checksum(array: np.ndarray) -> int:
    """Checksum of the values, type and shape."""
    kind = f"{array.dtype.str}{array.shape}".encode()
    flat = np.asarray(array, order="C").reshape(-1).view(np.uint8)
    return zlib.crc32(flat, zlib.crc32(kind))  # type: ignore[arg-type]
