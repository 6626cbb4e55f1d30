"""Skeletons with their videos: frames and joints show the same persons at the same places."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from jaxhar.core.skeleton import COCO
from jaxhar.data.pyskl.settings import PoseDraw
from jaxhar.data.pyskl.videos import PysklVideos
from jaxhar.host.errors import Problem
from jaxhar.predict.persons_test import film, line
from jaxhar.predict.predictor_test import COLOURS, OFFSETS

WAY = line((80, 100), (6, 3), 40)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Two samples: a figure of five dots, which are the first five joints of COCO."""
    folder = tmp_path_factory.mktemp("set")
    (folder / "videos").mkdir()
    film(folder / "videos" / "a.mp4", WAY)
    film(folder / "videos" / "b_rgb.avi", WAY)
    points = np.zeros((1, 40, 17, 2), np.float16)
    points[0, :, :5] = OFFSETS + np.array(WAY)[:, None]
    score = np.zeros((1, 40, 17), np.float16)
    score[..., :5] = 1
    sample = {"label": 0, "img_shape": (400, 480), "total_frames": 40, "keypoint": points, "keypoint_score": score}
    samples = [{**sample, "frame_dir": name} for name in "ab"]
    content = {"split": {"xsub_train": ["a"], "xsub_val": ["b"]}, "annotations": samples}
    (folder / "set.pkl").write_bytes(pickle.dumps(content))
    return folder


def prepared(root: Path, **settings):
    return PysklVideos(root=str(root), cache=str(root / "cache"), image_size=96, **settings).prepare(root)


def at_the_dots(example: dict, flipped: bool) -> int:
    """Number of joints of the five dots whose pixel in the frames has the colour of its dot."""
    order = COCO.flip if flipped else np.arange(17)
    # which moment of the skeletons a frame shows is not known: one of all
    right = 0
    for frame in example["frames"]:
        for j, colour in enumerate(COLOURS.values()):
            near = np.abs(frame.astype(int) - colour).max(-1) < 90
            if not near.any():
                continue
            y, x = (np.argwhere(near).mean(0) + 0.5) / 96
            found = example["points"][:, 0, order[j]]
            right += bool((np.linalg.norm(found - (x, y), axis=-1) < 0.04).any())
    return right


@pytest.mark.parametrize("flip", [False, True])
def test_frames_and_joints_show_the_same(root, flip):
    data = prepared(root)
    record = {**data.records("train")[0], "split": "train"}
    for box in (None, 5, 6):
        frames, draw = data.config.windows("single", 40)[0]
        draw = PoseDraw(flip=flip, box=box) if box is not None or flip else draw
        example = data.config.example(record, frames, draw)
        assert example["frames"].shape == (8, 96, 96, 3) and example["points"].shape == (32, 1, 17, 2)
        assert at_the_dots(example, flip) >= 32, "of 40"
        assert (example["score"] > 0).sum() == 32 * 5


def test_batches_have_frames_and_four_times_as_many_moments(root):
    data = prepared(root, clips=3, clips_per_batch=2)
    stream = data.train_stream(0)
    batch = next(stream)["clips"]
    stream.close()
    assert batch["frames"].shape == (2, 8, 96, 96, 3) and batch["points"].shape == (2, 32, 1, 17, 2)
    clips = list(data.eval_stream(view="multi", batch=3))
    assert len(clips) == 1 and len(np.unique(clips[0]["points"][:, 16, 0, 0, 0])) > 1, "three different clips"
    shares = clips[0]["points"][clips[0]["score"] > 0]
    assert 0 <= shares.min() and shares.max() <= 1


def test_videos_that_do_not_fit_are_a_sentence(root, tmp_path):
    def wrong(sentence: str, **changes):
        content = pickle.loads((root / "set.pkl").read_bytes())
        content["annotations"] = [one | changes for one in content["annotations"]]
        content["split"] = {"xsub_train": [one["frame_dir"] for one in content["annotations"]]}
        (tmp_path / "set.pkl").write_bytes(pickle.dumps(content))
        with pytest.raises(Problem, match=sentence):
            PysklVideos(root=str(tmp_path), cache=str(tmp_path), videos=str(root / "videos")).prepare(tmp_path)

    wrong("the video of sample c is not in .*videos; expected c.mp4", frame_dir="c")
    wrong("a.mp4 has pictures of 480x400 pixels, the joints of sample a belong to 960x800", img_shape=(800, 960))
    longer = {"keypoint": np.ones((1, 90, 17, 2), np.float16), "keypoint_score": np.ones((1, 90, 17))}
    wrong("a.mp4 has 40 frames, the skeletons of sample a 90", total_frames=90, **longer)
    with pytest.raises(Problem, match="is no folder of videos"):
        PysklVideos(root=str(root), cache=str(tmp_path), videos=str(tmp_path / "gone")).prepare(tmp_path)
    kept = PysklVideos(root=str(root), cache=str(tmp_path), videos=str(tmp_path), skip_broken=True)
    with pytest.raises(Problem):
        kept.prepare(tmp_path)
