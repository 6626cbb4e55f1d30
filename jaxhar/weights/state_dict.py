"""Reads the state dict of a PyTorch network from a .pth or .safetensors file, in the forms that programs write.

No code in a file is executed. A file may hold the state dict itself or a dict with it, in any floating-point type;
types of less than 32 bits become float32, which changes no value. A .pth of PyTorch's present form is a zip archive,
whose checksums are compared. PyTorch's older form and .safetensors have none: their lengths and names are checked.
"""

import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors
from safetensors import SafetensorError

from jaxhar.host import files
from jaxhar.host.errors import Problem
from jaxhar.weights.torch import import_torch

#: Names under which training programs keep the weights in a file; the first that is there is taken.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "model_state", "network", "net", "module", "weights", "params")
#: Names of types in .safetensors files.
_TYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


@dataclass(frozen=True)
class StateDict:
    """The arrays of a state dict by name, and sentences on where they were found and what else the file holds."""

    arrays: dict[str, np.ndarray]
    notes: tuple[str, ...] = ()


def read_pth(path: Path) -> StateDict:
    """Reads a .pth file.

    Raises:
      Problem: the file is damaged or holds no state dict, or PyTorch is not installed.
    """
    torch = import_torch()
    try:
        data = path.open("rb")
    except OSError as error:
        raise Problem(f"{path} cannot be read ({error.strerror})") from error
    with data:
        zipped = zipfile.is_zipfile(data)
        if zipped:
            _check_sums(path)
        data.seek(0)
        try:
            content = torch.load(data, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise Problem(_refused(path, str(error))) from error
        except Exception as error:  # damaged files raise many types
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise Problem(
                f"{path} cannot be read as a PyTorch state dict: it is damaged or holds other things ({reason})"
            ) from error
        if not zipped and data.read(1):
            raise Problem(f"{path} is damaged: it goes on after its last weight")
    state, notes = _unwrapped(content, path, torch.Tensor)
    arrays = {}
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            notes.append(f"not used: {name}, which is no weight ({type(value).__name__})")
            continue
        try:
            value = value.detach()
            if value.is_floating_point() and value.dtype != torch.float64:
                value = value.float()
            arrays[name] = value.numpy()
        except (TypeError, RuntimeError) as error:
            raise Problem(f"the weight {name} of {path} is of a kind that is not read ({value.dtype})") from error
    return StateDict(arrays, tuple(notes))


def _check_sums(path: Path) -> None:
    """Compares all checksums of a zip archive; Problem if one differs."""
    try:
        with zipfile.ZipFile(path) as archive:
            # torch.serialization.set_crc32_options(False) writes zeros in their place
            bad = archive.testzip() if any(entry.CRC for entry in archive.infolist()) else None
    except Exception as error:  # of a damaged directory zipfile raises many types
        raise Problem(f"{path} is damaged: its zip archive cannot be read; copy or download it again") from error
    if bad is not None:
        raise Problem(f"{path} is damaged: the checksum of {bad} in it differs; copy or download it again")


def _refused(path: Path, reason: str) -> str:
    found = re.search(r"GLOBAL ([\w.]+)", reason)
    if found is None:
        return f"{path} cannot be read as a PyTorch state dict: it is damaged or holds other things"
    return (
        f"{path} cannot be read as a PyTorch state dict: it holds more than weights ({found[1]}), which could run "
        "code; load it where it was made and save the weights alone, by torch.save(network.state_dict(), FILE)"
    )


def _unwrapped(content: Any, path: Path, tensor: type) -> tuple[Mapping[str, Any], list[str]]:
    """The state dict in the content of a file, and a sentence on what lies beside it."""
    notes: list[str] = []
    while True:
        if not isinstance(content, Mapping) or not content or not all(isinstance(name, str) for name in content):
            raise Problem(f"{path} holds no state dict of a PyTorch network, but {_described(content)}")
        dicts = [name for name, value in content.items() if isinstance(value, Mapping) and value]
        inner = next((name for name in _WRAPPERS if name in dicts), None)
        if inner is None and any(isinstance(value, tensor) for value in content.values()):
            return content, notes
        inner = dicts[0] if inner is None and len(dicts) == 1 else inner
        if inner is None:
            raise Problem(f"{path} holds no state dict of a PyTorch network, but {_described(content)}")
        others = ", ".join(name for name in content if name != inner)
        notes.append(f"the weights are those of {inner!r} in the file" + (f"; not used: {others}" if others else ""))
        content = content[inner]


def _described(content: Any) -> str:
    if isinstance(content, Mapping):
        names = ", ".join(map(str, list(content)[:5]))
        return f"a dict of {names}" + (" and more" if len(content) > 5 else "") if content else "an empty dict"
    return f"a {type(content).__name__}"


def read_safetensors(path: Path) -> StateDict:
    """Reads a .safetensors file of any program; Problem if it is damaged or has a type that is not read."""
    data = files.read(path, "weight file")
    try:
        found = safetensors.deserialize(data)
    except (SafetensorError, ValueError) as error:
        raise Problem(f"{path} is damaged or not a safetensors file: {error}") from error
    arrays = {}
    for name, entry in found:
        if entry["dtype"] not in _TYPES:
            raise Problem(f"the weight {name} of {path} is of a kind that is not read ({entry['dtype']})")
        array = np.frombuffer(entry["data"], _TYPES[entry["dtype"]]).reshape(entry["shape"])
        arrays[name] = array.astype(np.float32) if entry["dtype"] in ("F16", "BF16") else array
    return StateDict(arrays)
