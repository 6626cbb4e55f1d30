import dataclasses
from pathlib import Path

import numpy as np
import optax
import pytest
from PIL import Image

from jaxhar import zoo
from jaxhar.checks import doctor
from jaxhar.checks import examples as doctor_data
from jaxhar.cli import main as cli
from jaxhar.core.camera import Camera
from jaxhar.core.pixels import Pixels
from jaxhar.core.prepared import View
from jaxhar.core.skeleton import PA16, PA17, PA20
from jaxhar.data import transforms
from jaxhar.data.generate.film import Synth
from jaxhar.data.h36m.settings import H36M
from jaxhar.data.mixed import Mixed
from jaxhar.data.mpii.settings import MPII
from jaxhar.data.ntu.settings import NTU
from jaxhar.data.own.settings import Own
from jaxhar.data.penn.settings import Penn
from jaxhar.data.records import sequences
from jaxhar.evaluation import evaluate
from jaxhar.evaluation.action import Action
from jaxhar.evaluation.deephar import Deephar
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.metrics import PCK, AUCh, PCKh
from jaxhar.evaluation.metrics_3d import MPJPE, AbsoluteMPJPE, ProcrustesMPJPE
from jaxhar.evaluation.pose import Pose
from jaxhar.evaluation.results import Published
from jaxhar.evaluation.scorer import Context
from jaxhar.evaluation.world import World
from jaxhar.models.reception import network as reception
from jaxhar.training import experiment as config
from jaxhar.training.experiment import Experiment, Train
from jaxhar.training.losses import multitask as losses
from jaxhar.training.optim import Optimizer

CONFIGS = Path(__file__).parents[2] / "configs"
TINY = reception.ReceptionConfig.tiny(image_size=48, num_blocks=1)
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
        evals={
            "penn": Eval(
                ("single", "multi"),
                (Pose((PCK(0.2),)), Action(), Deephar(pose=(PCK(0.2),))),
                published=(Published("accuracy/multi", 0.986, "multi-clip"),),
            )
        },
    ),
    "mpii": experiment(
        MPII(synth=synth(), stills_per_batch=4, **SHAPE),
        evals={"mpii": Eval(("single", "flip", "multi"), (Pose((PCKh(0.5), AUCh())),))},
        train=Train(best="pckh@0.5/best"),
    ),
    "h36m": experiment(
        H36M(synth=synth(size=(96, 100), frames=(2, 3)), stills_per_batch=4, **SHAPE),
        dataclasses.replace(TINY, num_joints=17, **DEEP),
        evals={
            "h36m": Eval(
                ("single", "flip"),
                (World((MPJPE(), ProcrustesMPJPE(), AbsoluteMPJPE())), Deephar(world=(MPJPE(),))),
                published=(Published("mpjpe", 55.1, "single crop", "mm"),),
            )
        },
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
        evals={
            "ntu": Eval(("single", "multi"), (Pose((PCK(0.2),)), Action())),
            "mpii": Eval(("single", "flip"), (Pose((PCKh(0.5),)),), part="mpii"),
        },
    ),
    "folder": experiment(
        Own(synth=synth(12, 6), clip_frames=4, clips_per_batch=2, **SHAPE),
        dataclasses.replace(TINY, num_frames=4, num_actions=15, **HEADS),
        evals={"folder": Eval(("single",), (Pose((PCK(0.2),)), Action()))},
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in ("mpii", "h36m") else name for name in EXPERIMENTS]
)
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
    return dataclasses.replace(part, index={**part.index, "sequences": sequences.of([entries])})


def test_splits_and_classes_are_looked_at(prepared):
    part = prepared["penn"]
    assert doctor_data.splits(part).passed and doctor_data.classes(part, True).passed
    same = doctor_data.splits(indexed(part, name=lambda entry: "0001"))
    assert not same.passed and "are in both" in same.found
    shared = doctor_data.splits(indexed(part, subject=lambda entry: 3))
    assert not shared.passed and "both splits share some performer" in shared.found
    assert doctor_data.splits(indexed(part, subject=lambda entry: 1 + (entry["split"] == "test"))).passed
    empty = doctor_data.splits(indexed(part, split=lambda entry: "train"))
    assert not empty.passed and "empty" in empty.found
    first = indexed(part, action=lambda entry: 0 if entry["split"] == "train" else 1)
    assert "1 have no training example (e.g. baseball_swing)" in doctor_data.classes(first, True).found
    real = dataclasses.replace(part, config=dataclasses.replace(part.config, root="x"))
    missing = doctor_data.classes(real, True)  # four test sequences cannot be of 15 classes
    assert not missing.passed and "11 have no evaluation example" in missing.found
    assert not doctor_data.classes(indexed(part, action=lambda entry: 15), True).passed
    assert not doctor_data.classes(first, False).found


def test_a_stream_that_mixes_its_sequences_up_is_found(prepared):
    part = prepared["penn"]
    assert doctor_data.stream_order(part).passed

    class Reversed(type(part)):
        def eval_stream(self, *args, **settings):
            for batch in super().eval_stream(*args, **settings):
                yield {k: v[::-1] for k, v in batch.items()}

    turned = Reversed(part.config, part.folder, part.index)
    assert not doctor_data.stream_order(turned).passed


@dataclasses.dataclass(frozen=True)
class Mirrored(PCK):
    """A metric that takes x for y in the truth."""

    def _core(self, pred, true, valid, norm):
        return super()._core(pred, true[..., ::-1], valid, norm)


def test_a_metric_that_misses_the_truth_is_found(prepared):
    def scores(*metrics):
        return doctor.scores(prepared["penn"], Eval(("single",), (Pose(metrics),)), TINY, 8)[0]

    finding = scores(PCK(0.2), Mirrored(0.2, name="odd"))
    assert not finding.passed and "odd" in finding.found and "pck@0.2" not in finding.found
    empty = scores(PCK(0.2, exclude=PA17.joints))
    assert not empty.passed and "nan" in empty.found


@pytest.fixture(scope="module")
def clips(prepared):
    """A training batch of clips."""
    stream = prepared["penn"].train_stream(0)
    batch = next(stream)["clips"]
    stream.close()
    return batch


def truth(batch, classes=15):
    context = Context(View("training", "each"), skeleton=PA16, classes=tuple(map(str, range(classes))))
    return doctor.perfect((Pose(), Action()), batch, context)


def test_bad_losses_and_batches_are_found(clips):
    def verdicts(loss, batch=clips):
        return {finding.check: finding for finding in doctor.training(loss, batch, truth(clips), Pixels.SIGNED)}

    good = losses.Multitask()
    assert all(finding.passed for finding in verdicts(good).values())

    class Shifted(losses.Multitask):
        def __call__(self, preds, batch):
            return {k: v + 0.01 for k, v in super().__call__(preds, batch).items()}

    assert "pose is" in verdicts(Shifted())["losses of the truth"].found

    def upside_down(preds, batch):
        return {k: -v for k, v in good(preds, batch).items()}

    assert "the loss of a wrong pose is below" in verdicts(upside_down)["losses of the truth"].found

    def deaf(preds, batch):
        return {"pose": preds["pose"].sum((0, 2, 3, 4)) * 0}

    assert "wrong predictions do not increase the loss" in verdicts(deaf)["losses of the truth"].found

    def masked_late(preds, batch):
        return {"pose": (batch["valid"] * (preds["pose"] - batch["pose"]) ** 2).sum((0, 2, 3, 4))}

    found = verdicts(masked_late)["gradients"]
    assert "with NaN" in found.found and not found.passed
    outside = dict(clips)
    outside["pose"] = np.where(clips["valid"], 1.5, 0).astype(np.float32)
    assert not verdicts(good, outside)["batch"].passed
    assert not verdicts(good, {**clips, "frames": clips["frames"].astype(np.float32)})["batch"].passed


def test_a_network_of_another_shape_is_found(clips):
    model, labels = EXPERIMENTS["penn"].model, truth(clips)
    assert doctor.network(model, clips, labels).passed
    for changes, words in (
        ({"num_joints": 13}, "the labels are (2, 4, 16, 2)"),
        ({"num_actions": 1}, "action is (2, 1) in each prediction, the labels are (2, 15)"),
        ({"num_actions": None}, "predicts no actions"),
    ):
        finding = doctor.network(dataclasses.replace(model, **changes), clips, labels)
        assert not finding.passed and words in finding.found
    assert doctor.network(zoo.tiny("spnet-penn"), clips, labels).passed
    blind = {key: value for key, value in clips.items() if key != "frames"}
    assert "it reads frames, which the data lacks" in doctor.network(model, blind, labels).found


def figures(experiment) -> dict:
    """The sections of every evaluation of an experiment, by an example that has everything."""
    found = {}
    for name, plan in experiment.evals.items():
        data = experiment.data
        if isinstance(data, Mixed):
            data = data.sets[plan.part or data.evaluated]
        frames = 2
        joints, dims = len(data.skeleton or (0,)), 3
        camera = Camera(np.eye(3), (0, 0, -2000), (100, 100), (50, 50), (0, 0, 0), (0, 0)).to_vector()
        example = {
            "pose": np.random.default_rng(0).uniform(0.2, 0.8, (frames, joints, dims)),
            "valid": np.ones((frames, joints, dims), bool),
            "visible": np.ones((frames, joints)),
            "affine": np.tile(np.diag([0.01, 0.01, 1]), (frames, 1, 1)),
            "norm": np.ones(frames),
            "depth": np.full(frames, 2000.0),
            "depth_range": np.float64(1000),
            "camera": np.tile(camera, (frames, 1)),
            "action": np.int32(0),
            "sequence": np.int32(0),
            "frames": np.zeros((frames, 64, 64, 3), np.uint8),
            "boxes": np.tile([0.2, 0.2, 0.6, 0.8], (frames, 1, 1)),
            "boxed": np.ones((frames, 1), bool),
            "ignored": np.zeros((frames, 1), bool),
        }
        views = [data.views()[view] for view in plan.views]
        found[name] = []
        for view in views:
            first = next(one for one in views if one.kind != "clips")
            classes = tuple(map(str, range(*experiment.model.classes or (3,))))
            context = Context(view, view == first, data.skeleton, classes, ("0001",), frozenset())
            batch = {key: value[None] for key, value in example.items()}
            preds = {k: v[:, 0] for k, v in doctor.perfect(plan.scorers, batch, context).items()}
            _, sections = evaluate.score(plan.scorers, context, iter([(example, preds)]))
            found[name].append([section for of_scorer in sections for section in of_scorer])
    return found


def test_names_of_figures_are_compared(prepared):
    chosen = EXPERIMENTS["penn"]
    part, known = prepared["penn"], figures(EXPERIMENTS["penn"])
    assert doctor.names(chosen, known, part.actions).passed
    best = dataclasses.replace(chosen, train=Train(best="PCK@0.2"))
    assert "train.best is 'PCK@0.2'" in doctor.names(best, known).found
    late = dataclasses.replace(chosen, train=Train(best="accuracy/multi"))  # not taken in training
    assert not doctor.names(late, known).passed
    plan = dataclasses.replace(chosen.evals["penn"], published=(Published("mpjpe", 55.1, ""),))
    other = dataclasses.replace(chosen, evals={"penn": plan})
    assert not doctor.names(other, known).passed
    heads = dataclasses.replace(chosen, model=dataclasses.replace(chosen.model, num_actions=60))
    assert "the network has 60 action classes, but the data 15" in doctor.names(heads, known, part.actions).found


def test_the_sheet_shows_evaluation_also_where_it_has_few_examples():
    training, evaluation = [f"train {n}" for n in range(48)], [f"test {n}" for n in range(20)]
    shown = doctor.first_and_last(training + evaluation, 12)
    assert shown == training[:6] + evaluation[-6:]
    assert doctor.first_and_last(evaluation[:12], 12) == evaluation[:12]


#: The experiments of files that have other ones.
NAMES = {
    "mae.py": ("vit_b", "demo"),
    "dmae.py": ("default", "demo"),
    "mae_finetune.py": ("full",),
    "mae_probe.py": ("linear",),
    "own_joints.py": ("demo",),
}


@pytest.mark.parametrize("path", sorted(p.name for p in CONFIGS.glob("*.py") if not p.name.endswith("_test.py")))
def test_every_config_names_its_figures_right(path):
    if path == "finetune.py":  # takes a folder
        return
    for which in NAMES.get(path, ("paper", "demo")):
        chosen = config.load(f"{CONFIGS / path}:{which}")
        finding = doctor.names(chosen, figures(chosen))
        assert finding.passed, finding.found


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (["--set", "train.best=accuracy/single"], 0),
        (["--config.train.best=acuracy/single"], 1),
        (["--config.train.best", "acuracy/single"], 1),
    ],
    ids=["--set", "--config.=", "--config. "],
)
def test_the_command_ends_with_a_verdict(tmp_path, capsys, change, code):
    file = tmp_path / "config.py"
    file.write_text(
        "from jaxhar.checks.doctor_test import EXPERIMENTS\n\n\ndef get_config():\n    return EXPERIMENTS['penn']\n"
    )
    words = ["doctor", str(file), "--examples", "4", "--workdir", str(tmp_path / "run"), "--out", str(tmp_path / "out")]
    assert cli.main([*words, *change]) == code
    printed = capsys.readouterr().out
    assert ("all 20 checks passed" in printed) == (code == 0) and ("1 failed" in printed) == (code == 1)
    assert [Path(p).name for p in (tmp_path / "out").iterdir()] == ["doctor_Penn_Action.png"]
    assert cli.main([*words[:3], "1"]) == 2
    assert "must be at least 2" in capsys.readouterr().err
