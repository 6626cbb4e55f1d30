"""One training step: a pure jitted function over flat dicts of arrays."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jaxhar.core.batch import Batch
from jaxhar.nn import platform
from jaxhar.weights.net import Flat, Net, leaves

Batches = Mapping[str, Batch]


Losses = Callable[[Any, Batch], dict[str, jax.Array]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything a step reads and writes.

    Attributes:
      params: dotted path -> trained array.
      stats: dotted path -> every other variable of the network (running statistics, random number keys).
      opt: optax state.
      step: () int32, steps done.
    """

    params: Flat
    stats: Flat
    opt: Any
    step: jax.Array


def make_step(
    net: Net,
    losses: Losses,
    optimizer: optax.GradientTransformation,
    frozen: Callable[[str], bool] = lambda path: False,
) -> Callable[[TrainState, Batches], tuple[TrainState, dict[str, jax.Array]]]:
    """The jitted step (state, {stream: batch}) -> (state, metrics); the old state's buffers are given up.

    The streams are used one after the other, in the order of their names: gradients add up, and running statistics
    move once per stream. Metrics are () float32: "loss", one "stream/term" each, "gradient_norm".

    Args:
      frozen: dotted path -> whether that parameter or running statistic is kept as it is. Frozen parameters get no
        gradient; normalisation whose statistics are frozen uses them, in place of the batch's.
    """
    net = net.frozen(frozen)

    def stream_loss(trained: Flat, kept: Flat, stats: Flat, batch: Batch) -> tuple[jax.Array, tuple[Flat, dict]]:
        model = net.merge(trained | kept, stats)
        terms = losses(model(batch), batch)
        if "mask" in batch:
            mask = batch["mask"]
            terms = {k: jnp.where(mask, v, 0).sum() / jnp.maximum(mask.sum(), 1) for k, v in terms.items()}
        else:
            terms = {k: v.mean() for k, v in terms.items()}
        changed = leaves(nnx.state(model, nnx.Not(nnx.Param)))
        return jnp.asarray(sum(terms.values()), jnp.float32), (changed, terms)

    def step(state: TrainState, batches: Batches) -> tuple[TrainState, dict[str, jax.Array]]:
        stats, loss = state.stats, jnp.float32(0)
        metrics: dict[str, jax.Array] = {}
        kept = {name: array for name, array in state.params.items() if frozen(name)}
        trained = {name: array for name, array in state.params.items() if name not in kept}
        grads = jax.tree.map(jnp.zeros_like, trained)
        gradient = jax.value_and_grad(stream_loss, has_aux=True)
        for stream, batch in sorted(batches.items()):
            batch = Batch(**batch, step=state.step)
            (value, (stats, terms)), grad = gradient(trained, kept, stats, batch)
            loss, grads = loss + value, jax.tree.map(jnp.add, grads, grad)
            metrics |= {f"{stream}/{term}": v for term, v in terms.items()}
        stats = {name: state.stats[name] if frozen(name) else array for name, array in stats.items()}
        everything = grads | jax.tree.map(jnp.zeros_like, kept)
        updates, opt = optimizer.update(everything, state.opt, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {"loss": loss, **metrics, "gradient_norm": optax.tree.norm(grads)}
        return TrainState(params, stats, opt, state.step + 1), metrics

    # In a training step either library is as fast for float32 products, and one for those in bfloat16.
    return platform.jit(step, half=lambda *_: True, donate_argnums=0)
