"""What the rows are made of."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

#: Who takes part in a row; the first is ours.
Contenders = dict[str, Callable[[], object]]
_rng = np.random.default_rng(0)


def random(*shape: int) -> jax.Array:
    return jnp.asarray(_rng.standard_normal(shape), jnp.float32)


def jitted(function: Callable, *args) -> Callable[[], object]:
    compiled = jax.jit(function)
    return lambda: jax.block_until_ready(compiled(*args))
