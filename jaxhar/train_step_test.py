"""What makes a step fast: compiled once, its buffers given up, nothing fetched from the host inside."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import monitoring

from jaxhar import losses, train, zoo
from jaxhar.net import Net
from jaxhar.train_test import Data, Stream, Tiny, experiment, score

COMPILED = "/jax/core/compile/backend_compile_duration"


def test_a_step_is_compiled_once_gives_up_its_buffers_and_asks_the_host_for_nothing():
    config = zoo.tiny("reception-mpii")
    net, optimizer = Net(zoo.create(config)), optax.rmsprop(1e-3)
    step = train.make_step(net, losses.Multitask(), optimizer)
    state = train.TrainState(net.params, net.stats, optimizer.init(net.params), jnp.int32(0))
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
    assert step._cache_size() == 1


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
