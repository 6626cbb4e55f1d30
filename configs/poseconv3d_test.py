"""The experiments of PoseConv3D: each published one by its name, and one on a file of one's own."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from configs import poseconv3d
from jaxhar.host.errors import Problem, Usage
from jaxhar.training import experiment as config

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
    with pytest.raises(Problem, match="gone.pkl must be a pickle of skeletons"):
        config.load(f"{CONFIG}:own:{tmp_path / 'gone.pkl'}")
    path.write_bytes(pickle.dumps(samples))
    with pytest.raises(Problem, match="set.pkl has no samples in a split 'train'; it has no splits"):
        config.load(f"{CONFIG}:own:{path}")
    with pytest.raises(Usage, match="there is no experiment :own; there are only .*:own:FILE"):
        config.load(f"{CONFIG}:own")
