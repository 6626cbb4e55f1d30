"""Writes Keras 2 weight files that deephar's code loads under Keras 2.1.4, by position or by name.

Keras matches the k-th group with weights in the file to the k-th layer with weights in the model, and the i-th weight
of a group to the i-th of the layer: trainable ones first, then running statistics, each in the order of the layers.
Automatic numbers (`conv2d_37`) are those of a new process that builds only this network.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from jaxhar.core.family import Kinds
from jaxhar.host.files import replacing
from jaxhar.weights.keras.file import LEAF

#: [(group, [(weight name, array)])] in the order of the file.
Groups = list[tuple[str, list[tuple[str, np.ndarray]]]]

#: Layer types that Keras numbers from 1; others have an explicit name, with a number from the second use on.
_AUTOMATIC = {"conv2d", "conv2d_transpose", "separable_conv2d", "batch_normalization", "conv1d", "dense"}
_WEIGHTS = {leaf: weight for weight, leaf in LEAF.items()}


def arrange(flat: Mapping[str, np.ndarray], layout: Mapping[str, Kinds], sequence: Sequence[str]) -> Groups:
    """The groups of a Keras file with the weights of a network.

    Args:
      flat: all weights of the network by dotted path.
      layout: from `keras.layout`, in the order of the groups.
      sequence: modules (dotted paths) in the order of Keras' layers; other modules keep their order in the layout.

    Raises:
      ValueError: a weight has no layer in the layout.
    """
    order = {module: i for i, module in enumerate(sequence)}
    slots = [
        (group, kind, i)
        for group, kinds in layout.items()
        for kind, targets in kinds.items()
        for i in range(len(targets))
    ]
    # deephar's code creates the layers of constants first, so they have the first numbers.
    slots.sort(key=lambda slot: isinstance(layout[slot[0]][slot[1]][slot[2]], str))
    counts: Counter[str] = Counter()
    names = {slot: _number(slot[1], counts) for slot in slots}

    groups: Groups = []
    written = 0
    for group, kinds in layout.items():
        layers = [(names[group, kind, i], target) for kind, ts in kinds.items() for i, target in enumerate(ts)]
        layers.sort(key=lambda layer: order.get(layer[1], 0) if isinstance(layer[1], str) else 0)
        trained: list[tuple[str, np.ndarray]] = []
        moving: list[tuple[str, np.ndarray]] = []
        for layer, target in layers:
            weights = _leaves(flat, target) if isinstance(target, str) else target
            written += len(weights) if isinstance(target, str) else 0
            for weight, array in weights.items():
                section = moving if weight.startswith("moving_") else trained
                section.append((f"{layer}/{weight}:0", np.asarray(array, np.float32)))
        groups.append((_group_name(group, [layer for layer, _ in layers], counts), trained + moving))
    if written != len(flat):
        raise ValueError(f"the layout has layers for {written} of {len(flat)} leaves")
    return groups


def write(path: Path, groups: Groups) -> None:
    """Writes a weight file in the format of Keras 2.1.4, atomically.

    Raises:
      Problem: the write fails.
    """
    with replacing(Path(path)) as temporary, h5py.File(temporary, "w") as file:
        # Bytes of fixed length, which Keras 2 decodes; h5py would return other strings as str.
        file.attrs["layer_names"] = np.array([name.encode() for name, _ in groups])
        file.attrs["backend"] = np.bytes_("tensorflow")
        file.attrs["keras_version"] = np.bytes_("2.1.4")
        for name, weights in groups:
            group = file.create_group(name)
            group.attrs["weight_names"] = np.array([weight.encode() for weight, _ in weights])
            for weight, array in weights:
                group.create_dataset(weight, data=array)


def _leaves(flat: Mapping[str, np.ndarray], module: str) -> dict[str, np.ndarray]:
    """Keras' names of a layer's weights, in Keras' order, and their arrays."""
    leaves = {weight: f"{module}.{leaf}" for leaf, weight in _WEIGHTS.items()}
    return {weight: flat[leaf] for weight, leaf in leaves.items() if leaf in flat}


def _number(kind: str, counts: Counter[str]) -> str:
    """The name of the next layer of a kind."""
    kind = re.sub(r"\((\w+)\|.*\)", r"\1", kind)  # the first of several alternative names
    counts[kind] += 1
    n = counts[kind]
    if kind in _AUTOMATIC:
        return f"{kind}_{n}"
    return kind if n == 1 else f"{kind}_{n - 1}"


def _group_name(group: str, layers: list[str], counts: Counter[str]) -> str:
    """Name in the file of a group "base#i" of the layout, the i-th of that base: a single layer or a nested model."""
    base, counted, i = group.partition("#")
    if not counted:
        return group
    return layers[0] if base in counts else f"{base}{int(i) + 1}"
