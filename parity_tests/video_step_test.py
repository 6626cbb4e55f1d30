"""Training steps of masked autoencoders and of their classifiers: JAX against the twin, in float64.

With groups of layers, weight decay, clipping, masks of given noise, and mixup.
"""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
import torch.nn.functional as F

import torch_ref
from jaxhar import port, zoo
from jaxhar.core import mix
from jaxhar.training.layers import layer_decay, weight_decay
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.losses.reconstruction import Reconstruction
from jaxhar.training.optim import Optimizer
from jaxhar.training.step import TrainState, make_step
from jaxhar.weights.net import Net
from parity_tests import cases
from parity_tests.tolerances import DOUBLE, distance

SMALL = {"image_size": 16, "num_frames": 4, "patch": 8, "width": 16, "depth": 1, "heads": 2}
DECODER = {"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2, "pred_frames": 4, "mask_ratio": 0.5}
RATE, DECAY, LAYERS, STEPS = 1e-2, 0.05, 0.75, 2


def start(name: str, changes: dict) -> SimpleNamespace:
    """The same network twice in float64, and clips."""
    config = dataclasses.replace(zoo.config(name), **changes)
    flat = {path: array.astype(np.float64) for path, array in cases.seeded_weights(config).items()}
    net = Net(zoo.create(config, dtype=jnp.float64))
    net.params.update({path: jnp.asarray(flat[path]) for path in net.params})
    twin = torch_ref.create(name, **changes).double()
    twin.load_state_dict({key: torch.from_numpy(array) for key, array in port.to_torch(flat, config).items()})
    rng = np.random.default_rng(0)
    return SimpleNamespace(config=config, net=net, twin=twin.train(), clips=rng.standard_normal((3, 4, 16, 16, 3)))


def stepped(given: SimpleNamespace, losses, batches: list, clip: float, table, decay) -> dict[str, np.ndarray]:
    """The weights after steps, by their names in PyTorch."""
    optimizer = Optimizer(optax.scale_by_adam, learning_rate=RATE, clip_norm=clip, table=table, decay=decay)
    rule = optimizer.build(given.net.params, STEPS)
    step = make_step(given.net, losses, rule)
    params = jax.tree.map(jnp.copy, given.net.params)
    state = TrainState(params, given.net.stats, rule.init(params), jnp.int32(0))
    for batch in batches:
        state, _ = step(state, {"one": batch})
    return port.to_torch({path: np.asarray(array) for path, array in state.params.items()}, given.config)


def twin_stepped(given: SimpleNamespace, loss, batches: list, clip: float, scales, decays) -> dict[str, np.ndarray]:
    """The same by PyTorch's AdamW; `scales` and `decays` by name."""
    twin = given.twin
    groups = [
        {"params": [array], "lr": RATE * scales[name], "weight_decay": decays[name]}
        for name, array in twin.named_parameters()
    ]
    optimizer = torch.optim.AdamW(groups)
    for batch in batches:
        optimizer.zero_grad()
        loss(twin, *batch).backward()
        norm = torch.sqrt(sum((array.grad**2).sum() for array in twin.parameters()))
        for array in twin.parameters():
            array.grad *= min(1.0, clip / float(norm))
        optimizer.step()
    return {name: array.detach().numpy() for name, array in twin.named_parameters()}


def compare(ours: dict[str, np.ndarray], twins: dict[str, np.ndarray]) -> None:
    assert ours.keys() == twins.keys()
    for name, array in twins.items():
        if not name.endswith(("attn.k.bias", "attn.qkv.bias")):  # Adam makes whole steps of rounding errors
            assert distance(ours[name], array) < DOUBLE, name


def channels_first(clips: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(clips).movedim(-1, 2)


def test_steps_of_pretraining():
    with jax.enable_x64(True):
        given = start("mae-st-vit-b", SMALL | DECODER)
        noises = np.random.default_rng(1).random((STEPS, 3, given.config.tokens))
        batches = [{"frames": jnp.asarray(given.clips), "noise": jnp.asarray(noise)} for noise in noises]
        losses = Reconstruction(given.config.patching)
        ours = stepped(given, losses, batches, 0.02, ((".*", 1.0),), weight_decay(DECAY))
        pairs = [(channels_first(given.clips), torch.from_numpy(noise)) for noise in noises]

        def loss(twin, frames, noise):
            return twin.loss(twin(frames, noise), frames)

        decays = {name: DECAY if array.ndim > 1 else 0.0 for name, array in given.twin.named_parameters()}
        compare(ours, twin_stepped(given, loss, pairs, 0.02, dict.fromkeys(decays, 1.0), decays))


@pytest.mark.parametrize(
    ("network", "sizes"),
    [
        ("mae-st-vit-b-k400", {}),
        pytest.param("mae-vit-b-in1k", {"num_frames": 1, "t_patch": 1}, marks=pytest.mark.slow),
    ],
)
def test_steps_of_fine_tuning_with_mixup(network, sizes):
    classes, share = 5, 0.3
    with jax.enable_x64(True):
        changes = SMALL | sizes | {"num_actions": classes, "dropout": 0.0, "path_dropout": 0.0}
        given = start(network, changes)
        given.clips = given.clips[:, : given.config.num_frames]
        labels = np.array([0, 3, 1])
        mixed = mix.mixup(jnp.asarray(given.clips), share)
        targets = mix.mixed_targets(jnp.asarray(labels), classes, share, 0.1)
        table = layer_decay(SMALL["depth"], LAYERS)
        decay = weight_decay(DECAY, tokens=False)
        ours = stepped(given, Multitask(), [{"frames": mixed, "action": targets}] * STEPS, 1.0, table, decay)
        own = torch.full((3, classes), 0.1 / classes, dtype=torch.float64)
        own[range(3), labels] += 0.9
        clips = channels_first(given.clips)
        pair = (share * clips + (1 - share) * clips.flip(0), share * own + (1 - share) * own.flip(0))

        def loss(twin, frames, soft):
            return F.cross_entropy(twin(frames)["action"][0], soft)

        def depth(name):
            last = name.startswith(("norm", "fc_norm", "head"))
            return int(name.split(".")[1]) + 1 if name.startswith("blocks.") else 2 * last

        scales = {name: LAYERS ** (2 - depth(name)) for name, _ in given.twin.named_parameters()}
        decays = {name: DECAY if array.ndim in (2, 4, 5) else 0.0 for name, array in given.twin.named_parameters()}
        compare(ours, twin_stepped(given, loss, [pair] * STEPS, 1.0, scales, decays))


@pytest.mark.slow
def test_masks_move_alike_with_the_steps():
    moves = {"mask_schedule": "cosine", "mask_ratio": 0.3, "mask_ratio_end": 0.75, "mask_steps": 4}
    moves |= {"masking": "directed_v1", "temperature": 1.5, "temperature_end": 0.5, "temperature_steps": 4}
    rng = np.random.default_rng(1)
    noise, cover, counts = rng.random((3, 8)), rng.random((3, 4, 16, 16)), []
    with jax.enable_x64(True):
        given = start("mae-st-vit-b", SMALL | DECODER | moves)
        model = given.net.merge(given.net.params, given.net.stats)
        for step in (0, 2, 4, 6):
            batch = {"frames": given.clips, "noise": noise, "cover": cover}
            found = model({key: jnp.asarray(value) for key, value in batch.items()} | {"step": jnp.int32(step)})
            with torch.no_grad():
                expected = given.twin(channels_first(given.clips), *map(torch.from_numpy, (noise, cover)), step)
            np.testing.assert_array_equal(found["removed"], expected["removed"])
            assert distance(np.asarray(found["patches"]), expected["patches"].numpy()) < DOUBLE
            counts.append(int(found["removed"][0, 0].sum()))
    assert counts == [3, 5, 6, 6]
