"""The experiments on Kinetics: each published one by its name, its rates and frozen parts, and all of them tiny."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from configs import dmae, mae, mae_finetune
from jaxhar import run, zoo
from jaxhar.checks import doctor
from jaxhar.data.generate.film import Synth
from jaxhar.host.errors import Problem, Usage
from jaxhar.host.settings import override
from jaxhar.training import experiment as config
from jaxhar.training import stages
from jaxhar.training.layers import layer_decay
from jaxhar.training.step import check
from jaxhar.weights.flat import shapes
from jaxhar.weights.net import Net

CONFIGS = Path(__file__).parent
PRETRAIN = ("mae:vit_b", "mae:vit_l", "mae:vit_h", *(f"dmae:{name}" for name in dmae.VARIANTS))
TUNE = ("full", "vit_b", "vit_h", "tenth", "tenth_epochs1000", "masked", "test", "masked_test")
NAMES = (
    *PRETRAIN,
    *(f"mae_finetune:{name}" for name in TUNE),
    *(f"mae_probe:{n}" for n in ("linear", "bn_lars", "masked")),
)
NARROW = {"image_size": 32, "num_frames": 4, "patch": 8, "width": 16, "heads": 2, "depth": 1}
DECODER = {"decoder_width": 16, "decoder_heads": 2, "decoder_depth": 1, "pred_frames": 2, "mask_ratio": 0.75}
DATA = {"data.image_size": 32, "data.clip_frames": 4, "data.side": 40, "data.clips_per_batch": 4, "data.timeout": 0}
VIEWS = {"data.clips": 2, "data.places": 1}


def load(name):
    file, _, which = name.partition(":")
    return config.load(f"{CONFIGS / file}.py:{which}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small set of videos."""
    out = tmp_path_factory.mktemp("kinetics") / "set"
    load("mae:vit_b").data.generate(out, Synth(4, 2, 2, 1, frames=(12, 14), size=(64, 48), clutter=0.0))
    return out


def tiny(name, folder, **changes):
    """An experiment with a small network on the small set, of 2 steps."""
    found = load(name)
    pretrains = "decoder_width" in vars(found.model)
    model = replace(found.model, **NARROW, **(DECODER if pretrains else {"num_actions": 4}))
    words = DATA | VIEWS | {"data.root": folder, "data.cache": folder.parent / "packed"}
    if found.mixing.mixes:
        words["mixing.groups"] = 2
    if found.steps:
        words |= {"train.steps": 2, "train.eval_every": 0, "train.best": "", "train.log_every": 1}
        words["optimizer.schedule_options.warmup_steps"] = 1
        if name.startswith("mae_finetune"):
            words["optimizer.table"] = layer_decay(1, 0.75)
    return override(replace(found, model=model), {key: str(value) for key, value in (words | changes).items()})


def paths(model):
    """The names of a network's parameters, without making it: its blocks are alike."""
    for path in shapes(replace(model, width=16, heads=2, depth=1)):
        if not path.endswith((".mean", ".var")):
            if "encoder.blocks.0." in path:
                yield from (path.replace("blocks.0", f"blocks.{n}") for n in range(model.depth))
            else:
                yield path


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_experiment(name):
    found = load(name)
    file, _, which = name.partition(":")
    (part,) = stages.parts(found)
    assert found.name == f"{file}_{which}" and not found.banner and part.stage.losses is not None
    assert found.data.image_size == found.model.image_size and found.data.clip_frames == found.model.num_frames
    assert ("cover" in found.model.reads) == bool(found.data.box_folder)
    if file == "mae_finetune":
        figures = {"full": 0.848, "test": 0.848, "vit_b": 0.813, "vit_h": 0.851}
        published = [one.value for one in found.evals["kinetics"].published]
        assert published == ([figures[which]] if which in figures else [])
    if found.steps:
        rates = np.asarray(part.stage.optimizer.rate(found.steps)(np.linspace(0, found.steps, 1001)))
        batch = found.data.clips_per_batch
        base = 4e-4 if name in PRETRAIN else 0.1 if "probe" in file else 2.4e-3
        assert rates.max() == pytest.approx(base * batch / 256, rel=1e-2) and rates[0] == 0 and rates[-1] < 2e-6
        epoch = 240_000 * found.data.fraction * found.data.repeat / batch  # steps
        epochs = {"epochs75": 75, "bn_lars": 90, "tenth_epochs1000": 1000}.get(which, 200 if name in PRETRAIN else 100)
        assert found.steps / epoch == pytest.approx(epochs, rel=2e-3)
        every = 10 if name in PRETRAIN or which == "tenth_epochs1000" else 1
        assert found.train.eval_every / epoch == pytest.approx(every, rel=2e-3)


@pytest.mark.parametrize("name", ["mae:vit_h", "dmae:default", "mae_finetune:vit_b", "mae_probe:bn_lars"])
def test_tables_fit_the_networks(name):
    found = load(name)
    names = list(paths(found.model))
    rates, decays = found.optimizer.multipliers(names), found.optimizer.decays(names)
    if "probe" in name:
        assert {path for path, rate in rates.items() if rate} == {"head.linear.kernel", "head.linear.bias"}
        return
    assert not decays["encoder.blocks.1.attn.qkv.bias"] and decays["encoder.blocks.1.attn.qkv.kernel"] == 0.05
    assert bool(decays["encoder.cls_token"]) == (name in PRETRAIN)
    scales = {rates["encoder.patch_embed.kernel"], rates["encoder.pos_embed_spatial"], rates["encoder.cls_token"]}
    assert scales == {1.0 if name in PRETRAIN else 0.75**13}


def test_the_sweep_and_the_curriculum():
    assert {name: dmae.recorded(f"v2_{name}").model.temperature for name in ("-1e10", "0", "1.5")} == {
        "-1e10": -1e10,
        "0": 0,
        "1.5": 1.5,
    }
    model = dmae.recorded("flip").model
    assert model.flip_mask and (model.temperature, model.temperature_end) == (1.5, 0.5)
    assert model.temperature_steps == dmae.recorded("flip").steps
    for name, removed in (("maskratio075", 0.75), ("maskratio075_curriculum", 0.75), ("default", 0.9)):
        found = dmae.recorded(name)
        assert found.model.mask_ratio == removed and found.data.clips_per_batch == (512 if removed < 0.9 else 768)
    with pytest.raises(Usage, match="there is no experiment :v3; there are only :demo, :default"):
        config.load(f"{CONFIGS / 'dmae.py'}:v3")


def test_missing_data_and_weights_are_one_sentence(folder, tmp_path, monkeypatch):
    monkeypatch.delenv("JAXHAR_DATA", raising=False)
    with pytest.raises(
        Problem, match="no Kinetics folder is given: set data.root, .*; docs/data.md .*:demo make their"
    ):
        load("mae:vit_l").data.prepare(tmp_path)
    monkeypatch.setenv("JAXHAR_DATA", str(tmp_path))
    with pytest.raises(Problem, match=r"kinetics is no folder of Kinetics; expected are train.csv .*:demo make their"):
        load("mae:vit_l").data.prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        Usage, match="mae_finetune_full has 400 action classes, but the data has 4: give the network as"
    ):
        run.run(tiny("mae_finetune:full", folder, **{"model.num_actions": 400}), tmp_path / "out", "train")
    with pytest.raises(Problem, match="runs/mae_vit_l"):
        run.run(tiny("mae_finetune:full", folder), tmp_path / "out", "train")


@pytest.mark.parametrize(
    "name",
    ["mae:vit_b", "dmae:maskratio075_curriculum", "mae_finetune:full", "mae_finetune:masked", "mae_probe:bn_lars"],
)
def test_networks_losses_and_mixtures_fit_the_data(name, folder, tmp_path):
    found = tiny(name, folder)
    (part,) = stages.parts(found)
    stream = found.data.prepare(tmp_path).train_stream(0)
    check(Net(zoo.create(found.model)), part.stage.losses, next(stream), part.augment(0))
    stream.close()


@pytest.mark.slow
def test_a_curriculum_is_evaluated_as_it_is_at_its_step(folder, tmp_path):
    changes = {"model.temperature": 1e6, "model.temperature_end": 0.02, "model.temperature_steps": 2}
    found = tiny("dmae:curriculum", folder, **changes, **{"train.eval_every": 1})
    run.run(found, tmp_path, "train")
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    halfway, end = (row["eval/boxes/removed_in_box"] for row in rows if "loss" not in row)
    assert halfway < end, "t is 5e5 halfway, so that masks are random, and at the end prefer persons"
    for mode in ("train", "eval"):
        run.run(found, tmp_path, mode)
        assert json.loads((tmp_path / "results.json").read_text())["scalars"]["boxes/removed_in_box"] == end


@pytest.mark.slow
def test_from_pretraining_to_the_masked_test(folder, tmp_path):
    boxes = {"data.box_folder": "boxes"}
    run.run(tiny("dmae:curriculum", folder, **{"model.temperature_steps": 2}), tmp_path / "mae", "train")
    for name, out in (("mae_finetune:full", "tuned"), ("mae_probe:bn_lars", "probe")):
        run.run(tiny(name, folder, init_from=tmp_path / "mae"), tmp_path / out, "train")
    for name in ("test", "masked_test"):
        tested = tiny(
            f"mae_finetune:{name}", folder, init_from=tmp_path / "tuned", **(boxes if "masked" in name else {})
        )
        run.run(tested, tmp_path / name, "train")
    with pytest.raises(Problem, match=r"mae has no weights of head.*, and nothing is trained: random values would be"):
        run.run(tiny("mae_finetune:test", folder, init_from=tmp_path / "mae"), tmp_path / "headless", "train")
    plain, test, masked = (
        json.loads((tmp_path / name / "results.json").read_text()) for name in ("tuned", "test", "masked_test")
    )
    assert plain["examples"] == test["examples"] == masked["examples"] == {"single": 2, "multi": 4}
    assert plain["scalars"] == test["scalars"]
    for name in ("tuned", "probe", "masked_test"):
        scores = np.load(tmp_path / name / "scores_multi.npz")["scores"]
        np.testing.assert_allclose(scores.sum(-1), 1, rtol=1e-5)


SYNTH = {"synth.train_sequences": 6, "synth.test_sequences": 3, "synth.train_performers": 6, "synth.test_performers": 3}


def demo(name, **changes):
    """The demo of a config, or mae:benefit, with two steps in each stage."""
    words = {f"data.{key}": value for key, value in SYNTH.items()}
    words |= {"data.image_size": 32, "data.side": 40, "data.clips_per_batch": 8}
    for stage in ("pretrain", "probe", "all"):
        words |= {f"stages.{stage}.steps": 2, f"stages.{stage}.optimizer.schedule_options.warmup_steps": 1}
    for network in ("model", "stages.pretrain.model"):
        words |= {f"{network}.image_size": 32, f"{network}.width": 16, f"{network}.heads": 2}
    words |= {"train.log_every": 1, "train.eval_every": 0, "model.num_actions": 6} | changes
    known = load(name).stages
    skip = [f"stages.{stage}." for stage in ("pretrain", "probe", "all") if stage not in known]
    words = {key: str(value) for key, value in words.items() if not key.startswith(tuple(skip) or "-")}
    file, _, which = name.partition(":")
    return config.load(f"{CONFIGS / file}.py:{which}", words)


@pytest.mark.slow
def test_how_much_of_the_persons_is_removed(folder, tmp_path):
    found = replace(load("dmae:maskratios"), model=replace(load("dmae:maskratios").model, image_size=32, patch=8))
    words = DATA | {"model.num_frames": 4, "model.pred_frames": 2, "data.root": folder, "data.cache": tmp_path}
    run.run(override(found, {key: str(value) for key, value in words.items()}), tmp_path / "out", "train")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    removed = [results["scalars"][f"boxes/removed_in_box{name}"] for name in ("", "/1.25", "/1", "/0.75", "/0.5")]
    assert results["split"] == "train" and results["examples"] == {"single": 4}
    assert all(0.6 < share <= 1 for share in removed) and removed[-1] > 0.85


@pytest.mark.slow
def test_the_demo_of_directed_masks(tmp_path):
    run.run(demo("dmae:demo"), tmp_path, "train")
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [key for row in rows for key in row if key.startswith("clips/")] == ["clips/reconstruction"] * 2 + [
        "clips/action"
    ] * 4


@pytest.mark.slow
def test_the_doctor_passes_every_stage(tmp_path):
    findings = doctor.examine(demo("dmae:demo"), tmp_path, count=4)
    assert {where for where, _ in findings} >= {"pretrain clips", "probe clips", "all clips"}
    assert all(finding.passed for _, finding in findings), findings


@pytest.mark.slow
def test_what_pretraining_is_for(tmp_path):
    found = demo("mae:benefit", **{"compare.seeds": 2, "stages.all.data": {"fraction": 0.9, "repeat": 2}})
    run.run(found, tmp_path, "train")
    results = json.loads((tmp_path / "results.json").read_text())
    assert {"accuracy/scratch", "accuracy/plain", "accuracy/directed", "accuracy/directed - plain"} <= results[
        "scalars"
    ].keys()
    (section,) = results["sections"]
    assert [row[0] for row in section["tables"][0]["rows"]] == ["scratch", "plain", "directed"]
    assert len(section["json"]["seeds"][0]) == 2
    assert "plain: After a pretraining with masks at random." in (tmp_path / "report.html").read_text()
    steps = {path.parent.name: len(path.read_text().splitlines()) for path in tmp_path.glob("*/metrics.jsonl")}
    assert steps == {
        f"{arm}-{seed}": 2 if arm == "scratch" else 4 for arm in ("scratch", "plain", "directed") for seed in (0, 1)
    }
    assert len(list((tmp_path / "data").glob("synthetic-*[!k]"))) == 1, "the videos are made once"


@pytest.mark.parametrize("name", ["mae", "vit_l", "dmae", "dmae_vit_l"])
def test_pictures(name):
    found = load(f"image_mae:{name}")
    (part,) = stages.parts(found)
    assert found.name == f"image_{name}" and part.stage.losses.patching == found.model.patching
    assert ("cover" in found.model.reads) == bool(found.data.box_folder) == name.startswith("dmae")
    assert found.steps * found.data.clips_per_batch == pytest.approx(800 * 1_281_167, rel=1e-2)
    assert part.rate(41 * 312) == pytest.approx(2.4e-3, rel=1e-3) and found.model.image_size == found.data.image_size


def test_the_demo_of_pictures_fits_its_data(tmp_path):
    words = {f"data.{key}": str(value) for key, value in SYNTH.items()} | {"data.clips_per_batch": "2"}
    found = override(load("image_mae:demo"), words)
    pretrain, *others = stages.parts(found)
    model = replace(pretrain.stage.model, width=16, heads=2, depth=1, decoder_width=16)
    stream = found.data.prepare(tmp_path).train_stream(0)
    check(Net(zoo.create(model)), pretrain.stage.losses, next(stream))
    stream.close()
    assert [part.name for part in others] == ["probe", "all"] and {part.stage.model for part in others} == {found.model}


def test_pictures_fine_tuned_and_probed():
    tuned, large, probed = (load(f"image_mae:{name}") for name in ("finetune", "finetune_vit_l", "probe"))
    for found, epochs, rate in ((tuned, 50, 4e-3), (large, 50, 4e-3), (probed, 90, 0.2)):
        (part,) = stages.parts(found)
        rates = np.asarray(part.stage.optimizer.rate(found.steps)(np.linspace(0, found.steps, 1001)))
        assert rates.max() == pytest.approx(rate, rel=1e-3) and rates[0] == 0 and rates[-1] < 2e-6
        assert found.steps * found.data.clips_per_batch == pytest.approx(epochs * 1_281_167, rel=2e-3)
    names = list(paths(tuned.model))
    rates, decays = tuned.optimizer.multipliers(names), tuned.optimizer.decays(names)
    assert rates["fc_norm.scale"] == rates["head.linear.kernel"] == 1 and "encoder.norm.scale" not in names
    assert rates["encoder.pos_embed"] == rates["encoder.cls_token"] == 0.75**13 and not decays["encoder.pos_embed"]
    rates = probed.optimizer.multipliers(list(paths(probed.model)))
    assert {path for path, rate in rates.items() if rate} == {"head.linear.kernel", "head.linear.bias"}


@pytest.mark.slow
def test_pictures_from_pretraining_to_the_probe(tmp_path):
    small = {"image_size": 32, "patch": 8, "width": 16, "depth": 1, "heads": 2}
    words = {"data.image_size": 32, "data.clips_per_batch": 4, "train.steps": 2, "train.eval_every": 0}
    words |= {"train.best": "", "optimizer.schedule_options.warmup_steps": 1}
    data = replace(load("image_mae:demo").data, synth=Synth(6, 4, 6, 4, frames=(8, 9), size=(64, 48), clutter=0.0))
    for name, more in (("mae", DECODER | {"pred_frames": 1}), ("finetune", {}), ("probe", {})):
        found = load(f"image_mae:{name}")
        model = replace(found.model, **small, **more or {"num_actions": 6})
        found = replace(found, model=model, data=replace(data, augment=found.data.augment, box_folder=""))
        words |= {} if more else {"init_from": tmp_path / "mae"}
        if name == "finetune":
            found = replace(found, optimizer=replace(found.optimizer, table=layer_decay(1, 0.75)))
        run.run(override(found, {key: str(value) for key, value in words.items()}), tmp_path / name, "train")
    scores = np.load(tmp_path / "probe" / "scores_single.npz")["scores"]
    np.testing.assert_allclose(scores.sum(-1), 1, rtol=1e-5)


def test_the_variants_of_the_comparison():
    found = mae.benefit()
    arms = {name: change(found) for name, change in found.compare.arms.items()}
    assert list(arms["scratch"].stages) == ["all"] and list(arms["plain"].stages) == ["pretrain", "all"]
    plain, directed = (arms[name].plan["pretrain"] for name in ("plain", "directed"))
    assert plain.model.masking == "random" and directed.model.masking == "directed_v1"
    assert plain.steps == directed.steps == directed.model.temperature_steps and plain.model.kept == directed.model.kept
    assert arms["scratch"].plan["all"] == arms["plain"].plan["all"] == arms["directed"].plan["all"]
    assert mae_finetune.test().steps == 0


def test_a_fraction_of_the_videos_is_the_same_everywhere(folder, tmp_path):
    def names(split, **changes):
        return set(tiny("mae_finetune:full", folder, **changes).data.prepare(tmp_path).sequence_names(split))

    few = [names("train", **{"data.fraction": 0.6, "data.fraction_seed": seed}) for seed in (0, 0, 1)]
    assert few[0] == few[1] and all(0 < len(one) < 4 and one < names("train") for one in few)
    assert names("val", **{"data.fraction": 0.6}) == names("val")
    with pytest.raises(Usage, match="data.fraction is 0.0; it must be above 0"):
        tiny("mae_finetune:full", folder, **{"data.fraction": 0.0})
