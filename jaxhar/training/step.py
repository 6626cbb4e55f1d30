"""One training step: a pure jitted function over flat dicts of arrays."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxhar.core.batch import Batch
from jaxhar.host.errors import Problem
from jaxhar.nn import platform
from jaxhar.weights.net import Flat, Net, leaves

Batches = Mapping[str, Batch]


Losses = Callable[[Any, Batch], dict[str, jax.Array]]

#: (number of the step, number of the stream, batch) -> the batch as it is trained on.
Augment = Callable[[jax.Array, int, Batch], Batch]

#: A loss, with the variables that it changed and its terms.
Valued = tuple[jax.Array, tuple[Flat, dict[str, jax.Array]]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """State of the training that a step reads and writes.

    Attributes:
      params: dotted path -> trained array.
      stats: dotted path -> every other variable of the network (running statistics, random number keys).
      opt: optax state.
      step: () int32, number of steps done.
    """

    params: Flat
    stats: Flat
    opt: optax.OptState
    step: jax.Array


def make_step(
    net: Net,
    losses: Losses,
    optimizer: optax.GradientTransformation,
    frozen: Callable[[str], bool] = lambda path: False,
    accumulate: int = 1,
    norm_groups: int = 1,
    augment: Augment | None = None,
    recompute: bool = False,
) -> platform.jit:
    """The jitted step (state, {stream: batch}) -> (state, metrics). Do not use the input state afterwards; its memory
    is reused.

    Streams are processed one after the other in the order of their names: gradients are summed, and running statistics
    are updated once per stream. Metrics are () float32: "loss", one "stream/term" each, "gradient_norm".

    Args:
      frozen: dotted path -> whether this parameter or running statistic is frozen. Frozen parameters get no
        gradient; a batch norm with frozen statistics uses its stored mean and variance, not the batch's.
      accumulate: number of parts into which each batch is split; their gradients and terms are averaged.
      norm_groups: number of groups of a batch (or of such a part) whose normalisation statistics are computed apart,
        as by as many processes in PyTorch; terms and running statistics are averaged over them.
      augment: changes every batch as the step begins; streams are numbered in the order of their names.
      recompute: whether blocks compute their inner values again in the backward pass, to save memory.
    """
    net = net.frozen(frozen)
    net = net.recomputing() if recompute else net

    def stream_loss(trained: Flat, fixed: Flat, stats: Flat, batch: Batch) -> Valued:
        model = net.merge(trained | fixed, stats)
        terms = masked_means(losses(model(batch), batch), batch)  # type: ignore[operator]
        changed = leaves(nnx.state(model, nnx.Not(nnx.Param)))
        return jnp.asarray(sum(terms.values()), jnp.float32), (changed, terms)

    def grouped_loss(trained: Flat, fixed: Flat, stats: Flat, batch: Batch) -> Valued:
        """As `stream_loss`, with each group of the batch by itself."""

        def one(number: jax.Array, group: Batch) -> Valued:
            keys = {name: jax.random.fold_in(a, number) for name, a in stats.items() if is_key(a)}
            return stream_loss(trained, fixed, stats | keys, Batch(**group, step=batch["step"]))

        examples = {key: value for key, value in batch.items() if key != "step"}
        groups = jax.tree.map(lambda a: a.reshape(norm_groups, -1, *a.shape[1:]), examples)
        values, (changed, terms) = jax.vmap(one)(jnp.arange(norm_groups), groups)
        kept = {
            name: stats[name] if is_key(a) else a.mean(0) if jnp.issubdtype(a.dtype, jnp.floating) else a[0]
            for name, a in changed.items()
        }
        return values.mean(), (kept, {name: value.mean() for name, value in terms.items()})

    gradient = jax.value_and_grad(stream_loss if norm_groups == 1 else grouped_loss, has_aux=True)

    def in_parts(trained: Flat, fixed: Flat, stats: Flat, batch: Batch) -> tuple[Valued, Flat]:
        """As `gradient`, averaged over parts of the batch."""
        step = batch["step"]
        examples = {key: value for key, value in batch.items() if key != "step"}
        parts = jax.tree.map(lambda a: a.reshape(accumulate, -1, *a.shape[1:]), examples)

        def one(stats: Flat, part: Batch) -> tuple[Flat, tuple[jax.Array, dict, Flat]]:
            (value, (stats, terms)), grad = gradient(trained, fixed, stats, {**part, "step": step})
            return stats, (value, terms, grad)

        stats, found = jax.lax.scan(one, stats, parts)
        value, terms, grad = jax.tree.map(lambda a: a.mean(0), found)
        return (value, (stats, terms)), grad

    held = {name for name in net.weights({}, net.stats) if frozen(name)}  # without states of random generators

    def step(state: TrainState, batches: Batches) -> tuple[TrainState, dict[str, jax.Array]]:
        stats, loss = state.stats, jnp.float32(0)
        metrics: dict[str, jax.Array] = {}
        fixed = {name: array for name, array in state.params.items() if frozen(name)}
        trained = {name: array for name, array in state.params.items() if name not in fixed}
        grads = jax.tree.map(jnp.zeros_like, trained)
        for number, (stream, batch) in enumerate(sorted(batches.items())):
            batch = batch if augment is None else augment(state.step, number, batch)
            batch = Batch(**batch, step=state.step)
            part = gradient if accumulate == 1 else in_parts
            (value, (stats, terms)), grad = part(trained, fixed, stats, batch)
            loss, grads = loss + value, jax.tree.map(jnp.add, grads, grad)
            metrics |= {f"{stream}/{term}": v for term, v in terms.items()}
        stats = {name: state.stats[name] if name in held else array for name, array in stats.items()}
        everything = grads | jax.tree.map(jnp.zeros_like, fixed)
        updates, opt = optimizer.update(everything, state.opt, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {"loss": loss, **metrics, "gradient_norm": optax.tree.norm(grads)}
        return TrainState(params, stats, opt, state.step + 1), metrics

    # In a training step Eigen and YNNPACK are equally fast for float32 products; YNNPACK is faster for bfloat16 ones.
    return platform.jit(step, half=lambda *_: True, barriers=True, donate_argnums=0)


def is_key(array: jax.Array) -> bool:
    """Whether the elements are keys of random numbers."""
    return jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key)


def masked_means(terms: dict[str, jax.Array], batch: Batch) -> dict[str, jax.Array]:
    """The mean () of every term (B,) over the examples whose `mask` is set, or over all without a mask."""
    if "mask" not in batch:
        return {name: value.mean() for name, value in terms.items()}
    mask = batch["mask"]
    return {name: jnp.where(mask, value, 0).sum() / jnp.maximum(mask.sum(), 1) for name, value in terms.items()}


def check(net: Net, losses: Losses, batches: Batches, augment: Augment | None = None) -> None:
    """Problem unless network and losses accept these batches; only shapes are computed."""

    def terms(params: Flat, stats: Flat, batch: Batch) -> dict[str, jax.Array]:
        batch = batch if augment is None else augment(batch["step"], 0, batch)
        return losses(net.merge(params, stats)(batch), batch)  # type: ignore[operator]

    for stream, batch in batches.items():
        try:
            found = jax.eval_shape(terms, net.params, net.stats, Batch(**batch, step=np.int32(0)))
        except Problem:
            raise
        except Exception as error:
            keys, reason = ", ".join(sorted(batch)), str(error).split("\n")[0] or type(error).__name__
            if isinstance(error, KeyError) and error.args[0] in {*Batch.__annotations__} - {*batch}:
                raise Problem(
                    f"the network or the losses need {error.args[0]!r}, which a batch of {stream} lacks; it has {keys}"
                ) from error
            raise Problem(
                f"the network and the losses do not fit a batch of {stream} with the keys {keys}: "
                f"{type(error).__name__}: {reason}"
            ) from error
        if not found:
            raise Problem(
                f"the losses have no term for a batch of {stream} with the keys {', '.join(sorted(batch))}: nothing "
                "would be learned from it"
            )
