"""PyTorch versions ("twins") of the networks of jaxhar, for porting weights and for tests.

Imports neither jax nor jaxhar.
"""

import os
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torch_ref import baseline, mae, multiview, people, poseconv, reception, rgbpose, skeleton, spnet
from torch_ref.onnx import save_onnx as save_onnx

#: One line per family: a module with `ZOO` (network name -> settings) and `build` (settings -> network).
_FAMILIES: tuple[ModuleType, ...] = (
    reception,
    spnet,
    baseline,
    multiview,
    people,
    poseconv,
    rgbpose,
    skeleton,
    mae,
)


def create(name: str, **overrides) -> nn.Module:
    """A network by its name in the zoo with random weights, in training mode; `overrides` change its settings.

    Raises:
      ValueError: no network has that name.
    """
    for family in _FAMILIES:
        if name in family.ZOO:
            return family.build(replace(family.ZOO[name], **overrides))
    names = ", ".join(name for family in _FAMILIES for name in family.ZOO)
    raise ValueError(f"no network is named {name!r}; there are: {names}")


@torch.no_grad()
def infer(net: nn.Module, inputs: np.ndarray | Mapping[str, np.ndarray]) -> dict[str, Any]:
    """As jaxhar.infer: frames (B, H, W, 3) or (B, T, H, W, 3) -> pose, visible, action probabilities and so on.

    Args:
      inputs: frames, RGB uint8, or floats normalised as the network needs them (`net.pixels`): deephar's from -1 to 1,
        others by ImageNet's mean and deviation, Simple Baselines and multi-view networks with the channels in BGR
        order; or a dict with the keys of a batch that the network reads.

    Raises:
      ValueError: frames of another type or range, or with another number of axes.
    """
    given = dict(inputs) if isinstance(inputs, Mapping) else {"frames": inputs}
    tensors = {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in given.items() if key != "frames"}
    if "frames" in given:
        tensors["frames"] = _as_tensor(np.asarray(given["frames"]), getattr(net, "pixels", "signed"))
    training = net.training
    preds = net.eval()(**tensors)
    net.train(training)
    action = preds.pop("action", None)
    found: dict[str, Any] = {key: value.numpy() for key, value in preds.items()}
    if isinstance(action, tuple):  # several label sets
        found["action"] = tuple(logits.softmax(-1).numpy() for logits in action)
    elif action is not None:
        found["action"] = action.softmax(-1).numpy()
    return found


def _as_tensor(frames: np.ndarray, pixels: str) -> Tensor:
    """Frames (B, T, 3, H, W), normalised; ValueError for what the network does not understand."""
    if frames.ndim not in (4, 5) or frames.shape[-1] != 3:
        raise ValueError(f"frames must be (B, H, W, 3) or (B, T, H, W, 3), not {frames.shape}")
    low, high = _normalised(np.array([[0] * 3, [255] * 3], np.uint8), pixels)[:, 0]
    if frames.dtype == np.uint8:
        frames = _normalised(frames, pixels)
    elif frames.dtype.kind != "f" or not low - 0.5 <= frames.min(initial=0) <= frames.max(initial=0) <= high + 0.5:
        raise ValueError(f"give frames as uint8 pixels from 0 to 255, or as finite floats from {low:.3g} to {high:.3g}")
    x = torch.from_numpy(np.ascontiguousarray(frames, np.float32))
    return (x if x.ndim == 5 else x[:, None]).permute(0, 1, 4, 2, 3)


def _normalised(frames: np.ndarray, pixels: str) -> np.ndarray:
    """uint8 frames (..., 3) RGB as a network needs them, float32."""
    unit = frames.astype(np.float32) / 255
    if pixels == "signed":
        return 2 * (unit - 0.5)
    if pixels == "kinetics":
        return (unit - np.float32(0.45)) / np.float32(0.225)
    unit = unit[..., ::-1] if pixels == "imagenet_bgr" else unit
    return (unit - np.array([0.485, 0.456, 0.406], np.float32)) / np.array([0.229, 0.224, 0.225], np.float32)


def save(state: Mapping[str, np.ndarray], path: str | Path) -> None:
    """Writes a state dict of numpy arrays atomically."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        torch.save({name: torch.from_numpy(np.array(array)) for name, array in state.items()}, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: str | Path) -> dict[str, np.ndarray]:
    """Reads a state dict as numpy arrays; no code in the file is executed.

    Raises:
      ValueError: the file is damaged or not a dict of tensors.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if bad := archive.testzip():
                    raise ValueError(f"{path} is damaged: the checksum of {bad} in it differs")
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        return {name: tensor.numpy() for name, tensor in state.items()}
    except (
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        RuntimeError,
        AttributeError,
        TypeError,
        EOFError,
        OSError,
    ) as error:
        raise ValueError(
            f"{path} cannot be read as a PyTorch state dict: it is damaged or holds other things"
        ) from error
