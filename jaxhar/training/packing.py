"""The state of a training as named arrays for a checkpoint, and back."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxhar.host.errors import Problem
from jaxhar.training.step import TrainState, is_key
from jaxhar.weights import store
from jaxhar.weights.transfer import compare


def pack(state: TrainState) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """All arrays of a state: those of the model by dotted path, and those of the optimizer and the step by name."""
    training = {f"opt{jax.tree_util.keystr(path)}": a for path, a in jax.tree_util.tree_flatten_with_path(state.opt)[0]}
    training["step"] = state.step

    def storable(flat: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        return {name: jax.random.key_data(array) if is_key(array) else array for name, array in flat.items()}

    return storable(state.params | state.stats), storable(training)


def unpack(saved: store.Saved, template: TrainState) -> TrainState:
    """The inverse of `pack` for a state with the structure of `template`."""
    complaints = [
        complaint
        for found, wanted in zip((saved.model, saved.training), pack(template), strict=True)
        for complaint in compare({n: a.shape for n, a in found.items()}, {n: a.shape for n, a in wanted.items()})
    ]
    if complaints:
        raise Problem(f"the checkpoint does not fit the experiment: {'; '.join(complaints[:5])}")

    def load(array: np.ndarray | jax.Array, like: jax.Array) -> jax.Array:
        array = jnp.asarray(array)
        return jax.random.wrap_key_data(array, impl=jax.random.key_impl(like)) if is_key(like) else array

    leaves, tree = jax.tree_util.tree_flatten_with_path(template.opt)
    return TrainState(
        {n: load(saved.model[n], a) for n, a in template.params.items()},
        {n: load(saved.model[n], a) for n, a in template.stats.items()},
        jax.tree.unflatten(
            tree, [load(saved.training[f"opt{jax.tree_util.keystr(path)}"], leaf) for path, leaf in leaves]
        ),
        load(saved.training["step"], template.step),
    )
