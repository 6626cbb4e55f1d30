"""One step: what it changes and what it leaves, compiled once, buffers given up, and the host asked for nothing."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import monitoring

from jaxhar import zoo
from jaxhar.training import loop as train
from jaxhar.training.loop_test import Data, Stream, Tiny, TinyConfig, experiment, run, score
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.optim import Optimizer
from jaxhar.training.step import TrainState, make_step
from jaxhar.weights.net import Net

COMPILED = "/jax/core/compile/backend_compile_duration"


def test_the_step_updates_statistics_once_per_stream_and_masks_padding():
    net = Net(Tiny(TinyConfig(dropout=0.0)))
    optimizer = Optimizer(optax.sgd, learning_rate=0.1).build(net.params, 1)
    step = make_step(net, Multitask(), optimizer)
    batches = next(Stream(0, 4))
    state = TrainState(net.params, net.stats, optimizer.init(net.params), jnp.int32(0))
    before = np.asarray(net.stats["norm.mean"])
    batches["clips"]["mask"] = np.array([True, True, True, False])
    preds = net.merge(net.params, net.stats)(batches["clips"])
    terms = Multitask()(preds, batches["clips"])
    expected = before
    for stream in ("clips", "stills"):
        merged: Any = net.merge(net.params, net.stats)
        x = merged.conv(batches[stream]["frames"])
        expected = 0.99 * expected + 0.01 * np.asarray(x.mean((0, 1, 2, 3)))
    new, metrics = step(jax.tree.map(jnp.copy, state), batches)
    np.testing.assert_allclose(new.stats["norm.mean"], expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(metrics["clips/action"], np.asarray(terms["action"])[:3].mean(), rtol=1e-5)
    assert int(new.step) == 1


def test_frozen_modules_keep_their_statistics_and_draw_anew(tmp_path):
    table = ((r"(conv|norm|dropout)\..*", 0.0), (".*", 1.0))
    optimizer = Optimizer(optax.adam, learning_rate=1e-2, table=table)
    before = Net(Tiny())
    after = Net(run(tmp_path, experiment(2, optimizer=optimizer)))
    for name, array in (before.params | before.stats).items():
        same = np.array_equal(jax.device_get(_plain(array)), jax.device_get(_plain((after.params | after.stats)[name])))
        assert same == name.startswith(("conv", "norm", "dropout.rngs.key")), name


def test_frozen_normalisation_uses_its_running_statistics():
    net = Net(Tiny(TinyConfig(dropout=0.0)))
    batch = {"clips": next(Stream(0, 4))["clips"]}
    model = net.merge(net.params, net.stats)
    model.eval()
    expected = {name: term.mean() for name, term in Multitask()(model(batch["clips"]), batch["clips"]).items()}
    for pattern, equal in ((r"norm\..*", True), (r"conv\..*", False)):
        recipe = Optimizer(optax.sgd, learning_rate=0.0, table=((pattern, 0.0), (".*", 1.0)))
        optimizer = recipe.build(net.params, 1)
        state = TrainState(net.params, net.stats, optimizer.init(net.params), jnp.int32(0))
        step = make_step(net, Multitask(), optimizer, recipe.frozen)
        _, metrics = step(jax.tree.map(jnp.copy, state), batch)
        for name, term in expected.items():
            assert np.allclose(metrics[f"clips/{name}"], term, rtol=1e-6) == equal, name


def test_clips_of_several_lengths_compile_once_each():
    traced = []

    def losses(preds, batch):
        traced.append(batch["frames"].shape[1])
        return Multitask()(preds, batch)

    net, optimizer = Net(Tiny()), optax.sgd(0.1)
    step = make_step(net, losses, optimizer)
    state = TrainState(net.params, net.stats, optimizer.init(net.params), jnp.int32(0))
    state = jax.device_put(jax.tree.map(jnp.copy, state))
    clips = next(Stream(0, 4))["clips"]
    length = clips["frames"].shape[1]
    timed = {key for key, value in clips.items() if value.ndim > 1 and value.shape[1] == length}
    longer = {key: np.concatenate([value, value], 1) if key in timed else value for key, value in clips.items()}
    for batch in (clips, longer, clips, longer):
        state, metrics = step(state, jax.device_put({"clips": batch}))
        assert np.isfinite(metrics["loss"])
    assert traced == [length, 2 * length]


def _plain(array):
    return jax.random.key_data(array) if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key) else array


def test_a_step_is_compiled_once_gives_up_its_buffers_and_asks_the_host_for_nothing():
    config = dataclasses.replace(zoo.tiny("reception-mpii"), num_blocks=1)
    net, optimizer = Net(zoo.create(config)), optax.rmsprop(1e-3)
    step = make_step(net, Multitask(), optimizer)
    state = TrainState(net.params, net.stats, optimizer.init(net.params), jnp.int32(0))
    state = jax.device_put(jax.tree.map(jnp.copy, state))
    rng = np.random.default_rng(0)
    for n in range(3):
        batch = {
            "frames": rng.uniform(-1, 1, (2, 1, 64, 64, 3)).astype(np.float32),
            "pose": rng.uniform(0, 1, (2, 1, 16, 2)).astype(np.float32),
            "valid": rng.uniform(size=(2, 1, 16, 2)) < 0.5,
            "visible": np.ones((2, 1, 16), np.float32),
        }
        ready, before = jax.device_put({"stills": batch}), state
        with jax.transfer_guard("disallow"):
            state, _ = step(before, ready)
        given = [leaf.is_deleted() for leaf in jax.tree.leaves((before.params, before.opt))]
        assert all(given), f"step {n} keeps {given.count(False)} of the old arrays"
    assert step.compilations() == 1


def test_a_run_compiles_nothing_after_its_first_row(tmp_path):
    count = 0
    at: list[int] = []

    def heard(name: str, seconds: float, **_: object) -> None:
        nonlocal count
        count += name == COMPILED

    class Counting(Stream):
        def __next__(self):
            at.append(count)
            return super().__next__()

    class Counted(Data):
        def train_stream(self, seed):
            return Counting(seed, self.size)

    monitoring.register_event_duration_secs_listener(heard)
    try:
        exp = experiment(24, eval_every=8, checkpoint_every=8, log_every=4)
        train.run(exp, tmp_path, Tiny(), Counted(), score, progress=False)
    finally:
        monitoring.unregister_event_duration_listener(heard)
    assert len(at) == 24 and at[2] > 0
    assert len(set(at[9:])) == 1, f"compilations before each batch: {at}"


def test_accumulated_gradients_of_a_network_without_statistics_are_those_of_the_whole_batch():
    class Plain(Tiny):
        def __init__(self):
            super().__init__(TinyConfig(dropout=0.0))
            self.norm.use_running_average = True
            self.dropout = nnx.Dropout(0.0, deterministic=True, rngs=nnx.Rngs(0))

    net, batches = Net(Plain()), next(Stream(0, 4))
    optimizer = optax.sgd(0.1)
    found = []
    for parts in (1, 2, 4):
        state = TrainState(net.params, net.stats, optimizer.init(net.params), jnp.int32(0))
        step = make_step(net, Multitask(), optimizer, accumulate=parts)
        state, metrics = step(jax.tree.map(jnp.copy, state), batches)
        found.append((state.params, metrics))
    for params, metrics in found[1:]:
        for name, leaf in params.items():
            np.testing.assert_allclose(leaf, found[0][0][name], rtol=1e-5, atol=1e-7, err_msg=name)
        for name, value in metrics.items():
            np.testing.assert_allclose(value, found[0][1][name], rtol=1e-5, err_msg=name)


def test_groups_are_normalised_apart():
    """As a mean over steps on each group, but for dropout, which differs between groups."""
    net, batches = Net(Tiny(TinyConfig(dropout=0.0))), {"clips": next(Stream(0, 4))["clips"]}
    optimizer = optax.sgd(0.1)

    def stepped(batches, groups):
        step = make_step(net, Multitask(), optimizer, norm_groups=groups)
        state = TrainState(net.params, net.stats, optimizer.init(net.params), jnp.int32(0))
        return step(jax.tree.map(jnp.copy, state), batches)

    state, metrics = stepped(batches, 2)
    halves = [{"clips": {key: a[rows] for key, a in batches["clips"].items()}} for rows in (slice(2), slice(2, 4))]
    (first, one), (second, other) = (stepped(half, 1) for half in halves)
    for name, leaf in (state.params | state.stats).items():
        if not name.startswith("dropout"):
            expected = ((first.params | first.stats)[name] + (second.params | second.stats)[name]) / 2
            np.testing.assert_allclose(leaf, expected, rtol=1e-5, atol=1e-7, err_msg=name)
    np.testing.assert_allclose(metrics["loss"], (one["loss"] + other["loss"]) / 2, rtol=1e-5)
    whole, _ = stepped(batches, 1)
    assert not np.allclose(whole.stats["norm.var"], state.stats["norm.var"], rtol=1e-5)


def test_the_losses_see_the_step():
    class Counting:
        def __call__(self, preds, batch):
            return {"pose": preds["pose"].mean((0, 2, 3, 4)) * 0 + batch["step"]}

    net, optimizer = Net(Tiny()), optax.sgd(0.0)
    state = jax.tree.map(jnp.copy, TrainState(net.params, net.stats, optimizer.init(net.params), jnp.int32(0)))
    step = make_step(net, Counting(), optimizer)
    for expected in (0, 1):
        state, metrics = step(state, {"clips": next(Stream(0, 2))["clips"]})
        assert float(metrics["clips/pose"]) == expected
