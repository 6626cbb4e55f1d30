"""Writes a PyTorch network as an ONNX file with variable batch size."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn


class Offset(nn.Module):
    """The remaining bias of a batch norm that was merged into the preceding convolution."""

    def __init__(self, features: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias.view(-1, *[1] * (x.ndim - 2))


class Deployed(nn.Module):
    """Interface of the ONNX file: frames (B, T, H, W, 3) or (B, H, W, 3), or other inputs -> predictions.

    Actions are probabilities.

    Args:
      keys: of the inputs, in the order of the arguments.
    """

    def __init__(self, net: nn.Module, keys: Sequence[str]):
        super().__init__()
        self.net, self.keys = net, keys

    def forward(self, *arrays: Tensor) -> dict[str, Tensor]:
        inputs = dict(zip(self.keys, arrays, strict=True))
        if "frames" in inputs:
            frames = inputs["frames"]
            inputs["frames"] = (frames if frames.ndim == 5 else frames[:, None]).permute(0, 1, 4, 2, 3)
        preds = dict(self.net(**inputs))
        action = preds.pop("action", None)
        if isinstance(action, tuple):  # several label sets
            return preds | {f"action_{i}": logits.softmax(-1) for i, logits in enumerate(action)}
        return preds if action is None else preds | {"action": action.softmax(-1)}


def save_onnx(
    net: nn.Module,
    state: Mapping[str, np.ndarray],
    offsets: Sequence[str],
    shapes: Mapping[str, Sequence[int]],
    path: Path,
) -> None:
    """Writes a network in which some batch norms are merged into convolutions.

    The file has inputs such as `frames` with a symbolic first axis, and outputs such as `pose` and `visible`, for
    action networks `action`, or `action_0`, `action_1`, ... with several label sets.

    Args:
      net: a network from `create`; it is modified.
      state: the state dict as numpy arrays, after merging.
      offsets: dotted paths of the merged batch norms, which are replaced by their bias.
      shapes: of the inputs for one example: "frames" is (T, H, W, 3) or (H, W, 3).
      path: of the file.
    """
    for name in offsets:
        above, _, last = name.rpartition(".")
        setattr(net.get_submodule(above), last, Offset(len(state[f"{name}.bias"])))
    net.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in state.items()})
    deployed = Deployed(net, [*shapes]).eval()
    inputs = tuple(torch.zeros(2, *shape) for shape in shapes.values())
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns that torchvision is missing, which is not needed
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings from inside the exporter
        program = torch.onnx.export(
            deployed,
            inputs,
            dynamo=True,
            verbose=False,
            input_names=[*shapes],
            output_names=list(deployed(*inputs)),
            dynamic_shapes={"arrays": tuple({0: torch.export.Dim("batch")} for _ in inputs)},
        )
    assert program is not None
    graph = program.model.graph
    fixed = [f"{one.name}" for one in graph.inputs if one.shape is None or isinstance(one.shape[0], int)]
    if fixed:  # torch.onnx takes the size of the example where the network reads it as a Python number
        raise RuntimeError(f"the ONNX file would read {', '.join(fixed)} of one batch size only")
    program.save(path)
