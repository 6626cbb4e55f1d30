"""Pickles of pyskl's form from a folder of videos of dots, whose joints the network of `predictor_test` finds."""

import pickle
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
from flax import nnx

from jaxhar import zoo
from jaxhar.cli import main as cli
from jaxhar.core.calibration import Calibration
from jaxhar.core.skeleton import COCO, MPII, PA16, PENN, Skeleton
from jaxhar.data.pyskl.settings import Pyskl
from jaxhar.host.errors import Problem, Usage
from jaxhar.models.reception.network import ReceptionConfig
from jaxhar.predict import data_set_skeletons, many_videos, persons, predictor
from jaxhar.predict.data_set_skeletons import How
from jaxhar.predict.joints import Joints, lacking, mapped
from jaxhar.predict.options import Options
from jaxhar.predict.persons_test import LOWER, UPPER, FindsFigures, film
from jaxhar.predict.predictor_test import OFFSETS, FindsDots
from jaxhar.predict.task import Task
from jaxhar.weights import checkpoint


@dataclass
class FindsCoco:
    """The dots of `FindsDots` as the first five of COCO's joints, and the others at the first dot."""

    calls: int = 0

    def __call__(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        self.calls += 1
        found = FindsDots()(frames)
        order = [0, 1, 2, 3, 4, *[0] * 12]
        return {"pose": found["pose"][..., order, :], "visible": found["visible"][..., order]}


FINDS = ReceptionConfig(image_size=96, num_joints=17)


def how(find: FindsCoco | None = None, **settings) -> How:
    meta = SimpleNamespace(skeleton=COCO, actions=(), config=FINDS)

    def task(video, bbox):
        return Task(video, video.path, find or FindsCoco(), meta, Options(bbox=bbox), **settings)

    return How(task, COCO)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("own") / "videos"
    for label, name, ways in (("run", "anna", [UPPER]), ("run", "bert", [LOWER]), ("jump", "carl", [UPPER, LOWER])):
        (root / label).mkdir(parents=True, exist_ok=True)
        film(root / label / f"{name}.mp4", *(way[:8] for way in ways))
    film(root / "jump" / "nobody.mp4", [None] * 3)
    (root / "jump" / "broken.mp4").write_bytes((root / "run" / "anna.mp4").read_bytes()[:900])
    return root


def test_a_folder_becomes_a_pickle_that_the_data_set_reads(folder, tmp_path):
    out = tmp_path / "set.pkl"
    wanted = how(detector=FindsFigures())
    found = data_set_skeletons.write(folder, out, wanted, "w", (1, 1), progress=False)
    assert found.samples == 3 and found.told.made == 3
    assert sorted(sentence.split(":")[0].rsplit("/", 1)[-1] for sentence in found.told.broken) == [
        "broken.mp4",
        "nobody.mp4",
    ]
    content = pickle.loads(out.read_bytes())
    assert (tmp_path / "classes.txt").read_text() == "jump\nrun\n"
    by_name = {one["frame_dir"]: one for one in content["annotations"]}
    assert {name: one["label"] for name, one in by_name.items()} == {
        "jump/carl.mp4": 0,
        "run/anna.mp4": 1,
        "run/bert.mp4": 1,
    }
    pair = by_name["jump/carl.mp4"]
    assert pair["keypoint"].shape == (2, 8, 17, 2) and pair["img_shape"] == (400, 480)
    for person, way in zip(pair["keypoint"], (UPPER, LOWER), strict=True):
        for t in range(8):
            np.testing.assert_allclose(person[t, :5], OFFSETS + way[t], atol=1.5)
    splits = content["split"]
    assert sorted(splits["train"] + splits["val"]) == sorted(by_name) and splits["val"]

    prepared = Pyskl(root=str(out), division="", clip_frames=4, clips_per_batch=1).prepare(tmp_path)
    assert prepared.actions == ("jump", "run")
    batch = next(iter(prepared.eval_stream(split="test", view="single", batch=1)))
    assert batch["points"].shape == (1, 4, 2, 17, 2) and (batch["score"][:, :, 0] > 0).all()

    unused = FindsCoco()
    again = how(unused, detector=FindsFigures())
    kept = data_set_skeletons.write(folder, out, again, "w", (1, 1), progress=False)
    assert kept.told.kept == 3 and kept.told.made == 0 and kept.samples == 3
    with pytest.raises(Problem, match="set.pkl was not made by these weights and options"):
        data_set_skeletons.write(folder, out, again, "other", (1, 1), progress=False)
    for damage in ({"sources": content["sources"][:1]}, {"sources": None}, {"annotations": [3] * 3}):
        out.write_bytes(pickle.dumps(content | damage))
        with pytest.raises(Problem, match="set.pkl does not name the video of each of its samples; remove it"):
            data_set_skeletons.write(folder, out, again, "w", (1, 1), progress=False)
    with pytest.raises(Problem, match="is a folder; give --out a file, as .*skeletons.pkl"):
        data_set_skeletons.write(folder, tmp_path, again, "w", (1, 1), progress=False)
    assert not tmp_path.with_name(f"{tmp_path.name}.parts").exists() and not unused.calls


def test_parts_of_the_work_give_the_same_file(folder, tmp_path):
    whole, shared = tmp_path / "whole.pkl", tmp_path / "shared.pkl"
    data_set_skeletons.write(folder, whole, how(detector=FindsFigures()), "w", (1, 1), progress=False)
    for number in (2, 1, 2):
        found = data_set_skeletons.write(folder, shared, how(detector=FindsFigures()), "w", (number, 2), progress=False)
        assert not found.samples and not shared.exists()
    assert found.told.made == 0, "what is finished is not done again"
    with pytest.raises(Problem, match="shared.pkl.parts was not made by these weights"):
        data_set_skeletons.write(folder, shared, how(), "other", (1, 2), progress=False)
    last = data_set_skeletons.write(folder, shared, how(detector=FindsFigures()), "w", (1, 1), progress=False)
    assert last.told.made == 0 and last.samples == 3
    assert shared.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classes.txt", "shared.pkl", "whole.pkl"]


def test_joints_are_mapped_by_name():
    rng = np.random.default_rng(0)
    joints = Joints((1,), rng.uniform(1, 9, (1, 3, 16, 2)), np.ones((1, 3, 16)), np.zeros((1, 3), bool))
    for source in (PA16, MPII):
        found = mapped(joints, source, COCO)
        wrist = source.index("l_wrist")
        np.testing.assert_array_equal(found.points[:, :, COCO.index("l_wrist")], joints.points[:, :, wrist])
        assert not found.score[..., COCO.index("nose")].any() and not found.points[..., COCO.index("nose"), :].any()
        assert lacking(source, COCO) == ("nose", "l_eye", "r_eye", "l_ear", "r_ear")
    assert lacking(PENN, COCO) == lacking(PA16, COCO)
    few = Skeleton("upper", tuple(name for name in PENN.joints if "ankle" not in name))
    with pytest.raises(Problem, match=r"\(upper\) and the 17 of coco have 10 in common, at least 12 are needed"):
        lacking(few, COCO)


def test_a_share_of_the_work_is_checked():
    assert many_videos.share(None) == (1, 1) and many_videos.share("2/4") == (2, 4)
    for text in ("0/4", "5/4", "1", "1/x", "-1/2", "1/0"):
        with pytest.raises(Usage, match="is not K/N"):
            many_videos.share(text)
    done: list[int] = []
    parts = [many_videos.work_off(range(7), (k, 3), lambda i: i == 4, done.append, False) for k in (1, 2, 3)]
    assert sorted(done) == [0, 1, 2, 3, 5, 6] and [told.kept for told in parts] == [0, 1, 0]


def test_the_joints_are_those_of_a_prediction(folder, tmp_path, monkeypatch):
    """In crops as tight as those of the training, and with confidences by the temperature of the weights."""
    monkeypatch.setattr(persons, "_own", lambda least: FindsFigures())
    model = zoo.create(zoo.tiny("reception-mpii"))
    trained = {
        "actions": False,
        "unseen_joints": [],
        "data": {"data.augment.fixed_scale": "0.7", "data.augment.fixed_around": "0.05"},
    }
    checkpoint.save_model(tmp_path / "pose", model, PA16, (), trained=trained, calibration=Calibration(joints=3.0))
    out = tmp_path / "set.pkl"
    data_set_skeletons.run(folder, tmp_path / "pose", out, detector="own", several="all", progress=False)
    written = {one["frame_dir"]: one for one in pickle.loads(out.read_bytes())["annotations"]}
    net = predictor.load(tmp_path / "pose")
    assert "jump/carl.mp4" in written
    for name, one in written.items():
        for track in net.predict(folder / name, detector="own").persons:
            joints, score = PA16.index("l_wrist"), one["keypoint_score"][..., COCO.index("l_wrist")].astype(float)
            near = np.abs(one["keypoint"][:, :, COCO.index("l_wrist")] - track.joints[:, joints, :2]).max((1, 2))
            assert near.min() < 0.2, "half precision"
            np.testing.assert_allclose(score[near.argmin()], track.confidence[:, joints], atol=2e-3)


def test_skeletons_by_other_weights_of_a_detector_are_not_mixed(folder, tmp_path):
    checkpoint.save_model(tmp_path / "pose", zoo.create(zoo.tiny("reception-mpii")), PA16, ())
    detector = tmp_path / "people.safetensors"
    for seed in (0, 1):
        checkpoint.save_model(detector, zoo.create(zoo.tiny("people"), rngs=nnx.Rngs(seed)), None, ())
        words = folder, tmp_path / "pose", tmp_path / "set.pkl"
        if seed == 0:
            data_set_skeletons.run(*words, detector=str(detector), part=(1, 9), progress=False)
    with pytest.raises(Problem, match="set.pkl.parts was not made by these weights and options"):
        data_set_skeletons.run(*words, detector=str(detector), part=(1, 9), progress=False)


def test_the_command(folder, tmp_path, capsys):
    narrow = {"image_size": 32, "num_blocks": 1, "width": 8, "stem_width": 2, "num_context": 0}
    model = zoo.create(replace(zoo.config("reception-mpii"), **narrow))
    checkpoint.save_model(tmp_path / "pose", model, PA16, ())
    few = Skeleton("few", tuple(f"joint{i}" for i in range(16)))
    checkpoint.save_model(tmp_path / "few", model, few, ())
    words = ["data", "skeletons", str(folder), "--out", str(tmp_path / "set.pkl"), "--no-progress"]
    for more, sentence in (
        (
            ["--weights", str(tmp_path / "few")],
            "the pose network's 16 joints (few) and the 17 of coco have 0 in common",
        ),
        (["--weights", str(tmp_path / "pose"), "--shard", "3/2"], "is not K/N"),
        (["--weights", str(tmp_path / "pose"), "--persons", "two"], "--persons 'two'"),
        (["--weights", str(tmp_path / "gone")], "no model at"),
    ):
        assert cli.main([*words, *more]) in (1, 2)
        error = capsys.readouterr().err
        assert sentence in error and error.count("\n") == 1
    assert cli.main([*words, "--weights", str(tmp_path / "pose"), "--shard", "1/3"]) == 1
    told = capsys.readouterr().out
    assert "the network lacks nose, l_eye, r_eye, l_ear, r_ear: they have score 0" in told
    assert "videos: 1 done now, 0 before, 1 left out" in told and told.count("left out: ") == 1
    assert "broken.mp4" in told and "the same command without --shard joins them" in told
