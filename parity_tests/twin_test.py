"""JAX against PyTorch on seeded random weights: outputs, losses, gradients, running statistics after a step."""

import dataclasses

import jax
import numpy as np
import pytest
import torch
from flax import nnx

import torch_ref
import torch_ref.losses
from jaxhar import infer, losses, port, zoo
from parity_tests import cases
from parity_tests.tolerances import GRADIENTS, LOSSES, OUTPUTS, STATISTICS, distance
from torch_ref.layers import Norm

TINY = {"image_size": 64, "num_blocks": 2, "width": 36, "stem_width": 4}
#: network, what is changed in it, clips, frames of a clip
NETWORKS = {
    "pose": ("reception-mpii", TINY, 3, 1),
    "pose without context": ("reception-mpii", {**TINY, "num_context": 0, "kernel_size": 3}, 3, 1),
    "pose of odd sizes": ("reception-mpii", {**TINY, "image_size": 72, "num_joints": 13, "num_context": 1}, 2, 3),
    "action": ("reception-penn", {**TINY, "num_frames": 8}, 2, 8),
    "action of odd sizes": ("reception-penn", {**TINY, "num_joints": 13, "num_actions": 5}, 3, 5),
    "action on stills": ("reception-penn", {**TINY, "num_joints": 17, "num_actions": 2}, 4, 1),
}


def build(name: str, changes: dict):
    """The same seeded network twice: settings, JAX model, torch net."""
    config = dataclasses.replace(zoo.config(name), **changes)
    flat = cases.seeded_weights(config)
    net = torch_ref.create(name, **changes)
    net.load_state_dict({k: torch.from_numpy(v) for k, v in port.to_torch(flat).items()})
    return config, port.from_flat(flat, config), net


def to_torch(batch: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    tensors = {key: torch.from_numpy(value) for key, value in batch.items()}
    return tensors | {"frames": tensors["frames"].permute(0, 1, 4, 2, 3)}


@pytest.mark.parametrize("network", NETWORKS)
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


@pytest.mark.parametrize("network", ["pose", "pose of odd sizes", "action", "action of odd sizes"])
def test_one_training_step(network):
    name, changes, clips, time = NETWORKS[network]
    config, model, net = build(name, changes)
    batch = cases.seeded_batch(config, clips, time)
    multitask = losses.Multitask(action=0.1)
    model.train()
    graphdef, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)

    @jax.jit
    def step(params, stats, batch):
        def total(params):
            net = nnx.merge(graphdef, params, stats, copy=True)
            terms = multitask(net(batch["frames"]), batch)
            return sum(term.mean() for term in terms.values()), (terms, nnx.state(net, nnx.BatchStat))

        return jax.grad(total, has_aux=True)(params)

    gradients, (terms, new_stats) = step(params, stats, batch)

    counts = {}
    for path, module in net.named_modules():
        if isinstance(module, Norm):
            module.register_forward_hook(
                lambda m, args, out, path=path: counts.__setitem__(path, args[0].numel() // args[0].shape[1])
            )
    net.train()
    tensors = to_torch(batch)
    weights = {"pose": multitask.pose, "visible": multitask.visible, "action": multitask.action}
    twin_terms = torch_ref.losses.multitask(net(tensors["frames"]), tensors, weights)
    sum(term.mean() for term in twin_terms.values()).backward()

    assert terms.keys() == twin_terms.keys()
    twin_detached = {key: value.detach() for key, value in twin_terms.items()}
    total, twin_total = (np.asarray(sum(t.mean() for t in ts.values())) for ts in (terms, twin_detached))
    assert distance(total, twin_total) < LOSSES

    ours = port.to_torch(port.flatten(gradients))
    twins = {name: p.grad.numpy() for name, p in net.named_parameters() if p.grad is not None}
    assert ours.keys() == twins.keys()
    largest = max(np.abs(g).max() for g in twins.values())
    for key, value in twins.items():
        # A leaf whose true gradient is zero (a bias before batch normalisation) holds rounding errors of the others.
        scale = max(np.abs(value).max(), 1e-4 * largest)
        assert np.abs(ours[key] - value).max() < GRADIENTS * scale, key

    start, moved = port.flatten(stats), port.flatten(new_stats)
    for key, value in moved.items():
        *path, leaf = key.split(".")
        twin = net.get_buffer(".".join([*path, {"mean": "running_mean", "var": "running_var"}[leaf]])).numpy()
        if leaf == "var":  # torch keeps the unbiased variance of the batch
            n = counts[".".join(path)]
            value = 0.99 * start[key] + (value - 0.99 * start[key]) * n / max(n - 1, 1)
        assert distance(value, twin) < STATISTICS, key
