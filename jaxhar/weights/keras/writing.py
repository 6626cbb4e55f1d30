"""Writing the authors' Keras 2 weight files, so that their code under Keras 2.1.4 loads them by position or by name.

Keras pairs the k-th weighted group of the file with the k-th weighted layer of the model, and inside a group the i-th
weight with the i-th: trainable ones first, then running statistics, each in the order of the layers. Automatic numbers
(`conv2d_37`) come out as in a fresh process that builds nothing else.
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

#: Kinds that Keras numbers from 1; others carry their own name, and a number from their second time on.
_AUTOMATIC = {"conv2d", "conv2d_transpose", "separable_conv2d", "batch_normalization", "conv1d", "dense"}
_WEIGHTS = {leaf: weight for weight, leaf in LEAF.items()}


def arrange(flat: Mapping[str, np.ndarray], layout: Mapping[str, Kinds], sequence: Sequence[str]) -> Groups:
    """The groups of the authors' file of a network.

    Args:
      flat: dotted leaf -> array, every leaf of the network.
      layout: group -> kinds, as `keras.layout` returns it; its order is that of the groups.
      sequence: modules (dotted paths) in the order of Keras' layers, as `keras.sequence` returns it; those it does not
        name keep their place in the layout.

    Raises:
      ValueError: a leaf has no layer in the layout.
    """
    place = {module: i for i, module in enumerate(sequence)}
    slots = [
        (group, kind, i)
        for group, kinds in layout.items()
        for kind, targets in kinds.items()
        for i in range(len(targets))
    ]
    # The authors' code made the layers of constants first, so they have the first numbers.
    slots.sort(key=lambda slot: isinstance(layout[slot[0]][slot[1]][slot[2]], str))
    counts: Counter[str] = Counter()
    names = {slot: _number(slot[1], counts) for slot in slots}

    groups: Groups = []
    written = 0
    for group, kinds in layout.items():
        layers = [(names[group, kind, i], target) for kind, ts in kinds.items() for i, target in enumerate(ts)]
        layers.sort(key=lambda layer: place.get(layer[1], 0) if isinstance(layer[1], str) else 0)
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
    """Write a weight file as Keras 2.1.4 does; it appears under its name when it is complete.

    Raises:
      Problem: it cannot be written.
    """
    with replacing(Path(path)) as temporary, h5py.File(temporary, "w") as file:
        # Bytes of fixed length: Keras 2 decodes them, and h5py gives anything else as text.
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
    kind = re.sub(r"\((\w+)\|.*\)", r"\1", kind)  # the first of several names for one thing
    counts[kind] += 1
    n = counts[kind]
    if kind in _AUTOMATIC:
        return f"{kind}_{n}"
    return kind if n == 1 else f"{kind}_{n - 1}"


def _group_name(group: str, layers: list[str], counts: Counter[str]) -> str:
    """A group "base#i" of the layout is the i-th of that base: a layer by itself, or a nested model."""
    base, counted, i = group.partition("#")
    if not counted:
        return group
    return layers[0] if base in counts else f"{base}{int(i) + 1}"
