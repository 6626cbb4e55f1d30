"""Checkpoints of models and training runs: safetensors files with a description in the header.

Reading executes no code, and files are written atomically. The header contains a crc32 of itself and of every array,
so that damage is detected. A training checkpoint is a model file that also contains the optimizer's arrays and a record
of the training loop (data iterator, settings); `load_model` reads both kinds.
"""

import json
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from jaxhar.core.network import NetworkConfig
from jaxhar.core.skeleton import Skeleton
from jaxhar.host import files
from jaxhar.host.errors import Problem
from jaxhar.weights.flat import config_from_json, config_to_json, from_flat, to_flat

Flat = dict[str, np.ndarray]

_FOLDER = "checkpoints"
_SUFFIX = ".safetensors"
_WEIGHTS = "weights.safetensors"
_DESCRIPTION = "model.json"
#: Prefix of the names of the model's arrays in a training checkpoint.
MODEL_PREFIX = "model/"


@dataclass(frozen=True)
class Meta:
    """Description of a model: joints (None if it has none), action class names (() if none), settings.

    With several label sets, `actions` is a tuple of tuples.
    """

    skeleton: Skeleton | None
    actions: tuple
    config: NetworkConfig

    def joints(self, use: str) -> Skeleton:
        """The joints; Problem if there are none. `use` names the purpose in the message, e.g. "predicting poses"."""
        if self.skeleton is None:
            raise Problem(f"{use} makes no sense here: the network has no joints")
        return self.skeleton


@dataclass(frozen=True)
class Saved:
    """A training checkpoint in memory.

    Attributes:
      step: number of training steps done.
      arrays: name -> array; names of the model's arrays start with `MODEL_PREFIX`.
      record: further state of the training loop, JSON-serialisable.
      figure: the score by which the best checkpoint is chosen (larger is better), or None.
    """

    step: int
    arrays: Flat
    record: dict[str, Any]
    figure: float | None = None


def describe(config: NetworkConfig, skeleton: Skeleton | None, actions: tuple) -> dict[str, object]:
    """JSON-serialisable description of a model, which `load_model` returns as `Meta`."""
    return {
        "config": json.loads(config_to_json(config)),
        "skeleton": None if skeleton is None else {"name": skeleton.name, "joints": list(skeleton.joints)},
        "actions": list(actions),
    }


class Store:
    """The training checkpoints of a working directory, checkpoints/STEP.safetensors: the latest few and the best."""

    def __init__(self, workdir: Path, keep_last: int = 2, keep_best: bool = False):
        """Creates the folder and removes temporary files of interrupted writes; Problem if it is not writable."""
        self.folder = Path(workdir) / _FOLDER
        self.keep_last, self.keep_best = keep_last, keep_best
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for leftover in self.folder.glob(".*.tmp"):
                leftover.unlink()
        except OSError as error:
            raise files.cannot_write(self.folder, error) from error

    def save(self, saved: Saved, model: dict[str, object]) -> None:
        """Writes a checkpoint, then removes outdated ones; Problem if the write fails.

        Args:
          saved: replaces a checkpoint of the same step; floats in the record are stored exactly.
          model: the description from `describe`.
        """
        training = {"step": saved.step, "record": saved.record, "figure": saved.figure}
        path = self.folder / f"{saved.step}{_SUFFIX}"
        try:
            _write_weights(path, saved.arrays, {**model, "training": training})
            for step in self._outdated():
                (self.folder / f"{step}{_SUFFIX}").unlink()
        except OSError as error:
            raise files.cannot_write(path, error) from error

    def restore(self) -> Saved | None:
        """The newest intact checkpoint; None if there are none. Damaged ones are reported and renamed.

        Raises:
          Problem: there are checkpoints, but none is intact.
        """
        saved, damaged = _first_intact(self.folder, _steps(self.folder))
        if saved is not None:
            for step in damaged:
                path = self.folder / f"{step}{_SUFFIX}"
                path.rename(path.with_suffix(".damaged"))
        return saved

    def _outdated(self) -> list[int]:
        steps = _steps(self.folder)
        kept = steps[: self.keep_last]
        if self.keep_best:
            kept += _best(self.folder, steps)
        return [step for step in steps if step not in kept]


def read_best(workdir: Path) -> Saved | None:
    """The checkpoint with the best score, else the newest intact one; None if there are none.

    Modifies no files, so it can be used during training.
    """
    folder = Path(workdir) / _FOLDER
    steps = _steps(folder)
    best = _best(folder, steps)
    return _first_intact(folder, best + [step for step in steps if step not in best])[0]


def _steps(folder: Path) -> list[int]:
    """Step numbers of the checkpoints, newest first."""
    return sorted((int(p.stem) for p in folder.glob(f"*{_SUFFIX}") if p.stem.isdigit()), reverse=True)


def _best(folder: Path, steps: list[int]) -> list[int]:
    """The step with the best score, the later one if equal; [] if no checkpoint has a score."""
    rated = []
    for step in steps:
        try:
            figure = _read_header(folder / f"{step}{_SUFFIX}")["training"]["figure"]
        except (Problem, KeyError):
            continue  # damage is reported when the file is read
        if figure is not None:
            rated.append((figure, step))
    return [max(rated)[1]] if rated else []


def _first_intact(folder: Path, steps: list[int]) -> tuple[Saved | None, list[int]]:
    """The first readable checkpoint and the damaged steps before it; Problem if all are damaged."""
    damaged: list[int] = []
    for step in steps:
        path = folder / f"{step}{_SUFFIX}"
        try:
            arrays, description = _read_weights(path)
            training = description["training"]
        except (Problem, KeyError) as error:
            damaged.append(step)
            print(f"{error}; trying the previous checkpoint", file=sys.stderr)
        else:
            return Saved(step, arrays, {**training["record"], "model": description}, training["figure"]), damaged
    if damaged:
        raise Problem(f"no checkpoint in {folder} is intact; move that folder away to start over")
    return None, damaged


def save_model(path: Path, model: nnx.Module, skeleton: Skeleton | None, actions: tuple) -> None:
    """Writes a model with its settings, joints (None if it has none) and action names.

    Args:
      path: a new folder, an existing model folder to overwrite, or a file name ending in .safetensors.
    Raises:
      Problem: `path` exists and is something else, or cannot be written. The write is atomic.
    """
    path = Path(path)
    description = describe(model.config, skeleton, actions)  # type: ignore[attr-defined]
    flat = to_flat(model)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors":
            _write_weights(path, flat, description)
        elif path.exists() and not path.is_dir():
            raise Problem(f"{path} is a file; give a folder, or a name ending in .safetensors, for the model")
        elif path.is_dir() and (path / _WEIGHTS).is_file():
            _write_weights(path / _WEIGHTS, flat, description)
            files.write(path / _DESCRIPTION, json.dumps(description, indent=2).encode())
        elif path.is_dir() and any(path.iterdir()):
            raise Problem(f"{path} holds other files and no model; give a new folder, nothing was written")
        else:
            temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
            try:
                temporary.chmod(0o755)
                _write_weights(temporary / _WEIGHTS, flat, description)
                files.write(temporary / _DESCRIPTION, json.dumps(description, indent=2).encode())
                os.replace(temporary, path)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise files.cannot_write(path, error) from error


def load_model(path: Path) -> tuple[nnx.Module, Meta]:
    """Loads a model, in evaluation mode, and its `Meta`.

    Args:
      path: a model folder, a .safetensors file of jaxhar (also a training checkpoint), or a training working directory
        (its best checkpoint, else its newest).
    Raises:
      Problem: there is no model at `path`, or it is damaged.
    """
    flat, description = load_flat(path)
    meta = _meta(description, str(path))
    return from_flat(flat, meta.config, source=f"the weights in {path}"), meta


def load_flat(path: Path) -> tuple[Flat, dict[str, Any]]:
    """The arrays of a model by dotted path, and its description; `path` as in `load_model`."""
    path = Path(path)
    if not path.exists():
        raise Problem(f"no model at {path}; give a model folder, a .safetensors file or a training workdir")
    if path.is_file():
        return _read_model(path)
    if (path / _WEIGHTS).is_file():
        return _read_model(path / _WEIGHTS)
    saved = read_best(path.parent if path.name == _FOLDER else path)
    if saved is None:
        raise Problem(f"{path} holds neither {_WEIGHTS} nor training checkpoints; give the folder of a model or a run")
    return _model_arrays(saved.arrays), saved.record["model"]


def _read_model(path: Path) -> tuple[Flat, dict[str, Any]]:
    arrays, description = _read_weights(path)
    return (_model_arrays(arrays) if "training" in description else arrays), description


def _model_arrays(arrays: Flat) -> Flat:
    return {n.removeprefix(MODEL_PREFIX): a for n, a in arrays.items() if n.startswith(MODEL_PREFIX)}


def _meta(description: dict[str, Any], source: str) -> Meta:
    try:
        joints = description["skeleton"]
        layout = None if joints is None else Skeleton(joints["name"], tuple(joints["joints"]))
        config = config_from_json(json.dumps(description["config"]), source)
        actions = tuple(tuple(a) if isinstance(a, list) else a for a in description["actions"])  # a list per label set
        return Meta(layout, actions, config)
    except (KeyError, TypeError) as error:
        raise Problem(f"{source}: the description of the model in it lacks {error}") from error


def _write_weights(path: Path, flat: Mapping[str, np.ndarray], description: dict[str, object]) -> None:
    flat = {name: np.asarray(array, order="C") for name, array in flat.items()}
    text = json.dumps({**description, "crc32": {name: _crc(array) for name, array in flat.items()}})
    header = {"jaxhar": text, "crc32": str(zlib.crc32(text.encode()))}
    files.write(path, save(flat, metadata=header))


def _read_weights(path: Path) -> tuple[Flat, dict[str, Any]]:
    """Arrays and description of a file from `_write_weights`; Problem if a checksum differs."""

    description = _read_header(path)
    try:
        with safe_open(path, "np") as file:
            flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise Problem(f"{path} is damaged or cannot be read: {error}") from error
    checksums = description.pop("crc32")
    bad = [n for n in flat.keys() | checksums.keys() if n not in flat or checksums.get(n) != _crc(flat[n])]
    if bad:
        raise Problem(f"{path} is damaged: the checksum of {min(bad)} differs")
    return flat, description


def _read_header(path: Path) -> dict[str, Any]:
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


def _crc(array: np.ndarray) -> int:
    """Checksum of the values, type and shape."""
    kind = f"{array.dtype.str}{array.shape}".encode()
    flat = np.asarray(array, order="C").reshape(-1).view(np.uint8)
    return zlib.crc32(flat, zlib.crc32(kind))  # type: ignore[arg-type]
