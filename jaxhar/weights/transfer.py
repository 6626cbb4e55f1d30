"""Weights of one network as the start of another one: a table says what maps where and what stays fresh."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from jaxhar import zoo
from jaxhar.core.family import Transfer
from jaxhar.host.errors import Problem


class Shaped(Protocol):
    """An array, of whatever library."""

    @property
    def shape(self) -> tuple[int, ...]: ...


A = TypeVar("A", bound=Shaped)
#: Every weight must be there under its own name.
STRICT = Transfer()
Shapes = Mapping[str, tuple[int, ...]]


def of_family(config) -> Transfer:
    """How networks with these settings start from the files of others of their family."""
    return zoo.family(config).transfer


def whatever_fits(transfer: Transfer) -> Transfer:
    """The same renames, but any weight of the network may stay fresh, and any given one be left over."""
    return replace(transfer, fresh=(".*",), unused=(".*",))


def apply(
    transfer: Transfer,
    given: Mapping[str, A],
    wanted: Shapes,
    source: str = "the weights",
    skip: Collection[str] = (),
) -> tuple[dict[str, A], list[str], list[str]]:
    """Gives weights of a file their places in a network.

    Args:
      transfer: the table.
      given: the weights by their dotted paths in the file.
      wanted: the shape of every weight of the network.
      source: what to call the file in an error.
      skip: paths in the network that are no weights, such as the states of random number generators.

    Returns:
      the weights by their paths in the network, the paths that stay fresh, and the given weights that are left over,
      with their shapes.

    Raises:
      Problem: weights are missing, left over or of another shape that the table does not excuse.
    """
    known = {*wanted, *skip}
    taken: dict[str, A] = {}
    unused, misfits = [], {}
    for name, array in given.items():
        path = _place(transfer, name, known)
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
        raise Problem(f"{source} does not fit the network: {'; '.join(complaints[:5])} ({len(complaints)} in all)")
    return taken, fresh, unused


def _place(transfer: Transfer, name: str, known: Collection[str]) -> str:
    """The path in the network of a weight of the file; its own name if there is none."""
    if name in known:
        return name
    matches = ((re.fullmatch(pattern, name), template) for pattern, template in transfer.renames)
    places = (match.expand(template) for match, template in matches if match)
    return next((path for path in places if path in known), name)


def _any(patterns: Sequence[str], name: str) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def compare(given: dict[str, tuple], wanted: dict[str, tuple]) -> list[str]:
    """What keeps shapes by name from being the wanted ones; empty if nothing does."""
    complaints = [f"missing: {name}" for name in wanted if name not in given]
    complaints += [f"left over: {name}" for name in given if name not in wanted]
    complaints += [
        f"wrong shape: {name} is {given[name]}, expected {shape}"
        for name, shape in wanted.items()
        if name in given and given[name] != shape
    ]
    return complaints
