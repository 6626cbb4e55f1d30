"""Files written by deephar's code under Keras 2.1.4 are read, written again and compared weight by weight."""

import re

import h5py
import numpy as np
import pytest

from jaxhar import port
from jaxhar.host.errors import Problem
from jaxhar.weights import keras
from parity_tests import cases


def plain(name):
    """A weight's name without the numbers that depend on what else a process has built."""
    name = name.replace("custom_sam_", "separable_conv2d_")
    return re.sub(r"(conv2d|batch_normalization|conv1d|dense)_\d+", r"\1", name)


@pytest.mark.parametrize("case", cases.CASES)
def test_a_file_comes_back_group_by_group_and_weight_by_weight(case, tmp_path):
    config = cases.config(case)
    groups = [(name, weights) for name, weights in cases.groups(case) if weights]
    flat = port.to_flat(port.load_keras(cases.write_h5(groups, tmp_path / "theirs.h5"), config))
    port.save_keras(tmp_path / "ours.h5", flat, config)

    written = []
    with h5py.File(tmp_path / "ours.h5") as file:
        for name in file.attrs["layer_names"]:
            group = file[name]
            written.append((name.decode(), [(w.decode(), group[w][()]) for w in group.attrs["weight_names"]]))
    if all(weight.split("/")[0] == name for name, weights in groups for weight, _ in weights):
        # A file in which every group is one named layer is read by name: its order is of no account.
        groups, written = sorted(groups), sorted(written)
    assert [plain(name) for name, _ in written] == [plain(name) for name, _ in groups]
    for (name, theirs), (_, ours) in zip(groups, written, strict=True):
        assert [plain(weight) for weight, _ in ours] == [plain(weight) for weight, _ in theirs], name
        for (weight, a), (_, b) in zip(theirs, ours, strict=True):
            assert a.dtype == b.dtype == np.float32
            np.testing.assert_array_equal(a, b, err_msg=f"{name}: {weight}")

    again = port.to_flat(port.load_keras(tmp_path / "ours.h5", config))
    assert again.keys() == flat.keys()
    for name, array in flat.items():
        np.testing.assert_array_equal(again[name], array, err_msg=name)


def test_names_are_bytes_of_fixed_length_for_keras_to_decode(tmp_path):
    keras.write(tmp_path / "a.h5", [("conv1", [("conv1/kernel:0", np.ones(2))]), ("res0_bn1", [])])
    with h5py.File(tmp_path / "a.h5") as file:
        for attribute in (file.attrs["layer_names"], file["conv1"].attrs["weight_names"]):
            assert attribute.dtype.kind == "S"
        assert isinstance(file.attrs["keras_version"], np.bytes_) and file.attrs["keras_version"].decode() == "2.1.4"
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]
    with pytest.raises(Problem, match=r"cannot write .*a\.h5/b\.h5"):
        keras.write(tmp_path / "a.h5" / "b.h5", [])


def test_a_leaf_without_a_layer_is_an_error():
    config = cases.config("pe2d_small")
    with pytest.raises(ValueError, match="of 1 leaves"):
        keras.arrange({"nowhere.kernel": np.zeros(3)}, config)
