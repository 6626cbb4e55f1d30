"""Outputs of the originals of the skeleton transformer and of PoseConv3D, reproduced by our parts."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from jaxhar import port, zoo
from jaxhar.data import uniform
from parity_tests.oracle import skeleton as oracle
from parity_tests.tolerances import distance

pytestmark = pytest.mark.usefixtures("optimised")  # what users get is compared

FOLDER = Path(__file__).parent / "golden_skeleton"
spec = importlib.util.spec_from_file_location("golden_skeleton", FOLDER / "make_weights.py")
assert spec and spec.loader
made = importlib.util.module_from_spec(spec)
spec.loader.exec_module(made)

TRANSFORMERS = ("plain_small", "sinusoid_small", "hybrid_small", "frozen_small", "wide_gelu", "plain_real")
#: Case -> name in the zoo.
VOLUMES = {
    "pose_slowonly_tiny": "poseconv3d-ntu60-joint",
    "pose_slowonly_small": "poseconv3d-ntu60-joint",
    "pose_slowonly_ntu60_56": "poseconv3d-ntu60-joint",
    "pose_c3d_small": "poseconv3d-c3d-ntu60-joint",
    "pose_x3d_small": "poseconv3d-x3d-ntu60-joint",
    "pose_x3d_ntu60": "poseconv3d-x3d-ntu60-joint",
}
#: Bounds relative to the largest value.
TRANSFORMER, CONVOLUTIONS, END_TO_END, STEP, GRADIENT = 1e-5, 5e-5, 1e-4, 1e-5, 1e-4


def slow(names, *chosen):
    return [pytest.param(name, marks=pytest.mark.slow) if name in chosen else name for name in names]


def outputs(case: str) -> dict[str, np.ndarray]:
    return made.outputs(case, FOLDER)


def weights_file(case: str, folder: Path) -> Path:
    made.save_pth(case, folder / "net.pth", FOLDER)
    return folder / "net.pth"


@pytest.mark.parametrize("case", slow(TRANSFORMERS, "plain_real", "sinusoid_small", "frozen_small"))
def test_the_transformer_gives_the_originals_logits(case, tmp_path):
    meta, expected = made.meta(f"tsfmr_{case}", FOLDER), outputs(f"tsfmr_{case}")
    config = oracle.configure("skeleton-transformer-ntu", meta["config"])
    path, x = weights_file(f"tsfmr_{case}", tmp_path), made.network_input(meta)["x"]
    assert distance(oracle.infer(oracle.load_torch(path, config), x), expected["logits"]) < TRANSFORMER
    assert distance(oracle.twin_infer(path, config, x), expected["logits"]) < TRANSFORMER


@pytest.mark.parametrize("case", slow(TRANSFORMERS[:-1], *TRANSFORMERS[1:]))
def test_a_training_step_of_the_transformer(case, tmp_path):
    meta, expected = made.meta(f"tsfmr_{case}", FOLDER), outputs(f"tsfmr_{case}")
    config = oracle.configure("skeleton-transformer-ntu", meta["config"])
    given = made.network_input(meta)
    path = weights_file(f"tsfmr_{case}", tmp_path)
    found = oracle.training_step(path, config, given["x"], given["y"], {"lr": meta["train"]["lr"]})
    assert found["losses"][0] == pytest.approx(float(expected["loss"]), rel=STEP)
    assert compare(found, expected, "after") > 20
    if config.positions in ("sinusoid", "frozen_random"):
        np.testing.assert_array_equal(found["after1"]["pos_embed"], made.state_dict(meta, FOLDER)["pos_embed"])


def compare(found: dict, expected: dict[str, np.ndarray], after: str) -> int:
    """Compares gradients (the whole arrays, or their norms) and what they lead to; returns the number of arrays."""
    count = 0
    for key, array in expected.items():
        kind, _, name = key.partition("/")
        if kind == "grad":
            assert distance(found["grad"][name], array) < GRADIENT, name
        elif kind == "gradnorm" and name in found["grad"]:
            assert np.linalg.norm(found["grad"][name]) == pytest.approx(float(array), rel=GRADIENT), name
        elif kind == after and not name.endswith("num_batches_tracked"):
            assert distance(found["after1"][name], array) < STEP, name
        else:
            continue
        count += 1
    return count


@pytest.mark.parametrize("case", slow(VOLUMES, "pose_slowonly_small", "pose_slowonly_ntu60_56", "pose_x3d_ntu60"))
def test_networks_on_volumes_give_the_originals_logits(case, tmp_path):
    meta, expected = made.meta(case, FOLDER), outputs(case)
    config = oracle.configure(VOLUMES[case], meta["config"])
    path, x = weights_file(case, tmp_path), np.moveaxis(made.network_input(meta)["x"], 1, -1)
    assert distance(oracle.infer(oracle.load_torch(path, config), x), expected["logits"]) < CONVOLUTIONS
    assert distance(oracle.twin_infer(path, config, x), expected["logits"]) < CONVOLUTIONS


def test_both_paths_give_the_originals_logits(tmp_path):
    meta, expected = made.meta("pose_rgbpose_small", FOLDER), outputs("pose_rgbpose_small")
    config = oracle.configure("rgbpose-conv3d-ntu60", meta["config"])
    path, given = weights_file("pose_rgbpose_small", tmp_path), made.network_input(meta)
    x = tuple(np.moveaxis(given[key], 1, -1) for key in ("rgb", "pose"))
    for found in (oracle.infer(oracle.load_torch(path, config), x), oracle.twin_infer(path, config, x)):
        assert distance(found[0], expected["logits_rgb"]) < CONVOLUTIONS
        assert distance(found[1], expected["logits_pose"]) < CONVOLUTIONS


@pytest.mark.parametrize("case", slow(("pose_slowonly_tiny", "pose_slowonly_small"), "pose_slowonly_small"))
def test_training_steps_on_volumes_in_double_precision(case, tmp_path):
    meta, expected = made.meta(case, FOLDER), outputs(case)
    config = oracle.configure(VOLUMES[case], meta["config"])
    given, train = made.network_input(meta), meta["train"]
    found = oracle.training_step(
        weights_file(case, tmp_path),
        config,
        np.moveaxis(given["x"], 1, -1),
        given["y"],
        train,
        train["steps"],
        "float64",
    )
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=STEP)
    assert compare(found, expected, "after") > 90


@pytest.mark.parametrize(
    ("name", "fields", "total", "products"),
    [
        ("poseconv3d-ntu60-joint", {}, 2_024_860, 20.42),
        ("poseconv3d-ntu60-limb", {"eval_size": 56}, 2_024_860, 15.63),
        ("poseconv3d-k400-joint", {}, 3_208_560, 18.93),
        ("poseconv3d-c3d-ntu60-joint", {}, 3_404_892, None),
        ("poseconv3d-x3d-ntu60-joint", {}, 254_508, None),
        ("rgbpose-conv3d-ntu60", {}, 36_147_928, None),
        *(
            ("skeleton-transformer-ntu", {"bodies": 3, "width": 16, "heads": 4, "depth": depth}, total, None)
            for depth, total in ((4, 52_668), (6, 59_228), (8, 65_788), (10, 72_348), (12, 78_908))
        ),
    ],
)
def test_numbers_of_parameters_and_multiply_adds(name, fields, total, products):
    """Products in thousands of millions."""
    config = oracle.configure(name, fields)
    shapes = port.shapes(config)
    assert sum(int(np.prod(s)) for p, s in shapes.items() if not p.endswith((".mean", ".var"))) == total
    if products is not None:
        assert zoo.multiply_adds(config) / 1e9 == pytest.approx(products, abs=0.006)


def test_positions():
    from jaxhar.models.skeleton import positions

    expected = outputs("tsfmr_positions")
    for name, array in expected.items():
        if name.startswith("code"):
            found = positions.code(*map(int, name.split("_")[1:]))
            np.testing.assert_allclose(found, array, atol=1e-6)
    tables = {"pose": (8, 4, 4), "hybrid": (4, 0, 0)}
    for kind, widths in tables.items():
        rows = expected[f"table_{kind}_32_3_25_16_rows"]
        found = positions.table(32, 3, 25, widths)[0, rows]
        np.testing.assert_allclose(found, expected[f"table_{kind}_32_3_25_16"][:, -sum(widths) :], atol=1e-6)


def test_schedules():
    meta, expected = made.meta("tsfmr_schedule", FOLDER), outputs("tsfmr_schedule")
    for name, one in meta["cases"].items():
        steps = one["steps_per_epoch"]
        rate = oracle.schedule("skeleton", one["base"], one["warmup_epochs"] * steps, one["epochs"] * steps)
        np.testing.assert_allclose([rate(step) for step in range(len(expected[name]))], expected[name], atol=1e-7)
    rate, lr = oracle.schedule("cosine", 0.2, 0, 120), outputs("pose_schedule")["lr"]
    np.testing.assert_allclose([rate(step) for step in range(len(lr))], lr, atol=1e-7)


def test_frames_of_clips():
    for key, frames in outputs("pose_sampling").items():
        style, mode, length, last = key.split("/")
        if mode == "test":
            found = oracle.sample_test(int(length), 48, int(last), style)
        else:
            found = uniform.random_clip(int(length), 48, np.random.RandomState(int(last)), uniform.Style(style))
        np.testing.assert_array_equal(found, frames, err_msg=key)
    segments = outputs("tsfmr_sampling")
    for key in (key for key in segments if key.startswith("u_")):
        length = int(key[2:])
        np.testing.assert_array_equal(oracle.sample_segments(length, 32, segments[key]), segments[f"index_{length}"])
    with pytest.raises(ValueError, match="without a single frame"):
        oracle.sample_segments(0, 32, np.zeros(32))


def test_skeleton_files(tmp_path):
    meta, expected = made.meta("ntu_files", FOLDER), outputs("ntu_files")
    for name, recipe in meta["recipes"].items():
        path = tmp_path / f"{name}.skeleton"
        made.write_skeleton(recipe, path)
        if f"{name}/reference" in expected:
            used, found = expected[f"{name}/reference"], oracle.file_order(path)
            inside = found[: used.shape[0], : used.shape[1]].copy()
            np.testing.assert_array_equal(inside, used)
            found[: used.shape[0], : used.shape[1]] = 0
            assert not found.any()
        else:
            with pytest.raises(ValueError, match="3 bodies"):
                oracle.file_order(path)
        for style in ("pyskl", "mmaction2"):
            chosen = expected.get(f"{name}/{style}")
            if chosen is not None and len(chosen):
                np.testing.assert_array_equal(oracle.clean(path, style), chosen)
            elif recipe["bodies"]:
                with pytest.raises(ValueError, match="looks like a person"):
                    oracle.clean(path, style)
            else:
                assert oracle.clean(path, style) is None
        if f"{name}/prenormalized" in expected:
            found = oracle.prenormalize(expected[f"{name}/pyskl"].astype(np.float32))
            np.testing.assert_allclose(found, expected[f"{name}/prenormalized"], atol=1e-6)


def test_splits():
    meta = json.loads((FOLDER / "ntu_splits.json").read_text())
    names = [name for name in meta["files"] if name.endswith(".skeleton")]
    for part in ("xsub_train", "xsub_eval", "xview_train", "xview_eval"):
        found = oracle.split(names, *part.split("_"), meta["exclude"])
        assert [*found] == [name for name, _ in meta["splits"][part]]
        assert all(label == int(name[-3:]) - 1 for name, label in found.items())


def test_pickles():
    expected = json.loads((FOLDER / "pose_schedule.json").read_text())["annotation_pickles"]["public"]
    for split, rows in expected.items():
        found = oracle.read(FOLDER / "annotations.pkl", split)
        assert [[one["frame_dir"], one["label"], one["total_frames"]] for one in found] == rows
    assert len(oracle.read(FOLDER / "annotations_list.pkl", None)) == 2
    with pytest.raises(ValueError, match="no split 'xsub_test'; it has xsub_train"):
        oracle.read(FOLDER / "annotations.pkl", "xsub_test")


def test_clips_of_kinetics():
    expected = outputs("pose_k400_unpack")
    for threshold in (0.5, 0.7):
        for squeeze in (True, False):
            keep = expected["box_score"] >= threshold
            found = oracle.unpack(expected["keypoint"], expected["frame_inds"], keep, 9, squeeze, 3)
            key = f"thr{threshold}_{'squeeze' if squeeze else 'keep'}"
            np.testing.assert_array_equal(found[0], expected[f"{key}/keypoint"])
            np.testing.assert_array_equal(found[1], expected[f"{key}/score"])


def volume_options():
    for name, options in made.meta("pose_heatmaps", FOLDER)["options"].items():
        if name != "both" and not options.get("double"):
            yield name, options


def test_volumes():
    expected = outputs("pose_heatmaps")
    points, default = expected["keypoint"], [(0, 1), (1, 3), (2, 4), (5, 7), (7, 9), (6, 8), (8, 10)]
    for name, options in volume_options():
        score = expected["score"] if options.get("use_score", True) and options["score_given"] else None
        limbs = options.get("skeletons", default) if options["with_limb"] else None
        if options["with_limb"] and "skeletons" not in options:  # the class's own order
            limbs = [(0, 1), (0, 2), (1, 3), (2, 4), (0, 5), (5, 7), (7, 9), (0, 6), (6, 8), (8, 10), (5, 11)]
            limbs += [(11, 13), (13, 15), (6, 12), (12, 14), (14, 16), (11, 12)]
        for style, eps in (("mm", 1e-4), ("pk", 1e-3)):
            if f"{name}/{style}" in expected:
                found = oracle.volume(
                    points, score, (18, 22), options.get("sigma", 0.6), limbs, eps, options.get("scaling", 1.0)
                )
                np.testing.assert_allclose(np.moveaxis(found, -1, 1), expected[f"{name}/{style}"], atol=2e-6)


def test_whole_pipelines():
    meta, expected = made.meta("pose_pipelines", FOLDER), outputs("pose_pipelines")
    compared = 0
    for name, recipe in meta["recipes"].items():
        annotation = made.annotation(recipe)
        for key, result in meta["results"][name].items():
            style, mode = key.split("/")
            stages = {stage[0]: stage for stage in result["stages"]}
            drawn = {}
            if mode.startswith("train"):
                drawn = {"crop": stages["RandomResizedCrop"][2], "flip": stages["Flip"][2]}
                drawn["frame_inds"] = expected[f"{name}/{key}/frame_inds"]
            for kind in ("joint", "limb"):
                stored = expected.get(f"{name}/{key}/{kind}")
                if kind == "limb" and stored is None:
                    continue
                found = oracle.views(annotation, style, mode[:5].rstrip("01"), 8, 2, kind == "limb", **drawn)
                np.testing.assert_array_equal(found["frame_inds"], expected[f"{name}/{key}/frame_inds"])
                np.testing.assert_array_equal(found["keypoint"], expected[f"{name}/{key}/keypoint"])
                if stored is not None:
                    compared += 1
                    maps = np.moveaxis(found["volume"], -1, 1)
                    of_views = [0, -1] if mode == "test" else [0]
                    apart = np.abs(maps[of_views] - stored) > 1e-4
                    assert apart.mean() < 1e-6, (name, key, kind)  # where the edge of a window rounds the other way
                if f"{name}/{key}/{kind}_sums" in expected:
                    sums = found["volume"].sum((1, 2, 3, 4))
                    np.testing.assert_allclose(sums, expected[f"{name}/{key}/{kind}_sums"], rtol=1e-4)
    assert compared == 5


def test_from_annotations_to_fused_scores(tmp_path):
    meta, expected = made.meta("pose_end_to_end", FOLDER), outputs("pose_end_to_end")
    models = {}
    for kind, network in meta["networks"].items():
        config = oracle.configure(
            f"poseconv3d-ntu60-{kind}", meta["networks"][kind].get("config", meta.get("config", {}))
        )
        state = {name: made.tensor(network["seed"], name, shape) for name, shape in network["keys"]}
        models[kind] = port.from_flat(port.from_torch(state, config), config)
    for name, recipe in meta["recipes"].items():
        annotation = made.annotation(recipe)
        for style in ("mm", "pk"):
            for kind, model in models.items():
                clips, length = meta.get("clips", 3), meta.get("clip_len", 8)
                found = oracle.views(annotation, style, "test", length, clips, kind == "limb")
                logits = oracle.infer(model, found["volume"])
                assert distance(logits, expected[f"{name}/{style}/{kind}/logits"]) < END_TO_END, (name, style, kind)


def test_figures_of_classification():
    meta, given = made.meta("metrics", FOLDER)["results"], outputs("metrics")
    scores, labels = given["scores"], given["labels"]
    assert [oracle.top_k(scores, labels, k) for k in (1, 5)] == pytest.approx(meta["top1_top5"], abs=1e-12)
    assert oracle.mean_class(scores, labels, "seen") == pytest.approx(meta["mean_class_mmaction2"], abs=1e-12)
    assert oracle.mean_class(scores, labels, "labels") == pytest.approx(meta["mean_class_pyskl_tool"], abs=1e-12)
