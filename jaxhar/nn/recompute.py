"""Blocks whose inner values are computed again in the backward pass, in place of being kept: less memory, more time."""

import jax
from flax import nnx


class Blocks(nnx.Module):
    """A network of blocks; of those that it runs by `through`, only inputs and outputs are kept if `recompute` is set.

    Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016, with a block as the unit.
    """

    recompute: bool = False

    def through(self, block: nnx.Module, *args: jax.Array | None):
        """`block(*args)`."""
        return nnx.remat(_call)(block, *args) if self.recompute else _call(block, *args)


def _call(block: nnx.Module, *args: jax.Array | None):
    return block(*args)  # type: ignore[operator]


def recomputing(model: nnx.Module) -> bool:
    """Sets `recompute` in all networks of blocks within a network; False if there is none."""
    found = [module for _, module in nnx.iter_modules(model) if isinstance(module, Blocks)]
    for module in found:
        module.recompute = True
    return bool(found)
