"""JAX against PyTorch on seeded random weights: outputs, losses, gradients, running statistics after a step."""

import copy
import dataclasses
from functools import cache, partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

import torch_ref
import torch_ref.losses
from jaxhar import infer, port, zoo
from jaxhar.models.reception.network import ReceptionConfig
from jaxhar.nn.maps import MapsConfig
from jaxhar.training import optim
from jaxhar.training.losses import maps as map_losses
from jaxhar.training.losses import multitask as losses
from parity_tests import cases
from parity_tests.tolerances import DOUBLE, GRADIENTS, LOSSES, MOVES, OUTPUTS, STATISTICS, distance
from torch_ref.layers import Norm

TINY, MAPS = ReceptionConfig.TINY, MapsConfig.TINY
PYRAMIDS = {
    "image_size": 64,
    "image_div": 4,
    "num_pyramids": 2,
    "action_pyramids": (1, 2),
    "num_levels": 2,
    "growth": 8,
    "kernel_size": 3,
    "num_pose_features": 24,
    "num_visual_features": 16,
}
#: network, what is changed in it, clips, frames of a clip
NETWORKS = {
    "pose": ("reception-mpii", TINY, 3, 1),
    "pose without context": ("reception-mpii", {**TINY, "num_context": 0, "kernel_size": 3}, 3, 1),
    "pose of odd sizes": ("reception-mpii", {**TINY, "image_size": 72, "num_joints": 13, "num_context": 1}, 2, 3),
    "action": ("reception-penn", {**TINY, "num_frames": 8}, 2, 8),
    "action of odd sizes": ("reception-penn", {**TINY, "num_joints": 13, "num_actions": 5}, 3, 5),
    "pose with the old stem": ("reception-mpii", {**TINY, "old_model": True, "kernel_size": 3}, 3, 1),
    "3-D pose": ("reception-h36m", TINY, 3, 1),
    "3-D pose of odd sizes": (
        "reception-h36m",
        {**TINY, "image_size": 72, "num_joints": 13, "depth_maps": 5, "depth_grid": "centres", "old_model": True},
        2,
        3,
    ),
    "3-D action": ("reception-ntu", {**TINY, "num_frames": 8}, 2, 8),
    "3-D action of odd sizes": (
        "reception-ntu",
        {**TINY, "num_joints": 13, "depth_maps": 3, "num_actions": 5, "weighted_merge": False},
        3,
        5,
    ),
    "action on stills": ("reception-penn", {**TINY, "num_joints": 17, "num_actions": 2}, 4, 1),
    "pyramids": ("spnet-penn", {**PYRAMIDS, "num_pyramids": 3, "action_pyramids": (1, 2, 3), "sam_alpha": 2.0}, 2, 4),
    "pyramids in 3-D, two label sets": ("spnet-ntu", {**PYRAMIDS, "num_actions": (5, 3)}, 3, 3),
    "pyramids, pose only": ("spnet-pose", {**PYRAMIDS, "num_pyramids": 1, "num_levels": 3}, 3, 1),
    "pyramids, strided": (
        "spnet-ntu",
        {**PYRAMIDS, "image_div": 8, "downsampling": "conv", "pose_replica": True},
        2,
        2,
    ),
    "pyramids of odd sizes": (
        "spnet-penn",
        {**PYRAMIDS, "image_size": 72, "image_div": 8, "kernel_size": 5, "num_joints": 13, "action_pyramids": (2,)},
        1,
        17,
    ),
    "pyramids, action now and then": ("spnet-penn", {**PYRAMIDS, "num_pyramids": 3, "action_pyramids": (1, 3)}, 2, 1),
    "maps after a sigmoid": ("simple-baseline-lip", MAPS, 3, 2),
    "maps of wide pictures": (
        "simple-baseline-coco",
        {**MAPS, "image_size": (64, 96), "deconv_kernels": (2, 3, 4), "final_kernel": 3, "num_joints": 13},
        3,
        1,
    ),
    "maps of four views": ("multiview-h36m", MAPS, 2, 4),
    "maps of other views": ("multiview-h36m", {**MAPS, "views": 3, "backbone": "mobilenetv2"}, 2, 2),
}


#: These are networks of the zoo as they are, or nearly; entries_test.py compares their outputs.
ENTRIES = (
    "pose",
    "action",
    "3-D pose",
    "3-D action",
    "maps after a sigmoid",
    "maps of four views",
    "maps of other views",
)
#: Of these one training step is compared.
STEPS = ("action of odd sizes", "3-D pose of odd sizes", "pyramids in 3-D, two label sets")
#: Of these too, among the slow tests.
MORE_STEPS = (
    "pose",
    "pose of odd sizes",
    "action",
    "3-D action",
    "pyramids, pose only",
    "pyramids",
    "pyramids, strided",
    "pyramids of odd sizes",
    "maps after a sigmoid",
    "maps of wide pictures",
    "maps of four views",
    "maps of other views",
)
#: Of these two steps of each optimizer.
OPTIMIZED = ("3-D pose of odd sizes", pytest.param("pyramids in 3-D, two label sets", marks=pytest.mark.slow))


def build(name: str, changes: dict):
    """The same seeded network twice: settings, JAX model, torch net."""
    config = dataclasses.replace(zoo.config(name), **changes)
    flat = cases.seeded_weights(config)
    net = torch_ref.create(name, **changes)
    load(net, flat, config)
    return config, port.from_flat(flat, config), net


def load(net: torch.nn.Module, flat: port.Flat, config) -> None:
    """Gives the torch net all of these weights."""
    state = {key: torch.from_numpy(value) for key, value in port.to_torch(flat, config).items()}
    missing, unexpected = net.load_state_dict(state, strict=False)
    assert not unexpected and all(key.endswith("num_batches_tracked") for key in missing)


def to_torch(batch: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    def tensor(value):
        return tuple(map(tensor, value)) if isinstance(value, tuple) else torch.from_numpy(value)

    tensors = {key: tensor(value) for key, value in batch.items()}
    return tensors | {"frames": tensors["frames"].permute(0, 1, 4, 2, 3)}


@pytest.mark.parametrize("network", [network for network in NETWORKS if network not in ENTRIES])
def test_outputs(network):
    name, changes, clips, time = NETWORKS[network]
    config, model, net = build(name, changes)
    frames = cases.seeded_batch(config, clips, time)["frames"]
    ours, twins = infer(model, frames), torch_ref.infer(net, frames)
    assert ours.keys() == twins.keys()
    for key, value in twins.items():
        assert distance(ours[key], value) < OUTPUTS, key


def test_losses_of_the_same_predictions():
    rng = np.random.default_rng(0)
    config = dataclasses.replace(zoo.config("reception-penn"), image_size=8)
    batch = cases.seeded_batch(config, clips=3, time=4)
    preds = {
        "pose": rng.uniform(-0.2, 1.2, (2, 3, 4, 16, 2)).astype(np.float32),
        "visible": rng.uniform(0, 1, (2, 3, 4, 16)).astype(np.float32),
        "action": rng.normal(0, 3, (9, 3, 15)).astype(np.float32),
    }
    multitask = losses.Multitask(pose=1.5, visible=0.01, action=0.1)
    ours = multitask(preds, batch)
    weights = {"pose": 1.5, "visible": 0.01, "action": 0.1}
    tensors = {key: torch.from_numpy(value) for key, value in preds.items()}
    twins = torch_ref.losses.multitask(tensors, to_torch(batch), weights)
    assert ours.keys() == twins.keys() == {"pose", "visible", "action"}
    for key, value in twins.items():
        assert distance(np.asarray(ours[key]), value.numpy()) < LOSSES, key


@pytest.mark.parametrize("kind", map_losses.Targets)
def test_losses_of_the_same_maps(kind):
    rng = np.random.default_rng(0)
    config = dataclasses.replace(zoo.config("simple-baseline-coco"), image_size=(32, 64))
    batch = cases.seeded_batch(config, clips=3, time=2)
    batch["pose"][0, 0, :4] = [[-0.3, 0.5], [0.01, 0.99], [0.5, 1.2], [1.0, 0.0]]  # outside, and at the edges
    batch["valid"][0, 0, :4] = True
    preds = {"maps": rng.normal(0, 1, (2, 3, 2, 12, 20, 17)).astype(np.float32)}
    ours = map_losses.Maps(kind, sigma=1.5)(preds, batch)["maps"]
    twins = torch_ref.losses.maps({"maps": torch.from_numpy(preds["maps"])}, to_torch(batch), kind, 1.5)
    assert distance(np.asarray(ours), twins.numpy()) < LOSSES


@pytest.mark.parametrize("network", [*STEPS, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE_STEPS)])
def test_one_training_step_in_double_precision(network):
    """Loss, gradients and running statistics.

    In float32 the comparison would mean little: where a maximum or a ReLU changes sides by a rounding error, PyTorch's
    own float32 gradients of the action heads differ from its float64 ones by up to a third of a leaf's largest.
    """
    with jax.enable_x64(True):
        _compare_one_step(network, jnp.float64, DOUBLE, DOUBLE)


@pytest.mark.slow
def test_one_training_step_in_single_precision():
    _compare_one_step("pose", jnp.float32, LOSSES, GRADIENTS)


@pytest.mark.parametrize("network", OPTIMIZED)
def test_two_steps_of_each_optimizer_in_double_precision(network):
    """What RMSprop as in Keras 2 (torch has the same rule) and SGD with Nesterov momentum make of the parameters."""
    rules = (
        (optim.keras_rmsprop, partial(torch.optim.RMSprop, alpha=0.9, eps=1e-7)),
        (optim.nesterov, partial(torch.optim.SGD, momentum=0.9, nesterov=True)),
    )
    with jax.enable_x64(True):
        start = _training(network, jnp.float64)
        for rule, torch_rule in rules:
            params, stats, net = start.params, start.stats, copy.deepcopy(start.net)
            chain, twin = rule(1e-3), torch_rule(net.parameters(), lr=1e-3)
            state, update = chain.init(params), jax.jit(chain.update, compiler_options=cases.QUICKLY)
            for _ in range(2):
                (_, stats), gradients = start.step(params, stats)
                updates, state = update(gradients, state)
                params = {path: leaf + updates[path] for path, leaf in params.items()}
                twin.zero_grad()
                start.twin_loss(net).backward()
                twin.step()
            moved = {path: np.asarray(leaf - start.params[path]) for path, leaf in params.items()}
            moves = port.to_torch(moved, start.config)
            befores, afters = dict(start.net.named_parameters()), dict(net.named_parameters())
            twins = {path: (leaf - befores[path]).detach().numpy() for path, leaf in afters.items()}
            assert _farthest(moves, twins) < MOVES


@cache
def _training(network: str, dtype) -> SimpleNamespace:
    """A seeded network ready to learn from one batch.

    Its weights, flat; `step` from params and stats to ((loss, stats), gradients), jitted; the torch net and its loss.
    It is made once, so do not change it.
    """
    name, changes, clips, time = NETWORKS[network]
    config = dataclasses.replace(zoo.config(name), **changes)
    flat = {key: value.astype(dtype) for key, value in cases.seeded_weights(config).items()}
    batch = cases.seeded_batch(config, clips, time)
    batch = jax.tree.map(lambda v: v.astype(dtype) if v.dtype == np.float32 else v, batch)
    loss, twin_terms = _losses(config)

    graphdef, params, stats = nnx.split(zoo.create(config, dtype=dtype), nnx.Param, nnx.BatchStat)
    params, stats = ({path: jnp.asarray(flat[path]) for path in port.flatten(state)} for state in (params, stats))
    places = {".".join(map(str, path)): path for path in dict(nnx.to_flat_state(nnx.state(zoo.create(config))))}

    @partial(jax.jit, compiler_options=cases.QUICKLY)
    def step(params, stats, batch):
        def total(params):
            state = nnx.from_flat_state({places[path]: leaf for path, leaf in (params | stats).items()})
            net = nnx.merge(graphdef, state, copy=True)
            terms = loss(net(batch), batch)
            moved = dict(nnx.to_flat_state(nnx.state(net, nnx.BatchStat)))
            return sum(term.mean() for term in terms.values()), {path: moved[places[path]][...] for path in stats}

        return jax.value_and_grad(total, has_aux=True)(params)

    net = torch_ref.create(name, **changes).to(torch.float64 if dtype == jnp.float64 else torch.float32)
    load(net, flat, config)
    tensors = to_torch(batch)

    def twin_loss(net):
        return sum(term.mean() for term in twin_terms(net.train()(tensors["frames"]), tensors).values())

    return SimpleNamespace(
        config=config, params=params, stats=stats, step=partial(step, batch=batch), net=net, twin_loss=twin_loss
    )


def _losses(config):
    """The loss that networks of this kind learn by, and the same in PyTorch."""
    if "maps" in config.predicts:
        loss = map_losses.Maps(sigma=1.5)
        return loss, lambda preds, batch: {"maps": torch_ref.losses.maps(preds, batch, sigma=1.5)}
    multitask = losses.Multitask(action=0.1)
    weights = {"pose": multitask.pose, "visible": multitask.visible, "action": multitask.action}
    return multitask, lambda preds, batch: torch_ref.losses.multitask(preds, batch, weights)


def _farthest(ours: dict[str, np.ndarray], twins: dict[str, np.ndarray]) -> float:
    """The largest difference of all leaves, relative to the largest value of its leaf."""
    assert ours.keys() == twins.keys()
    largest = max(np.abs(twin).max() for twin in twins.values())
    # A leaf whose true gradient is zero (a kernel before batch normalisation, along itself) holds rounding errors.
    return max(np.abs(ours[k] - v).max() / max(np.abs(v).max(), 1e-4 * largest) for k, v in twins.items())


def _compare_one_step(network: str, dtype, loss_bound: float, bound: float):
    start = _training(network, dtype)
    (loss, moved), gradients = start.step(start.params, start.stats)

    net, counts = copy.deepcopy(start.net), {}
    for path, module in net.named_modules():
        if isinstance(module, Norm):
            module.register_forward_hook(
                lambda m, args, out, path=path: counts.__setitem__(path, args[0].numel() // args[0].shape[1])
            )
    twin_loss = start.twin_loss(net)
    twin_loss.backward()
    assert distance(np.asarray(loss), twin_loss.detach().numpy()) < loss_bound

    ours = port.to_torch({path: np.asarray(gradient) for path, gradient in gradients.items()}, start.config)
    twins = {path: p.grad.numpy() for path, p in net.named_parameters() if p.grad is not None}
    assert _farthest(ours, twins) < bound

    befores = port.to_torch({path: np.asarray(value) for path, value in start.stats.items()}, start.config)
    for path, value in port.to_torch({path: np.asarray(value) for path, value in moved.items()}, start.config).items():
        above, _, leaf = path.rpartition(".")
        if leaf == "running_var" and above in counts:  # torch keeps the unbiased variance of the batch
            before, n = befores[path], counts[above]
            value = 0.99 * before + (value - 0.99 * before) * n / max(n - 1, 1)
        assert distance(value, net.get_buffer(path).numpy()) < STATISTICS, path
