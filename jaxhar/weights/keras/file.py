"""Reads Keras 2 weight files and assigns their weights to the network.

A file has one group per top-level layer; a group lists the weights of every nested layer, trainable ones first. Layers
are named explicitly (`sepconv_l2_1`, `sepconv_l2_1_1` in the second block) or numbered in the order of their creation
in the process (`conv2d_37`). Layers of one type are therefore ordered by number, not by position in the file.
"""

import re
from collections import defaultdict
from pathlib import Path

import h5py
import numpy as np

from jaxhar.core.family import Group, Kinds
from jaxhar.host.errors import Problem

#: Keras' name of a weight -> ours, in Keras' order within a layer.
LEAF = {
    "kernel": "kernel",
    "depthwise_kernel": "depthwise.kernel",
    "pointwise_kernel": "pointwise.kernel",
    "gamma": "scale",
    "beta": "bias",
    "moving_mean": "mean",
    "moving_variance": "var",
}


def read(path: Path) -> dict[str, Group]:
    """The groups with weights of a Keras .h5 file, in file order.

    Raises:
      Problem: the file is missing, damaged, or not a Keras weight file.
    """
    if not Path(path).is_file():
        raise Problem(f"{path}: there is no such file")
    try:
        with h5py.File(path, "r") as file:
            root = file["model_weights"] if "model_weights" in file else file
            if not any(key.startswith("layer_names") for key in root.attrs):
                raise Problem(f"{path}: an HDF5 file, but not of Keras weights (it has no attribute layer_names)")
            groups = {name: _group(root, name) for name in _texts(root.attrs, "layer_names")}
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, MemoryError) as error:
        reason = " ".join(str(error).strip("'\"").split()) or type(error).__name__
        raise Problem(f"{path}: cannot be read as a Keras weight file, download it again ({reason})") from error
    return {name: group for name, group in groups.items() if group}


def _texts(attributes: h5py.AttributeManager, name: str) -> list[str]:
    """An attribute with a list of names; Keras splits long lists into name0, name1, ..., and newer h5py returns str."""
    keys = [name] if name in attributes else sorted((k for k in attributes if re.fullmatch(rf"{name}\d+", k)), key=len)
    values = [value for key in keys for value in np.atleast_1d(attributes[key])]
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _group(root: h5py.Group, name: str) -> Group:
    layers: Group = defaultdict(dict)
    for weight in _texts(root[name].attrs, "weight_names"):
        *above, leaf = weight.split(":")[0].split("/")
        array = np.asarray(root[name][weight])
        if array.dtype.kind != "f":
            raise ValueError(f"{name}/{weight} holds no floating-point numbers")
        layers[above[-1] if above else name][leaf] = array.astype(np.float32)
    return dict(layers)


def assign(groups: dict[str, Group], layout: dict[str, Kinds]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Assigns the weights of a file to those of the network.

    Args:
      groups: from `read`.
      layout: from `keras.layout`.

    Returns:
      dotted path -> array, and a list of mismatches: missing or superfluous groups, layers and weights, and constants
      with other values.
    """
    flat: dict[str, np.ndarray] = {}
    complaints: list[str] = []
    found = _by_kind(groups, layout)
    for name, kinds in layout.items():
        if name not in found:
            complaints.append(f"group {name} is missing")
            continue
        group_name, group = found.pop(name)
        for kind, layers in _by_number(group, kinds).items():
            targets = kinds.get(kind)
            if targets is None:
                complaints.append(f"left over: {group_name}/{', '.join(layers)}")
            elif len(layers) != len(targets):
                complaints.append(f"{group_name} has {len(layers)} layers {kind}, expected {len(targets)}")
            else:
                for layer, target in zip(layers, targets, strict=True):
                    complaints += _take(flat, f"{group_name}/{layer}", group[layer], target)
        for kind in kinds.keys() - _by_number(group, kinds).keys():
            complaints.append(f"{group_name} has no layer {kind}")
    complaints += [f"left over: group {name}" for name, _ in found.values()]
    return flat, complaints


def _take(flat: dict, layer: str, weights: dict[str, np.ndarray], target: str | dict[str, np.ndarray]) -> list[str]:
    """Adds the weights of a layer to `flat`, or checks them if they are constants; returns mismatches."""
    if isinstance(target, str):
        unknown = [weight for weight in weights if weight not in LEAF]
        flat.update({f"{target}.{LEAF[w]}": array for w, array in weights.items() if w in LEAF})
        return [f"left over: {layer}/{weight}" for weight in unknown]
    complaints = []
    for weight in weights.keys() | target.keys():
        if weight not in weights or weight not in target:
            complaints.append(f"{layer}/{weight} is {'missing' if weight in target else 'left over'}")
        elif weights[weight].shape != target[weight].shape:
            complaints.append(f"{layer}/{weight} has shape {weights[weight].shape}, expected {target[weight].shape}")
        elif not np.allclose(weights[weight], target[weight], rtol=0, atol=1e-6):
            complaints.append(f"{layer}/{weight} is not the soft-argmax constant it should be")
    return complaints


def _by_kind(groups: dict[str, Group], layout: dict[str, Kinds]) -> dict[str, tuple[str, Group]]:
    """Group name in the layout -> (name in the file, group). The name "base#i" means the i-th group base_NUMBER."""
    found = {}
    numbered = defaultdict(list)
    for name, group in groups.items():
        base = name if name in layout else re.sub(r"_?\d+$", "", name)
        numbered[base].append((_number(name), name, group))
    for base, members in numbered.items():
        members.sort(key=lambda m: m[0])
        for i, (_, name, group) in enumerate(members):
            key = base if base in layout and len(members) == 1 else f"{base}#{i}"
            found[key] = (name, group)
    return found


def _by_number(group: Group, kinds: Kinds) -> dict[str, list[str]]:
    """Layer type -> its layers in the order of their numbers; a layer of unknown type is listed by its name."""
    ordered: dict[str, list[str]] = defaultdict(list)
    for layer in group:
        matches = [kind for kind in kinds if re.fullmatch(rf"{kind}(_\d+)?", layer)]
        ordered[max(matches, key=len, default=layer)].append(layer)
    return {
        kind: sorted(layers, key=lambda name: _number(re.sub(f"^{kind}", "", name))) for kind, layers in ordered.items()
    }


def _number(name: str) -> int:
    """The number at the end of an automatic name, -1 if there is none (the first layer in tf.keras)."""
    match = re.search(r"(\d+)$", name)
    return int(match[1]) if match else -1
