"""Conversion between networks and flat dicts of arrays, with dotted paths such as `blocks.0.maps.kernel` as keys."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxhar import zoo
from jaxhar.host.errors import Problem
from jaxhar.weights import transfer
from jaxhar.weights.transfer import check_finite, compare, misfit

Flat = dict[str, np.ndarray]


def _by_path(tree) -> dict[str, Any]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {".".join(str(key.key) for key in path): leaf for path, leaf in leaves}


def flatten(state: nnx.State) -> Flat:
    """The arrays of a state by dotted path."""
    return {name: np.asarray(leaf) for name, leaf in _by_path(nnx.to_pure_dict(state)).items()}


def to_flat(model: nnx.Module) -> Flat:
    """Weights and running statistics of a network by dotted path, without random number generators."""
    return flatten(nnx.state(model, nnx.Not(nnx.RngState)))


@cache
def _abstract(config, dtype) -> tuple[nnx.GraphDef, nnx.State, nnx.State]:
    """Structure, random number generators and other state of a network, with shapes in place of arrays."""
    return nnx.split(nnx.eval_shape(lambda: zoo.create(config, dtype=dtype)), nnx.RngState, ...)  # type: ignore[return-value]


def shapes(config) -> dict[str, tuple[int, ...]]:
    """The shape of every array of a network by dotted path, without creating the network."""
    return {name: leaf.shape for name, leaf in _by_path(nnx.to_pure_dict(_abstract(config, jnp.float32)[2])).items()}


@cache
def _random(config) -> frozenset[str]:
    """The dotted paths of the random number generators of a network."""
    return frozenset(_by_path(nnx.to_pure_dict(_abstract(config, jnp.float32)[1])))


@cache
def _fresh_random(config) -> nnx.State:
    """The state of the random number generators of a new network."""
    if not _random(config):
        return _abstract(config, jnp.float32)[1]
    return jax.jit(lambda: nnx.state(zoo.create(config), nnx.RngState))()  # the weights are not computed


def from_flat(
    flat: Flat, config, source: str = "the weights", complaints: Sequence[str] = (), dtype=jnp.float32
) -> nnx.Module:
    """A network from a flat dict of weights, in evaluation mode.

    Args:
      flat: all weights and running statistics, with the names of `to_flat`.
      config: settings of the network.
      source: description of the weights for error messages.
      complaints: errors found while the weights were read; if there are any, Problem is raised.
      dtype: type of the arithmetic; the weights keep their type.

    Raises:
      Problem: weights are missing, superfluous, of the wrong shape or not finite; the message names them.
    """
    flat = {name: array for name, array in flat.items() if name not in _random(config)}
    complaints = list(complaints) or compare({name: array.shape for name, array in flat.items()}, shapes(config))
    if complaints:
        raise Problem(misfit(source, complaints))
    check_finite(flat, source)
    graphdef, _, state = _abstract(config, dtype)
    random, state = jax.tree.map(lambda leaf: leaf, (_fresh_random(config), state))  # a copy
    abstract = nnx.to_pure_dict(state)
    # Copies, because JAX may go on using the memory of the given arrays; in one call, which compiles nothing.
    arrays = jax.device_put([np.array(flat[name]) for name in _by_path(abstract)])
    nnx.replace_by_pure_dict(state, jax.tree.unflatten(jax.tree.structure(abstract), arrays))
    model = nnx.merge(graphdef, random, state)
    model.eval()
    return model


def fill(flat: Flat, config, source: str = "the weights") -> tuple[nnx.Module, list[str], list[str]]:
    """A network with the weights that match it by name and shape, in evaluation mode; the others are initialised.

    Args:
      flat: weights with names of the network, or names that the family's `transfer` renames.
      config: settings of the network.
      source: description of the weights for error messages.

    Returns:
      the network, the names of weights with initial values, and unused weights of `flat` with their shapes.

    Raises:
      Problem: no weight matches.
    """
    table = transfer.lenient(zoo.family(config).transfer)
    fitting, fresh, unused = transfer.apply(table, flat, shapes(config), source, _random(config))
    if not fitting:
        raise Problem(f"{source} have no leaf of the network: is it the file of another network?")
    return from_flat(to_flat(zoo.create(config)) | fitting, config, source), fresh, unused


def by_module(names: Sequence[str], every: Iterable[str]) -> list[str]:
    """Summarises weight names: replaces complete modules by "module (n leaves)". `every`: all names of the network."""
    total, listed = (Counter(_modules_above(paths)) for paths in (every, names))
    shown = []
    for name in names:
        above = [module for module in _modules_above([name]) if listed[module] == total[module]]
        shown.append(f"{above[0]} ({listed[above[0]]} leaves)" if above and listed[above[0]] > 1 else name)
    return list(dict.fromkeys(shown))


def _modules_above(names: Iterable[str]) -> list[str]:
    """The modules that contain each weight, from the outermost inwards."""
    return [".".join(parts[:i]) for parts in (name.split(".") for name in names) for i in range(1, len(parts))]


def config_to_json(config) -> str:
    """Settings of a network and the name of its family as JSON text; Problem if it belongs to no family."""
    return json.dumps({"family": zoo.family(config).name, **asdict(config)}, indent=2)


def config_from_json(text: str, source: str):
    """The inverse of `config_to_json`; text without a family counts as of family "reception".

    Raises:
      Problem: a setting or the family is unknown. `source` names the file in the message.
    """
    try:
        settings = json.loads(text)
        name = settings.pop("family", "reception")
        family = zoo.family_named(name)
        if family is None:
            raise Problem(
                f"{source}: it is of the family of networks {name!r}, which is not known here; there are "
                f"{', '.join(zoo.families())}, and --import MODULE adds a family of your own"
            )
        return family.config(**{name: _tuples(value) for name, value in settings.items()})
    except (AttributeError, TypeError, ValueError) as error:
        raise Problem(f"{source}: the network's settings in it cannot be read: {error}") from error


def _tuples(value: object) -> object:
    """A JSON value with lists converted to tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
