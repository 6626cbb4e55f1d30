"""State dicts as training programs write them, and damaged ones."""

import argparse
import io
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import safetensors.torch
import torch

import torch_ref
from jaxhar import port, zoo
from jaxhar.host.errors import Problem, Usage
from jaxhar.models.reception.network import ReceptionConfig
from jaxhar.weights import checkpoint, forms, tensor_file
from jaxhar.weights.state_dict import read_pth, read_safetensors
from jaxhar.weights.torch import save_pth
from parity_tests import cases

TINY = ReceptionConfig.tiny(num_blocks=2)
CHANGES = {name: str(value) for name, value in ReceptionConfig.TINY.items()} | {"num_blocks": "2"}
MODEL = "reception-mpii"


@pytest.fixture(scope="module")
def flat():
    """Weights that are the same in every floating-point type."""
    return {
        name: np.float32(torch.from_numpy(array).bfloat16().float())
        for name, array in cases.seeded_weights(TINY).items()
    }


@pytest.fixture
def state(flat):
    return {name: torch.from_numpy(array.copy()) for name, array in port.to_torch(flat).items()}


def loaded(path):
    return forms.load(path, MODEL, CHANGES)


def same(path, flat) -> tuple[str, ...]:
    found = loaded(path)
    again = port.to_flat(found.model)
    assert again.keys() == flat.keys()
    for name, array in flat.items():
        assert again[name].dtype == np.float32
        np.testing.assert_array_equal(again[name], array, err_msg=name)
    return found.notes


def prefixed(state, *prefixes):
    return {"".join(prefixes) + name: value for name, value in state.items()}


#: form -> what a training program writes, and what is said of it
WRAPPED = {
    "state_dict": (lambda s: {"epoch": 3, "state_dict": s}, "those of 'state_dict' in the file; not used: epoch"),
    "model": (lambda s: {"model": s, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}, "not used: optimizer"),
    "twice": (lambda s: {"checkpoint": {"model_state_dict": OrderedDict(s)}}, "those of 'model_state_dict'"),
    "beside a tensor": (lambda s: {"loss": torch.tensor(0.5), "net": s}, "not used: loss"),
    "an own name": (lambda s: {"posenet": s, "step": 7}, "those of 'posenet'"),
    "a number inside": (lambda s: {**s, "epoch": 3}, "not used: epoch, which is no weight (int)"),
    "module": (lambda s: prefixed(s, "module."), ""),
    "compiled": (lambda s: prefixed(s, "module.", "_orig_mod."), ""),
    "all at once": (lambda s: {"state_dict": prefixed({n: v.bfloat16() for n, v in s.items()}, "module.")}, "those of"),
    "bfloat16": (lambda s: {n: v.bfloat16() for n, v in s.items()}, ""),
    "half": (lambda s: {n: v.half().float().half() for n, v in s.items()}, ""),
    "double": (lambda s: {n: v.double() for n, v in s.items()}, ""),
    "parameters": (lambda s: {n: torch.nn.Parameter(v) for n, v in s.items()}, ""),
}


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("form", WRAPPED)
def test_what_training_programs_write(form, old, state, flat, tmp_path):
    make, said = WRAPPED[form]
    if form == "half":  # of which bfloat16 has some that half has not
        flat = {name: array.astype(np.float16).astype(np.float32) for name, array in flat.items()}
    torch.save(make(state), tmp_path / "w.pth", _use_new_zipfile_serialization=not old)
    notes = same(tmp_path / "w.pth", flat)
    assert said in " ".join(notes) and bool(notes) == bool(said)


def test_what_holds_no_state_dict(state, tmp_path):
    path = tmp_path / "w.pth"
    wrong = {
        "an empty dict": {},
        "a list": [state],
        "a dict of epoch, lr": {"epoch": 1, "lr": 0.1},
        "a dict of generator, discriminator": {"generator": state, "discriminator": state},
        r"holds more than weights \(argparse.Namespace\).*save the weights alone": {
            "args": argparse.Namespace(),
            "model": state,
        },
        r"\(torch.nn.modules.linear.Linear\)": torch.nn.Linear(2, 2),
        "weight stem.conv1.conv.weight of .* is of a kind that is not read": {
            **state,
            "stem.conv1.conv.weight": torch.ones(3, 3).to_sparse(),
        },
        "no floating-point numbers: stem.conv1.conv.weight is of the type int64": {
            **state,
            "stem.conv1.conv.weight": state["stem.conv1.conv.weight"].long(),
        },
    }
    for sentence, content in wrong.items():
        torch.save(content, path)
        with pytest.raises(Problem, match=sentence) as caught:
            loaded(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_program_of_torchscript_is_no_state_dict(tmp_path):
    torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)).save(tmp_path / "w.pt")
    with pytest.raises(Problem, match="w.pt cannot be read as a PyTorch state dict: .*TorchScript"):
        loaded(tmp_path / "w.pt")


def test_names_of_another_network_are_told_as_they_are(state, tmp_path):
    torch.save({f"a.{i}": value for i, value in enumerate(state.values())}, tmp_path / "w.pth")
    with pytest.raises(Problem, match="missing: blocks.0.maps.weight"):
        loaded(tmp_path / "w.pth")


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {e.filename: (e.header_offset, e.file_size) for e in archive.infolist() if e.file_size}


def test_every_flipped_bit_is_noticed(state, flat, tmp_path):
    """In the arrays, in the pickled names and in the directory of the archive."""
    path = tmp_path / "w.pth"
    save_pth({name: value.numpy() for name, value in state.items()}, path)
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    directory = data.index(b"PK\x01\x02")
    for place in [*rng.integers(0, len(data), 60).tolist(), *range(directory, directory + 60), len(data) - 10]:
        damaged = bytearray(data)
        damaged[place] ^= 128 if place >= directory else 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            same(path, flat)  # in what fills the space between the arrays a bit does not matter
        except Problem as problem:
            assert "damaged" in str(problem) or "not a weight file" in str(problem), problem
    name, (start, size) = next((n, m) for n, m in members_of(data).items() if m[1] > 1000)
    damaged = bytearray(data)
    damaged[start + 200 + size // 2] ^= 64
    path.write_bytes(damaged)
    with pytest.raises(Problem, match=f"w.pth is damaged: the checksum of {name} in it differs"):
        loaded(path)
    with pytest.raises(ValueError, match=f"checksum of {name}"):
        torch_ref.load(path)


def members_of(data):
    return members(io.BytesIO(data))


def test_a_file_without_checksums_is_read(state, flat, tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state, tmp_path / "w.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    same(tmp_path / "w.pth", flat)


def test_the_older_form_ends_with_its_last_weight(state, tmp_path):
    path = tmp_path / "w.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    for wrong in (data[:-1], data + b"\0", data[: len(data) // 2], data[:40]):
        path.write_bytes(wrong)
        with pytest.raises(Problem, match="w.pth.*damaged"):
            loaded(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("form", ["w.pth", "w.h5", "w.safetensors", "foreign.safetensors"])
def test_weights_that_are_not_finite_are_refused_by_name(value, form, flat, tmp_path):
    name = "blocks.1.maps.kernel"
    wrong = {**flat, name: flat[name].astype(np.float64 if value == 1e300 else np.float32)}
    wrong[name][0, 0, 0, 0] = value
    path = tmp_path / form
    if form == "w.pth":
        save_pth(port.to_torch(wrong), path)
    elif form == "w.h5":
        if value == 1e300:
            return
        port.save_keras(path, wrong, TINY)
    elif form == "w.safetensors":
        tensor_file.write(path, wrong, checkpoint.describe(TINY, *zoo.labels(zoo.entry(MODEL), TINY)))
    else:
        safetensors.torch.save_file({n: torch.from_numpy(a.copy()) for n, a in port.to_torch(wrong).items()}, path)
    with pytest.raises(Problem, match=f"{name} of the weights in {path} holds NaN or infinity"):
        forms.load(path) if form == "w.safetensors" else loaded(path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_safetensors_of_another_program(dtype, state, flat, tmp_path):
    path = tmp_path / "w.safetensors"
    extra = {"norm.num_batches_tracked": torch.tensor(7)}
    safetensors.torch.save_file({n: v.to(dtype) for n, v in prefixed(state, "module.").items()}, path, {"format": "pt"})
    assert forms.file_kind(path) == "safetensors" and not same(path, flat)
    safetensors.torch.save_file({n: v.to(dtype) for n, v in state.items()} | extra, path)
    assert not same(path, flat)
    assert read_safetensors(path).arrays["norm.num_batches_tracked"] == 7
    with pytest.raises(Usage, match="does not say which network it is of: add --model"):
        forms.load(path)
    with pytest.raises(Problem, match="missing: blocks.0.maps.weight"):
        safetensors.torch.save_file({"a": torch.ones(2)}, path)
        loaded(path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(Problem, match="w.safetensors is damaged"):
        loaded(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(Problem, match="none.pth cannot be read"):
        read_pth(tmp_path / "none.pth")
