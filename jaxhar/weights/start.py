"""The weights that a training run starts from, in all forms that `Experiment.init_from` names."""

from pathlib import Path
from typing import Any

from jaxhar.core.network import NetworkConfig
from jaxhar.host.errors import Problem
from jaxhar.weights import checkpoint, torchvision, transfer
from jaxhar.weights.flat import Flat, shapes
from jaxhar.weights.forms import file_kind
from jaxhar.weights.state_dict import read_pth, read_safetensors
from jaxhar.weights.torch import read_torch, trunk_misfit


def load(source: str, config: NetworkConfig) -> tuple[Flat, dict[str, Any]]:
    """The weights of a network by dotted path, and the description of a file that jaxhar wrote, else {}.

    Args:
      source: a path as in `checkpoint.load_model`, a PyTorch state dict, or "torchvision:" and a name such as resnet50.
      config: settings of the network.

    Raises:
      Problem: the file is missing or damaged, or its trunk or the positions are not those of the network.
    """
    flat, description = _read(source, config)
    transfer.check_positions({path: array.shape for path, array in flat.items()}, shapes(config), config, source)
    return flat, description


def _read(source: str, config: NetworkConfig) -> tuple[Flat, dict[str, Any]]:
    if source.startswith(torchvision.PREFIX):
        path = torchvision.local(source.removeprefix(torchvision.PREFIX))
    else:
        path = Path(source)
    if not path.is_file() or file_kind(path) not in ("torch", "safetensors"):
        return checkpoint.load_flat(path)
    state = (read_pth(path) if file_kind(path) == "torch" else read_safetensors(path)).arrays
    flat, _ = read_torch(state, config)
    wrong = trunk_misfit(state, flat, config)
    if wrong:
        raise Problem(f"the weights in {path} do not fit the trunk of the network: {wrong}")
    return flat, {}
