"""The PyTorch twin: the networks of jaxhar once more, for porting weights and for checking one against the other.

It imports neither jax nor jaxhar.
"""

import os
import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torch_ref import reception, spnet
from torch_ref.action import ActionNet
from torch_ref.onnx import save_onnx as save_onnx
from torch_ref.reception import Config, Reception
from torch_ref.spnet import SPNet

_ZOO: dict[str, reception.Config | spnet.Config] = {
    "reception-mpii": Config(),
    "reception-h36m": Config(num_joints=17, num_context=0, depth_maps=16),
    "reception-penn": Config(num_blocks=4, num_frames=16, num_actions=15),
    "reception-ntu": Config(
        num_blocks=4, num_joints=20, num_context=0, depth_maps=8, pose_net="v2", num_frames=20, num_actions=60
    ),
    "spnet-penn": spnet.Config(
        num_pyramids=6,
        action_pyramids=(5, 6),
        num_frames=8,
        num_actions=(15,),
        num_pose_features=160,
        num_visual_features=160,
        pose_replica=True,
    ),
    "spnet-ntu": spnet.Config(
        num_pyramids=2,
        action_pyramids=(1, 2),
        num_joints=17,
        depth_maps=True,
        num_frames=8,
        num_actions=(60,),
        num_pose_features=192,
        num_visual_features=192,
    ),
    "spnet-pose": spnet.Config(num_joints=17, depth_maps=True),
}


def create(name: str, **overrides) -> nn.Module:
    """A network by its name in the zoo, with any settings of `Config` changed, fresh weights, in training mode.

    Raises:
      ValueError: no network has that name.
    """
    if name not in _ZOO:
        raise ValueError(f"no network is named {name!r}; there are: {', '.join(_ZOO)}")
    config = replace(_ZOO[name], **overrides)
    if isinstance(config, spnet.Config):
        return SPNet(config)
    pose = Reception(config)
    return pose if config.num_actions is None else ActionNet(pose)


@torch.no_grad()
def infer(net: nn.Module, frames: np.ndarray) -> dict[str, Any]:
    """As jaxhar.infer: frames (B, H, W, 3) or (B, T, H, W, 3) in [-1, 1] -> pose, visible, action probabilities."""
    x = torch.from_numpy(np.ascontiguousarray(frames, np.float32))
    if x.ndim == 4:
        x = x[:, None]
    training = net.training
    preds = net.eval()(x.permute(0, 1, 4, 2, 3))
    net.train(training)
    action = preds.pop("action", None)
    found: dict[str, Any] = {key: value.numpy() for key, value in preds.items()}
    if isinstance(action, tuple):  # one for each set of labels
        found["action"] = tuple(logits.softmax(-1).numpy() for logits in action)
    elif action is not None:
        found["action"] = action.softmax(-1).numpy()
    return found


def save(state: Mapping[str, np.ndarray], path: str | Path) -> None:
    """Write a state dict given as numpy arrays; the file appears under its name when it is complete."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        torch.save({name: torch.from_numpy(np.array(array)) for name, array in state.items()}, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: str | Path) -> dict[str, np.ndarray]:
    """Read a state dict as numpy arrays; nothing in the file is executed.

    Raises:
      ValueError: the file is damaged, or holds something other than a dict of tensors.
    """
    try:
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        return {name: tensor.numpy() for name, tensor in state.items()}
    except (pickle.UnpicklingError, RuntimeError, AttributeError, TypeError, EOFError, OSError) as error:
        raise ValueError(
            f"{path} cannot be read as a PyTorch state dict: it is damaged or holds other things"
        ) from error
