"""Checkpoints: of a training run (Orbax, checksummed, resumable) and of a model (one safetensors file).

Training checkpoints hold a flat dict of arrays and a JSON record (data iterator, settings, description of the model).
Storage damage is not always an error when Orbax reads (a flipped bit loads as another number), so each array's crc32
is kept in the record and compared after loading.
"""

import errno
import json
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from jaxhar import port
from jaxhar.errors import Problem
from jaxhar.skeleton import Skeleton

Flat = dict[str, np.ndarray]

_FOLDER = "checkpoints"
_WEIGHTS = "weights.safetensors"
_DESCRIPTION = "model.json"
#: Names of a model's own arrays inside a training checkpoint.
MODEL_PREFIX = "model/"


@dataclass(frozen=True)
class Meta:
    """What a model was trained for: its joints, its action classes (none for a pose network), its settings."""

    skeleton: Skeleton
    actions: tuple[str, ...]
    config: Any


def describe(config: Any, skeleton: Skeleton, actions: tuple[str, ...]) -> dict[str, Any]:
    """JSON-able description of a model; the inverse is `Meta` of `load_model`."""
    return {
        "config": json.loads(port.config_to_json(config)),
        "skeleton": {"name": skeleton.name, "joints": list(skeleton.joints)},
        "actions": list(actions),
    }


class Store:
    """The training checkpoints under a working directory: the last few and the best one."""

    def __init__(self, workdir: Path, keep_last: int = 2, best: bool = False, read_only: bool = False):
        """Opens `workdir`/checkpoints; a writer creates it and removes what interrupted saves left behind."""
        from orbax.checkpoint import v1 as ocp

        policies, decide = ocp.training.preservation_policies, ocp.training.save_decision_policies
        keep: list[Any] = [policies.LatestN(keep_last)]
        if best:
            keep.append(policies.BestN(get_metric_fn=lambda m: m["best"], n=1, keep_checkpoints_without_metrics=False))
        self.folder = Path(workdir).absolute() / _FOLDER
        try:
            self._orbax = ocp.training.Checkpointer(
                self.folder,
                # The loop decides when to save; this policy never refuses.
                save_decision_policy=decide.FixedIntervalPolicy(1),
                preservation_policy=policies.PreserveAll() if read_only else policies.AnyPreservationPolicy(keep),
                cleanup_tmp_directories=not read_only,
            )
        except OSError as error:
            raise _cannot_write(self.folder, error) from error

    def close(self) -> None:
        self._orbax.close()

    def save(self, step: int, arrays: Mapping[str, Any], record: dict[str, Any], figure: float | None = None) -> None:
        """Writes a checkpoint and returns when it is complete; Problem if it could not be written.

        Args:
          step: its number; one of the same number is replaced.
          arrays: name -> array, on device or host.
          record: JSON-able; floats come back exactly.
          figure: what "best" maximises; None if not evaluated at this step.
        """
        host = {name: np.asarray(array) for name, array in arrays.items()}
        leaves = {name: [_crc(a), list(a.shape), str(a.dtype)] for name, a in host.items()}
        text = json.dumps({"arrays": leaves, "record": record})
        sealed = {"json": f"{zlib.crc32(text.encode()):08x}{text}"}
        metrics = None if figure is None else {"best": figure}
        try:
            self._orbax.save_checkpointables(
                step, {"arrays": host, "record": sealed}, metrics=metrics, force=True, overwrite=True
            )
        except Exception as error:  # Orbax passes on whatever its storage layer raises
            for partial in self.folder.glob(f"{step}.orbax-checkpoint-tmp*"):
                shutil.rmtree(partial, ignore_errors=True)
            raise _cannot_write(self.folder / str(step), error) from error

    def restore(self, check: Callable[[dict[str, Any]], None] = lambda record: None) -> tuple[int, Flat, dict] | None:
        """The newest intact checkpoint as (step, arrays, record); None if there is none at all.

        A damaged newer one is reported in a line and moved to `workdir`/damaged, out of the way of later saves.

        Args:
          check: may refuse the record by raising Problem.
        Raises:
          Problem: there are checkpoints, but none is intact.
        """
        steps = self.steps()
        found, damaged = self._first_intact(steps[::-1])
        if found is None:
            if steps:
                raise Problem(
                    f"all {len(steps)} checkpoints in {self.folder} are damaged (the newest: {damaged[steps[-1]]}); "
                    "move that folder away to start over"
                )
            return None
        check(found[2])
        for step in damaged:
            target = self.folder.parent / "damaged" / str(step)
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(exist_ok=True)
            (self.folder / str(step)).rename(target)
        if damaged:
            self._orbax.reload()
        return found

    def restore_best(self) -> tuple[int, Flat, dict] | None:
        """The checkpoint of the best figure, else the newest intact one; None if there is none. Moves nothing."""
        rated = [(c.metrics["best"], c.step) for c in self._orbax.checkpoints if c.metrics and "best" in c.metrics]
        best = [max(rated)[1]] if rated else []
        steps = self.steps()[::-1]
        found, damaged = self._first_intact(best + [s for s in steps if s not in best])
        if found is None and steps:
            raise Problem(f"all {len(steps)} checkpoints in {self.folder} are damaged: {next(iter(damaged.values()))}")
        return found

    def steps(self) -> list[int]:
        """Step numbers of the checkpoints, ascending."""
        return sorted(c.step for c in self._orbax.checkpoints)

    def _first_intact(self, steps: list[int]) -> tuple[tuple[int, Flat, dict] | None, dict[int, str]]:
        damaged: dict[int, str] = {}
        for step in steps:
            try:
                arrays, record = self._read(step)
            except Exception as error:  # any damage may surface as anything
                damaged[step] = _root(error)
                print(f"checkpoint {self.folder / str(step)} is damaged ({damaged[step]})", file=sys.stderr)
            else:
                if damaged:
                    print(f"using checkpoint {self.folder / str(step)} instead", file=sys.stderr)
                return (step, arrays, record), damaged
        return None, damaged

    def _read(self, step: int) -> tuple[Flat, dict]:
        sealed = self._orbax.load_checkpointables(step, {"record": {"json": "text"}})["record"]["json"]
        seal, text = sealed[:8], sealed[8:]
        if f"{zlib.crc32(text.encode()):08x}" != seal:
            raise ValueError("the checksum of its record differs")
        content = json.loads(text)
        like = {name: np.empty(shape, dtype) for name, (_, shape, dtype) in content["arrays"].items()}
        arrays = self._orbax.load_checkpointables(step, {"arrays": like})["arrays"]
        arrays = {name: np.asarray(arrays[name]) for name in like}
        for name, (crc, _, _) in content["arrays"].items():
            if _crc(arrays[name]) != crc:
                raise ValueError(f"the checksum of {name} differs")
        return arrays, content["record"]


def save_model(path: Path, model: nnx.Module, skeleton: Skeleton, actions: tuple[str, ...]) -> None:
    """Writes a model with its settings, joints and action names.

    Args:
      path: a folder to make (or an earlier model folder to replace), or a file name ending in .safetensors.
    Raises:
      Problem: `path` is something else already, or cannot be written; nothing half-written is left under its name.
    """
    path = Path(path)
    description = describe(model.config, skeleton, actions)  # type: ignore[attr-defined]
    flat = port.to_flat(model)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors":
            if path.is_dir():
                raise Problem(f"{path} is a folder; give another name for the weights")
            _write_weights(path, flat, description)
        elif path.exists() and not path.is_dir():
            raise Problem(f"{path} is a file; give a folder, or a name ending in .safetensors, for the model")
        elif path.is_dir() and (path / _WEIGHTS).is_file():
            _write_weights(path / _WEIGHTS, flat, description)
            _write_text(path / _DESCRIPTION, json.dumps(description, indent=2))
        elif path.is_dir() and any(path.iterdir()):
            raise Problem(f"{path} holds other files and no model; give a new folder, nothing was written")
        else:
            temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
            try:
                temporary.chmod(0o755)
                _write_weights(temporary / _WEIGHTS, flat, description)
                _write_text(temporary / _DESCRIPTION, json.dumps(description, indent=2))
                os.replace(temporary, path)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise _cannot_write(path, error) from error


def load_model(path: Path) -> tuple[nnx.Module, Meta]:
    """A model in evaluation mode with its `Meta`.

    Args:
      path: a model folder, a .safetensors file written by us, or a training working directory (its best checkpoint,
        else its newest).
    Raises:
      Problem: there is no such thing, or it is damaged.
    """
    flat, description = load_flat(path)
    meta = _meta(description, str(path))
    return port.from_flat(flat, meta.config, source=f"the weights in {path}"), meta


def load_flat(path: Path) -> tuple[Flat, dict[str, Any]]:
    """The arrays of a model by dotted path and its description, from any place that `load_model` takes."""
    path = Path(path)
    if not path.exists():
        raise Problem(f"no model at {path}; give a model folder, a .safetensors file or a training workdir")
    if path.is_file():
        return _read_weights(path)
    if (path / _WEIGHTS).is_file():
        return _read_weights(path / _WEIGHTS)
    folder = path.parent if path.name == _FOLDER else path
    if (folder / _FOLDER).is_dir():
        store = Store(folder, read_only=True)
        try:
            found = store.restore_best()
        finally:
            store.close()
        if found is not None:
            _, arrays, record = found
            model = {n.removeprefix(MODEL_PREFIX): a for n, a in arrays.items() if n.startswith(MODEL_PREFIX)}
            return model, record["model"]
    raise Problem(f"{path} holds neither {_WEIGHTS} nor training checkpoints; give the folder of a model or of a run")


def _meta(description: dict[str, Any], source: str) -> Meta:
    try:
        layout = Skeleton(description["skeleton"]["name"], tuple(description["skeleton"]["joints"]))
        config = port.config_from_json(json.dumps(description["config"]), source)
        return Meta(layout, tuple(description["actions"]), config)
    except (KeyError, TypeError) as error:
        raise Problem(f"{source}: the description of the model in it lacks {error}") from error


def _write_weights(path: Path, flat: Flat, description: dict[str, Any]) -> None:
    from safetensors.numpy import save

    flat = {name: np.ascontiguousarray(array) for name, array in flat.items()}
    checksums = {name: _crc(array) for name, array in flat.items()}
    header = {"jaxhar": json.dumps({**description, "crc32": checksums})}
    _write_bytes(path, save(flat, metadata=header))


def _read_weights(path: Path) -> tuple[Flat, dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            header = (file.metadata() or {}).get("jaxhar")
            flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if header is None:
            raise Problem(f"{path} was not written by jaxhar: it does not say which network its weights belong to")
        description = json.loads(header)
        checksums = description.pop("crc32")
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise Problem(f"{path} cannot be read as a model, it may be damaged: {error}") from error
    bad = [name for name, array in flat.items() if _crc(array) != checksums.get(name)]
    if bad or len(flat) != len(checksums):
        raise Problem(f"{path} is damaged: the checksum of {bad[0] if bad else 'its contents'} differs")
    return flat, description


def _crc(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8))  # type: ignore[arg-type]


def _write_text(path: Path, text: str) -> None:
    _write_bytes(path, text.encode())


def _write_bytes(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _root(error: BaseException) -> str:
    """The first line of the error at the bottom of the chain: Orbax wraps the true reason several times."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]


def _cannot_write(path: Path, error: Exception) -> Problem:
    reason = _root(error)
    if isinstance(error, OSError) and error.errno is not None:
        reason = os.strerror(error.errno)
    full = any(word in str(error) + reason for word in (os.strerror(errno.ENOSPC), os.strerror(errno.EFBIG)))
    advice = "make room on the disk and start again" if full else "check the disk and the permissions"
    return Problem(f"cannot write {path}: {reason}; {advice}")
