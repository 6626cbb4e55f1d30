import argparse
import dataclasses
from pathlib import Path

import numpy as np
import optax
import pytest
from PIL import Image

from jaxhar import zoo
from jaxhar.checks import doctor
from jaxhar.checks import examples as doctor_data
from jaxhar.core.skeleton import PA17, PA20
from jaxhar.data import transforms
from jaxhar.data.generate.film import Synth
from jaxhar.data.h36m.settings import H36M
from jaxhar.data.mixed import Mixed
from jaxhar.data.mpii.settings import MPII
from jaxhar.data.ntu.settings import NTU
from jaxhar.data.own.settings import Own
from jaxhar.data.penn.settings import Penn
from jaxhar.evaluation.metrics import PCK, AUCh, PCKh
from jaxhar.evaluation.metrics_3d import MPJPE, AbsoluteMPJPE, ProcrustesMPJPE
from jaxhar.evaluation.results import Published
from jaxhar.host.errors import Usage
from jaxhar.models.reception import network as reception
from jaxhar.training import experiment as config
from jaxhar.training.experiment import Evaluation, Experiment, Train
from jaxhar.training.losses import multitask as losses
from jaxhar.training.optim import Optimizer

CONFIGS = Path(__file__).parents[1] / "configs"
TINY = reception.Config.tiny(image_size=48, num_blocks=1)
CLIPS = dataclasses.replace(
    transforms.NONE,
    angles=(-20.0, 15.0),
    scales=(0.8, 1.2),
    trans_x=(-6.0, 5.0),
    hflip=(False, True),
    subsampling=(1, 2),
)
SHAPE = {"image_size": 48, "augment": CLIPS, "augment_stills": CLIPS, "prefetch": 1}
COUNT = 6


def synth(train: int = 6, test: int = 4, **settings) -> Synth:
    return Synth(train, test, 2, 2, **{"frames": (6, 8), "size": (120, 90), "clutter": 0.3, "seed": 3, **settings})


def experiment(data, model=TINY, **settings) -> Experiment:
    values = {"losses": losses.Multitask(action=0.01), "optimizer": Optimizer(optax.adam), "train": Train(steps=3)}
    return Experiment(name="test", model=model, data=data, **{**values, **settings})


DEEP = {"num_context": 0, "depth_maps": 4}
HEADS = {"pose_stream_width": 14, "visual_stream_width": 16}
EXPERIMENTS = {
    "penn": experiment(
        Penn(synth=synth(15, 4), clip_frames=4, clips_per_batch=2, stills_per_batch=3, **SHAPE),
        dataclasses.replace(TINY, num_frames=4, num_actions=15, **HEADS),
        metrics=(PCK(0.2),),
        protocols=("single", "multi", "authors"),
        published=(Published("accuracy/multi", 0.986, "multi-clip"),),
    ),
    "mpii": experiment(
        MPII(synth=synth(), stills_per_batch=4, **SHAPE),
        metrics=(PCKh(0.5), AUCh()),
        protocols=("single", "flip", "multi"),
        train=Train(best="pckh@0.5/best"),
    ),
    "h36m": experiment(
        H36M(synth=synth(size=(96, 100), frames=(2, 3)), stills_per_batch=4, **SHAPE),
        dataclasses.replace(TINY, num_joints=17, **DEEP),
        metrics=(MPJPE(), MPJPE(authors=True), ProcrustesMPJPE(), AbsoluteMPJPE()),
        protocols=("single", "flip", "authors"),
        published=(Published("mpjpe", 55.1, "single crop", "mm"),),
    ),
    "ntu": experiment(
        Mixed(
            {
                "ntu": NTU(synth=synth(), clip_frames=4, dims=3, skeleton=PA20, **SHAPE),
                "mpii": MPII(synth=synth(), dims=3, skeleton=PA20, **SHAPE),
            },
            "ntu",
            stills={"mpii": 2, "ntu": 2},
            clips={"ntu": 2},
        ),
        dataclasses.replace(TINY, num_joints=20, num_frames=4, num_actions=60, **DEEP, **HEADS),
        metrics=(PCK(0.2),),
        protocols=("single", "multi"),
        also={"mpii": Evaluation((PCKh(0.5),), ("single", "flip"))},
    ),
    "folder": experiment(
        Own(synth=synth(12, 6), clip_frames=4, clips_per_batch=2, **SHAPE),
        dataclasses.replace(TINY, num_frames=4, num_actions=15, **HEADS),
        metrics=(PCK(0.2),),
    ),
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_sound_data_of_every_layout_passes(name, tmp_path):
    chosen = EXPERIMENTS[name]
    if name == "folder":
        actions = len(chosen.data.prepare(tmp_path).actions)
        chosen = dataclasses.replace(chosen, model=dataclasses.replace(chosen.model, num_actions=actions))
    findings = doctor.examine(chosen, tmp_path, COUNT, out=tmp_path)
    wrong = [f"{where}, {finding.check}: {finding.found}" for where, finding in findings if not finding.passed]
    assert not wrong
    checks = {finding.check for _, finding in findings}
    expected = {"splits", "numbers", "labels", "pixels", "mirror", "stream", "scores of the truth", "network", "names"}
    assert checks >= expected | {"batch", "losses of the truth", "gradients"}
    assert ("space" in checks) == (name in ("h36m", "ntu")) and ("training crops" in checks) == (name != "folder")
    said = " ".join(finding.found for _, finding in findings)
    if name != "folder":
        assert "100.00%" in said or "mpjpe 0.0000 mm" in said
    for part in getattr(chosen.data, "sets", ["x"]):
        (picture,) = tmp_path.glob(f"doctor_{part if part != 'x' else '*'}.png")
        with Image.open(picture) as image:
            assert image.size[0] > 1000 and image.size[1] > 400


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Penn Action, Human3.6M and NTU RGB+D, generated and packed once."""
    folder = tmp_path_factory.mktemp("sets")
    found = {name: EXPERIMENTS[name].data.prepare(folder / name) for name in ("penn", "h36m")}
    return found | {"ntu": EXPERIMENTS["ntu"].data.sets["ntu"].prepare(folder / "ntu")}


def damaged(part, damage):
    """The same data with a mistake in the making of its examples."""
    kind = type(part.config)

    class Broken(kind):
        def example(self, record, frames, draw, keep_outside=False):
            example = super().example(record, frames, draw, keep_outside)
            return damage({k: np.copy(v) for k, v in example.items()}, draw)

    values = {f.name: getattr(part.config, f.name) for f in dataclasses.fields(part.config)}
    return dataclasses.replace(part, config=Broken(**values))


def swapped_joints(example, draw):
    a, b = 8, 9  # the wrists
    for name in ("pose", "visible", "valid"):
        example[name][:, [a, b]] = example[name][:, [b, a]]
    return example


def shifted_map(example, draw):
    example["affine"][:, 0, 2] += 0.05
    return example


def singular_map(example, draw):
    example["affine"][:, :2] = 0
    return example


def shifted_pixels(example, draw):
    example["frames"] = np.roll(example["frames"], 12, axis=2)
    return example


def wrong_label(example, draw):
    example["action"] = (example["action"] + 1) % 15
    return example


def not_a_number(example, draw):
    example["power"][0, 2] = np.nan
    return example


def bytes_for_numbers(example, draw):
    example["frames"] = example["frames"].astype(np.float32)
    return example


def unswapped_mirror(example, draw):
    if draw.flip:
        example["frames"] = example["frames"][:, :, ::-1]
    return example


def lost_joint(example, draw):
    example["valid"][:, 4], example["visible"][:, 4] = False, 0
    return example


def blind(example, draw):
    example["visible"][:] = 0
    return example


def other_depths(example, draw):
    example["depth_range"] *= 1.1
    return example


def other_camera(example, draw):
    example["camera"][..., 12] *= 1.02
    return example


@pytest.mark.parametrize(
    ("name", "damage", "checks"),
    [
        ("penn", swapped_joints, {"training crops", "evaluation crops"}),
        ("penn", shifted_map, {"training crops", "evaluation crops"}),
        ("penn", singular_map, {"training crops", "evaluation crops"}),
        ("penn", shifted_pixels, {"pixels"}),
        ("penn", wrong_label, {"labels"}),
        ("penn", not_a_number, {"numbers"}),
        ("penn", bytes_for_numbers, {"numbers"}),
        ("penn", unswapped_mirror, {"mirror"}),
        ("penn", lost_joint, {"training crops", "evaluation crops"}),
        ("penn", blind, {"labels", "in sight"}),
        ("ntu", other_depths, {"space"}),
        ("h36m", other_depths, {"space"}),
        ("h36m", other_camera, {"space"}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_planted_mistakes_are_found(prepared, name, damage, checks):
    part = damaged(prepared[name], damage)
    layout, skeleton = part.config.layout, part.skeleton
    training, evaluation = list(doctor_data.training_cases(part, 8, 0)), list(doctor_data.evaluation_cases(part, 4))
    cases = training + evaluation
    found = {
        "training crops": lambda: doctor_data.crops(training, layout, skeleton, "training crops", True),
        "evaluation crops": lambda: doctor_data.crops(evaluation, layout, skeleton, "evaluation crops", False),
        "pixels": lambda: doctor_data.pixels(cases),
        "labels": lambda: doctor_data.labels(cases, part),
        "numbers": lambda: doctor_data.numbers(cases, part),
        "mirror": lambda: doctor_data.mirror(evaluation, part),
        "in sight": lambda: doctor_data.in_sight(evaluation),
        "space": lambda: doctor_data.space(cases, layout, skeleton),
    }
    for check in checks:
        finding = found[check]()
        assert finding.check == check and not finding.passed


def indexed(part, **changes):
    """The same data with every entry of the index changed: name -> function of the entry."""
    entries = [{**e, **{k: change(e) for k, change in changes.items()}} for e in part.index["sequences"]]
    return dataclasses.replace(part, index={**part.index, "sequences": entries})


def test_splits_and_classes_are_looked_at(prepared):
    part = prepared["penn"]
    assert doctor_data.splits(part).passed and doctor_data.classes(part, True).passed
    same = doctor_data.splits(indexed(part, name=lambda entry: "0001"))
    assert not same.passed and "are in both" in same.found
    shared = doctor_data.splits(indexed(part, subject=lambda entry: 3))
    assert not shared.passed and "every performer of one is in the other" in shared.found
    assert doctor_data.splits(indexed(part, subject=lambda entry: 1 + (entry["split"] == "test"))).passed
    empty = doctor_data.splits(indexed(part, split=lambda entry: "train"))
    assert not empty.passed and "empty" in empty.found
    first = indexed(part, action=lambda entry: 0 if entry["split"] == "train" else 1)
    assert "1 have no training example (baseball_swing)" in doctor_data.classes(first, True).found
    real = dataclasses.replace(part, config=dataclasses.replace(part.config, root="x"))
    missing = doctor_data.classes(real, True)  # four test sequences cannot be of 15 classes
    assert not missing.passed and "11 have no evaluation example" in missing.found
    assert not doctor_data.classes(indexed(part, action=lambda entry: 15), True).passed
    assert not doctor_data.classes(first, False).found


def test_a_stream_that_mixes_its_sequences_up_is_found(prepared):
    part = prepared["penn"]
    assert doctor_data.streamed(part).passed

    class Reversed(type(part)):
        def eval_stream(self, *args, **settings):
            for batch in super().eval_stream(*args, **settings):
                yield {k: v[::-1] for k, v in batch.items()}

    turned = Reversed(part.config, part.folder, part.index)
    assert not doctor_data.streamed(turned).passed


@dataclasses.dataclass(frozen=True)
class Mirrored(PCK):
    """A metric that takes x for y in the truth."""

    def _core(self, pred, true, valid, norm):
        return super()._core(pred, true[..., ::-1], valid, norm)


def test_a_metric_that_misses_the_truth_is_found(prepared):
    finding = doctor.scores(prepared["penn"], (PCK(0.2), Mirrored(0.2, name="odd")), ("single",), 8, True, True)
    assert not finding.passed and "odd" in finding.found and "pck@0.2" not in finding.found
    empty = doctor.scores(prepared["penn"], (PCK(0.2, exclude=PA17.joints),), ("single",), 8, True, True)
    assert not empty.passed and "nan" in empty.found


def test_bad_losses_and_batches_are_found(prepared):
    stream = prepared["penn"].train_stream(0)
    batch = next(stream)["clips"]
    stream.close()

    def verdicts(loss, batch=batch):
        return {finding.check: finding for finding in doctor.training(loss, batch)}

    good = losses.Multitask()
    assert all(finding.passed for finding in verdicts(good).values())

    class Shifted(losses.Multitask):
        def __call__(self, preds, batch):
            return {k: v + 0.01 for k, v in super().__call__(preds, batch).items()}

    assert "pose is" in verdicts(Shifted())["losses of the truth"].found

    def upside_down(preds, batch):
        return {k: -v for k, v in good(preds, batch).items()}

    assert "a wrong pose costs no more" in verdicts(upside_down)["losses of the truth"].found

    def masked_late(preds, batch):
        return {"pose": (batch["valid"] * (preds["pose"] - batch["pose"]) ** 2).sum((0, 2, 3, 4))}

    found = verdicts(masked_late)["gradients"]
    assert "with NaN" in found.found and not found.passed
    outside = dict(batch)
    outside["pose"] = np.where(batch["valid"], 1.5, 0).astype(np.float32)
    assert not verdicts(good, outside)["batch"].passed
    assert not verdicts(good, {**batch, "frames": batch["frames"].astype(np.float32)})["batch"].passed


def test_a_network_of_another_shape_is_found(prepared):
    stream = prepared["penn"].train_stream(0)
    batch = next(stream)["clips"]
    stream.close()
    model = EXPERIMENTS["penn"].model
    assert doctor.network(model, batch, 16).passed
    for changes, words in (
        ({"num_joints": 13}, "the labels are (2, 4, 16, 2)"),
        ({"num_actions": 1}, "it knows 1 actions"),
        ({"num_actions": None}, "no head"),
    ):
        finding = doctor.network(dataclasses.replace(model, **changes), batch, 16)
        assert not finding.passed and words in finding.found
    assert doctor.network(zoo.tiny("spnet-penn"), batch, 16).passed


def test_names_of_figures_are_compared(prepared):
    chosen = EXPERIMENTS["penn"]
    part = prepared["penn"]
    assert doctor.names(chosen, part.actions).passed
    best = dataclasses.replace(chosen, train=Train(best="PCK@0.2"))
    assert "train.best is 'PCK@0.2'" in doctor.names(best).found
    other = dataclasses.replace(chosen, published=(Published("mpjpe", 55.1, ""),))
    assert not doctor.names(other).passed
    heads = dataclasses.replace(chosen, model=dataclasses.replace(chosen.model, num_actions=60))
    assert "the network has 60 actions, and the data 15" in doctor.names(heads, part.actions).found


def test_the_sheet_shows_evaluation_also_where_it_has_few_examples():
    training, evaluation = [f"train {n}" for n in range(48)], [f"test {n}" for n in range(20)]
    shown = doctor.ends(training + evaluation, 12)
    assert shown == training[:6] + evaluation[-6:]
    assert doctor.ends(evaluation[:12], 12) == evaluation[:12]


@pytest.mark.parametrize("path", sorted(p.name for p in CONFIGS.glob("*.py") if not p.name.endswith("_test.py")))
def test_every_config_names_its_figures_right(path):
    for which in ("paper", "demo"):
        if path == "finetune.py":  # takes a folder
            continue
        finding = doctor.names(config.load(f"{CONFIGS / path}:{which}"))
        assert finding.passed, finding.found


@pytest.mark.parametrize(("best", "code"), [("accuracy/single", 0), ("acuracy/single", 1)])
def test_the_command_ends_with_a_verdict(tmp_path, capsys, best, code):
    file = tmp_path / "config.py"
    file.write_text(
        "from jaxhar.checks.doctor_test import EXPERIMENTS\n\n\ndef get_config():\n    return EXPERIMENTS['penn']\n"
    )
    parser = argparse.ArgumentParser()
    doctor.add_arguments(parser)
    words = [str(file), "--examples", "4", "--workdir", str(tmp_path / "run"), "--out", str(tmp_path / "out")]
    assert doctor.main(parser.parse_args([*words, "--set", f"train.best={best}"])) == code
    printed = capsys.readouterr().out
    assert ("all 20 checks passed" in printed) == (code == 0) and ("1 failed" in printed) == (code == 1)
    assert [Path(p).name for p in (tmp_path / "out").iterdir()] == ["doctor_Penn_Action.png"]
    with pytest.raises(Usage, match="two are the fewest"):
        doctor.main(parser.parse_args([*words, "--examples", "1"]))
