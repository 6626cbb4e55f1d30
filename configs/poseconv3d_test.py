"""The experiments of PoseConv3D: each published one by its name, and one on a file of one's own."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from configs import poseconv3d
from jaxhar import zoo
from jaxhar.data.generate.film import Synth
from jaxhar.data.pyskl import generate_videos
from jaxhar.host.errors import Problem, Usage
from jaxhar.host.settings import override
from jaxhar.run import run
from jaxhar.training import experiment as config
from jaxhar.training.step import check
from jaxhar.weights.net import Net

CONFIG = Path(__file__).parent / "poseconv3d.py"


@pytest.mark.parametrize("name", poseconv3d.VARIANTS)
def test_every_published_experiment(name):
    found = config.load(f"{CONFIG}:{name}")
    file, division, _, actions, samples, _, _ = poseconv3d.VARIANTS[name]
    assert found.data.file == file and found.data.division == division
    assert found.model.num_actions == found.data.num_actions == actions
    assert bool(found.model.limbs) == name.endswith("limb")
    assert found.steps == 24 * (10 * samples // 128)
    assert (found.model.blocks == (3, 4, 6)) == (name == "k400_joint")


def test_a_file_of_ones_own(tmp_path):
    one = {"label": 0, "img_shape": (9, 9), "total_frames": 1, "keypoint": np.ones((1, 1, 17, 2), np.float32)}
    samples = [{**one, "frame_dir": f"{i}", "label": i % 5} for i in range(30)]
    splits = {"train": [f"{i}" for i in range(26)], "val": ["26"]}
    path = tmp_path / "set.pkl"
    path.write_bytes(pickle.dumps({"split": splits, "annotations": samples}))
    found = config.load(f"{CONFIG}:own:{path}")
    assert found.model.num_actions == 5 and found.data.root == str(path) and found.name == "poseconv3d_set"
    assert found.steps == 24 * 2, "an epoch is ten readings of the training set, in batches of 128"
    with pytest.raises(Problem, match="there is no file or folder .*gone.pkl"):
        config.load(f"{CONFIG}:own:{tmp_path / 'gone.pkl'}")
    path.write_bytes(pickle.dumps(samples))
    with pytest.raises(Problem, match="set.pkl has no samples in a split 'train'; it has no splits"):
        config.load(f"{CONFIG}:own:{path}")
    with pytest.raises(Usage, match="there is no experiment :own; there are only .*:own:FILE"):
        config.load(f"{CONFIG}:own")


@pytest.fixture
def together(tmp_path):
    """A narrow RGBPose-Conv3D on generated videos."""
    generate_videos.write(tmp_path / "set", Synth(4, 2, 2, 1, frames=(8, 9), size=(96, 64)))
    small = {
        "data.num_actions": "None",
        "data.file": "skeletons.pkl",
        "data.root": str(tmp_path / "set"),
        "data.clips_per_batch": "2",
        "data.image_size": "32",
        "data.clips": "2",
        "data.clip_frames": "2",
        "model.num_frames": "2",
        "model.num_persons": "1",
        "model.num_actions": "15",
        "model.image_size": "32",
        "model.rgb_base": "8",
        "model.pose_base": "4",
        "model.rgb_blocks": "(1, 1, 1, 1)",
        "model.pose_blocks": "(1, 1, 1)",
        "train.steps": "2",
        "train.log_every": "2",
    }
    return override(config.load(f"{CONFIG}:rgbpose"), small)


def test_frames_and_skeletons_fit_their_network(together, tmp_path):
    stream = together.data.prepare(tmp_path).train_stream(0)
    net = Net(zoo.create(together.model))
    assert together.optimizer.build(net.params, 2).init(net.params)
    check(net, together.losses, next(stream))
    stream.close()


@pytest.mark.slow
def test_frames_and_skeletons_together_learn_and_are_scored(together, tmp_path):
    run(together, tmp_path / "run", "train")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["examples"] == {"single": 2, "multi": 4}
    assert (tmp_path / "run" / "scores_multi.npz").is_file()
    assert len(list((tmp_path / "run" / "pictures").glob("sample_*.png"))) == 2
