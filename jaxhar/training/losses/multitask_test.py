from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhar.training.losses.action import action
from jaxhar.training.losses.binary import visible
from jaxhar.training.losses.multitask import MARK_ACTION, MARK_MANY, MARK_ONE, Multitask
from jaxhar.training.losses.pose import pose


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


@pytest.mark.parametrize("poison", [np.nan, -1e9, np.inf])
def test_invalid_slots_change_neither_loss_nor_gradient(poison):
    preds, batch = example()

    def total(preds, target):
        terms = Multitask()(preds, {**batch, "pose": target})
        return sum(v.sum() for v in terms.values())

    zeros = jnp.where(batch["valid"], batch["pose"], 0)
    poisoned = jnp.where(batch["valid"], batch["pose"], poison)
    expected, grad = jax.value_and_grad(total)(preds, zeros)
    got, poisoned_grad = jax.value_and_grad(total)(preds, poisoned)
    assert np.isfinite(expected) and got == expected
    jax.tree.map(np.testing.assert_array_equal, grad, poisoned_grad)
    assert (np.asarray(grad["pose"])[:, ~np.asarray(batch["valid"])] == 0).all()


def test_multitask_sums_blocks_and_heads_and_averages_time():
    preds, batch = example()
    terms = Multitask(pose=2.0, visible=0.5, action=3.0)(preds, batch)
    assert {k: v.shape for k, v in terms.items()} == {"pose": (2,), "visible": (2,), "action": (2,)}
    per_frame = pose(preds["pose"], batch["pose"], batch["valid"])
    np.testing.assert_allclose(terms["pose"], 2 * np.asarray(per_frame).sum(0).mean(-1), rtol=1e-6)
    per_frame = visible(preds["visible"], batch["visible"])
    np.testing.assert_allclose(terms["visible"], 0.5 * np.asarray(per_frame).sum(0).mean(-1), rtol=1e-6)
    np.testing.assert_allclose(terms["action"], 3 * action(preds["action"], batch["action"]).sum(0), rtol=1e-6)


def test_clips_can_weigh_less_than_stills_in_the_pose():
    preds, batch = example()
    stills = {k: v for k, v in batch.items() if k != "action"}
    plain, less = Multitask()(preds, stills), Multitask(clip_pose=0.25)(preds, batch)
    assert Multitask(clip_pose=0.25)(preds, stills)["pose"] == pytest.approx(plain["pose"])
    for term in ("pose", "visible"):
        np.testing.assert_allclose(less[term], 0.25 * plain[term], rtol=1e-6)


def test_several_sets_of_action_labels_and_clips_without_one():
    preds, batch = example(heads=2)
    more = jnp.asarray(np.random.default_rng(1).normal(size=(2, 2, 3)), jnp.float32)
    both = Multitask(action=0.5)(
        {"action": (preds["action"], more)}, {"action": (jnp.array([1, -1]), jnp.array([-1, 2]))}
    )["action"]
    first = action(preds["action"], jnp.array([1, 4]))[:, 0].sum()
    second = action(more, jnp.array([0, 2]))[:, 1].sum()
    np.testing.assert_allclose(both, [0.5 * first, 0.5 * second], rtol=1e-6)


@pytest.mark.parametrize("missing", ["pose", "visible", "action"])
def test_a_missing_label_or_prediction_turns_its_term_off(missing):
    preds, batch = example()
    rest = {"pose", "visible", "action"} - {missing}
    loss: Any = Multitask()
    assert set(loss({k: preds[k] for k in rest}, batch)) == rest
    assert set(loss(preds, {k: v for k, v in batch.items() if k != missing})) == rest


def test_bfloat16_predictions_are_scored_in_float32():
    preds, batch = example()
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), preds)
    assert all(v.dtype == jnp.float32 for v in Multitask()(half, batch).values())


def test_the_floor_is_the_loss_of_the_truth():
    """With one block and one head; more of them count alike."""
    _, batch = example(classes=6)
    soft = {**batch, "action": jnp.array([[0.6, 0.4, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0]])}
    loss = Multitask(pose=2.0, visible=0.5, action=3.0, clip_pose=0.25)
    for labels, logits in (
        (batch, 40 * jax.nn.one_hot(batch["action"], 6)),
        (soft, jnp.log(jnp.maximum(soft["action"], 1e-17))),
        ({k: v for k, v in batch.items() if k != "action"}, None),
    ):
        truth = {"pose": batch["pose"][None], "visible": batch["visible"][None]}
        truth |= {} if logits is None else {"action": logits[None]}
        terms, floor = loss(truth, labels), loss.floor(labels)
        assert terms.keys() == floor.keys()
        for name, term in terms.items():
            np.testing.assert_allclose(term, floor[name], rtol=1e-4, atol=1e-6)
    assert loss.floor({"mask": batch["action"] >= 0}) == {}


def test_the_fit_is_that_of_the_last_block():
    batch = {
        "pose": np.full((1, 1, 2, 2), 0.5),
        "valid": np.array([[[[True, True], [False, False]]]]),
        "visible": np.array([[[1.0, 0.0]]]),
    }
    pose = np.stack([np.full((1, 1, 2, 2), 0.9), np.array([[[[0.6, 0.5], [9.0, np.nan]]]])])
    visible = np.stack([np.full((1, 1, 2), 0.1), np.full((1, 1, 2), 0.5)])
    expected = (0.1 + 0.1**2) / 2 + 0.01 * np.log(2)
    found, mark = Multitask().fit({"pose": pose, "visible": visible}, batch)
    assert found == pytest.approx(expected, rel=1e-5) and mark == MARK_ONE
    two = {name: np.concatenate([value, value]) for name, value in batch.items()}
    preds = {"pose": np.concatenate([pose, pose], 1), "visible": np.concatenate([visible, visible], 1)}
    assert Multitask().fit(preds, two) == (pytest.approx(expected, rel=1e-5), MARK_MANY)


def test_the_fit_of_actions_alone_and_of_nothing():
    preds, batch = example()
    found, mark = Multitask().fit({"action": preds["action"]}, batch)
    assert found == pytest.approx(float(action(preds["action"], batch["action"])[-1].mean())) and mark == MARK_ACTION
    assert Multitask().fit({}, batch)[0] == np.inf


def test_coordinates_that_nobody_calls_valid_are_no_labels():
    preds, batch = example()
    del batch["valid"]
    assert set(Multitask()(preds, batch)) == {"visible", "action"} == set(Multitask().floor(batch))
