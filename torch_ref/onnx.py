"""A network of the twin as an ONNX file, for any number of clips at a time."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn


class Offset(nn.Module):
    """What is left of a batch normalisation that was folded into the convolution before it."""

    def __init__(self, features: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias[:, None, None]


class Deployed(nn.Module):
    """The calling convention of the file: frames (B, T, H, W, 3) or (B, H, W, 3) -> pose, visible and probabilities."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        frames = frames if frames.ndim == 5 else frames[:, None]
        preds = dict(self.net(frames.permute(0, 1, 4, 2, 3)))
        action = preds.pop("action", None)
        if isinstance(action, tuple):  # one for each set of labels
            return preds | {f"action_{i}": logits.softmax(-1) for i, logits in enumerate(action)}
        return preds if action is None else preds | {"action": action.softmax(-1)}


def save_onnx(
    net: nn.Module, state: Mapping[str, np.ndarray], offsets: Sequence[str], shape: Sequence[int], path: Path
) -> None:
    """Write a network whose batch normalisations are partly folded.

    It has an input `frames` with a symbolic first axis, and outputs `pose`, `visible` and, of an action network,
    `action`, or `action_0`, `action_1`, ... for several sets of labels.

    Args:
      net: the network as `create` makes it; it is changed.
      state: its state dict as numpy arrays, after folding.
      offsets: dotted paths of the norms of which only the bias is left.
      shape: of one clip or image, (T, H, W, 3) or (H, W, 3).
      path: of the file.
    """
    for name in offsets:
        above, _, last = name.rpartition(".")
        setattr(net.get_submodule(above), last, Offset(len(state[f"{name}.bias"])))
    net.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in state.items()})
    deployed = Deployed(net).eval()
    frames = torch.zeros(2, *shape)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision, which is not needed
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        program = torch.onnx.export(
            deployed,
            (frames,),
            dynamo=True,
            verbose=False,
            input_names=["frames"],
            output_names=list(deployed(frames)),
            dynamic_shapes={"frames": {0: torch.export.Dim("batch")}},
        )
    assert program is not None
    program.save(path)
