import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxhar.host.errors import Problem
from jaxhar.training.optim import Optimizer, keras_rmsprop, lars, muon, muon_full, nesterov

PARAMS = {
    "pose.stem.kernel": jnp.array([1.0, -2.0]),
    "pose.bn.bias": jnp.array([0.5]),
    "action.kernel": jnp.array([3.0]),
}


def run(optimizer, grads, steps=10, params=PARAMS):
    tx = optimizer.build(params, steps)
    state = tx.init(params)
    for grad in grads:
        updates, state = tx.update(grad, state, params)
        params = optax.apply_updates(params, updates)
    return params


def constant(value):
    return jax.tree.map(lambda x: jnp.full_like(x, value), PARAMS)


def test_rmsprop_is_that_of_keras():
    grads = [constant(g) for g in (0.3, -1e-7, 2.0)]
    got = run(Optimizer(learning_rate=0.01), grads)
    weight, average = 3.0, 0.0
    for g in (0.3, -1e-7, 2.0):
        average = 0.9 * average + 0.1 * g * g
        weight -= 0.01 * g / (np.sqrt(average) + 1e-7)
    np.testing.assert_allclose(got["action.kernel"], [weight], rtol=1e-6)


def test_nesterov_is_that_of_keras():
    got = run(Optimizer(rule=nesterov, options={"momentum": 0.95}, learning_rate=0.1), [constant(1.0), constant(-0.5)])
    weight, velocity = 3.0, 0.0
    for g in (1.0, -0.5):
        velocity = 0.95 * velocity - 0.1 * g
        weight += 0.95 * velocity - 0.1 * g
    np.testing.assert_allclose(got["action.kernel"], [weight], rtol=1e-6)


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (Optimizer(learning_rate=0.5), [0.5, 0.5, 0.5]),
        (
            Optimizer(
                learning_rate=1.0,
                schedule=optax.piecewise_constant_schedule,
                schedule_options={"boundaries_and_scales": {4: 0.2, 8: 0.2}},
            ),
            [1.0, 0.2, 0.04],
        ),
        (Optimizer(learning_rate=2.0, schedule=optax.cosine_decay_schedule), [2.0, 1.0, 0.0]),
        (
            Optimizer(
                learning_rate=2.0,
                schedule=optax.warmup_cosine_decay_schedule,
                schedule_options={"warmup_steps": 5},
            ),
            [0.0, 2.0, 0.0],
        ),
    ],
)
def test_schedules_over_ten_steps(optimizer, expected):
    rate = optimizer.rate(10)
    np.testing.assert_allclose([float(rate(s)) for s in (0, 5, 10)], expected, atol=1e-6)


def test_muon_turns_matrices_by_orthogonal_updates_and_leaves_the_rest_to_adam():
    params = {"conv": jnp.zeros((1, 1, 6, 4)), "norm": jnp.zeros(6), "stem": jnp.zeros((3, 3, 6, 4))}
    rng = np.random.default_rng(0)
    grads = {path: jnp.asarray(rng.standard_normal(p.shape), jnp.float32) for path, p in params.items()}
    chain = Optimizer(rule=muon, learning_rate=0.1).build(params, 1)
    adam = optax.nadam(0.1)
    got, expected = chain.update(grads, chain.init(params), params)[0], adam.update(grads, adam.init(params))[0]
    singular = np.linalg.svd(got["conv"][0, 0], compute_uv=False)
    assert singular.min() > 0.6 * singular.max() > 0
    assert np.linalg.svd(grads["conv"][0, 0], compute_uv=False).min() < 0.5 * np.linalg.norm(grads["conv"][0, 0], 2)
    for path in ("norm", "stem"):
        np.testing.assert_allclose(got[path], expected[path], rtol=1e-5)


def test_the_first_matching_pattern_decides():
    table = ((r"pose\.bn\..*", 0.0), (r"pose\..*", 0.1), (".*", 1.0))
    optimizer = Optimizer(rule=optax.sgd, learning_rate=1.0, table=table)
    got = run(optimizer, [constant(1.0)])
    np.testing.assert_array_equal(got["pose.bn.bias"], PARAMS["pose.bn.bias"])
    np.testing.assert_allclose(got["pose.stem.kernel"], PARAMS["pose.stem.kernel"] - 0.1, rtol=1e-6)
    np.testing.assert_allclose(got["action.kernel"], PARAMS["action.kernel"] - 1, rtol=1e-6)
    assert optimizer.frozen("pose.bn.mean") and not optimizer.frozen("action.bn.mean")


def test_frozen_leaves_do_not_decay_and_do_not_count_in_the_norm():
    optimizer = Optimizer(rule=optax.sgd, learning_rate=1.0, clip_norm=1.0, table=((r"pose\..*", 0.0), (".*", 1.0)))
    got = run(optimizer, [{**constant(100.0), "action.kernel": jnp.array([0.5])}])
    np.testing.assert_allclose(got["action.kernel"], [2.5])
    decayed = run(dataclasses.replace(optimizer, rule=optax.adamw, options={"weight_decay": 0.5}), [constant(1.0)])
    np.testing.assert_array_equal(decayed["pose.stem.kernel"], PARAMS["pose.stem.kernel"])


def test_clipping_bounds_the_global_norm():
    got = run(Optimizer(rule=optax.sgd, learning_rate=1.0, clip_norm=2.0), [constant(10.0)])
    moved = np.concatenate([np.ravel(PARAMS[k] - got[k]) for k in PARAMS])
    np.testing.assert_allclose(np.linalg.norm(moved), 2.0, rtol=1e-6)


def test_table_must_cover_parameters_and_be_used():
    with pytest.raises(Problem, match="action.kernel"):
        Optimizer(table=((r"pose\..*", 1.0),)).build(PARAMS, 1)
    with pytest.raises(Problem, match="neck"):
        Optimizer(table=((r"neck\..*", 0.0), (".*", 1.0))).build(PARAMS, 1)


def test_unfit_options_are_explained():
    with pytest.raises(Problem, match=r"adamw.*eps_in_sqrt.*it takes b1"):
        Optimizer(rule=optax.adamw, options={"eps_in_sqrt": False}).build(PARAMS, 1)
    with pytest.raises(Problem, match="warmup_cosine_decay_schedule.*warmup_steps"):
        Optimizer(schedule=optax.warmup_cosine_decay_schedule).build(PARAMS, 1)
    warmup = Optimizer(schedule=optax.warmup_cosine_decay_schedule, schedule_options={"warmup_steps": 50})
    with pytest.raises(Problem, match="does not fit a run of 6 steps"):
        warmup.build(PARAMS, 6)
    with pytest.raises(Problem, match="takes no rate"):
        Optimizer(schedule=optax.join_schedules).build(PARAMS, 1)


def test_keras_rmsprop_keeps_epsilon_outside_the_root():
    assert keras_rmsprop.keywords == {"decay": 0.9, "eps": 1e-7, "eps_in_sqrt": False}


def test_weight_decay_by_path_is_decoupled_or_added_to_the_gradient():
    table = ((".*kernel", 0.1), (".*", 0.0))
    grads = [constant(0.5), constant(-1.0)]
    ours = run(Optimizer(optax.adam, learning_rate=0.01, decay=table), grads)
    theirs = run(Optimizer(optax.adamw, {"weight_decay": 0.1}, 0.01), grads)
    plain = run(Optimizer(optax.adam, learning_rate=0.01), grads)
    for name in PARAMS:
        expected = theirs if name.endswith("kernel") else plain
        np.testing.assert_allclose(ours[name], expected[name], rtol=1e-6)
    coupled = run(Optimizer(optax.sgd, learning_rate=0.1, decay=table, decoupled=False), [constant(0.5)])
    np.testing.assert_allclose(coupled["action.kernel"], [3.0 - 0.1 * (0.5 + 0.1 * 3.0)], rtol=1e-6)
    np.testing.assert_allclose(coupled["pose.bn.bias"], [0.5 - 0.1 * 0.5], rtol=1e-6)
    with pytest.raises(Problem, match=r"no pattern of optimizer.decay matches .*; end it with \('\.\*', 0.0\)"):
        run(Optimizer(decay=((".*kernel", 0.1),)), grads)


def test_a_frozen_leaf_does_not_decay_and_a_scaled_one_decays_less():
    table = (("pose.stem.*", 0.0), ("pose.bn.*", 0.5), (".*", 1.0))
    got = run(Optimizer(optax.sgd, learning_rate=0.1, table=table, decay=((".*", 0.2),)), [constant(0.0)])
    np.testing.assert_array_equal(got["pose.stem.kernel"], PARAMS["pose.stem.kernel"])
    np.testing.assert_allclose(got["pose.bn.bias"], [0.5 * (1 - 0.5 * 0.1 * 0.2)], rtol=1e-6)
    np.testing.assert_allclose(got["action.kernel"], [3.0 * (1 - 0.1 * 0.2)], rtol=1e-6)


def test_a_rule_without_a_rate_is_scaled_by_it_and_a_schedule_of_ones_own_is_taken():
    def halves(learning_rate, steps):
        return lambda count: jnp.where(count < steps // 2, learning_rate, learning_rate / 2)

    grads = [constant(g) for g in (0.3, -1.0, 2.0)]
    own = Optimizer(optax.scale_by_adam, learning_rate=0.01, schedule=halves)
    np.testing.assert_allclose(own.rate(4)(np.arange(4)), [0.01, 0.01, 0.005, 0.005])
    got, expected = run(own, grads), run(Optimizer(optax.adam, learning_rate=0.01), grads)
    for name in PARAMS:
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-6)
    with pytest.raises(Problem, match="argument of one of the names peak_value, .*learning_rate"):
        Optimizer(schedule=lambda start: start).rate(3)


def test_the_momentum_of_lars_is_that_of_the_gradients_at_a_rate_that_moves():
    """By the original's loop in NumPy: g += wd w; g *= trust |w| / |g|; m = 0.9 m + g; w -= lr m."""
    rng = np.random.default_rng(0)
    params = {"kernel": jnp.asarray(rng.normal(size=(3, 2)), jnp.float32), "bias": jnp.ones(2)}
    schedule = {"schedule": optax.linear_schedule, "schedule_options": {"end_value": 0.0}}
    chain = Optimizer(lars, {"weight_decay": 0.1}, learning_rate=10.0, **schedule).build(params, 4)
    state, true = chain.init(params), {name: np.asarray(a, np.float64) for name, a in params.items()}
    moment = {name: np.zeros_like(a) for name, a in true.items()}
    for step in range(4):
        grads = {name: rng.normal(size=a.shape) for name, a in true.items()}
        updates, state = chain.update({n: jnp.asarray(g, jnp.float32) for n, g in grads.items()}, state, params)
        params = optax.apply_updates(params, updates)
        for name, grad in grads.items():
            if name == "kernel":
                grad = grad + 0.1 * true[name]
                grad = grad * 0.001 * np.linalg.norm(true[name]) / np.linalg.norm(grad)
            moment[name] = 0.9 * moment[name] + grad
            true[name] = true[name] - 10 * (1 - step / 4) * moment[name]
    for name, expected in true.items():
        np.testing.assert_allclose(params[name], expected, rtol=1e-5)


def test_muon_full_takes_whole_kernels_as_matrices_but_not_those_of_single_channels():
    rng = np.random.default_rng(0)
    params = {name: jnp.zeros(shape) for name, shape in {"wide": (3, 3, 4, 8), "apart": (3, 3, 1, 8)}.items()}
    grads = {name: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32) for name, leaf in params.items()}
    for rule, matrix in ((muon_full, True), (muon, False)):
        updates, _ = rule(learning_rate=1.0).update(grads, rule(learning_rate=1.0).init(params), params)
        values = np.linalg.svd(np.asarray(updates["wide"]).reshape(36, 8), compute_uv=False)
        assert (values.max() / values.min() < 2) == matrix  # of the gradient: 2.6
        sizes = np.abs(updates["apart"])
        np.testing.assert_allclose(sizes, sizes.max(), rtol=1e-3)  # signs, as Nadam's first step
