"""Outputs of the originals of the video masked autoencoders, reproduced by our parts and by the twin."""

import dataclasses
import importlib.util
import json
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from jaxhar import port, zoo
from jaxhar.core import masks, mix
from jaxhar.core.patches import target_frames
from jaxhar.data import clips, cover, rand_augment
from jaxhar.evaluation import class_metrics
from jaxhar.host.errors import Problem
from jaxhar.training.optim import Optimizer
from jaxhar.weights import transfer
from parity_tests.oracle import video as oracle
from parity_tests.tolerances import distance

pytestmark = pytest.mark.usefixtures("optimised")  # what users get is compared

FOLDER = Path(__file__).parent / "golden_video"
spec = importlib.util.spec_from_file_location("golden_video", FOLDER / "make_weights.py")
assert spec and spec.loader
made = importlib.util.module_from_spec(spec)
spec.loader.exec_module(made)

PRETRAIN = (
    "mae_default",
    "mae_no_norm_pix",
    "mae_no_cls",
    "mae_joint",
    "mae_sincos",
    "mae_all_frames",
    "mae_no_qkv_bias",
    "mae_ms",
)
CLASSIFIERS = ("cls_small", "cls_joint", "cls_no_cls", "cls_masked")
#: Bounds relative to the largest value.
PREDICTION, LARGE, LOSS, PROBABILITY, GRADIENT, PURE = 2e-5, 5e-5, 1e-5, 1e-5, 1e-4, 1e-6
#: Of interpolated pixels: OpenCV's positions are rounded otherwise than PyTorch's.
PIXELS = 5e-6
#: The settings of the cases by our names.
FIELDS = {
    "img_size": "image_size",
    "patch_size": "patch",
    "embed_dim": "width",
    "num_heads": "heads",
    "decoder_embed_dim": "decoder_width",
    "decoder_num_heads": "decoder_heads",
    "t_patch_size": "t_patch",
    "pred_t_dim": "pred_frames",
    "norm_pix_loss": "norm_pixels",
    "cls_embed": "cls_token",
    "num_classes": "num_actions",
}


def slow(names, *quick):
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


@cache
def meta(case: str) -> dict:
    return json.loads((FOLDER / f"{case}.json").read_text())


def outputs(case: str) -> dict[str, np.ndarray]:
    return made.outputs(case, FOLDER)


def settings(case: str):
    """The settings of a case."""
    given = meta(case)["settings"]
    name = (
        "mae-vit-b" if case.startswith("image") else "mae-st-vit-b-k400" if case.startswith("cls") else "mae-st-vit-b"
    )
    config = oracle.config(name)
    known = {field.name for field in dataclasses.fields(config)}
    fields = {FIELDS.get(key, key): value for key, value in given.items()}
    fields["qkv_bias"] = not given.get("no_qkv_bias", False)
    if not given.get("sep_pos_embed", True):
        fields["positions"] = "joint" if given.get("learnable_pos_embed", True) else "sincos"
    return dataclasses.replace(config, **{key: value for key, value in fields.items() if key in known})


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """case -> the network and its twin, each read once."""
    folder = tmp_path_factory.mktemp("weights")

    @cache
    def both(case: str):
        path = folder / f"{case}.pth"
        made.write_pth(case, str(path), FOLDER)
        return oracle.load_torch(path, settings(case)), oracle.twin_load_torch(path, settings(case))

    return both


def compare(found: dict, expected: dict[str, np.ndarray], bound: float) -> None:
    assert found["loss"] == pytest.approx(float(expected["loss"]), rel=LOSS)
    np.testing.assert_array_equal(found["mask"], expected["mask"])
    for key, name in (("prediction", "pred"), ("latent", "latent")):
        if name in expected:
            assert distance(found[key], expected[name]) < bound, key


def samples(array: np.ndarray) -> np.ndarray:
    """What the cases hold of a tensor."""
    few = array.ravel()[:: max(1, array.size // 4)][:4]
    return np.pad(few.astype(np.float64), (0, 4 - len(few)), constant_values=np.nan)


def compare_gradients(found: dict[str, np.ndarray], case: str) -> None:
    expected, names = outputs(case), meta(case)["trained"]
    assert set(found) == set(names)
    largest = expected["grad_l2"].max()
    for number, (name, norm) in enumerate(zip(names, expected["grad_l2"], strict=True)):
        if name.endswith("attn.k.bias"):  # exactly zero but for rounding
            continue
        assert np.linalg.norm(found[name].astype(np.float64)) == pytest.approx(
            norm, rel=GRADIENT, abs=1e-6 * largest
        ), name
        if "grad_head" in expected and not name.endswith("qkv.bias"):
            scale = max(np.abs(found[name]).max(), 1e-6 * largest)
            head = expected["grad_head"][number]
            np.testing.assert_allclose(samples(found[name]), head, atol=GRADIENT * scale, err_msg=name)


@pytest.mark.parametrize("case", PRETRAIN)
def test_reconstruction(case, models):
    given, expected = meta(case), outputs(case)
    clip, noise, ratio = made.frames(case, FOLDER), expected["noise"][0], given["mask_ratio"]
    model, twin = models(case)
    compare(oracle.reconstruct(model, clip, noise, ratio), expected, PREDICTION)
    compare(oracle.twin_reconstruct(twin, clip, noise, ratio), expected, PREDICTION)
    compare_gradients(oracle.twin_gradients(twin, clip, noise, ratio), case)


@pytest.mark.parametrize("case", slow(PRETRAIN, "mae_default", "mae_ms"))
def test_gradients_of_a_reconstruction(case, models):
    clip, noise = made.frames(case, FOLDER), outputs(case)["noise"][0]
    compare_gradients(oracle.gradients(models(case)[0], clip, noise, meta(case)["mask_ratio"]), case)


def compare_steps(found: dict, case: str) -> None:
    given, expected = meta(case), outputs(case)
    np.testing.assert_allclose(found["lr"], expected["step_lr"], rtol=1e-6)
    np.testing.assert_allclose(found["loss"], expected["step_loss"], rtol=LOSS)
    np.testing.assert_allclose(found["grad_norm"], expected["step_grad_norm"], rtol=GRADIENT)
    before = made.state(case, FOLDER)
    assert set(found["params"]) == set(before)
    compared = 0
    for name, head, moved in zip(given["trained"], expected["param_head"], expected["delta_l2"], strict=True):
        if name.endswith(("attn.k.bias", "attn.qkv.bias")):  # steps along rounding errors
            continue
        after = found["params"][name]
        np.testing.assert_allclose(samples(after), head, atol=2e-3 * np.abs(after - before[name]).max(), err_msg=name)
        assert np.linalg.norm((after - before[name]).astype(np.float64)) == pytest.approx(moved, rel=2e-3), name
        compared += 1
    assert compared > 30


@pytest.mark.parametrize("case", slow(PRETRAIN, "mae_default"))
def test_steps_of_pretraining(case, models):
    given = meta(case)
    clip, noises = made.frames(case, FOLDER), outputs(case)["noise"]
    compare_steps(oracle.pretrain_steps(models(case)[0], clip, noises, given["mask_ratio"], given["step"]), case)
    names = {name: tuple(shape) for name, shape in given["keys"] if name in given["trained"]}
    assert oracle.no_decay(names, finetune=False) == set(given["no_decay"])


def probabilities(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return (weights / weights.sum(-1, keepdims=True))[None]


@pytest.mark.parametrize("case", CLASSIFIERS)
def test_classification(case, models):
    expected, clip = outputs(case), made.frames(case, FOLDER)
    model, twin = models(case)
    plain = expected["logits_no_map" if case == "cls_masked" else "logits"]
    for found in (oracle.infer(model, clip), oracle.twin_infer(twin, clip)):
        assert distance(found["action"], probabilities(plain)) < PROBABILITY
    if case == "cls_masked":
        for map, logits in ((expected["map"], expected["logits"]), (0 * expected["map"], expected["logits_empty_map"])):
            for found in (oracle.infer_masked(model, clip, map), oracle.twin_infer_masked(twin, clip, map)):
                assert distance(found["action"], probabilities(logits)) < PROBABILITY


@pytest.mark.parametrize("case", slow(CLASSIFIERS, "cls_masked"))
def test_steps_of_fine_tuning(case, models):
    given, expected, clip = meta(case), outputs(case), made.frames(case, FOLDER)
    classes = given["settings"]["num_classes"]
    targets = (
        expected["targets"] if "targets" in expected else oracle.mixed_targets(expected["labels"], classes, 1.0, 0.1)
    )
    found = oracle.finetune_steps(models(case)[0], clip, targets, 3, given["step"], expected.get("map"))
    compare_steps(found, case)
    scales = oracle.layer_decay(given["groups"], given["settings"]["depth"], given["step"]["layer_decay"])
    assert scales == pytest.approx({name: scale for name, (scale, _) in given["groups"].items()}, rel=1e-12)


def test_directed_reconstructions(models):
    given, expected, clip = meta("dmae_small"), outputs("dmae_small"), made.frames("dmae_small", FOLDER)
    maps = {"map": expected["map"], "zero": 0 * expected["map"], "one": 0 * expected["map"] + 1}
    np.testing.assert_array_equal(oracle.coverage(maps["map"], 2, 8), expected["coverage"])
    compared = 0
    for number, run in enumerate(given["runs"]):
        covered = oracle.coverage(maps[run["map"]], 2, 8)
        version = "v2" if run["version"] == "st" else run["version"]
        temperature = 0.0 if run["version"] == "st" else run["temperature"]
        noise, ratio = expected["noise"], run["mask_ratio"]
        found = oracle.directed_mask(noise, covered, temperature, ratio, version, run["flip_mask"])
        mask = expected[f"mask{number:02d}"]
        assert (found.sum(1) == mask.sum(1)).all() and (mask.sum(1) == 64 - run["kept"]).all()
        shares = masks.box_shares(expected["coverage"], mask.astype(np.float32))
        means = [np.nanmean(share) for share in shares.values()]
        means[-1] *= len(mask)
        assert means == pytest.approx(run["meters"], rel=PURE)
        if run["smallest_relative_gap"] is not None:
            np.testing.assert_array_equal(found, mask)
            compared += 1
            if compared in (1, 9):  # the network draws the same masks
                model = oracle._changed(
                    models("dmae_small")[0],
                    masking=f"directed_{version}",
                    temperature=temperature,
                    mask_ratio=ratio,
                    flip_mask=run["flip_mask"],
                )
                result = oracle.inference.infer(
                    model, {"frames": clip, "noise": noise, "cover": maps[run["map"]].astype(np.float32)}
                )
                np.testing.assert_array_equal(result["removed"][0], mask)
                assert distance(result["patches"][0].mean(-1), expected[f"pred_mean{number:02d}"]) < PREDICTION
    assert compared == 15


def test_directed_masks_of_the_full_grid():
    given, expected = meta("dmae_masks_224"), outputs("dmae_masks_224")
    map = np.zeros((2, 16, 224, 224), np.uint8)
    for clip, frame, *box in given["boxes"]:
        map[clip, frame] |= oracle.raster(np.array([box]), (224, 224))
    covered = oracle.coverage(map, 2, 16)
    assert distance(covered, expected["coverage"]) < PURE
    for number, run in enumerate(given["runs"]):
        found = oracle.directed_mask(
            expected["noise"], covered, run["temperature"], run["mask_ratio"], run["version"], run["flip_mask"]
        )
        np.testing.assert_array_equal(found, expected[f"mask{number:02d}"])
        assert (found.sum(1) == 1568 - run["kept"]).all()


@pytest.mark.parametrize("case", ["image_mae", "image_dmae"])
def test_images(case, models):
    given, expected, clip = meta(case), outputs(case), made.frames(case, FOLDER)
    model, twin = models(case)
    if given["directed"]:
        model = oracle._changed(
            model, masking="directed_v1", temperature=given["temperature"], mask_ratio=given["mask_ratio"]
        )
        inputs = {"frames": clip, "noise": expected["noise"], "cover": expected["map"][:, None].astype(np.float32)}
        found = oracle.inference.infer(model, inputs)
        np.testing.assert_array_equal(found["removed"][0], expected["mask"])
        assert distance(found["patches"][0], expected["pred"]) < PREDICTION
        return
    compare(oracle.reconstruct(model, clip, expected["noise"], given["mask_ratio"]), expected, PREDICTION)
    compare(oracle.twin_reconstruct(twin, clip, expected["noise"], given["mask_ratio"]), expected, PREDICTION)
    compare_gradients(oracle.twin_gradients(twin, clip, expected["noise"], given["mask_ratio"]), case)
    compare_gradients(oracle.gradients(model, clip, expected["noise"], given["mask_ratio"]), case)


@pytest.mark.slow
def test_the_base_size_reconstructs(models):
    given, expected, clip = meta("mae_vit_b"), outputs("mae_vit_b"), made.frames("mae_vit_b", FOLDER)
    for model, reconstruct, gradients in (
        (models("mae_vit_b")[0], oracle.reconstruct, oracle.gradients),
        (models("mae_vit_b")[1], oracle.twin_reconstruct, oracle.twin_gradients),
    ):
        found = reconstruct(model, clip, expected["noise"][0], given["mask_ratio"])
        assert found["loss"] == pytest.approx(float(expected["loss"]), rel=LOSS)
        np.testing.assert_array_equal(found["mask"], expected["mask"])
        for key, name, step in (("prediction", "pred", 37), ("latent", "latent", 13)):
            assert distance(found[key][:, ::step, ::61], expected[f"{name}_slice"]) < LARGE
            assert distance(found[key].mean(-1), expected[f"{name}_mean"]) < LARGE
        compare_gradients(gradients(model, clip, expected["noise"][0], given["mask_ratio"]), "mae_vit_b")


@pytest.mark.slow
def test_the_base_size_classifies(models):
    expected, clip = outputs("cls_vit_b"), made.frames("cls_vit_b", FOLDER)
    model, twin = models("cls_vit_b")
    for found in (oracle.infer(model, clip), oracle.twin_infer(twin, clip)):
        assert distance(found["action"], probabilities(expected["logits"])) < PROBABILITY


# ---------------------------------------------------------------------------------------------------------------------
# Everything but the networks.

ARRAYS = dict(np.load(FOLDER / "ops.npz"))
OPS = json.loads((FOLDER / "ops.json").read_text())


@pytest.mark.parametrize("row", OPS["layer_decay"], ids=lambda row: f"{row['depth']}-{row['sep_pos_embed']}")
def test_groups_of_layers(row):
    scales = oracle.layer_decay(row["groups"], row["depth"], row["layer_decay"])
    assert scales == pytest.approx({name: scale for name, (scale, _) in row["groups"].items()}, rel=1e-12)
    spared = {name for name, (_, decay) in row["groups"].items() if decay == 0}
    assert oracle.no_decay(dict.fromkeys(row["groups"], ()), finetune=True) == spared


@pytest.mark.parametrize("row", OPS["pretrain_weight_decay"])
def test_weight_decay_of_pretraining(row):
    shapes = dict.fromkeys(row["decay"] + row["no_decay"], ())
    assert oracle.no_decay(shapes, finetune=False, norms=row["bias_wd"]) == set(row["no_decay"])


def test_schedules():
    for case in OPS["lr_schedule"]:
        columns = case["columns"]
        for row in case["rows"]:
            named = dict(zip(columns, row, strict=True))
            epoch = named["epoch"] + named["step"] / case["steps_per_epoch"]
            found = oracle.warmup_cosine(epoch, case["lr"], case["min_lr"], case["warmup_epochs"], case["epochs"])
            assert found == pytest.approx(named["lr"], abs=1e-7 * case["lr"] + 1e-12)
    for case in OPS["mask_ratio_schedule"] + OPS["temperature_schedule"]:
        for epoch, value in case["rows"]:
            assert oracle.cosine_between(epoch, case["start"], case["end"], case["epochs"]) == pytest.approx(
                value, rel=PURE
            )


def test_frames_of_clips():
    for row in OPS["frame_sampling"]:
        place = {"u": row["u"]} if "u" in row else {"clip": row["clip"], "clips": row["clips"]}
        found = oracle.clip_frames(
            row["video"], row["fps"], row["rate"], row["frames"], rounded=row["loader"] == "bbox", **place
        )
        np.testing.assert_array_equal(found, row["ids"], err_msg=str(row))
    for frames, predicted, chosen in OPS["target_frames"]:
        np.testing.assert_array_equal(target_frames(frames, predicted), chosen)
    for tokens, ratio, kept in OPS["kept"]:
        assert masks.count(tokens, ratio) == kept


def test_crops():
    for row in OPS["random_resized_crop"]:
        logged = [] if isinstance(row["draws"], str) else [v for kind, v in row["draws"] if kind != "np.uniform"]
        draws = iter(logged)
        found = clips.random_crop(
            row["height"],
            row["width"],
            row["scale"],
            row["aspect"],
            lambda low, high, draws=draws: next(draws, high),
            lambda count, draws=draws: next(draws),
        )
        assert list(found) == row["top_left_height_width"] and not list(draws)
    for row in OPS["test_crops"]:
        found = [oracle.test_crop(row["height"], row["width"], row["size"], which) for which in range(3)]
        assert all(list(size) == row["resized"] for size, _ in found)
        assert [list(place) for _, place in found] == row["top_left"]
    for row in OPS["val_jitter_and_crop"]:
        short = round(row["draws"][0][1])
        assert list(clips.short_side(row["height"], row["width"], short)) == row["resized"]
    frames = (ARRAYS["pixel_frames"].astype(np.float32) / 255 - np.float32(0.45)) / np.float32(0.225)
    crop = clips.Crop(*OPS["pixel_rrc"]["top_left_height_width"])
    assert distance(clips.scaled(clips.cut(frames, crop), 24, 24), ARRAYS["pixel_rrc"]) < PIXELS
    for which, expected in enumerate(ARRAYS["pixel_test"]):
        size, place = oracle.test_crop(*frames.shape[1:3], 24, which)
        assert distance(clips.cut(clips.scaled(frames, *size), clips.Crop(*place, 24, 24)), expected) < PIXELS


def test_mixtures():
    for number, row in enumerate(OPS["mix"]):
        x, share, box = ARRAYS[f"mix{number}_x"], row["lam"], None
        if row["cutmix"]:
            found = mix.cut_box(x.shape[2:4], share, *row["centre_y_x"])
            box = row["box_top_bottom_left_right"]
            assert [int(edge) for edge in found] == box
            share = float(mix.kept_share(x.shape[2:4], found))
        np.testing.assert_allclose(oracle.mix(x, share, box), ARRAYS[f"mix{number}_out"], atol=PURE)
        targets = oracle.mixed_targets(row["labels"], row["classes"], share, row["smoothing"])
        np.testing.assert_allclose(targets, ARRAYS[f"mix{number}_target"], atol=PURE)


def test_losses():
    row, logits = OPS["losses"], ARRAYS["loss_logits"]
    for smoothing, key in ((0.1, "label_smoothing_0_1"), (0.0, "cross_entropy")):
        targets = oracle.mixed_targets(row["labels"], logits.shape[1], 1.0, smoothing)
        assert oracle.soft_cross_entropy(logits, targets) == pytest.approx(row[key], rel=PURE)
    assert oracle.soft_cross_entropy(logits, ARRAYS["loss_soft"]) == pytest.approx(row["soft_target"], rel=PURE)


def test_erasing():
    for number, row in enumerate(OPS["erase"]):
        size, draws = (row["height"], row["width"]), [value for _, value in row["draws"]]
        where = np.zeros((1, row["frames"], *size, 1), np.float32)
        if draws[0] <= 0.25:  # the probability of erasing
            count = draws[1] if row["count"] > 1 else 1
            share, shape, top, left = draws[-4:]
            rows, columns = mix.erase_size(size, share / count, math.exp(shape))
            # the original takes the count for a number of parts, of which the first stays as it is
            first = row["frames"] // row["num_splits"] if row["num_splits"] > 1 else 0
            where = mix.erased(where, mix.Box(top, top + rows, left, left + columns), np.ones_like(where), first)
        np.testing.assert_array_equal(where[0, ..., 0], ARRAYS[f"erase{number}"])


def test_operations_on_pictures():
    """With the Pillow that the cases were made with; other versions round some pixels otherwise."""
    for row in OPS["rand_augment"]["ops"]:
        assert rand_augment.argument(row["op"], row["magnitude"], row["negate"]) == pytest.approx(row["argument"])
        found = oracle.rand_augment(ARRAYS["aug_image"], row["op"], row["argument"])
        np.testing.assert_allclose(found, ARRAYS["aug_out"][row["index"]], atol=1, err_msg=row["op"])
        assert (found != ARRAYS["aug_out"][row["index"]]).mean() < 0.01, row["op"]
    assert list(rand_augment.OPERATIONS) == OPS["rand_augment"]["order"]


def test_boxes_as_maps():
    for number, row in enumerate(OPS["raster"]):
        found = oracle.raster(np.array(row["boxes"]), tuple(row["height_width"]))
        np.testing.assert_array_equal(found, ARRAYS[f"raster{number}"])


def test_a_clip_and_its_boxes_are_cropped_alike():
    row = OPS["bbox_dataset"]
    frames = made.normalised(made.clip(*row["video"][:1], 1, *row["video"][1:]))[0]
    boxes = [np.array(one).reshape(-1, 5) for one in OPS["dataset_boxes"]]
    span, size, box_size = clips.span(row["num_frames"], row["sampling_rate"], row["fps"]), (36, 48), (540, 720)
    draws = iter(row["draws"])

    def draw(kind):
        return next(value for found, value in draws if found == kind)

    for number in range(row["repeat_aug"]):
        chosen = clips.frames_of(len(frames), round(draw("uniform")), span, row["num_frames"])
        crop = clips.random_crop(
            *size, row["scale"], row["aspect"], lambda low, high: draw("uniform"), lambda count: draw("randint")
        )
        covered = cover.cover([boxes[i] for i in chosen], box_size, size)
        flip = -1 if draw("np.uniform") < row["flip"] else 1
        pixels, map = (clips.scaled(clips.cut(x, crop), 32, 32)[:, :, ::flip] for x in (frames[chosen], covered))
        assert distance(pixels[:, ::3, ::3], ARRAYS["bbox_dataset_frames"][number]) < PIXELS
        np.testing.assert_allclose(map, ARRAYS["bbox_dataset_map"][number], atol=1e-3)
    for view in range(9):
        # the original passes the number of all views for that of the clips
        start = clips.fixed_start(len(frames), span, view // 3, 9, rounded=True)
        chosen = clips.frames_of(len(frames), start, span, row["num_frames"])
        scaled, place = oracle.test_crop(*size, 32, view % 3)
        covered = cover.cover([boxes[i] for i in chosen], box_size, size)
        crop = clips.Crop(*place, 32, 32)
        pixels, map = (clips.cut(clips.scaled(x, *scaled), crop) for x in (frames[chosen], covered))
        assert distance(pixels[::3, ::5, ::5], ARRAYS["bbox_test_frames"][view]) < PIXELS
        np.testing.assert_allclose(map[:, ::2, ::2], ARRAYS["bbox_test_map"][view], atol=1e-3)


#: Cases of loading -> what differs from the pretraining in the classifier, and in both.
LOADING = {
    "same size, separate positions": ({}, {}),
    "same size, joint positions": ({}, {"positions": "joint"}),
    "separate, other image size": ({"image_size": 64}, {}),
    "separate pretrained, joint classifier": ({"positions": "joint"}, {}),
    "joint pretrained, separate classifier": ({"positions": "separate"}, {"positions": "joint"}),
    "no cls in the classifier": ({"cls_token": False}, {}),
}


@pytest.mark.parametrize("case", LOADING)
def test_a_classifier_from_a_pretrained_file(case):
    """What arrives is what arrives in the original; where it fails, or loses positions or a class token, ours fails."""
    changes, common = LOADING[case]
    row = next(row for row in OPS["loading"]["rows"] if row["case"] == case)
    small = {"image_size": 32, "patch": 8, "num_frames": 8, "width": 16, "depth": 2, "heads": 2}
    decoder = {"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2, "pred_frames": 4}
    pretrained = dataclasses.replace(oracle.config("mae-st-vit-b"), **small, **decoder, **common)
    config = dataclasses.replace(oracle.config("mae-st-vit-b-k400"), **small | common | changes)
    flat = {path: np.zeros(shape, np.float32) for path, shape in port.shapes(pretrained).items()}
    table, wanted = zoo.family(config).transfer, port.shapes(config)
    if changes:
        with pytest.raises(Problem, match="the network does not fit"):
            transfer.apply(table, flat, wanted)
        return
    taken, fresh, _ = transfer.apply(table, flat, wanted)
    names = oracle.torch_names(config)
    assert {name for path in taken for name in names[path]} == set(row["loaded"])
    assert {name for path in fresh for name in names[path]} == set(row["missing"])


def test_the_head_of_slowfast_is_read():
    config = dataclasses.replace(oracle.config("mae-st-vit-b-k400"), depth=1, width=48, heads=2, num_actions=3)
    weights = {path: np.full(shape, n, np.float32) for n, (path, shape) in enumerate(port.shapes(config).items())}
    state = port.to_torch(weights, config)
    renamed = dict(zip(OPS["test_rename"]["becomes"], OPS["test_rename"]["given"], strict=True))
    again = port.from_torch({renamed.get(name, name): array for name, array in state.items()}, config)
    for path, array in weights.items():
        np.testing.assert_array_equal(again[path], array)


def test_views_of_videos():
    row, order = OPS["meter"], np.array(OPS["meter"]["order"])
    sums = oracle.multi_view(ARRAYS["meter_probabilities"][order], order, row["views"], row["videos"])
    np.testing.assert_allclose(sums, ARRAYS["meter_sums"], rtol=PURE)
    again = np.concatenate([order, order[:4]])
    twice = oracle.multi_view(ARRAYS["meter_probabilities"][again], again, row["views"], row["videos"])
    np.testing.assert_allclose(twice, sums)
    for k, name in ((1, "top1_acc"), (5, "top5_acc")):
        accuracy = 100 * class_metrics.top_k(sums, np.array(row["labels"]), k)
        assert f"{accuracy:.2f}" == row["stats"][name]


def test_probes():
    row, labels = OPS["probe"], np.array(OPS["probe"]["labels"], np.int32)
    given = ARRAYS["probe_features"], ARRAYS["probe_w0"], ARRAYS["probe_b0"]
    lars = row["lars"]
    weight, bias, mean, var = oracle.lars_probe(
        given[0], labels, *given[1:], lars["lr"], lars["momentum"], lars["trust"], lars["weight_decay"]
    )
    for found, name in ((weight, "w"), (bias, "b"), (mean, "mean"), (var, "var")):
        assert distance(found, ARRAYS[f"probe_lars_{name}"]) < PURE, name
    sgd, classes = row["sgd"], len(given[2])
    soft = np.stack([oracle.mixed_targets(one, classes, 1.0, 0.1) for one in labels])
    optimizer = Optimizer(
        oracle.optax.sgd,
        options={"momentum": sgd["momentum"]},
        learning_rate=sgd["lr"],
        clip_norm=sgd["clip_grad"],
    )
    after, found = oracle._probe_steps(given[0], soft, *given[1:], optimizer, norm=False)
    np.testing.assert_allclose(found, sgd["loss_and_grad_norm"], rtol=PURE)
    assert distance(after["head.linear.kernel"].T, ARRAYS["probe_sgd_w"]) < PURE
    assert distance(after["head.linear.bias"], ARRAYS["probe_sgd_b"]) < PURE
