from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhar.training.losses import multitask as losses


def reference_pose(pred, target, valid):
    """The formula, coordinate by coordinate, in float64."""
    total, count = 0.0, 0
    for p, t, v in zip(pred.ravel(), target.ravel(), valid.ravel(), strict=True):
        if v:
            p64, t64 = float(p), float(t)
            clipped = min(max(p64, 1e-7), 1 - 1e-7)
            bce = -(t64 * np.log(clipped) + (1 - t64) * np.log(1 - clipped))
            total += abs(p64 - t64) + (p64 - t64) ** 2 + 0.01 * bce
            count += 1
    return total / max(count, 1)


def example(k=3, b=2, t=2, j=5, d=2, heads=4, classes=6) -> Any:
    rng = np.random.default_rng(0)
    preds = {
        "pose": rng.uniform(0.02, 0.98, (k, b, t, j, d)).astype(np.float32),
        "visible": rng.uniform(0.02, 0.98, (k, b, t, j)).astype(np.float32),
        "action": rng.normal(size=(heads, b, classes)).astype(np.float32),
    }
    batch = {
        "pose": rng.uniform(0, 1, (b, t, j, d)).astype(np.float32),
        "visible": rng.integers(0, 2, (b, t, j)).astype(np.float32),
        "valid": rng.uniform(size=(b, t, j, d)) > 0.3,
        "action": np.array([1, 4], np.int32),
    }
    return jax.tree.map(jnp.asarray, (preds, batch))


def test_pose_equals_the_formula():
    preds, batch = example()
    got = losses.pose(preds["pose"], batch["pose"], batch["valid"])
    assert got.shape == (3, 2, 2)
    for k, b, t in np.ndindex(*got.shape):
        args = (np.asarray(a) for a in (preds["pose"][k, b, t], batch["pose"][b, t], batch["valid"][b, t]))
        np.testing.assert_allclose(got[k, b, t], reference_pose(*args), rtol=1e-5)


def test_a_frame_without_labels_costs_nothing():
    preds, batch = example()
    assert (losses.pose(preds["pose"], batch["pose"], jnp.zeros_like(batch["valid"])) == 0).all()


@pytest.mark.parametrize("poison", [np.nan, -1e9, np.inf])
def test_invalid_slots_change_neither_loss_nor_gradient(poison):
    preds, batch = example()

    def total(preds, target):
        terms = losses.Multitask()(preds, {**batch, "pose": target})
        return sum(v.sum() for v in terms.values())

    zeros = jnp.where(batch["valid"], batch["pose"], 0)
    poisoned = jnp.where(batch["valid"], batch["pose"], poison)
    expected, grad = jax.value_and_grad(total)(preds, zeros)
    got, poisoned_grad = jax.value_and_grad(total)(preds, poisoned)
    assert np.isfinite(expected) and got == expected
    jax.tree.map(np.testing.assert_array_equal, grad, poisoned_grad)
    assert (np.asarray(grad["pose"])[:, ~np.asarray(batch["valid"])] == 0).all()


def test_predictions_at_the_edge_and_targets_beyond_it_stay_finite():
    pred = jnp.array([0.0, 1.0, 1.0, 0.0])
    target = jnp.array([1.0, 0.0, 1.3, -0.2])
    value, grad = jax.value_and_grad(lambda p: losses.binary_crossentropy(p, target).sum())(pred)
    assert np.isfinite(value) and np.isfinite(grad).all()
    assert (losses.binary_crossentropy(pred, target) >= 0).all()
    np.testing.assert_allclose(losses.binary_crossentropy(pred, target)[0], -np.log(1e-7), rtol=1e-5)


def test_visible_is_the_mean_over_joints():
    preds, batch = example()
    v, t = np.asarray(preds["visible"], np.float64), np.asarray(batch["visible"])
    expected = -(t * np.log(v) + (1 - t) * np.log(1 - v)).mean(-1)
    np.testing.assert_allclose(losses.visible(preds["visible"], batch["visible"]), expected, rtol=1e-5)


def test_action_is_cross_entropy_from_logits():
    preds, batch = example()
    logits = np.asarray(preds["action"], np.float64)
    prob = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = -np.log(prob[:, [0, 1], np.asarray(batch["action"])])
    np.testing.assert_allclose(losses.action(preds["action"], batch["action"]), expected, rtol=1e-5)


def test_multitask_sums_blocks_and_heads_and_averages_time():
    preds, batch = example()
    terms = losses.Multitask(pose=2.0, visible=0.5, action=3.0)(preds, batch)
    assert {k: v.shape for k, v in terms.items()} == {"pose": (2,), "visible": (2,), "action": (2,)}
    per_frame = losses.pose(preds["pose"], batch["pose"], batch["valid"])
    np.testing.assert_allclose(terms["pose"], 2 * np.asarray(per_frame).sum(0).mean(-1), rtol=1e-6)
    per_frame = losses.visible(preds["visible"], batch["visible"])
    np.testing.assert_allclose(terms["visible"], 0.5 * np.asarray(per_frame).sum(0).mean(-1), rtol=1e-6)
    np.testing.assert_allclose(terms["action"], 3 * losses.action(preds["action"], batch["action"]).sum(0), rtol=1e-6)


def test_clips_can_weigh_less_than_stills_in_the_pose():
    preds, batch = example()
    stills = {k: v for k, v in batch.items() if k != "action"}
    plain, less = losses.Multitask()(preds, stills), losses.Multitask(clip_pose=0.25)(preds, batch)
    assert losses.Multitask(clip_pose=0.25)(preds, stills)["pose"] == pytest.approx(plain["pose"])
    for term in ("pose", "visible"):
        np.testing.assert_allclose(less[term], 0.25 * plain[term], rtol=1e-6)


def test_several_sets_of_action_labels_and_clips_without_one():
    preds, batch = example(heads=2)
    more = jnp.asarray(np.random.default_rng(1).normal(size=(2, 2, 3)), jnp.float32)
    both = losses.Multitask(action=0.5)(
        {"action": (preds["action"], more)}, {"action": (jnp.array([1, -1]), jnp.array([-1, 2]))}
    )["action"]
    first = losses.action(preds["action"], jnp.array([1, 4]))[:, 0].sum()
    second = losses.action(more, jnp.array([0, 2]))[:, 1].sum()
    np.testing.assert_allclose(both, [0.5 * first, 0.5 * second], rtol=1e-6)


@pytest.mark.parametrize("missing", ["pose", "visible", "action"])
def test_a_missing_label_or_prediction_turns_its_term_off(missing):
    preds, batch = example()
    rest = {"pose", "visible", "action"} - {missing}
    loss: Any = losses.Multitask()
    assert set(loss({k: preds[k] for k in rest}, batch)) == rest
    assert set(loss(preds, {k: v for k, v in batch.items() if k != missing})) == rest


def test_bfloat16_predictions_are_scored_in_float32():
    preds, batch = example()
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), preds)
    assert all(v.dtype == jnp.float32 for v in losses.Multitask()(half, batch).values())
