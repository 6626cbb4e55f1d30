import dataclasses
import json
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from PIL import Image

from jaxhar import zoo
from jaxhar.checks import doctor, overfit
from jaxhar.cli import main as cli
from jaxhar.core import classes
from jaxhar.core.pixels import Pixels
from jaxhar.core.skeleton import MPII as ORDER
from jaxhar.core.skeleton import PA16, PA17
from jaxhar.data import pipeline
from jaxhar.data.generate.film import Synth
from jaxhar.data.h36m.settings import H36M
from jaxhar.data.mpii.settings import MPII
from jaxhar.data.ntu.settings import NTU
from jaxhar.evaluation.action import Action
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.metrics import PCK, AUCh, PCKh
from jaxhar.evaluation.metrics_3d import MPJPE
from jaxhar.evaluation.pose import Pose
from jaxhar.evaluation.world import World
from jaxhar.host.errors import Problem, Usage
from jaxhar.models.reception.network import ReceptionConfig
from jaxhar.training.experiment import Experiment, Train
from jaxhar.training.losses.multitask import MARK_MANY, MARK_ONE, Multitask
from jaxhar.training.optim import Optimizer
from parity_tests.toys import Drawn

TINY = ReceptionConfig.tiny(image_size=32, num_blocks=1, width=24, stem_width=2, kernel_size=3)
ACTIONS = dataclasses.replace(TINY, num_frames=4, num_actions=15, pose_stream_width=14, visual_stream_width=16)


def draw_photos(root: Path, count: int) -> Path:
    """Figures of coloured limbs in MPII's common form; the last has no ankles."""
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    entries = []
    for i in range(count):
        image = rng.integers(0, 60, (200, 200, 3), np.uint8)
        joints = rng.uniform(45, 155, (16, 2)).round(1)
        joints[ORDER.index("head")] = joints[ORDER.index("neck")] - [0, 32]
        for n, (a, b) in enumerate(ORDER.limbs):
            colour = tuple(int(c) for c in np.random.default_rng(n).integers(80, 255, 3))
            ends = [tuple(int(v) for v in joints[j]) for j in (a, b)]
            cv2.line(image, ends[0], ends[1], colour, 6)
        shown = np.ones(16, int)
        if i == count - 1:
            for name in ("r_ankle", "l_ankle"):
                joints[ORDER.index(name)], shown[ORDER.index(name)] = -1, 0
        Image.fromarray(image).save(root / "images" / f"{i}.jpg")
        entries.append(
            {
                "image": f"{i}.jpg",
                "center": [100, 90],
                "scale": 0.8,
                "joints": joints.tolist(),
                "joints_vis": shown.tolist(),
            }
        )
    (root / "annotations.json").write_text(json.dumps(entries))
    return root


@dataclasses.dataclass(frozen=True)
class Clips(Drawn):
    """Random clips of known pose and action."""

    size: int = 3
    title = "clips"
    skeleton = PA16
    actions = classes.PENN

    def example(self, split: str, number: int) -> pipeline.Example:
        rng = np.random.default_rng(number)
        pose = rng.uniform(0.2, 0.8, (1, 16, 2)).repeat(4, 0).astype(np.float32)
        pose[:, 0] = 1.2  # labelled outside of the crop, as evaluation streams have it
        return {
            "frames": rng.uniform(-1, 1, (1, 32, 32, 3)).repeat(4, 0).astype(np.float32),
            "pose": pose,
            "visible": ((pose > 0) & (pose < 1)).all(-1).astype(np.float32),
            "valid": np.ones((4, 16, 2), bool),
            "action": np.int32(5 * number),
            "mask": np.bool_(True),
            "affine": np.tile(np.diag([0.01, 0.01, 1]).astype(np.float32), (4, 1, 1)),
            "norm": np.full(4, 30, np.float32),
            "flipped": np.bool_(False),
        }


class Toy(nnx.Module):
    """One linear layer from pixels to joints: compiles at once and learns a photo by heart."""

    def __init__(self, config: ReceptionConfig, *, rngs: nnx.Rngs, dtype=jnp.float32):
        self.config = config
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.linear = nnx.Linear(config.image_size**2 * 3, 48, rngs=rngs)

    def __call__(self, batch):
        frames = Pixels.SIGNED(batch)
        x = self.linear(self.norm(frames).reshape(*frames.shape[:2], -1) / 10)
        x = jax.nn.sigmoid(x.reshape(*x.shape[:2], 16, 3))[None]
        return {"pose": x[..., :2], "visible": x[..., 2]}


def experiment(model: ReceptionConfig = TINY, **changes) -> Experiment:
    plain = {
        "data": Clips(),
        "losses": Multitask(),
        "optimizer": Optimizer(optax.adam, learning_rate=3e-3),
        "evals": {"clips": Eval(("single",), (Pose((PCK(0.2),)), Action()))},
    }
    return Experiment(name="test", model=model, train=Train(), **{**plain, **changes})


def test_drawn_photos_are_learned(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(zoo, "create", Toy)
    photos, out = draw_photos(tmp_path / "photos", 3), tmp_path / "out"
    result = overfit.run(experiment(), photos=photos, steps=400, out=out)
    assert result.passed
    assert result.figures == {"pckh@0.5": 1} and result.loss <= result.mark == MARK_MANY
    assert 0 < result.steps <= 400
    assert f"step {result.steps:5d}  loss {result.loss:.4f}  pckh@0.5 100.0%" in capsys.readouterr().out
    assert [p.name for p in out.iterdir()] == ["overfit.png"] and result.picture == out / "overfit.png"
    with Image.open(result.picture) as picture:
        assert picture.size == (2 * 324 + 4, 3 * 324 + 4)


def test_clips_are_learned_with_their_actions(tmp_path):
    recipe = experiment(ACTIONS, losses=Multitask(action=0.01), optimizer=Optimizer(optax.adam, learning_rate=0.01))
    result = overfit.run(recipe, samples=2, steps=400, out=tmp_path, progress=False)
    assert result.passed
    assert result.figures == {"pck@0.2": 1, "accuracy/single": 1}


@pytest.mark.parametrize(
    ("change", "rate", "code", "verdict"),
    [
        (["--set", "optimizer.learning_rate={}"], "3e-3", 0, "PASS"),
        (["--config.optimizer.learning_rate={}"], "1e-9", 1, "FAIL"),
    ],
    ids=["--set", "--config"],
)
def test_the_command_ends_with_a_verdict(tmp_path, capsys, monkeypatch, change, rate, code, verdict):
    monkeypatch.setattr(zoo, "create", Toy)
    config = tmp_path / "config.py"
    config.write_text(
        "from jaxhar.checks.overfit_test import experiment as make\n\n\ndef get_config():\n    return make()\n"
    )
    photos, out = draw_photos(tmp_path / "photos", 2), tmp_path / "out"
    line = ["overfit", str(config), "--photos", str(photos), "--samples", "1", "--steps", "200", "--out", str(out)]
    assert cli.main([*line, *(word.format(rate) for word in change)]) == code
    printed = capsys.readouterr().out
    assert f"{verdict}: loss " in printed and "(limit 0.005), pckh@0.5" in printed
    assert f"picture: {out / 'overfit.png'}" in printed and (out / "overfit.png").exists()


def test_a_setting_without_value_is_refused(capsys):
    assert cli.main(["overfit", "--set", "train.seed"]) == 2
    assert "--set train.seed: give NAME=VALUE" in capsys.readouterr().err


class Separate(nnx.Module):
    """A network of several views that answers whether they belong together."""

    config = zoo.config("multiview-h36m")

    def __call__(self, batch):
        return {key: value[None] for key, value in batch.items()}


def test_a_network_of_views_is_told_whether_they_belong_together():
    batch = {"frames": np.zeros((2, 4, 8, 8, 3), np.uint8), "together": np.array([True, False]), "mask": np.ones(2)}
    preds = overfit.predict(Separate(), batch)
    assert preds.keys() == {"frames", "together"} and preds["together"].tolist() == [[True, False]]


def judge(samples: overfit.FixedSamples, **changes) -> overfit.Result:
    """The verdict on the truth with some predictions in place of it."""
    preds = doctor.perfect(samples.scorers, samples.batch, samples.context)
    preds = {"pose": samples.batch["pose"][None], "visible": samples.batch["visible"][None], **preds}
    return overfit.score({**preds, **changes}, samples, Multitask())


def test_the_truth_itself_scores_full_marks(tmp_path):
    photos = overfit.from_photos(draw_photos(tmp_path / "photos", 3), None, TINY)
    clips = overfit.from_experiment(experiment(ACTIONS), 2, tmp_path)
    for samples in (photos, clips):
        result = judge(samples)
        assert result.passed and set(result.figures.values()) == {1} and result.loss < 1e-6
    assert not clips.batch["valid"][:, :, 0].any()


def test_one_wrong_joint_or_action_fails(tmp_path):
    photos = overfit.from_photos(draw_photos(tmp_path / "photos", 3), None, TINY)
    wrong = photos.batch["pose"][None].copy()
    wrong[0, 1, 0, PA16.index("l_wrist"), 0] += 0.2
    result = judge(photos, pose=wrong)
    assert not result.passed and result.loss <= result.mark
    assert result.figures["pckh@0.5"] == pytest.approx(1 - 1 / photos.batch["valid"][:, 0, 2:, 0].sum())
    clips = overfit.from_experiment(experiment(ACTIONS), 2, tmp_path)
    result = judge(clips, action=np.eye(15)[clips.batch["action"][::-1]][None])
    assert not result.passed and result.figures == {"pck@0.2": 1, "accuracy/single": 0}


SYNTH = Synth(4, 1, 2, 1, frames=(4, 5), size=(96, 72), clutter=0.2, seed=1)


@pytest.mark.parametrize(
    ("data", "model", "scorers", "figures"),
    [
        (
            MPII(synth=SYNTH, image_size=32),
            TINY,
            (Pose((AUCh(), PCKh(0.5), PCKh(0.2))),),
            {"pckh@0.5"},
        ),
        (
            H36M(synth=SYNTH, image_size=32),
            dataclasses.replace(TINY, num_joints=17),
            (World((MPJPE(),)),),
            {"pck@0.2", "mpjpe"},
        ),
        (
            NTU(synth=SYNTH, image_size=32, clip_frames=4),
            dataclasses.replace(ACTIONS, num_joints=20, num_actions=60),
            (Pose((PCK(0.1),)), Action()),
            {"pck@0.1", "accuracy/single"},
        ),
        (MPII(synth=SYNTH, image_size=32, dims=3, skeleton=PA17), TINY, (), {"pck@0.2"}),
    ],
    ids=["mpii", "h36m", "ntu", "mpii-3d"],
)
def test_photos_and_depths_of_experiments_are_scored(tmp_path, data, model, scorers, figures):
    recipe = experiment(model, data=data, evals={"it": Eval(("single",), scorers)})
    samples = overfit.from_experiment(recipe, 2, tmp_path)
    assert ("action" in samples.batch) == bool(model.num_actions) and len(samples.names) == 2
    assert samples.batch["valid"][..., :2].any()
    result = judge(samples)
    assert result.passed and set(result.figures) == figures and result.loss < 1e-6
    assert all(value == 1 for key, value in result.figures.items() if key != "mpjpe")
    assert result.figures.get("mpjpe", 0) < 1e-3
    pose = samples.batch["pose"][None]
    if pose.shape[-1] == 3 and samples.batch["valid"][..., 2].any():
        result = judge(samples, pose=pose + [0, 0, 0.2])  # 400 mm
        assert not result.passed and result.loss > 0.03 and 1 in result.figures.values()
    if "mpjpe" in figures:
        result = judge(samples, pose=pose * [1, 1, -1] + [0, 0, 1])  # depths mirrored
        assert result.figures["mpjpe"] > 30


def test_a_photo_of_an_experiments_own_data_is_learned(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "create", Toy)
    recipe = experiment(data=MPII(synth=SYNTH, image_size=32), evals={"it": Eval(scorers=(Pose((PCKh(0.5),)),))})
    result = overfit.run(recipe, samples=1, steps=300, out=tmp_path / "out", workdir=tmp_path, progress=False)
    assert result.passed and set(result.figures) == {"pckh@0.5"} and result.mark == MARK_ONE


def test_nothing_that_says_what_is_learned_is_a_problem(tmp_path):
    def silent(preds, batch):
        return {"sum": preds["pose"].sum((0, 2, 3, 4))}

    samples = dataclasses.replace(overfit.from_experiment(experiment(ACTIONS), 2, tmp_path), scorers=())
    preds = {"pose": samples.batch["pose"][None]}
    with pytest.raises(Problem, match="neither a scorer nor the loss"):
        overfit.score(preds, samples, silent)
    hidden = {**samples.batch, "valid": np.zeros_like(samples.batch["valid"])}
    samples = dataclasses.replace(samples, scorers=(Pose((PCK(0.2),)),), batch=hidden)
    with pytest.raises(Problem, match=r"none of the samples has a label that pck@0.2 can score"):
        overfit.score(preds, samples, silent)


def test_what_cannot_be_done_is_said(tmp_path, capsys):
    photos = draw_photos(tmp_path / "photos", 2)
    with pytest.raises(Usage, match="3 samples are asked for, but .* annotates 2 persons"):
        overfit.run(experiment(), photos=photos, samples=3)
    with pytest.raises(Usage, match="4 samples are asked for, but the training split has 3"):
        overfit.run(experiment(), samples=4, workdir=tmp_path)
    with pytest.raises(Usage, match="must be at least 1"):
        overfit.run(experiment(), photos=photos, samples=0)
    words = ["overfit", "configs/spnet_penn.py:demo", "--samples", "0"]
    assert cli.main([*words, "--set", "stages.all.optimizer.learning_rate=0.1"]) == 2
    assert "must be at least 1" in capsys.readouterr().err, "a stage may be given an optimizer, as by launch.py"
    with pytest.raises(Problem, match="cannot write .*annotations.json: "):
        overfit.run(experiment(), photos=photos, out=photos / "annotations.json")
    with pytest.raises(Problem, match="the network has 13 joints, but the samples have 16"):
        overfit.run(experiment(dataclasses.replace(TINY, num_joints=13)), photos=photos)


def test_a_loss_that_is_not_finite_ends_it(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "create", Toy)

    def broken(preds, batch):
        return {"pose": preds["pose"].sum((0, 2, 3, 4)) * jnp.nan}

    with pytest.raises(Problem, match="the loss became nan by step 1; lower optimizer.learning_rate"):
        photos = draw_photos(tmp_path / "photos", 1)
        overfit.run(experiment(losses=broken), photos=photos, steps=3, every=1, progress=False)
