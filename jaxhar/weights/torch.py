"""PyTorch state dicts: conversion of names and axes by the family's table, and writing."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from jaxhar import zoo
from jaxhar.core.family import LAYERS, Kind, Rule
from jaxhar.host.errors import Problem
from jaxhar.host.files import replacing
from jaxhar.weights.flat import Flat, shapes
from jaxhar.weights.transfer import misfit

#: Axes of kinds whose last two axes come first in PyTorch, in reverse order.
_KERNELS = {Kind.CONV: "(..., in, out)", Kind.DECONV: "(..., out, in)", Kind.LINEAR: "(in, out)"}
#: By dotted path the PyTorch names and the rule of every weight.
Rules = Mapping[str, tuple[tuple[str, ...], Rule]]


def to_torch(flat: Flat, config=None, like: Collection[str] = ()) -> Flat:
    """Flat weights -> a PyTorch state dict of numpy arrays.

    Args:
      flat: weights by dotted path.
      config: settings of the network, whose family determines the names; None for the names of `torch_ref`.
      like: names of a file; of the family's tables, that with the most of these names is used.

    Raises:
      Problem: the family's table has no rule for a weight, a rule for another shape, or one name for two weights.
    """
    tables = (LAYERS,) if config is None else _tables(config)
    rules = max(({path: _rule(path, table) for path in flat} for table in tables), key=lambda r: _shared(r, like))
    state: Flat = {}
    owners: dict[str, str] = {}
    for path, array in flat.items():
        names, rule = rules[path]
        found = arrange(np.asarray(array), rule.kind, path)
        found = found if rule.packing is None else rule.packing.pack(found)
        for name, part in zip(names, np.split(found, len(names)) if len(names) > 1 else [found], strict=True):
            if name in owners:
                raise Problem(f"the weights {owners[name]} and {path} both have the PyTorch name {name}")
            owners[name] = path
            state[name] = np.ascontiguousarray(part)
    return state


def torch_names(config, like: Collection[str] = ()) -> dict[str, tuple[str, ...]]:
    """By dotted path the names of every weight of a network in a PyTorch state dict; `like` as in `to_torch`."""
    tables = ({path: _rule(path, table) for path in shapes(config)} for table in _tables(config))
    return {path: names for path, (names, _) in max(tables, key=lambda rules: _shared(rules, like)).items()}


def from_torch(state: Flat, config) -> Flat:
    """A PyTorch state dict of numpy arrays -> flat weights; the inverse of `to_torch`.

    Raises:
      Problem: names or shapes do not match the network.
    """
    flat, complaints = read_torch(state, config)
    if complaints:
        raise Problem(misfit("the PyTorch weights", complaints))
    return flat


def read_torch(state: Flat, config) -> tuple[Flat, list[str]]:
    """The weights of a network in a state dict, and a list of mismatches.

    A component with which all names begin, such as `module.` of PyTorch's data parallel networks, does not matter. Of
    the family's tables, that with the most names in the file is used.
    """
    family = zoo.family(config)
    rules, state = _best(state, config)
    wanted = _names(rules)
    complaints = [f"missing: {name}" for name in wanted if name not in state]
    complaints += [
        f"left over: {name}"
        for name in state
        if name not in wanted and not any(re.fullmatch(pattern, name) for pattern in family.ignored)
    ]
    flat = {}
    for path, (names, rule) in rules.items():
        if all(name in state for name in names):
            parts, name = [np.asarray(state[name]) for name in names], names[0]
            other = [array.dtype for array in parts if array.dtype.kind != "f"]
            if other:
                complaints.append(f"no floating-point numbers: {name} is of the type {other[0]}")
                continue
            if len({array.shape for array in parts}) > 1:
                complaints.append(f"wrong shape: {' and '.join(names)} are not of one shape")
                continue
            array = np.concatenate(parts) if len(parts) > 1 else parts[0]
            unpacked = array if rule.packing is None else rule.packing.unpack(array)
            if unpacked is None:
                complaints.append(f"other values: {name} does not hold those that the settings of the network give")
                continue
            back = restore(unpacked, rule.kind, shapes(config)[path])
            if back is None:
                complaints.append(f"wrong shape: {name} is {array.shape}, for {path} of {shapes(config)[path]}")
            else:
                flat[path] = back
    return flat, complaints


def trunk_misfit(state: Flat, flat: Flat, config) -> str:
    """A sentence on how the trunk in a state dict differs from that of a network, e.g. in depth; "" if it does not.

    Args:
      state: the state dict. flat: what `read_torch` made of it.

    A file without any weight of the trunk has no such trunk, which is no difference. See `Family.whole_trunk`.
    """
    family = zoo.family(config)
    wanted = {path: shape for path, shape in shapes(config).items() if path.startswith(f"{family.trunk}.")}
    found = [path for path, shape in wanted.items() if path in flat and flat[path].shape == shape]
    if not family.whole_trunk or not found:
        return ""
    other = [path for path in wanted if path in flat and flat[path].shape != wanted[path]]
    if other:
        return f"{other[0]} is {flat[other[0]].shape}, expected {wanted[other[0]]}; it is a trunk of another kind"
    if len(found) < len(wanted):
        missing = next(path for path in wanted if path not in flat)
        return f"{len(wanted) - len(found)} of its {len(wanted)} weights are missing, e.g. {missing}; is it less deep?"
    rules, state = _best(state, config)
    names = _names(rules)
    stages = {rules[path][0][0].partition(".")[0] for path in found if rules[path][0][0].count(".") > 2}
    more = [
        name
        for name in state
        if name not in names
        and name.partition(".")[0] in stages
        and not any(re.fullmatch(pattern, name) for pattern in family.ignored)
    ]
    return f"the file has {len(more)} more, e.g. {more[0]}; is it deeper?" if more else ""


def _tables(config) -> Sequence[Sequence[Rule]]:
    family = zoo.family(config)
    return family.table(config), *family.dialects(config)


def _names(rules: Rules) -> list[str]:
    return [name for names, _ in rules.values() for name in names]


def _shared(rules: Rules, names: Collection[str]) -> int:
    """How many of the names are those of a table."""
    return sum(name in names for name in _names(rules))


def _best(state: Flat, config) -> tuple[Rules, Flat]:
    """The table with the most names in a state dict, and its weights without a common prefix."""
    tables = [{path: _rule(path, table) for path in shapes(config)} for table in _tables(config)]
    found = [(rules, _without_prefix(state, set(_names(rules)))) for rules in tables]
    return max(found, key=lambda pair: _shared(*pair))


def _without_prefix(state: Flat, names: Collection[str]) -> Flat:
    """The same weights without components that all names begin with, if only that makes `names` of them."""
    shorter = state
    while shorter and not any(name in shorter for name in names):
        first = {name.partition(".")[0] for name in shorter}
        if len(first) > 1 or not all("." in name for name in shorter):
            return state
        shorter = {name.partition(".")[2]: array for name, array in shorter.items()}
    return shorter or state


def _rule(path: str, table: Sequence[Rule]) -> tuple[tuple[str, ...], Rule]:
    """The PyTorch names and the rule of a weight."""
    for rule in table:
        if match := re.fullmatch(rule.pattern, path):
            if callable(rule.name):
                return (rule.name(match),), rule
            templates = (rule.name,) if isinstance(rule.name, str) else rule.name
            return tuple(match.expand(template) for template in templates), rule
    raise Problem(f"the table of the family has no rule for the weight {path}: add one with its PyTorch name")


def arrange(array: np.ndarray, kind: Kind, path: str = "a weight") -> np.ndarray:
    """Converts the axes of a weight to PyTorch's order.

    Raises:
      Problem: the number of axes is wrong for this kind.
    """
    last = array.ndim - 1
    if kind in _KERNELS:
        if last < 1 or kind is Kind.LINEAR and last > 1:
            raise _unfit(path, array, kind, _KERNELS[kind])
        return array.transpose(last, last - 1, *range(last - 1))
    if kind is Kind.DEPTHWISE:
        if last < 2:
            raise _unfit(path, array, kind, "(..., channels, multiplier)")
        array = array.reshape(*array.shape[:-2], 1, -1)
        return array.transpose(last, last - 1, *range(last - 1))
    if kind is Kind.QKV:
        if array.ndim == 3 and len(array) == 3:
            return array.reshape(-1)
        if array.ndim != 4 or array.shape[1] != 3:
            raise _unfit(path, array, kind, "(in, 3, heads, width) or (3, heads, width)")
        return array.reshape(len(array), -1).T
    return array


def restore(array: np.ndarray, kind: Kind, shape: tuple[int, ...]) -> np.ndarray | None:
    """Converts the axes of a PyTorch weight to our order; the inverse of `arrange`.

    Args:
      array: the PyTorch weight.
      kind: kind of the weight.
      shape: the expected shape of the result.

    Returns:
      the converted array, whose shape may still differ from `shape`; None if it cannot be converted.
    """
    if kind is Kind.QKV:
        if array.size != prod(shape) or array.shape[:1] != (prod(shape[-3:]),) or array.ndim != len(shape) - 2:
            return None
        return array.reshape(shape) if array.ndim == 1 else array.T.reshape(shape)
    if kind is Kind.DEPTHWISE:
        if array.ndim != len(shape) or array.shape[1] != 1 or len(array) % shape[-1]:
            return None
        return array.transpose(*range(2, array.ndim), 1, 0).reshape(*array.shape[2:], -1, shape[-1])
    if kind in _KERNELS:
        return array.transpose(*range(2, array.ndim), 1, 0) if array.ndim == len(shape) else None
    return array


def _unfit(path: str, array: np.ndarray, kind: Kind, axes: str) -> Problem:
    return Problem(f"{path} of shape {array.shape} cannot be of the kind {kind}, whose axes are {axes}")


def twin() -> ModuleType:
    """The package `torch_ref`; Problem if PyTorch is not installed."""
    import_torch()
    import torch_ref

    return torch_ref


def twin_network(config):
    """The PyTorch version of a network, with random weights.

    Raises:
      Problem: its family has none, or PyTorch is not installed.
    """
    family = zoo.family(config)
    try:
        return twin().create(next(iter(family.entries), family.name), **asdict(config))
    except ValueError as error:
        raise Problem(f"networks of the family {family.name} have no PyTorch twin in torch_ref ({error})") from error


def import_torch() -> Any:
    """PyTorch; Problem if it is not installed."""
    try:
        import torch
    except ImportError as error:
        raise Problem(f"this needs PyTorch: pip install 'jaxhar[torch]' ({error})") from error
    return torch


def save_pth(state: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes a state dict of numpy arrays atomically.

    Raises:
      Problem: the write fails, or PyTorch is not installed.
    """
    torch = import_torch()
    with replacing(path) as temporary:
        try:
            torch.save({name: torch.from_numpy(np.array(array)) for name, array in state.items()}, temporary)
        except RuntimeError as error:  # raised by the C++ code instead of an OSError
            raise Problem(f"cannot write {path}: {error}") from error
