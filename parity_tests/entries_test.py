"""What every network of the zoo must do, at `zoo.tiny`: a new entry gets these tests by being one.

A network is built, and compiled for one shape, once; what the tests of an entry share is in the fixture.
"""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from jax import export as jax_export

import torch_ref
from jaxhar import export, infer, inference, port, zoo
from jaxhar.weights import checkpoint, forms, state_dict
from parity_tests import cases
from parity_tests.tolerances import LATE, OUTPUTS, distance


@pytest.fixture(scope="module", params=zoo.names())
def network(request):
    """An entry: settings, seeded weights, the network, inputs of two examples and what it predicts for them."""
    name = request.param
    config = zoo.tiny(name)
    weights = cases.seeded_weights(config)
    model = port.from_flat(weights, config)
    inputs = cases.seeded_inputs(config, 2, frames=2)
    return SimpleNamespace(
        name=name, config=config, weights=weights, model=model, inputs=inputs, preds=infer(model, inputs)
    )


#: What takes long to compile is tested for the first entry of each family; for the others it is slow.
FIRST = {next(iter(family.entries)) for family in zoo.FAMILIES if family.entries}
#: The gradients of these families are compared with the twin's in twin_test.py.
COMPARED = {"reception-mpii", "spnet-penn"}
one_of_each_family = pytest.mark.parametrize(
    "network",
    [name if name in FIRST else pytest.param(name, marks=pytest.mark.slow) for name in zoo.names()],
    indirect=True,
)


def test_predictions_are_those_it_declares(network):
    config, preds = network.config, network.preds
    assert set(preds) == set(config.predicts)
    for value in jax.tree.leaves(preds):
        assert value.shape[1] == 2 and np.isfinite(value).all()
    if config.pose_shape is not None:
        assert preds["pose"].shape[3:] == config.pose_shape
    if config.classes:
        sets = preds["action"] if len(config.classes) > 1 else (preds["action"],)
        assert tuple(array.shape[-1] for array in sets) == config.classes
    joints, classes = zoo.labels(zoo.entry(network.name), config)
    assert joints is zoo.entry(network.name).skeleton and classes == zoo.entry(network.name).actions


def test_the_twin_predicts_the_same(network):
    net = torch_ref.create(network.name, **dataclasses.asdict(network.config))
    state = port.to_torch(network.weights, network.config)
    net.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    twins = torch_ref.infer(net, network.inputs)
    assert twins.keys() == network.preds.keys()
    for key, value in twins.items():
        assert distance(network.preds[key], value) < LATE.get(network.name, OUTPUTS), key


def test_the_weights_come_back_bit_by_bit(network, tmp_path):
    """Through a state dict and a checkpoint."""
    meta = checkpoint.Meta(*zoo.labels(zoo.entry(network.name), network.config), network.config)
    for name in ("w.pth", "w.safetensors"):
        forms.save(forms.Loaded(network.model, meta), tmp_path / name)
    loaded = checkpoint.load_model(tmp_path / "w.safetensors")
    assert loaded[1] == meta
    for again in (
        port.to_flat(loaded[0]),
        port.from_torch(state_dict.read_pth(tmp_path / "w.pth").arrays, network.config),
    ):
        assert again.keys() == network.weights.keys()
        for name, array in network.weights.items():
            np.testing.assert_array_equal(again[name], array, err_msg=name)


def test_pieces_give_what_all_at_once_gives(network):
    """Cut between examples; between frames, too, if the settings say that no frame needs another."""
    size = next(iter(network.inputs.values())).shape[0]
    length = next((network.inputs[key].shape[1] for key in ("frames", "points") if key in network.inputs), 1)
    whole = network.preds
    if network.config.frames_apart and length > 1:
        parts = infer(network.model, network.inputs, chunk=length * size - 1)
    else:
        before = inference._probabilities.compilations()
        twice = {key: np.concatenate([value, value[:1]]) for key, value in network.inputs.items()}
        parts = infer(network.model, twice, chunk=length * size)
        assert inference._probabilities.compilations() == before, "pieces of one shape, which is compiled already"
        whole = jax.tree.map(lambda array: np.concatenate([array, array[:, :1]], 1), whole)
    assert jax.tree.structure(whole) == jax.tree.structure(parts)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), whole, parts)


def _loss(graphdef, params, rest, batch):
    """A number that every prediction in training has a part in."""
    model = nnx.merge(graphdef, params, rest, copy=True)
    model.train()
    return sum(jnp.square(value).mean() for value in jax.tree.leaves(model(batch)))


def _training_batch(network):
    labels = {"action": jnp.zeros(2, jnp.int32)} if len(network.config.classes) == 1 else {}
    if len(network.config.classes) > 1:
        labels = {"action": tuple(jnp.zeros(2, jnp.int32) for _ in network.config.classes)}
    return network.inputs | labels


@pytest.mark.parametrize(
    "network",
    [name if name in FIRST - COMPARED else pytest.param(name, marks=pytest.mark.slow) for name in zoo.names()],
    indirect=True,
)
def test_the_gradient_is_finite(network):
    graphdef, params, rest = nnx.split(network.model, nnx.Param, ...)
    gradient = jax.jit(
        lambda params, rest, batch: jax.grad(_loss, 1)(graphdef, params, rest, batch), compiler_options=cases.QUICKLY
    )
    found = gradient(params, rest, _training_batch(network))
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(found))
    assert any(bool((leaf != 0).any()) for leaf in jax.tree.leaves(found))


@one_of_each_family
def test_it_is_traced_in_tree_mode_too(network):
    """A network without shared variables, which is what `NNX_GRAPH_MODE=false` asks for: forward and gradient."""
    with nnx.set_graph_mode(False):
        graphdef, params, rest = nnx.split(network.model, nnx.Param, ...)
        gradients = jax.eval_shape(
            lambda params, rest, batch: jax.grad(_loss, 1)(graphdef, params, rest, batch),
            params,
            rest,
            _training_batch(network),
        )
    assert {leaf.shape for leaf in jax.tree.leaves(gradients)} == {leaf.shape for leaf in jax.tree.leaves(params)}


def test_its_cost_is_counted(network):
    assert zoo.multiply_adds(network.config) > 1000


def test_it_is_exported_for_any_number_of_examples(network, tmp_path):
    """What the artifact computes is compared in export_test.py: compiling one takes as long as all else here."""
    export.to_jax(export.fold(network.model)[0], tmp_path / "net.jax")
    artifact = jax_export.deserialize(bytearray((tmp_path / "net.jax").read_bytes()))
    assert set(artifact.platforms) == set(export.PLATFORMS)
    outputs = artifact.out_tree.unflatten(artifact.out_avals)
    assert set(outputs) == set(network.config.predicts)
    assert all(str(aval.shape[1]) == "batch" for aval in jax.tree.leaves(outputs))


@pytest.mark.parametrize(
    "network",
    [
        name if name in ("skeleton-transformer-ntu", "mae-st-vit-b") else pytest.param(name, marks=pytest.mark.slow)
        for name in zoo.names()
    ],
    indirect=True,
)
def test_its_onnx_file_reads_any_number_of_examples(network, tmp_path):
    run = export.to_onnx(*export.fold(network.model), tmp_path / "net.onnx")
    inputs = cases.seeded_inputs(network.config, 3)
    if inputs.keys() == {"frames"} and inputs["frames"].shape[1] == 1:
        inputs = {"frames": inputs["frames"][:, 0]}  # single images
    found, expected = run(inputs), infer(network.model, inputs)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        for ours, other in zip(
            *(one if isinstance(one, tuple) else (one,) for one in (value, found[key])), strict=True
        ):
            assert distance(ours, other) < LATE.get(network.name, OUTPUTS), key
