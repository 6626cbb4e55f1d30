"""Models as files: weights with a description of the network, its joints and its classes.

A model is a folder or a .safetensors file; the working directory of a training run is one too, by its best checkpoint.
"""

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from jaxhar.core.calibration import Calibration
from jaxhar.core.familiar import Familiar
from jaxhar.core.network import NetworkConfig
from jaxhar.core.skeleton import Skeleton
from jaxhar.host import files
from jaxhar.host.errors import Problem
from jaxhar.weights import store, tensor_file
from jaxhar.weights.flat import config_from_json, config_to_json, from_flat, to_flat
from jaxhar.weights.tensor_file import Flat

_WEIGHTS = "weights.safetensors"
_DESCRIPTION = "model.json"
#: Prefix of the arrays of a `Familiar` in a model file, and the file of `save_findings` in the folder of a run.
_FAMILIAR, _FINDINGS_FILE = "familiar/", "familiar.safetensors"

#: Settings of data that say how far apart the frames of a clip are; the first one counts.
_STEPS = (".rate", ".augment.fixed_subsampling")


@dataclass(frozen=True)
class Meta:
    """Description of a model: joints (None if it has none), action class names (() if none), settings.

    With several label sets, `actions` is a tuple of tuples. `trained` says on what the weights were trained (steps of
    the stages, data, whether actions were among the labels), `familiar` which crops look like those to the network;
    None if the file does not say it. `calibration` has the temperatures of its confidences; None if none were fitted.
    """

    skeleton: Skeleton | None
    actions: tuple
    config: NetworkConfig
    trained: dict[str, Any] | None = None
    familiar: Familiar | None = field(default=None, compare=False)
    calibration: Calibration | None = None

    def joints(self, use: str) -> Skeleton:
        """The joints; Problem if there are none. `use` names the purpose in the message, e.g. "predicting poses"."""
        if self.skeleton is None:
            raise Problem(f"{use} makes no sense here: the network has no joints")
        return self.skeleton

    def untrained_actions(self, weights: Path) -> str | None:
        """A sentence if the network has action heads that no label has trained."""
        if not self.actions or self.trained is None or self.trained["actions"]:
            return None
        done = f"{self.trained['step']} of {self.trained['steps']} steps"
        return f"no action is named: the action heads of {weights} are not trained yet ({done} are done)"

    @property
    def step(self) -> int | None:
        """Number of training steps behind the weights; None if it is not known."""
        return (self.trained or {}).get("step")

    @property
    def frame_rate(self) -> float | None:
        """Frames per second of the clips of the training; None if that is not known, or differs between data sets."""
        return self._one("frame_rate")

    @property
    def picture_share(self) -> float | None:
        """Side of the crop in the evaluation of whole pictures, in units of their shorter side; None if not known."""
        return self._one("share")

    @property
    def margin(self) -> float | None:
        """Side of the crops of the evaluation over the longer side of a person's box, in data with boxes (COCO's form);
        None if that is not known, or differs between data sets."""
        margin, scale = self._one("margin"), self._one("augment.fixed_scale")
        return None if margin is None or scale is None else margin * scale

    @property
    def around(self) -> float | None:
        """What the evaluation sees around a person's box, as a share of its longer side; None for all of the crop."""
        return self._one("augment.fixed_around")

    @property
    def crop_scale(self) -> float:
        """Factor of the boxes of the evaluation; 1 if that is not known, or differs between data sets."""
        return self._one("augment.fixed_scale") or 1.0

    def _one(self, setting: str) -> float | None:
        """A setting of the data of the training; None if that is not known, or differs between data sets."""
        settings = (self.trained or {}).get("data", {})
        named = {text for name, text in settings.items() if name.endswith(f".{setting}") and text != "None"}
        return float(named.pop()) if len(named) == 1 else None

    @property
    def frame_step(self) -> float | None:
        """Frames from one to the next in the clips of the evaluation; None if that is not known, or differs."""
        settings = (self.trained or {}).get("data", {})
        for ending in _STEPS:
            named = {text for name, text in settings.items() if name.endswith(ending)}
            if named:
                return float(named.pop()) if len(named) == 1 else None
        return None

    def unseen_joints(self) -> str | None:
        """A sentence if no training example had some of the joints."""
        unseen = (self.trained or {}).get("unseen_joints", [])
        return (
            f"no training example had these joints, so that their places mean nothing: {', '.join(unseen)}"
            if unseen
            else None
        )

    def unseen_classes(self) -> str | None:
        """A sentence if training has seen no example of some classes."""
        unseen = (self.trained or {}).get("unseen_classes", [])
        return (
            f"training has seen no example of these actions: {', '.join(unseen)}" if unseen and self.actions else None
        )


def describe(config: NetworkConfig, skeleton: Skeleton | None, actions: tuple) -> dict[str, object]:
    """JSON-serialisable description of a model, which `load_model` returns as `Meta`."""
    return {
        "config": json.loads(config_to_json(config)),
        "skeleton": None if skeleton is None else {"name": skeleton.name, "joints": list(skeleton.joints)},
        "actions": list(actions),
    }


def check_same_classes(known: Sequence, classes: Sequence, source: str) -> None:
    """Problem if the class names that are kept with weights are others than those of the data, or in another order.

    Names such as "class 3" stand for unknown ones.
    """
    for number, (ours, theirs) in enumerate(zip(known, classes, strict=False)):
        ours = tuple(ours) if isinstance(ours, list) else ours
        if ours not in (theirs, f"class {number}"):
            raise Problem(
                f"class {number} of {source} is {ours!r}, but {theirs!r} in the data, and nothing is trained: figures "
                "would be wrong; test on data with the classes of the training"
            )


def sha256(model: nnx.Module) -> str:
    """A digest of names, types, shapes and values of a model's arrays, whatever file they came from."""
    digest = hashlib.sha256()
    for name, array in sorted(to_flat(model).items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def save_model(
    path: Path,
    model: nnx.Module,
    skeleton: Skeleton | None,
    actions: tuple,
    trained: dict[str, Any] | None = None,
    familiar: Familiar | None = None,
    calibration: Calibration | None = None,
) -> None:
    """Writes a model with its settings, joints (None if it has none) and action names.

    Args:
      path: a new folder, an existing model folder to overwrite, or a file name ending in .safetensors.
      trained, familiar, calibration: see `Meta`.

    Raises:
      Problem: `path` exists and is something else, or cannot be written. The write is atomic.
    """
    path = Path(path)
    description = describe(model.config, skeleton, actions)  # type: ignore[attr-defined]
    if trained is not None:
        description["trained"] = trained
    if calibration is not None:
        description["calibration"] = dataclasses.asdict(calibration)
    arrays, limit = _familiar_arrays(familiar)
    flat = {**to_flat(model), **arrays}
    description |= limit
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors":
            tensor_file.write(path, flat, description)
        elif path.exists() and not path.is_dir():
            raise Problem(f"{path} is a file; give a folder, or a name ending in .safetensors, for the model")
        elif path.is_dir() and (path / _WEIGHTS).is_file():
            tensor_file.write(path / _WEIGHTS, flat, description)
            files.write(path / _DESCRIPTION, json.dumps(description, indent=2).encode())
        elif path.is_dir() and any(path.iterdir()):
            raise Problem(f"{path} holds other files and no model; give a new folder, nothing was written")
        else:
            temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
            try:
                temporary.chmod(0o755)
                tensor_file.write(temporary / _WEIGHTS, flat, description)
                files.write(temporary / _DESCRIPTION, json.dumps(description, indent=2).encode())
                os.replace(temporary, path)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise files.cannot_write(path, error) from error


def load_model(path: Path) -> tuple[nnx.Module, Meta]:
    """Loads a model, in evaluation mode, and its `Meta`.

    Args:
      path: a model folder, a .safetensors file of jaxhar, a training working directory (its best checkpoint, else its
        newest), or the folder of one checkpoint.
    Raises:
      Problem: there is no model at `path`, or it is damaged.
    """
    flat, description, familiar = _load(Path(path))
    meta = dataclasses.replace(_meta(description, str(path)), familiar=familiar)
    return from_flat(flat, meta.config, source=f"the weights in {path}"), meta


def load_flat(path: Path) -> tuple[Flat, dict[str, Any]]:
    """The arrays of a model by dotted path, and its description; `path` as in `load_model`."""
    return _load(Path(path))[:2]


def save_findings(workdir: Path, familiar: Familiar | None = None, calibration: Calibration | None = None) -> None:
    """Writes what was found out about the best network of a run, see `Meta`; it is read with that checkpoint only.

    What was written before about the same checkpoint stays, unless it is given anew.
    """
    saved = store.read_best(workdir)
    if saved is None:
        return
    arrays, found = _findings(workdir, saved.step)
    if familiar is not None:
        arrays, limit = _familiar_arrays(familiar)
        found |= limit
    if calibration is not None:
        found["calibration"] = dataclasses.asdict(calibration)
    tensor_file.write(workdir / _FINDINGS_FILE, arrays, {**found, "step": saved.step})


def _findings(workdir: Path, step: int) -> tuple[Flat, dict[str, Any]]:
    """The arrays and descriptions of `save_findings` about the checkpoint of this step; empty if there are none."""
    if not (workdir / _FINDINGS_FILE).is_file():
        return {}, {}
    arrays, found = tensor_file.read(workdir / _FINDINGS_FILE)
    return (arrays, found) if found.pop("step") == step else ({}, {})


def _load(path: Path) -> tuple[Flat, dict[str, Any], Familiar | None]:
    if not path.exists():
        raise Problem(f"no model at {path}; give a model folder, a .safetensors file or a training workdir")
    weights = path if path.is_file() else path / _WEIGHTS
    if weights.is_file():
        arrays, description = tensor_file.read(weights)
        if "training" not in description:
            own = {name: array for name, array in arrays.items() if name.startswith(_FAMILIAR)}
            model = {name: array for name, array in arrays.items() if name not in own}
            return model, description, _familiar(own, description)
        saved: store.Saved | None = store.read(weights)  # a checkpoint of the earlier form
    elif store.is_checkpoint(path):
        saved = store.read(path)
    else:
        saved = store.read_best(path.parent if path.name == store.FOLDER else path)
    if saved is None:
        raise Problem(f"{path} holds neither {_WEIGHTS} nor training checkpoints; give the folder of a model or a run")
    arrays, found = _findings(path, saved.step)
    model = {name: np.asarray(array) for name, array in saved.model.items()}
    return model, saved.record["model"] | found, _familiar(arrays, found)


def _familiar_arrays(familiar: Familiar | None) -> tuple[Flat, dict[str, object]]:
    """The arrays of a `Familiar` and its part of a description; nothing for None."""
    if familiar is None:
        return {}, {}
    arrays = {"mean": familiar.mean, "precision": familiar.precision}
    return {f"{_FAMILIAR}{name}": array for name, array in arrays.items()}, {"familiar": {"limit": familiar.limit}}


def _familiar(arrays: Flat, description: dict[str, Any]) -> Familiar | None:
    """The inverse of `_familiar_arrays`."""
    if "familiar" not in description:
        return None
    return Familiar(arrays[f"{_FAMILIAR}mean"], arrays[f"{_FAMILIAR}precision"], description["familiar"]["limit"])


def _meta(description: dict[str, Any], source: str) -> Meta:
    try:
        joints = description["skeleton"]
        layout = None if joints is None else Skeleton(joints["name"], tuple(joints["joints"]))
        config = config_from_json(json.dumps(description["config"]), source)
        actions = tuple(tuple(a) if isinstance(a, list) else a for a in description["actions"])  # a list per label set
        temperatures = description.get("calibration")
        calibration = None if temperatures is None else Calibration(**temperatures)
        return Meta(layout, actions, config, description.get("trained"), calibration=calibration)
    except (KeyError, TypeError) as error:
        raise Problem(f"{source}: the description of the model in it lacks {error}") from error
