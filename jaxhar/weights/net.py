"""A network as flat dicts of arrays, for training."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxhar import zoo
from jaxhar.core.family import Transfer
from jaxhar.host.errors import Problem
from jaxhar.nn.recompute import recomputing
from jaxhar.weights.transfer import STRICT, apply

Flat = dict[str, jax.Array]


class Net:
    """A network split once into its structure (`graphdef`) and its arrays (`params`, `stats`, by dotted path)."""

    def __init__(self, model: nnx.Module):
        self.graphdef: nnx.GraphDef
        self.graphdef, *states = nnx.split(model, nnx.Param, nnx.RngState, ...)
        params, random, rest = states
        self.params, self.stats = leaves(params), leaves(rest) | leaves(random)
        self._random = set(leaves(random))
        self._paths = {".".join(map(str, path)): path for state in states for path, _ in nnx.to_flat_state(state)}

    def merge(self, params: Flat, stats: Flat) -> nnx.Module:
        """The network with these arrays, as a copy that may be modified."""
        state = nnx.from_flat_state({self._paths[n]: a for n, a in (params | stats).items()})
        return nnx.merge(self.graphdef, state, copy=True)

    def fitting(
        self, arrays: Mapping[str, np.ndarray], source: str, transfer: Transfer
    ) -> tuple[dict[str, np.ndarray], list[str]]:
        """The arrays that `load` loads, and the paths of those that it does not; arguments and errors as there."""
        shapes = {name: array.shape for name, array in self.weights(self.params, self.stats).items()}
        taken, fresh, _ = apply(transfer, arrays, shapes, source, self._random)
        return taken, fresh

    def weights(self, params: Flat, stats: Flat) -> Flat:
        """The arrays of a state without its random number generators."""
        return {name: array for name, array in (params | stats).items() if name not in self._random}

    def frozen(self, is_frozen: Callable[[str], bool]) -> "Net":
        """A copy whose batch norms use running statistics where `is_frozen(path)` is true."""
        model = self.merge(self.params, self.stats)
        for path, module in nnx.iter_modules(model):
            if isinstance(module, nnx.BatchNorm) and is_frozen(".".join(map(str, (*path, "mean")))):
                module.use_running_average = True
        return Net(model)

    def recomputing(self) -> "Net":
        """A copy whose blocks compute their inner values again in the backward pass, see `nn.recompute`.

        Raises:
          Problem: the network has no such blocks.
        """
        model = self.merge(self.params, self.stats)
        if not recomputing(model):
            raise Problem(
                f"train.recompute is set, but {type(model).__name__} has no blocks to compute again; leave it out"
            )
        return Net(model)

    def load(self, arrays: Mapping[str, np.ndarray], source: str, transfer: Transfer = STRICT) -> list[str]:
        """Loads weights and running statistics by dotted path; random number generators are not changed.

        Args:
          arrays: the weights.
          source: description of the weights for error messages.
          transfer: renames and permitted differences; by default names and shapes must match exactly.

        Returns:
          the paths of the arrays that were not loaded.

        Raises:
          Problem: a weight is missing, superfluous or of the wrong shape, and `transfer` does not permit it.
        """
        loadable = self.weights(self.params, self.stats)
        taken, fresh = self.fitting(arrays, source, transfer)
        for name, array in taken.items():
            (self.params if name in self.params else self.stats)[name] = jnp.asarray(array, loadable[name].dtype)
        return fresh


def create(config, seed: int, half: bool) -> Net:
    """A new network; `half` computes in bfloat16."""
    return Net(zoo.create(config, rngs=nnx.Rngs(seed), dtype=jnp.bfloat16 if half else jnp.float32))


def abstract(config, half: bool) -> Net:
    """As `create`, with shapes in place of arrays."""
    return Net(nnx.eval_shape(lambda: zoo.create(config, dtype=jnp.bfloat16 if half else jnp.float32)))


def leaves(state: nnx.State) -> Flat:
    """The arrays of a state by dotted path."""
    return {".".join(map(str, path)): variable.get_value() for path, variable in nnx.to_flat_state(state)}
