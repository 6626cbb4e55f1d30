"""Outputs of the originals of Simple Baselines and multi-view pose, reproduced by the networks, codecs and geometry."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from jaxhar import port, zoo
from parity_tests.oracle import multiview as oracle
from parity_tests.tolerances import OUTPUTS, distance

pytestmark = pytest.mark.usefixtures("optimised")  # what users get is compared

FOLDER = Path(__file__).parent / "golden_multiview"
spec = importlib.util.spec_from_file_location("golden_multiview", FOLDER / "make_weights.py")
assert spec and spec.loader
made = importlib.util.module_from_spec(spec)
spec.loader.exec_module(made)

#: Network case -> name in the zoo, fields.
NETWORKS: dict[str, tuple[str, dict]] = {
    "sb_64": ("simple-baseline-lip", {}),
    "sb_256": ("simple-baseline-lip", {}),
    "pr18_128_j16": ("simple-baseline-mpii", {"depth": 18}),
    "pr18_64_k3": ("simple-baseline-mpii", {"depth": 18, "deconv_kernels": (3, 3, 3), "final_kernel": 3}),
    "pr18_64_k2_bias": ("simple-baseline-mpii", {"depth": 18, "deconv_kernels": (2, 2, 2), "deconv_bias": True}),
    "pr50_256_j16": ("simple-baseline-mpii", {"depth": 50}),
    "pr101_64_j16": ("simple-baseline-mpii", {"depth": 101}),
    "mv18_64_j20": ("multiview-h36m", {"depth": 18}),
    "mv18_64_nofusion": ("multiview-h36m", {"depth": 18, "fusion": False}),
    "mv50_128_j20": ("multiview-h36m", {"depth": 50}),
    "mobilenetv2_64_j20": ("multiview-h36m", {"backbone": "mobilenetv2", "fusion": False}),
    "hrnet_64_j20": ("multiview-h36m", {"backbone": "hrnet", "fusion": False}),
}
SLOW = ("sb_256", "pr50_256_j16", "pr101_64_j16", "mv50_128_j20", "hrnet_64_j20")


def slow(names, chosen):
    return [pytest.param(name, marks=pytest.mark.slow) if name in chosen else name for name in names]


def weights_file(meta: dict, folder: Path, form: str = "bare") -> Path:
    made.write_pth(meta, folder / "net.pth", form)
    return folder / "net.pth"


def configured(case: str, meta: dict):
    name, fields = NETWORKS[case]
    joints = {"num_joints": meta["joints"]} if "joints" in meta else {}
    return oracle.configure(name, {**fields, **joints, "heatmap_size": meta["size"] // 4})


@pytest.mark.parametrize("case", slow(NETWORKS, SLOW))
def test_networks_give_the_originals_maps(case, tmp_path):
    meta, expected = made.read_case(case)
    config = configured(case, meta)
    path, frames = weights_file(meta, tmp_path), made.images(meta)
    if "raw" in expected:
        frames = frames.reshape(-1, 4, *frames.shape[1:])
    ours, twins = oracle.infer(oracle.load_torch(path, config), frames), oracle.twin_infer(path, config, frames)
    pairs = {"heatmaps": "heatmaps", "raw": "raw_heatmaps", "fused": "heatmaps"}
    if not getattr(config, "fusion", False):
        pairs["raw"] = "heatmaps"
    compared = 0
    for stored, name in pairs.items():
        if stored in expected and (stored != "fused" or config.fusion):
            compared += 1
            for found in (ours, twins):
                assert distance(found[name].reshape(expected[stored].shape), expected[stored]) < OUTPUTS, (stored, name)
    assert compared


@pytest.mark.parametrize("case", slow(("fusion_s16", "fusion_s64"), ("fusion_s64",)))
def test_fusion_alone(case):
    meta, expected = made.read_case(case)
    side = meta["S"] ** 2
    matrices = [made.weight(f"aggre.{i}.weight", (side, side), meta["seed"]) for i in range(12)]
    assert distance(oracle.fuse(made.fusion_maps(meta), np.stack(matrices)), expected["fused"]) < OUTPUTS


@pytest.mark.parametrize("name", [p.stem for p in sorted((FOLDER / "keys").glob("*.json"))])
def test_state_dicts_have_the_originals_names_and_shapes(name):
    if name == "aggregation":  # the matrices alone, part of the multi-view networks
        return
    size = {"J": 20, "P": 256}
    stored = {
        key: tuple(size.get(n, n) for n in shape)
        for key, shape in json.loads((FOLDER / "keys" / f"{name}.json").read_text())
    }
    fields: dict = {"num_joints": 20, "heatmap_size": 16}
    digits = "".join(c for c in name.partition("resnet")[2].partition("_")[0] if c.isdigit())
    fields |= {"depth": int(digits)} if digits else {}
    fields |= {"deconv_kernels": (3, 3, 3), "final_kernel": 3} if name.endswith("k3") else {}
    fields |= {"deconv_kernels": (2, 2, 2), "deconv_bias": True} if name.endswith("k2_bias") else {}
    fields |= {"backbone": name} if name in ("hrnet", "mobilenetv2") else {}
    entry = "multiview-h36m" if name.startswith("multiview") else "simple-baseline-mpii"
    config = oracle.configure("simple-baseline-lip" if name == "sb" else entry, fields)
    flat = {path: np.broadcast_to(np.float32(0), shape) for path, shape in port.shapes(config).items()}
    found = {key: array.shape for key, array in port.to_torch(flat, config).items()}
    if name == "sb":
        stored = {
            key: (20,) if shape == (16,) else (20, *shape[1:]) if shape[:1] == (16,) else shape
            for key, shape in stored.items()
        }
    assert found == {key: shape for key, shape in stored.items() if not key.endswith("num_batches_tracked")}


@pytest.mark.parametrize("case", ["targets_s64", "targets_s16"])
def test_targets_and_losses(case):
    meta, expected = made.read_case(case)
    maps, weights = oracle.gaussian_targets(
        expected["joints"], expected["visible"], meta["size"], meta["S"], meta["sigma"]
    )
    np.testing.assert_allclose(maps, expected["target"], atol=1e-6)
    np.testing.assert_array_equal(weights, expected["weight"][..., 0])
    output, weight = made.loss_output(meta, expected["target"].shape), expected["weight"]
    assert oracle.joints_mse(output, expected["target"], weight) == pytest.approx(expected["loss_weighted"], rel=1e-5)
    ones = np.ones_like(weight)
    assert oracle.joints_mse(output, expected["target"], ones) == pytest.approx(expected["loss_unweighted"], rel=1e-5)


def test_decoding():
    meta, expected = made.read_case("decode_s64")
    maps = made.decode_maps(meta, expected["peaks"])
    cells, value = oracle.argmax(maps)
    np.testing.assert_array_equal(cells, expected["argmax"])
    np.testing.assert_array_equal(value, expected["maxval"].reshape(value.shape))
    for quarter, name in ((False, "plain"), (True, "post")):
        found, _ = oracle.argmax(maps, quarter)
        for b in range(len(maps)):
            back = np.linalg.inv(
                np.vstack([oracle.crop_matrix(expected["center"][b], expected["scale"][b], 0, (64, 64)), [0, 0, 1]])
            )
            pixels = found[b] @ back[:2, :2].T + back[:2, 2]
            np.testing.assert_allclose(pixels, expected[name][b], atol=2e-3)


def test_crop_matrices():
    _, expected = made.read_case("affine")
    for i, matrix in enumerate(expected["matrix"]):
        found = oracle.crop_matrix(
            expected["center"][i], expected["scale"][i], expected["rotation"][i], tuple(expected["size"])
        )
        moved = expected["points"][i] @ found[:, :2].T + found[:, 2]
        np.testing.assert_allclose(moved, expected["moved"][i], atol=2e-4)
        np.testing.assert_allclose(found, matrix, atol=2e-4)


def test_pckh_by_the_rule_of_simple_baselines():
    meta, expected = made.read_case("pckh")
    found = oracle.pckh(expected["prediction"], expected["gt"], expected["missing"] == 0, expected["headbox"])
    assert list(found) == meta["reported"]
    np.testing.assert_allclose([*found.values()], expected["values"], atol=1e-6)


def test_targets_of_lip_as_the_original_draws_them():
    _, expected = made.read_case("sb_maps")
    for joints, size, target in zip(expected["coords"], expected["dims"], expected["target"], strict=True):
        present = (joints > -1_000_000).all(-1)
        found = oracle.legacy_lip_targets(np.where(present[:, None], joints, 0), present, size)
        np.testing.assert_allclose(found, target, atol=1e-6)


def cameras_of(arrays: dict) -> list[dict]:
    return [{key: arrays[f"cam_{key}"][i] for key in "RTfckp"} for i in range(len(arrays["cam_R"]))]


def test_projection():
    _, expected = made.read_case("cameras")
    for camera, pixels in zip(cameras_of(expected), expected["pixels"], strict=True):
        np.testing.assert_allclose(oracle.project(expected["world"], camera), pixels, atol=1e-9)


def test_triangulation():
    _, expected = made.read_case("triangulation")
    cameras = cameras_of(expected)
    for noise in ("noise0", "noise2"):
        for g, points in enumerate(expected[f"{noise}_points"]):
            found = oracle.triangulate(cameras, expected[f"{noise}_pixels"][4 * g : 4 * g + 4])
            np.testing.assert_allclose(found, points, atol=1e-6)
            if noise == "noise0":
                np.testing.assert_allclose(found, expected["world"][g], atol=1e-6)


@pytest.mark.parametrize(
    "case",
    slow(
        ("clean", "mean_limbs", "ghosts_80", "abs_150", "small", "short_limb"),
        ("ghosts_80", "small"),
    ),
)
def test_pictorial_structures(case):
    meta, expected = made.read_case(f"rpsm_{case}")
    cameras, parents = cameras_of(expected), made.PARENT
    for g in range(meta["groups"]):
        maps = made.heatmaps(
            expected["peaks"][g], meta["S"], meta["sigma"], meta["seed"] + g, meta["noise"], meta.get("ghosts", 0.0)
        )
        crops = list(zip(expected["box_center"][g], expected["box_scale"][g], strict=True))
        limbs = {(parents[j], j): expected["limb"][g, j - 1] for j in range(1, 17)}
        levels = oracle.rpsm(cameras[: meta["views"]], maps, crops, expected["center"][g], limbs, meta)
        if meta.get("expect") == "no legal pose":
            assert np.linalg.norm(levels[-1] - expected["world"][g], axis=-1).mean() < 20  # the original: 1480 mm
            continue
        far = np.linalg.norm(levels - expected["levels"][g], axis=-1).max(-1)
        # Where two bins of a fine level are nearly equal, the original's float32 and float64 differ by up to 0.49 mm.
        assert far[0] < 1e-2 and far[: len(far) // 2].max() < 1e-2 and far[-1] < 1.5, far
        error = np.linalg.norm(levels[-1] - expected["world"][g], axis=-1).mean()
        assert error == pytest.approx(expected["mpjpe"][g], abs=0.2)


TRAINING = {
    "train_pr18_64": ("simple-baseline-mpii", {"depth": 18}),
    "train_mv18_64": ("multiview-h36m", {"depth": 18}),
    "train_sb_64": ("simple-baseline-lip", {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", TRAINING)
def test_three_training_steps_in_double_precision(case, tmp_path):
    meta, expected = made.read_case(case)
    name, fields = TRAINING[case]
    joints = {"num_joints": meta["joints"]} if "joints" in meta else {}
    config = oracle.configure(name, {**fields, **joints, "heatmap_size": meta["size"] // 4})
    frames = made.images(meta)
    if name == "multiview-h36m":
        frames = frames.reshape(-1, 4, *frames.shape[1:])
    found = oracle.training_step(
        weights_file(meta, tmp_path),
        config,
        frames,
        expected["target"],
        expected["target_weight"],
        meta["steps"],
        meta.get("source", ()),
    )
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=1e-8)
    names = json.loads((FOLDER / f"{case}.json").read_text())["names"]
    for i, key in enumerate(names["par"]):
        if key.startswith("aggre_layer") and key not in found["grad"]:
            continue
        gradient = found["grad"][key]
        assert np.linalg.norm(gradient) == pytest.approx(expected["grad_norm"][i], rel=1e-6, abs=1e-12), key
        probe = (gradient * made.probe(key, gradient.shape)).sum()
        assert probe == pytest.approx(expected["grad_probe"][i], rel=1e-6, abs=1e-9), key
    small = np.concatenate([found["after1"][key].ravel() for key in names["small"]])
    np.testing.assert_allclose(small, expected["after1_small"], rtol=1e-7, atol=1e-9)
    for stored, after in (("stats1", found["after1"]), ("statsN", found["afterN"])):
        stats = np.concatenate([after[key].ravel() for key, _ in names["stats"]])
        np.testing.assert_allclose(stats, expected[stored], rtol=1e-7, atol=1e-9)


def test_the_old_forms_of_files(tmp_path):
    meta, _ = made.read_case("pr18_64_k3")
    config = configured("pr18_64_k3", meta)
    expected = port.to_flat(oracle.load_torch(weights_file(meta, tmp_path), config))
    for form in ("legacy", "checkpoint"):
        found = port.to_flat(oracle.load_torch(weights_file(meta, tmp_path, form), config))
        assert all((found[name] == array).all() for name, array in expected.items()) and found.keys() == expected.keys()


@pytest.mark.parametrize(
    ("name", "fields", "total"),
    [
        ("simple-baseline-lip", {}, 23_770_704),
        ("simple-baseline-mpii", {"depth": 18}, 15_376_464),
        ("simple-baseline-mpii", {"depth": 50}, 33_999_440),
        ("simple-baseline-mpii", {"depth": 34}, 25_484_624),
        ("simple-baseline-mpii", {"depth": 101}, 52_991_568),
        ("simple-baseline-mpii", {"depth": 152}, 68_635_216),
        ("simple-baseline-mpii", {"depth": 50, "num_joints": 20}, 34_000_468),
        ("multiview-h36m", {"backbone": "hrnet", "fusion": False}, 63_595_892),
        ("multiview-h36m", {"backbone": "mobilenetv2", "fusion": False}, 5_226_260),
    ],
)
def test_numbers_of_parameters(name, fields, total):
    shapes = port.shapes(oracle.configure(name, fields))
    assert sum(int(np.prod(s)) for p, s in shapes.items() if not p.endswith((".mean", ".var"))) == total


def test_the_bank_has_a_matrix_for_every_ordered_pair_of_views():
    shapes = port.shapes(zoo.config("multiview-h36m"))
    bank = {path: shape for path, shape in shapes.items() if path.startswith("fusion")}
    assert len(bank) == 12 and set(bank.values()) == {(4096, 4096)}  # 201,326,592 numbers
