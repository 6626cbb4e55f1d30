"""A network as flat dicts of arrays, the form in which training handles it."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxhar.core.family import Transfer
from jaxhar.weights.transfer import STRICT, apply

Flat = dict[str, jax.Array]


class Net:
    """A network taken apart once: what is static, and the place of every array in it."""

    def __init__(self, model: nnx.Module):
        self.graphdef: nnx.GraphDef
        self.graphdef, *states = nnx.split(model, nnx.Param, nnx.RngState, ...)
        params, random, rest = states
        self.params, self.stats = leaves(params), leaves(rest) | leaves(random)
        self._random = set(leaves(random))
        self._places = {".".join(map(str, path)): path for state in states for path, _ in nnx.to_flat_state(state)}

    def merge(self, params: Flat, stats: Flat) -> nnx.Module:
        """The network around these arrays; a copy, so that it may be traced and changed."""
        state = nnx.from_flat_state({self._places[n]: a for n, a in (params | stats).items()})
        return nnx.merge(self.graphdef, state, copy=True)

    def frozen(self, keep: Callable[[str], bool]) -> "Net":
        """The same network, with normalisation by the running statistics wherever `keep(their dotted path)`."""
        model = self.merge(self.params, self.stats)
        for path, module in nnx.iter_modules(model):
            if isinstance(module, nnx.BatchNorm) and keep(".".join(map(str, (*path, "mean")))):
                module.use_running_average = True
        return Net(model)

    def load(self, arrays: Mapping[str, np.ndarray], source: str, transfer: Transfer = STRICT) -> list[str]:
        """Takes over weights and running statistics by dotted path, not the state of random number generators.

        Args:
          arrays: the weights.
          source: what to call them in an error.
          transfer: what maps where and what may stay as it is; without one, names and shapes must be the network's.

        Returns:
          the paths that keep their values.

        Raises:
          Problem: a weight is missing, left over or of another shape that `transfer` does not excuse.
        """
        own = {name: array for name, array in (self.params | self.stats).items() if name not in self._random}
        shapes = {name: array.shape for name, array in own.items()}
        taken, fresh, _ = apply(transfer, arrays, shapes, source, self._random)
        for name, array in taken.items():
            (self.params if name in self.params else self.stats)[name] = jnp.asarray(array, own[name].dtype)
        return fresh


def leaves(state: nnx.State) -> Flat:
    """Dotted path -> array."""
    return {".".join(map(str, path)): variable[...] for path, variable in nnx.to_flat_state(state)}
