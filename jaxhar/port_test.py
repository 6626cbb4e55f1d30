"""deephar's files, and files that differ slightly from them."""

import dataclasses

import h5py
import numpy as np
import pytest

from jaxhar import port, zoo
from jaxhar.host.errors import Problem
from jaxhar.models.reception.network import ReceptionConfig
from jaxhar.weights import forms, keras
from parity_tests import cases

CASE = "ar_penn_small"


@pytest.fixture(scope="module")
def groups():
    return cases.groups(CASE)


@pytest.fixture(scope="module")
def flat(groups, tmp_path_factory):
    path = cases.write_h5(groups, tmp_path_factory.mktemp("h5") / "weights.h5")
    return port.to_flat(port.load_keras(path, cases.config(CASE)))


def rename(groups, change):
    return [(change(name), [(change(weight), value) for weight, value in weights]) for name, weights in groups]


def shifted(name):
    """Automatic numbers as they are when 13 layers of every kind were built before in the same process."""
    parts = name.split("/")
    for kind in ("conv2d_", "batch_normalization_", "separable_conv2d_", "dense_"):
        parts = [f"{kind}{int(p.removeprefix(kind)) + 13}" if p.startswith(kind) else p for p in parts]
    return "/".join(parts)


def from_zero(name):
    """Automatic numbers as tf.keras gives them: conv2d, conv2d_1, ..."""
    head, slash, tail = name.partition("/")
    for kind in ("conv2d_", "batch_normalization_"):
        if head.startswith(kind):
            n = int(head.removeprefix(kind)) - 1
            head = f"{kind}{n}" if n else kind[:-1]
    return head + slash + tail


def by_layer(groups):
    """Weights of a layer side by side, statistics included, as newer Keras writes nested models."""
    return [(name, sorted(weights, key=lambda w: w[0].split("/")[0])) for name, weights in groups]


VARIANTS = {
    "other counters": lambda groups: rename(groups, shifted),
    "counters from zero": lambda groups: rename(groups, from_zero),
    "statistics beside their layer": by_layer,
    "weights reversed": lambda groups: [(name, weights[::-1]) for name, weights in groups],
    "groups reversed": lambda groups: groups[::-1],
    "nested names": lambda groups: [(n, [(f"{n}/{w}" if len(ws) > 4 else w, v) for w, v in ws]) for n, ws in groups],
}


def test_a_file_of_a_newer_keras(groups, flat, tmp_path):
    """Everything at once: text, sorted groups, counters from zero, long lists of names cut in pieces, doubles."""
    groups = sorted(rename(by_layer(groups), from_zero))
    path = cases.write_h5(
        [(n, [(w, v.astype(np.float64)) for w, v in ws]) for n, ws in groups], tmp_path / "w.h5", True
    )
    with h5py.File(path, "r+") as file:
        for owner, name in [(file, "layer_names"), *((file[n], "weight_names") for n, ws in groups if ws)]:
            names = list(owner.attrs.pop(name))
            for i in range(0, len(names), 9):
                owner.attrs[f"{name}{i // 9}"] = names[i : i + 9]
    again = port.to_flat(port.load_keras(path, cases.config(CASE)))
    assert again.keys() == flat.keys()
    for name, array in flat.items():
        assert again[name].dtype == np.float32
        np.testing.assert_array_equal(again[name], array, err_msg=name)


@pytest.mark.parametrize("variant", VARIANTS)
def test_numbers_and_order_do_not_matter(variant, groups, flat, tmp_path):
    path = cases.write_h5(VARIANTS[variant](groups), tmp_path / "weights.h5", text=variant == "weights reversed")
    again = port.to_flat(port.load_keras(path, cases.config(CASE)))
    assert again.keys() == flat.keys()
    for name, array in flat.items():
        np.testing.assert_array_equal(again[name], array, err_msg=name)


def test_a_whole_saved_model_nests_its_weights(groups, flat, tmp_path):
    inner = cases.write_h5(groups, tmp_path / "inner.h5")
    with h5py.File(inner) as source, h5py.File(tmp_path / "model.h5", "w") as file:
        source.copy(source, file, "model_weights")
    again = port.to_flat(port.load_keras(tmp_path / "model.h5", cases.config(CASE)))
    np.testing.assert_array_equal(again["pose.stem.conv1.conv.kernel"], flat["pose.stem.conv1.conv.kernel"])


def edit(groups, group, change):
    return [(name, change(weights) if name == group else weights) for name, weights in groups]


def swap(one, other):
    return lambda weights: [({one: other, other: one}.get(name, name), value) for name, value in weights]


def wrong_grid(weights):
    return [(name, value + 0.01 * (value.shape[0] > 1)) for name, value in weights]


BROKEN = {
    "a group too few": (lambda g: [x for x in g if x[0] != "PoseAR"], "group PoseAR is missing"),
    "a group too many": (lambda g: [*g, ("extra", [("extra/kernel:0", np.zeros(3))])], "left over: group extra"),
    "a weight too few": (
        lambda g: edit(g, "GuidedVisAR", lambda w: [x for x in w if x[0] != "batch_normalization_38/beta:0"]),
        "missing: visual_stream.entry.norm.bias",
    ),
    "a layer too few": (
        lambda g: edit(g, "td_Stem", lambda w: [x for x in w if not x[0].startswith("conv2d_11/")]),
        "td_Stem has 10 layers conv2d, expected 11",
    ),
    "a layer too many": (
        lambda g: edit(g, "td_Stem", lambda w: [*w, ("mystery/kernel:0", np.zeros(3))]),
        "left over: td_Stem/mystery",
    ),
    "a weight of another shape": (
        lambda g: edit(g, "td_Stem", lambda w: [(n, v[:, :, :, :9] if n == "conv2d_1/kernel:0" else v) for n, v in w]),
        "wrong shape: pose.stem.conv1.conv.kernel is (3, 3, 3, 9), expected (3, 3, 3, 32)",
    ),
    "an unknown weight in a layer": (
        lambda g: edit(g, "td_Stem", lambda w: [*w, ("conv2d_1/bias:0", np.zeros(32, np.float32))]),
        "left over: td_Stem/conv2d_1/bias",
    ),
    "weights of two layers exchanged": (
        lambda g: edit(
            g, "td_rBlock1", swap("sepconv_l1_conv/pointwise_kernel:0", "sepconv_l2_3_conv/pointwise_kernel:0")
        ),
        "wrong shape: pose.blocks.0.reception.level1.main.conv.pointwise.kernel is (1, 1, 288, 576)",
    ),
    "a kernel with its axes exchanged": (
        lambda g: edit(g, "td_Stem", lambda w: [(n, v.T if n == "conv2d_1/kernel:0" else v) for n, v in w]),
        "wrong shape: pose.stem.conv1.conv.kernel is (32, 3, 3, 3)",
    ),
    "a number where a weight should be": (
        lambda g: edit(g, "Agg", lambda w: [(n, v.astype(np.int32)) for n, v in w]),
        "Agg/dense_2/kernel:0 holds no floating-point numbers",
    ),
    "another soft-argmax grid": (lambda g: edit(g, "sSAM", wrong_grid), "is not the soft-argmax constant"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_file_that_does_not_fit_is_refused_with_the_reason(fault, groups, tmp_path):
    change, reason = BROKEN[fault]
    path = cases.write_h5(change(groups), tmp_path / "weights.h5")
    with pytest.raises(Problem) as problem:
        port.load_keras(path, cases.config(CASE))
    assert reason in str(problem.value)
    assert str(path) in str(problem.value)


def test_other_networks_and_sizes_are_refused(groups, tmp_path):
    path = cases.write_h5(groups, tmp_path / "weights.h5")
    with pytest.raises(Problem, match="group Stem is missing"):
        port.load_keras(path, cases.config("pe2d_small"))
    with pytest.raises(Problem, match="sSAM/separable_conv2d_1/depthwise_kernel has shape"):
        port.load_keras(path, dataclasses.replace(cases.config(CASE), image_size=256))


def test_a_depth_grid_of_another_generation_is_refused(tmp_path):
    path = cases.write_h5(cases.groups("pe3d_small"), tmp_path / "weights.h5")
    with pytest.raises(Problem, match="zSAM/conv1d_1/kernel is not the soft-argmax.*--set depth_grid=ends"):
        port.load_keras(path, cases.config("pe3d_master_small"))


GRIDS = {"pe3d_small": "ends", "pe3d_master_small": "centres", "ar_ntu_small": "centres"}


@pytest.mark.parametrize("case", GRIDS)
def test_the_depth_grid_is_read_off_the_file(case, tmp_path):
    name, grid = cases.CASES[case][0], GRIDS[case]
    path = cases.write_h5(cases.groups(case), tmp_path / "weights.h5")
    changes = {n: str(v) for n, v in cases.overrides(case).items() if n != "depth_grid"}
    loaded = forms.load(path, name, changes)
    assert loaded.meta.config == cases.config(case)
    assert loaded.notes == (f"depth_grid={grid}, as the constants in {path} tell",)
    other = {"ends": "centres", "centres": "ends"}[grid]
    with pytest.raises(Problem, match=f"those of depth_grid={grid} .--set depth_grid={grid}."):
        forms.load(path, name, {**changes, "depth_grid": other})
    forms.save(loaded, tmp_path / "w.pth")
    (said,) = forms.load(tmp_path / "w.pth", name, changes).notes
    assert "depth_grid=ends is taken, --set depth_grid=centres takes the other" in said
    again = forms.load(tmp_path / "w.pth", name, {**changes, "depth_grid": grid})
    assert again.meta.config == cases.config(case) and not again.notes


def test_a_depth_grid_that_is_neither_names_the_setting(tmp_path):
    groups = edit(cases.groups("pe3d_small"), "zSAM", lambda weights: [(n, v * 0.9) for n, v in weights])
    path = cases.write_h5(groups, tmp_path / "weights.h5")
    with pytest.raises(Problem, match="zSAM/conv1d_1/kernel is not the.*--set depth_grid=centres"):
        forms.load(path, "reception-h36m", {"image_size": "128", "num_blocks": "2"})


def old_model_file(config, path):
    """A file in deephar's layout of a network with the old stem."""
    flat = cases.seeded_weights(config)
    groups = []
    for group, kinds in keras.layout(config).items():
        weights = []
        for kind, modules in kinds.items():
            for n, module in enumerate(modules, 1):
                layer = kind if kind.startswith("sepconv") else f"{kind.strip('()').split('|')[0]}_{n}"
                leaves = (
                    {w: flat[f"{module}.{leaf}"] for w, leaf in LEAVES.items() if f"{module}.{leaf}" in flat}
                    if isinstance(module, str)
                    else module
                )
                weights += [(f"{layer}/{weight}:0", np.asarray(value, np.float32)) for weight, value in leaves.items()]
        groups.append((group, weights))
    return flat, cases.write_h5(groups, path)


LEAVES = {
    "kernel": "kernel",
    "depthwise_kernel": "depthwise.kernel",
    "pointwise_kernel": "pointwise.kernel",
    "beta": "bias",
    "moving_mean": "mean",
    "moving_variance": "var",
}


def test_the_old_stem_is_read_and_has_no_action_network(tmp_path):
    config = ReceptionConfig.tiny(old_model=True)
    flat, path = old_model_file(config, tmp_path / "old.h5")
    with h5py.File(path) as file:
        assert "sepconv1_shortcut_conv" in file and "conv2d_11" not in file["Stem"]
    loaded = port.to_flat(port.load_keras(path, config))
    for name, array in flat.items():
        np.testing.assert_array_equal(loaded[name], array, err_msg=name)
    with pytest.raises(Problem, match="no action network with the old stem"):
        port.load_keras(path, dataclasses.replace(config, num_actions=3))


def test_files_that_cannot_be_read(groups, tmp_path):
    config = cases.config(CASE)
    with pytest.raises(Problem, match=r"missing\.h5: there is no such file"):
        port.load_keras(tmp_path / "missing.h5", config)
    (tmp_path / "text.h5").write_text("not weights")
    with pytest.raises(Problem, match=r"text\.h5: cannot be read as a Keras weight file"):
        port.load_keras(tmp_path / "text.h5", config)
    whole = cases.write_h5(groups, tmp_path / "whole.h5").read_bytes()
    (tmp_path / "half.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Problem, match=r"half\.h5: cannot be read as a Keras weight file"):
        port.load_keras(tmp_path / "half.h5", config)
    for name, key in (("group.h5", "td_Stem"), ("weight.h5", "td_Stem/conv2d_1/kernel:0")):
        with h5py.File(cases.write_h5(groups, tmp_path / name), "r+") as file:
            del file[key]
        with pytest.raises(Problem, match=rf"{name}: cannot be read as a Keras weight file"):
            port.load_keras(tmp_path / name, config)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros(3)
    with pytest.raises(Problem, match="not of Keras weights"):
        port.load_keras(tmp_path / "other.h5", config)


#: settings, and the number of constants in deephar's file
FULL = {name: (zoo.config(name), 101_376) for name in ("reception-mpii", "reception-penn")} | {
    "reception-h36m": (zoo.config("reception-h36m"), 35_394 + 4_624),
    "reception-ntu": (zoo.config("reception-ntu"), 41_760 + 3_200),
    "old model": (ReceptionConfig(num_blocks=2, kernel_size=3, old_model=True, width=512), 101_376),
    "plain sum": (dataclasses.replace(zoo.config("reception-ntu"), weighted_merge=False), 41_760 + 3_200),
}


@pytest.mark.parametrize("network", FULL)
def test_the_layout_covers_every_leaf_of_the_full_network(network):
    """Built backwards: a file with the layout's own names, filled from the network, comes back complete."""
    config, constants = FULL[network]
    leaves = set(port.shapes(config))
    named = {
        target
        for kinds in keras.layout(config).values()
        for targets in kinds.values()
        for target in targets
        if isinstance(target, str)
    }
    covered = {leaf for leaf in leaves if any(leaf.startswith(f"{module}.") for module in named)}
    assert covered == leaves
    assert all(any(leaf.startswith(f"{module}.") for leaf in leaves) for module in named)
    grids = [t for kinds in keras.layout(config).values() for ts in kinds.values() for t in ts if isinstance(t, dict)]
    assert sum(array.size for grid in grids for array in grid.values()) == constants


def test_state_dicts_round_trip(flat):
    config = cases.config(CASE)
    back = port.from_torch(port.to_torch(flat), config)
    assert back.keys() == flat.keys()
    for name, array in flat.items():
        np.testing.assert_array_equal(back[name], array, err_msg=name)
    with pytest.raises(Problem, match=r"left over: more"):
        port.from_torch({**port.to_torch(flat), "more": np.zeros(1)}, config)


def test_settings_round_trip_as_text():
    config = cases.config("ar_penn_master_small")
    assert port.config_from_json(port.config_to_json(config), "here") == config
    with pytest.raises(Problem, match="here: the network's settings"):
        port.config_from_json('{"blocks": 3}', "here")
    with pytest.raises(Problem, match="here: the network's settings"):
        port.config_from_json("[]", "here")
    with pytest.raises(Problem, match="here: it is of the family of networks 'resnet'"):
        port.config_from_json('{"family": "resnet"}', "here")


def test_settings_keep_their_family():
    config = cases.config("sp_ntu_small")
    assert port.config_from_json(port.config_to_json(config), "here") == config
    assert port.config_from_json('{"num_blocks": 3}', "here") == dataclasses.replace(
        zoo.config("reception-mpii"), num_blocks=3
    )
