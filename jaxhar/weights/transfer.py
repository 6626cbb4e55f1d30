"""Initialising a network from the weights of another one, by a table of renames and permitted differences."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import numpy as np

from jaxhar import zoo
from jaxhar.core.family import Transfer
from jaxhar.host.errors import Problem


class Shaped(Protocol):
    """An array of any library."""

    @property
    def shape(self) -> tuple[int, ...]: ...


A = TypeVar("A", bound=Shaped)
#: Names and shapes must match exactly.
STRICT = Transfer()
Shapes = Mapping[str, tuple[int, ...]]


def of_family(config) -> Transfer:
    """The transfer table of the family that settings belong to."""
    return zoo.family(config).transfer


def lenient(transfer: Transfer) -> Transfer:
    """The same renames, but any weight may be missing or unused."""
    return replace(transfer, fresh=(".*",), unused=(".*",))


def apply(
    transfer: Transfer,
    arrays: Mapping[str, A],
    wanted: Shapes,
    source: str = "the weights",
    skip: Collection[str] = (),
) -> tuple[dict[str, A], list[str], list[str]]:
    """Assigns the weights of a file to those of a network.

    Args:
      transfer: the table.
      arrays: the weights by their dotted paths in the file.
      wanted: the shape of every weight of the network.
      source: description of the file for error messages.
      skip: paths in the network that are not weights, such as random number generators.

    Returns:
      the weights by their paths in the network, the paths without a weight, and the unused weights with their shapes.

    Raises:
      Problem: weights are missing, superfluous or of the wrong shape, and the table does not permit it; or a weight is
        not finite.
    """
    known = {*wanted, *skip}
    taken: dict[str, A] = {}
    unused, misfits = [], {}
    for name, array in arrays.items():
        path = _target(transfer, name, known)
        if path in skip:
            continue
        if path in taken:
            raise Problem(f"{source} has two weights for {path}, one of them {name}")
        shape = tuple(array.shape)
        if wanted.get(path) == shape:
            taken[path] = array
        elif _any(transfer.fresh, path) if path in wanted else _any(transfer.unused, name):
            unused.append(f"{name} {shape}")
        else:
            misfits[path] = shape
    fresh = [path for path in wanted if path not in taken and path not in misfits and _any(transfer.fresh, path)]
    complaints = compare(
        {path: tuple(array.shape) for path, array in taken.items()} | misfits,
        {path: shape for path, shape in wanted.items() if path not in fresh},
    )
    if complaints:
        raise Problem(misfit(source, complaints))
    check_finite(taken, source)
    return taken, fresh, unused


def check_positions(found: Shapes, wanted: Shapes, config, source: str) -> None:
    """Problem if the learned positions of some weights are of other clips than those of a network.

    Args:
      found: the shape of every weight. wanted: of every weight of the network, whose settings are `config`.
      source: description of the weights for the message.
    """
    patterns = zoo.family(config).positions
    there, own = ({path: tuple(s) for path, s in each.items() if _any(patterns, path)} for each in (found, wanted))
    if there and there.keys() != own.keys():
        raise Problem(
            f"{source} has positions of another form ({', '.join(there)}) than the network ({', '.join(own)}): set "
            "positions and cls_token of its model to those of the weights"
        )
    other = [path for path in there if there[path][-2] != own[path][-2]]
    if other:
        raise Problem(
            f"{source} has positions for clips of another size or length than the network, {other[0]} of shape "
            f"{there[other[0]]} and not {own[other[0]]}: set image_size, num_frames and patch of its model to those of "
            "the weights, or interpolate the weights, `jaxhar port WEIGHTS --resize image_size=... --out DIR`"
        )


def _target(transfer: Transfer, name: str, known: Collection[str]) -> str:
    """The path in the network for a weight of the file; its name in the file if there is none."""
    if name in known:
        return name
    matches = ((re.fullmatch(pattern, name), template) for pattern, template in transfer.renames)
    paths = (match.expand(template) for match, template in matches if match)
    return next((path for path in paths if path in known), name)


def _any(patterns: Sequence[str], name: str) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def check_finite(arrays: Mapping[str, A], source: str) -> None:
    """Problem if a weight holds NaN, infinity, or a number too large for float32; the message names the weight."""
    for name, array in arrays.items():
        with np.errstate(over="ignore"):
            finite = np.isfinite(np.asarray(array, np.float32)).all()
        if not finite:
            raise Problem(
                f"{name} of {source} holds NaN or infinity; the file is damaged, or the training that wrote it diverged"
            )


def misfit(source: str, complaints: list[str]) -> str:
    """Error message that lists why weights do not fit a network."""
    shown = "; ".join(complaints[:8]) + (f"; and {len(complaints) - 8} more" if len(complaints) > 8 else "")
    return f"the network does not fit {source}: {shown}. Is it the file of another network, or of other settings?"


def compare(found: dict[str, tuple], wanted: dict[str, tuple]) -> list[str]:
    """Differences between two dicts of shapes by name, as text; empty if they are equal."""
    complaints = [f"missing: {name}" for name in wanted if name not in found]
    complaints += [f"left over: {name}" for name in found if name not in wanted]
    complaints += [
        f"wrong shape: {name} is {found[name]}, expected {shape}"
        for name, shape in wanted.items()
        if name in found and found[name] != shape
    ]
    return complaints
