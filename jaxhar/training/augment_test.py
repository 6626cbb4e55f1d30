"""Mixtures in the training step: their shares and labels, drawn again alike; settings that do not suit a network."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhar import zoo
from jaxhar.core.family import Family
from jaxhar.host.errors import Problem, Usage
from jaxhar.host.settings import override
from jaxhar.training.augment import Mixing
from jaxhar.training.experiment import Stage
from jaxhar.training.loop_test import SGD, Tiny, TinyConfig, experiment, rows, run, shared_compilation
from jaxhar.training.stages import parts

__all__ = ["shared_compilation"]  # a fixture that serves every test here


@dataclasses.dataclass(frozen=True)
class ActionsConfig(TinyConfig):
    predicts: ClassVar[tuple[str, ...]] = ("action",)


zoo.register(Family("tiny-actions", ActionsConfig, lambda config, *, dtype, rngs: Tiny(config)))
NETWORK = ActionsConfig()
FRAMES = np.random.default_rng(0).integers(0, 256, (8, 2, 12, 16, 3), np.uint8)
BATCH = {"frames": FRAMES, "action": np.array([0, 1, 2, 3, 3, 2, 1, -1], np.int32), "mask": np.ones(8, bool)}
PLAIN = np.asarray(NETWORK.pixels({"frames": FRAMES}))
HOT = np.asarray(jax.nn.one_hot(BATCH["action"], 4))


def differ(frames):
    """(B, T, H, W) which pixels are others than before."""
    return (abs(frames - PLAIN) > 1e-4).any(-1)


def test_labels_are_shared_as_the_frames_are():
    """Mixup, CutMix or none, drawn for every group, whose clips have their partners in reverse order."""
    mixing = Mixing(mixup=0.8, cutmix=1.0, probability=0.6, smoothing=0.1, groups=2)
    draw = jax.jit(jax.vmap(lambda key: mixing(key, BATCH, NETWORK)))
    every = draw(jax.random.split(jax.random.key(3), 60))
    smooth = np.where(HOT.any(-1, keepdims=True), 0.025 + 0.9 * HOT, 0)
    kinds = {"none": 0, "cut": 0, "mixed": 0}
    for frames, labels in zip(np.asarray(every["frames"]), np.asarray(every["action"]), strict=True):
        changed = differ(frames)
        for group in (slice(0, 4), slice(4, 8)):
            one, other, found = PLAIN[group], PLAIN[group][::-1], frames[group]
            cut = changed[group].any((0, 1))
            if cut.all():
                share = ((found - other) * (one - other)).sum() / np.square(one - other).sum()
                expected = share * one + (1 - share) * other
            else:
                share = 1 - cut.mean()
                expected = np.where(cut[..., None], other, one)
            kinds["mixed" if cut.all() else "cut" if cut.any() else "none"] += 1
            np.testing.assert_allclose(found, expected, atol=1e-4)
            np.testing.assert_allclose(
                labels[group], share * smooth[group] + (1 - share) * smooth[group][::-1], atol=1e-4
            )
    assert 35 <= kinds["none"] <= 65 and min(kinds["cut"], kinds["mixed"]) >= 20


def test_some_clips_lose_a_rectangle_on_all_frames_and_keep_their_labels():
    found = jax.jit(lambda key: Mixing(erasing=0.5)(key, BATCH, NETWORK))(jax.random.key(0))
    frames = np.asarray(found["frames"])
    np.testing.assert_array_equal(found["action"], BATCH["action"])
    changed = differ(frames)
    assert 1 <= changed.any((1, 2, 3)).sum() <= 7
    for clip in changed[changed.any((1, 2, 3))]:
        rows, columns = (np.flatnonzero(clip[0].any(axis)) for axis in (1, 0))
        box = np.zeros(clip.shape[1:], bool)
        box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
        np.testing.assert_array_equal(clip, np.stack([box, box]))
        assert 0.01 < box.mean() < 0.4
    noise = frames[changed]
    assert abs(noise.mean()) < 0.3 and 0.8 < noise.std() < 1.2


def test_soft_labels_and_several_sets_of_labels_are_smoothed():
    soft = {**BATCH, "action": 0.5 * HOT + 0.5 * HOT[::-1]}
    found = Mixing(smoothing=0.2)(jax.random.key(0), soft, NETWORK)
    np.testing.assert_allclose(found["action"][0], [0.425, 0.025, 0.025, 0.025], atol=1e-6)  # half of it has no label
    assert found["frames"] is FRAMES

    class Two(ActionsConfig):
        classes = (4, 2)

    sets = {**BATCH, "action": (BATCH["action"], np.zeros(8, np.int32))}
    found = Mixing(smoothing=0.2)(jax.random.key(0), sets, Two())
    assert [one.shape for one in found["action"]] == [(8, 4), (8, 2)]
    plain = {"frames": FRAMES, "mask": BATCH["mask"]}
    assert Mixing(mixup=1.0, smoothing=0.1)(jax.random.key(0), plain, NETWORK).keys() == plain.keys()


def test_mixtures_follow_from_the_seed_the_step_and_the_stream():
    exp = dataclasses.replace(experiment(4), model=NETWORK, mixing=Mixing(mixup=0.8))
    draws = {seed: jax.jit(parts(exp)[0].augment(seed)) for seed in (0, 1)}
    found = {
        (seed, step, stream): np.asarray(draws[seed](jnp.int32(step), jnp.int32(stream), BATCH)["frames"])
        for seed, step, stream in ((0, 2, 0), (0, 3, 0), (0, 2, 1), (1, 2, 0))
    }
    np.testing.assert_array_equal(draws[0](jnp.int32(2), jnp.int32(0), BATCH)["frames"], found[0, 2, 0])
    assert all(not np.array_equal(found[0, 2, 0], one) for key, one in found.items() if key != (0, 2, 0))
    assert parts(experiment(4))[0].augment(0) is None


@pytest.mark.slow
def test_a_resumed_run_draws_the_same_mixtures(tmp_path):
    mixing = Mixing(mixup=0.8, cutmix=1.0, smoothing=0.1, erasing=0.3)
    exp = dataclasses.replace(experiment(4, optimizer=SGD, log_every=1), model=NETWORK, mixing=mixing)
    half = dataclasses.replace(exp, train=dataclasses.replace(exp.train, steps=2))
    run(tmp_path / "whole", exp, model=Tiny(NETWORK))
    for one in (half, exp):
        run(tmp_path / "parts", one, model=Tiny(NETWORK))
    trains = [[row for row in rows(tmp_path / name) if "loss" in row] for name in ("whole", "parts")]
    assert trains[0] == trains[1] and len(trains[0]) == 4
    with pytest.raises(Problem, match="mixing.mixup was 0.8, now 0.5"):
        run(tmp_path / "parts", override(exp, {"mixing.mixup": "0.5", "train.steps": "5"}), model=Tiny(NETWORK))


def test_what_does_not_suit_a_network_is_told_before_the_first_step(tmp_path):
    stages = {"first": Stage(1), "last": Stage(1, mixing=Mixing(mixup=0.8))}
    exp = dataclasses.replace(experiment(None, best=""), stages=stages)
    with pytest.raises(Problem, match="this one reads frames and predicts pose, visible, action"):
        run(tmp_path, exp)
    groups = dataclasses.replace(
        exp, model=NETWORK, stages={**stages, "last": Stage(1, mixing=Mixing(cutmix=1.0, groups=3))}
    )
    with pytest.raises(Problem, match="stage 'last': mixing.groups is 3, which does not divide a batch of 4 examples"):
        run(tmp_path, groups, model=Tiny(NETWORK))
    assert not (tmp_path / "metrics.jsonl").exists()
    with pytest.raises(Usage, match=r"mixing.erasing is 2.0; it must be from 0 to 1"):
        override(exp, {"mixing.erasing": "2"})

    class Skeletons(TinyConfig):
        pixels, classes = None, ()

    for settings, words in (({"erasing": 0.1}, "mixing draws over frames"), ({"smoothing": 0.1}, "labels of actions")):
        with pytest.raises(Problem, match=words):
            Mixing(**settings).check(Skeletons())


def test_a_batch_that_does_not_fit_in_the_first_step_is_one_sentence(tmp_path):
    class Narrow(Tiny):
        def __call__(self, batch):
            if batch["frames"].shape[1] != 1:
                raise ValueError("the network reads single frames")
            return super().__call__(batch)

    with pytest.raises(Problem, match="do not fit a batch of clips with the keys .*: the network reads single frames"):
        run(tmp_path, experiment(1), model=Narrow())
