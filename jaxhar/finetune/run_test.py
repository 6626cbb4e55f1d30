import csv
import dataclasses
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from jaxhar import port, zoo
from jaxhar.cli import main as cli
from jaxhar.core.skeleton import PA16
from jaxhar.data.generate.film import Synth
from jaxhar.data.own import generate as synthetic_own
from jaxhar.finetune import run as finetune
from jaxhar.finetune.features import Clips, Trunk, find_boxes
from jaxhar.finetune.heads import Heads, HeadTrainer
from jaxhar.host.errors import Problem, Usage
from jaxhar.models.reception import network as reception
from jaxhar.models.spnet.config import SPNetConfig
from jaxhar.training import experiment as config
from jaxhar.weights import checkpoint, trained_on
from jaxhar.weights.net import Net

ROOT = Path(__file__).parents[2]
TWO = ("bent", "straight")  # handstands, as in configs/finetune.py:demo
#: The smallest network with heads; its pose part alone is what tests start from.
POSE = reception.ReceptionConfig.tiny(
    image_size=32, num_blocks=1, width=16, pose_stream_width=14, visual_stream_width=8
)
QUICK = ("--folds", "2", "--steps", "3", "--batch", "4", "--copies", "2", "--frames", "4", "--no-progress")
QUICK = (*QUICK, "--joint-steps", "0")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder of two classes of four videos, of people upside down, and the weights of a pose network."""
    root = tmp_path_factory.mktemp("finetune")
    synthetic_own.write(root / "all", Synth(8, 0, 4, 0, frames=(5, 6), size=(64, 48)), progress=False, names=TWO)
    for name in TWO:
        shutil.copytree(root / "all" / name, root / "mine" / name)
    checkpoint.save_model(root / "pose", zoo.create(POSE, rngs=nnx.Rngs(3)), PA16, ())
    return root


def call(*words) -> int:
    return cli.main(["finetune", *map(str, words)])


def table(path: Path) -> list[dict[str, str]]:
    with open(path) as file:
        return list(csv.DictReader(file))


def test_from_a_folder_to_a_report_and_a_network(world, tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    words = (world / "mine", "--weights", world / "pose", "--out", out, "--multi", "--turn", "180", *QUICK)
    assert call(*words) == 0
    printed = capsys.readouterr()
    said = printed.out
    assert "8 clips of 2 classes, of 8 persons or source videos" in said and "total time: " in said
    assert "every clip counts as a person of its own" in printed.err

    assert "network: accuracy" in said and ", F1 " in said and "logistic regression on the joints: accuracy" in said
    rows = table(out / "predictions.csv")
    assert {row["file"] for row in rows} == {
        p.relative_to(world / "mine").as_posix() for p in (world / "mine").glob("*/*")
    }
    assert all(row["class"] == row["file"].split("/")[0] for row in rows) and {r["fold"] for r in rows} == {"1", "2"}
    accuracy = np.mean([row["multi"] == row["class"] for row in rows])
    assert f"network, all clips of a sequence: accuracy {accuracy:.1%}" in said
    page = (out / "report.html").read_text()
    assert "network" in page and "baseline" in page and "95 % confidence interval" in page
    assert (out / "pictures" / "confusion_network.png").stat().st_size > 0

    seen = [world / "mine" / row["file"] for row in rows[:2]]
    assert f"trained on {seen[0].name}, {seen[1].name}: what" in trained_on.sentence(out, seen)

    model, meta = checkpoint.load_model(out)
    assert meta.frame_rate == 25
    assert meta.actions == TWO and (meta.config.num_actions, meta.config.num_frames) == (2, 4)
    given, kept = port.to_flat(checkpoint.load_model(world / "pose")[0]), port.to_flat(model)
    for name, array in given.items():  # weights and running statistics of the trunk
        np.testing.assert_array_equal(array, kept[f"pose.{name}"], err_msg=name)
    fresh = port.to_flat(zoo.create(meta.config))
    assert not np.allclose(fresh["visual_stream.entry.conv.kernel"], kept["visual_stream.entry.conv.kernel"])

    # cut off in the second fold: the first one is not trained again, and all comes out the same
    (out / "weights.safetensors").unlink()
    shutil.rmtree(out / "folds" / "2")
    learned = []
    train = HeadTrainer.train
    monkeypatch.setattr(HeadTrainer, "train", lambda *a, **k: (learned.append(a[4]), train(*a, **k))[1])
    assert call(*words) == 0
    assert learned == ["fold 2", "everything"] and table(out / "predictions.csv") == rows
    again = port.to_flat(checkpoint.load_model(out)[0])
    jax.tree.map(np.testing.assert_array_equal, kept, again)

    assert call(*words, "--seed", "7") == 1
    assert "holds a run with other settings (seed was 0, now 7)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "settings",
    [dataclasses.replace(POSE, num_actions=3), SPNetConfig.tiny(image_size=32, num_levels=2, num_actions=3)],
    ids=["reception", "spnet"],
)
def test_heads_alone_say_what_the_whole_network_says(settings):
    model = zoo.create(settings, rngs=nnx.Rngs(1))
    model.eval()
    clips = np.random.default_rng(0).uniform(-1, 1, (2, 4, 32, 32, 3)).astype(np.float32)
    whole = jax.jit(lambda x: model({"frames": x}))(clips)
    trunk = Trunk(model, 4)
    features = np.stack([trunk({"frames": clip}) for clip in clips])
    heads = Heads(settings, trunk.layout, rngs=nnx.Rngs(2))
    net = Net(heads)
    net.load({f"net.{n}": a for n, a in port.to_flat(model).items() if not n.startswith("pose.")}, "the network")
    heads = net.merge(net.params, net.stats)
    heads.eval()
    np.testing.assert_allclose(
        jax.jit(lambda x: heads({"features": x}))(features)["action"], whole["action"], atol=1e-5
    )
    np.testing.assert_allclose(trunk.pose(features)[0], whole["pose"][-1], atol=1e-6)
    ours = {name: array for name, array in port.to_flat(model).items() if not name.startswith("pose.")}
    jax.tree.map(np.testing.assert_array_equal, HeadTrainer.weights(heads), ours)


def test_heads_of_other_classes_start_what_they_can(world, tmp_path):
    donor = dataclasses.replace(POSE, num_actions=5, num_frames=6)
    model = zoo.create(donor, rngs=nnx.Rngs(3))
    checkpoint.save_model(tmp_path / "five", model, PA16, tuple("abcde"))
    made = finetune.experiment(world / "mine", tmp_path / "five")
    assert (made.model.num_actions, made.model.num_frames, made.data.clip_frames) == (2, 6, 6)
    net, transfer = Net(zoo.create(made.model, rngs=nnx.Rngs(4))), zoo.family(made.model).transfer
    fresh = net.load(port.to_flat(model), "five", transfer)
    assert any("blocks.0.maps" in name for name in fresh) and not any(name.startswith("pose.") for name in fresh)
    taken = "pose_stream.conv_a.conv.kernel"
    np.testing.assert_array_equal(net.params[taken], port.to_flat(model)[taken])
    lacking = {name: array for name, array in port.to_flat(model).items() if name != "pose.stem.conv1.conv.kernel"}
    with pytest.raises(Problem, match="the network does not fit five: missing: pose.stem.conv1.conv.kernel"):
        net.load(lacking, "five", transfer)


def test_turned_copies(world):
    """The random variations are turned up to the given angle; the default is small."""
    angles = {}
    for turn in (0.0, 10.0, 180.0):
        made = finetune.experiment(world / "mine", world / "pose", finetune.Settings(turn=turn, frames=4))
        angles[turn] = made.data.augment.angles
    assert angles[0.0] == (0.0,) and angles[10.0] == (-10.0, -5.0, 0.0, 5.0, 10.0)
    assert (min(angles[180.0]), max(angles[180.0]), len(angles[180.0])) == (-180.0, 180.0, 73)


def test_experiment_of_the_config(world, monkeypatch):
    made = config.load(f"{ROOT / 'configs' / 'finetune.py'}:{world / 'mine'},{world / 'pose'}")
    assert made.model.num_actions == 2 and made.data.root == str(world / "mine")
    paths = port.shapes(made.model)
    frozen_ones = {path for path in paths if made.optimizer.frozen(path)}
    assert frozen_ones == {path for path in paths if path.startswith("pose.")}
    monkeypatch.chdir(world)
    with pytest.raises(Usage, match="folder is missing"):
        config.load(str(ROOT / "configs" / "finetune.py"))
    with pytest.raises(Usage, match="weights are missing"):
        config.load(f"{ROOT / 'configs' / 'finetune.py'}:mine")


def test_people_are_found(world):
    """By a trunk that always sees joints between a quarter and three quarters of the picture."""

    class Eyes:
        frames, joints, dims = 4, 16, 2

        def __call__(self, clip):
            return np.zeros((4, 16, 3))

        def pose(self, seen):
            return np.linspace([0.25, 0.25], [0.75, 0.75], 16)[None].repeat(4, 0), np.full((4, 16), self.sure)

    data = finetune.experiment(world / "mine", world / "pose", finetune.Settings(frames=4)).data
    clips = Clips.all(data.prepare(world / "found"))
    eyes = Eyes()
    eyes.sure = 0.9
    boxes = find_boxes(eyes, clips, world / "found.npy", progress=False)
    # the picture of 64 x 48 is seen in a square of 64; boxes are 1.5 times the joints' extent
    np.testing.assert_allclose(boxes, [[8, 0, 56, 48]] * 8, atol=1e-6)
    assert dataclasses.replace(clips, boxes=boxes).records("train")[0]["box"].tolist() == boxes[0].tolist()
    eyes.sure = 0.1
    boxes = find_boxes(eyes, clips, world / "none.npy", progress=False)
    assert np.isnan(boxes).all()
    assert dataclasses.replace(clips, boxes=boxes).records("train")[0]["box"].tolist() == [0, 0, 64, 48]


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["empty"], 1, "holds no such files; expected CLASS"),
        (["one"], 1, "has 1 class (bent)"),
        (["mine", "--weights", "text"], 1, "not a safetensors file"),
        (["mine", "--weights", "nothing"], 1, "no model at nothing"),
        (["mine", "--turn", "200"], 2, "--turn is 200; it must be from 0 to 180 degrees"),
        (["mine", "--folds", "1"], 2, "--folds is 1; it must be at least 2"),
        (["mine", "--unfreeze", "pose.blok.*"], 1, "'pose.blok.*' of optimizer.table decides no parameter"),
        (["broken"], 1, "broken.mp4: this file cannot be read: it holds no video"),
    ],
)
def test_mistakes_are_one_sentence(world, tmp_path, monkeypatch, capsys, words, code, sentence):
    monkeypatch.chdir(tmp_path)
    Path("text").write_text("no weights")
    Path("empty").mkdir()
    shutil.copytree(world / "mine" / "bent", "one/bent")
    shutil.copytree(world / "mine", "broken")
    Path("broken/bent/broken.mp4").write_bytes(b"no video")
    shutil.copytree(world / "mine", "mine")
    weights = [] if "--weights" in words else ["--weights", world / "pose"]
    assert call(*words, *weights, "--out", "run", *(() if {"--folds", "--turn"} & {*words} else QUICK)) == code
    said = capsys.readouterr().err.splitlines()
    assert sentence in said[-1] and said[-1].startswith("error: "), said


def test_stills_and_broken_files_are_told(world, tmp_path, capsys, monkeypatch):
    """A still is a clip without motion; what cannot be read is left out; few people make few folds."""
    from PIL import Image

    for name in TWO:
        for n in range(2):
            (tmp_path / "mine" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((30, 40, 3), 90 + n, np.uint8)).save(tmp_path / "mine" / name / f"p{n}_0001.png")
    (tmp_path / "mine" / "bent" / "torn.jpg").write_bytes(b"no picture")
    monkeypatch.setattr(finetune._Run, "execute", lambda self: self)
    settings = finetune.Settings(frames=4, skip_broken=True)
    begun = finetune.run(tmp_path / "mine", world / "pose", tmp_path / "run", settings, progress=False)
    said = capsys.readouterr()
    assert "4 clips of 2 classes, of 2 persons or source videos" in said.out
    assert "4 of them are single pictures: each becomes a clip of 4 equal frames" in said.err and "torn.jpg" in said.err
    assert "2 folds instead of 5" in said.err and len(begun.parts) == 2
    assert begun.clips.eval_length("single", "train", 8) == 1
    (batch,) = begun.clips.eval_stream("train", "single", 4)
    assert (batch["frames"] == batch["frames"][:, :1]).all()


@pytest.mark.slow
def test_two_classes_are_learned(tmp_path, capsys):
    """With a trunk that was trained for a minute or two; then with all of it trained on."""
    demo = config.load(f"{ROOT / 'configs' / 'penn.py'}:demo")
    synth = dataclasses.replace(demo.data.synth, train_sequences=150, test_sequences=15, train_performers=150)
    short = dataclasses.replace(
        demo,
        model=dataclasses.replace(demo.model, num_blocks=1, width=96, pose_stream_width=56, visual_stream_width=56),
        data=dataclasses.replace(demo.data, synth=synth, stills_per_batch=24, clips_per_batch=2),
        train=dataclasses.replace(demo.train, steps=300),
    )
    from jaxhar.training import loop as train

    prepared = short.data.prepare(tmp_path / "pose")
    train.run(short, tmp_path / "pose", zoo.create(short.model, rngs=nnx.Rngs(0)), prepared, progress=False)
    new = Synth(150, 0, 150, 1, frames=(24, 32), size=(160, 120), clutter=0.0, seed=7)
    synthetic_own.write(tmp_path / "all", new, progress=False)
    for name in ("jumping_jacks", "pushup"):
        shutil.copytree(tmp_path / "all" / name, tmp_path / "mine" / name)
    words = (tmp_path / "mine", "--weights", tmp_path / "pose", "--no-progress")
    assert call(*words, "--out", tmp_path / "heads") == 0
    rows = table(tmp_path / "heads" / "predictions.csv")
    assert all(row["skeleton"] in ("jumping_jacks", "pushup") for row in rows)
    assert "“skeleton” is a small PoseConv3D" in (tmp_path / "heads" / "report.html").read_text()
    assert len(rows) == 20 and np.mean([row["right"] == "1" for row in rows]) >= 0.9, capsys.readouterr().out
    video = next((tmp_path / "mine" / "pushup").iterdir())
    seen = tmp_path / "seen"
    assert cli.main(["predict", str(video), "--weights", str(tmp_path / "heads"), "--out", str(seen)]) == 0
    assert (seen / "actions.csv").read_text().splitlines()[0].endswith("jumping_jacks,pushup")
    further = ("--folds", "2", "--unfreeze", "pose.blocks.*", "--unfreeze-steps", "5")
    assert call(*words, "--out", tmp_path / "more", *further) == 0
    model = port.to_flat(checkpoint.load_model(tmp_path / "more")[0])
    given = port.to_flat(checkpoint.load_model(tmp_path / "pose")[0])
    assert not np.array_equal(model["pose.blocks.0.maps.kernel"], given["pose.blocks.0.maps.kernel"])
    for name, array in given.items():
        if name.startswith("pose.stem"):
            np.testing.assert_array_equal(array, model[name], err_msg=name)
