"""Actions of whole videos by a small classifier: clips, crops, files, attention, and what does not fit."""

import json
from fractions import Fraction
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import jaxhar
from jaxhar import port, zoo
from jaxhar.cli import main as cli
from jaxhar.core.batch import Batch
from jaxhar.data import picture_crop, transforms
from jaxhar.data.formats import jpeg
from jaxhar.data.formats.video import Video
from jaxhar.data.formats.writer import VideoWriter, write_png
from jaxhar.data.imagenet.settings import ImageNet
from jaxhar.host.errors import Problem, Usage
from jaxhar.models.mae.config import ImageClassifierConfig, MaeConfig, VideoClassifierConfig
from jaxhar.predict.clip_reader import Sampling
from jaxhar.predict.predictor_test import rows_of
from jaxhar.weights import checkpoint

SIZES = {"image_size": 16, "num_frames": 4, "patch": 8, "width": 16, "depth": 1, "heads": 2}
CLASSES = ("rest", "jump", "run")
SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "poses.schema.json").read_text())
FRAMES, WIDTH, HEIGHT, FPS = 40, 64, 48, 25


def save(path: Path, trained=None, **changes) -> Path:
    """A random classifier whose answers differ, as a model folder."""
    return save_network(path, VideoClassifierConfig(**SIZES, num_actions=3, **changes), trained)


def save_network(path: Path, config, trained=None) -> Path:
    """The same for any settings."""
    flat = port.to_flat(zoo.create(config))
    flat["head.linear.kernel"] = np.random.default_rng(0).normal(0, 2, (16, 3)).astype(np.float32)
    checkpoint.save_model(path, port.from_flat(flat, config), None, CLASSES, trained)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save(tmp_path_factory.mktemp("weights") / "k400")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A video of a bright square that wanders, and grows brighter."""
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    with VideoWriter(path, Fraction(FPS), WIDTH, HEIGHT) as writer:
        for i in range(FRAMES):
            image = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
            image[10:30, i : i + 16] = (80 + 4 * i, 240 - 4 * i, 120)
            writer.write(image, i / FPS)
    return path


def expected(weights: Path, source: Path, starts, span: float, corners=((0, 8),)) -> np.ndarray:
    """The probabilities (N, A) of clips that begin at `starts`, the mean over square crops at (top, left)."""
    model = checkpoint.load_model(weights)[0]
    images = [frame.image for frame in Video(source).frames()]
    found = []
    for start in starts:
        frames = np.minimum(np.linspace(start, start + span - 1, 4).astype(np.float32).astype(int), FRAMES - 1)
        crops = [
            transforms.plan_crop(np.array([left, top, left + HEIGHT, top + HEIGHT]), (WIDTH, HEIGHT), 16)
            for top, left in corners
        ]
        found += [[transforms.crop_image(images[i], crop) for i in frames] for crop in crops]
    runs = 4 * len(corners)  # clips of a run of the command, so that nothing else is compiled
    clips = np.stack([*found, *[found[0]] * (-len(found) % runs)])
    found = np.concatenate([jaxhar.infer(model, clips[i : i + runs])["action"][-1] for i in range(0, len(clips), runs)])
    return found[: len(starts) * len(corners)].astype(np.float64).reshape(len(starts), len(corners), -1).mean(1)


def test_clips_slide_over_the_whole_video(weights, source, tmp_path):
    net = jaxhar.load(weights)
    result = net.predict(source)
    span = 4 * 4 * FPS / 30  # of 4 frames, one in 4 at 30 frames a second
    starts = [span / 2 * k for k in range(4)] + [FRAMES - span]
    true = expected(weights, source, starts, span)
    assert len({*true.argmax(1)}) > 1, "the answers must differ, else the test shows little"
    np.testing.assert_allclose(result.actions[0], true[0], atol=1e-6)
    np.testing.assert_allclose(result.actions[10], true[:2].mean(0), atol=1e-6)
    np.testing.assert_allclose(result.actions[-1], true[-1], atol=1e-6)
    top = true.mean(0).argmax()
    assert (result.action, result.persons) == (CLASSES[top], ()) and result.scene == (result.action, result.probability)
    assert result.probability == pytest.approx(true.mean(0)[top], abs=1e-6)
    assert "clips take one frame in 4 at 30 frames a second, as in mae_st" in result.notes[0]
    assert [found.scene.action.argmax() for found in net.stream(source)] == result.actions.argmax(1).tolist()

    result.save(tmp_path / "saved")
    assert cli.main(["predict", str(source), "--weights", str(weights), "--out", str(tmp_path / "out")]) == 0
    for name in ("poses.json", "actions.csv", "segments.csv"):
        assert (tmp_path / "saved" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    poses = json.loads((tmp_path / "out" / "poses.json").read_text())
    jsonschema.validate(poses, SCHEMA)
    assert poses["scene"]["name"] == result.action and poses["frames"][0]["persons"] == [] == poses["tracks"]
    assert poses["made_by"]["settings"]["stride"] == 4
    rows = rows_of(tmp_path / "out" / "actions.csv")
    assert {row["person"] for row in rows} == {"scene"}
    np.testing.assert_allclose([[float(row[name]) for name in CLASSES] for row in rows], true, atol=1e-5)
    segments = rows_of(tmp_path / "out" / "segments.csv")
    assert (segments[0]["start_frame"], segments[-1]["end_frame"]) == ("0", str(FRAMES - 1)) and len(segments) > 1
    assert Video(tmp_path / "out" / "overlay.mp4").total == FRAMES


def test_views_are_summed_as_in_mae_sts_test(weights, source):
    result = jaxhar.load(weights).predict(source, views="3x3", stride=2)
    span = 2 * 4 * FPS / 30
    starts = [k * int((FRAMES - span) / 2) for k in range(3)]
    true = expected(weights, source, starts, span, ((0, 0), (0, 8), (0, 16))).mean(0)
    assert result.action == CLASSES[true.argmax()] and result.probability == pytest.approx(true.max(), abs=1e-6)


def test_several_videos_by_the_stride_of_the_training_and_a_short_one(source, tmp_path, capsys):
    trained = {
        "actions": True,
        "data": {"data.rate": "1.0", "data.augment.fixed_subsampling": "3", "data.frame_rate": "25"},
    }
    weights = save(tmp_path / "trained", {**trained, "step": 1, "steps": 1})
    short = tmp_path / "short.mp4"
    with VideoWriter(short, Fraction(FPS), WIDTH, HEIGHT) as writer:
        writer.write(np.full((HEIGHT, WIDTH, 3), 90, np.uint8), 0)
    words = ["predict", str(source), str(short), "--weights", str(weights), "--out", str(tmp_path / "out")]
    assert cli.main([*words, "--every", "0.4", "--attention"]) == 0
    said = capsys.readouterr().out
    assert "person" not in said and "clips take" not in said
    rows = rows_of(tmp_path / "out" / "summary.csv")
    assert [(row["frames"], row["persons"]) for row in rows] == [("40", ""), ("1", "")] and rows[0]["action"] in CLASSES
    clips = rows_of(tmp_path / "out" / "a" / "actions.csv")
    assert [(row["start_frame"], row["end_frame"]) for row in clips[:2]] == [("0", "3"), ("10", "13")]
    frames = json.loads((tmp_path / "out" / "a" / "poses.json").read_text())["frames"]
    assert frames[3]["scene"] and frames[5]["scene"] is None, "no clip has this frame"
    seen = list(Video(tmp_path / "out" / "a" / "attention.mp4").frames())
    plain = [frame.image for frame in Video(source).frames()]
    changed = np.abs(seen[1].image.astype(int) - plain[1]).mean((0, 2))
    assert changed[12:52].mean() > 4 * changed[[*range(5), *range(59, 64)]].mean(), "outside of the crop"


def test_uneven_frames_are_taken_by_their_times():
    times = np.r_[np.arange(10) / 10, 2.0, 2.1]
    sampling = Sampling(4, 10, 10)
    np.testing.assert_array_equal(sampling.at(times, 0), [0, 3, 6, 9])
    assert [window[0] for window in sampling.sliding(times, 5)] == [0, 5, 9, 9]
    np.testing.assert_array_equal(sampling.sliding(times, 5)[-1], [9, 9, 9, 11])


@pytest.mark.slow
def test_person_boxes_where_the_network_weighs_by_them(source, tmp_path):
    weights = save(tmp_path / "covered", pool="covered_mean")
    with pytest.raises(Usage, match="weighs what lies inside of person boxes: name them by --boxes"):
        jaxhar.load(weights).predict(source)
    boxes = tmp_path / "a.txt"
    boxes.write_text("".join(f"{i + 1},1,10,8,24,24,1\n" for i in range(FRAMES)))
    result = jaxhar.load(weights).predict(source, boxes=boxes)
    model = checkpoint.load_model(weights)[0]
    crop = transforms.plan_crop(np.array([8, 0, 56, 48]), (WIDTH, HEIGHT), 16)
    images = [frame.image for frame in Video(source).frames()]
    cover = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    cover[8:33, 10:35] = 255
    frames = np.stack([[transforms.crop_image(images[i], crop) for i in (0, 4, 8, 12)]] * 4)
    cover = np.stack([[transforms.crop_image(cover, crop)[..., 0] / np.float32(255)] * 4] * 4)
    true = jaxhar.infer(model, Batch(frames=frames, cover=cover))["action"][-1, 0]
    np.testing.assert_allclose(result.actions[0], true, atol=1e-6)


def test_photos_by_a_network_of_pictures(tmp_path, capsys):
    config = ImageClassifierConfig(image_size=16, patch=8, width=16, depth=1, heads=2, num_actions=3)
    weights, photos = save_network(tmp_path / "in1k", config), tmp_path / "photos"
    photos.mkdir()
    rng, sizes = np.random.default_rng(1), ((64, 48), (40, 60))
    images = [rng.integers(0, 256, (height, width, 3), np.uint8) for width, height in sizes]
    for number, image in enumerate(images):
        write_png(photos / f"{number}.png", image)
    out = ["--weights", str(weights), "--out", str(tmp_path / "out")]
    assert cli.main(["predict", str(photos), *out]) == 0
    boxes = [picture_crop.middle(*size, (16, 16)) for size in sizes]
    frames = np.stack([[picture_crop.scaled(image, box, (16, 16))] for image, box in zip(images, boxes, strict=True)])
    true = jaxhar.infer(checkpoint.load_model(weights)[0], frames)["action"][-1]
    rows = rows_of(tmp_path / "out" / "actions.csv")
    assert [row["source"] for row in rows] == ["0.png", "1.png"]
    np.testing.assert_allclose([[float(row[name]) for name in CLASSES] for row in rows], true, atol=1e-5)
    poses = json.loads((tmp_path / "out" / "poses.json").read_text())
    jsonschema.validate(poses, SCHEMA)
    assert [frame["scene"]["name"] for frame in poses["frames"]] == [CLASSES[n] for n in true.argmax(1)]
    assert "scene" not in poses and "stride" not in capsys.readouterr().out
    result = jaxhar.load(weights).predict(photos / "0.png")
    assert result.action == CLASSES[true[0].argmax()] and result.probability == pytest.approx(true[0].max(), abs=1e-6)
    assert cli.main(["predict", str(photos), *out, "--attention"]) == 2
    assert "--attention is for videos; " in capsys.readouterr().err


@pytest.mark.parametrize("share", [None, 0.5])
def test_photos_get_the_scores_of_the_evaluation(tmp_path, share):
    """Of a network that was trained with another share too; also in `jaxhar inpaint`, which reads alike."""
    trained = {"actions": True, "step": 1, "steps": 1, "data": {} if share is None else {"data.share": str(share)}}
    config = ImageClassifierConfig(image_size=16, patch=8, width=16, depth=1, heads=2, num_actions=3)
    weights, rng = save_network(tmp_path / "in1k", config, trained), np.random.default_rng(3)
    names = [f"{split}/{one}" for split in ("train", "val") for one in ("jump/a.jpg", "rest/b.jpg", "run/c.jpg")]
    for name in names:
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        image = rng.integers(0, 256, (12, 16, 3), np.uint8).repeat(9, 0).repeat(7, 1)
        (tmp_path / "set" / name).write_bytes(jpeg.encode(image))
    data = ImageNet(root=str(tmp_path / "set"), cache=str(tmp_path), image_size=16, share=share or 0.875)
    model = checkpoint.load_model(weights)[0]
    (batch,) = data.prepare(tmp_path).eval_stream(batch=3)
    scores = jaxhar.infer(model, batch["frames"])["action"][-1]
    assert np.ptp(scores, axis=0).max() > 0.05, "the answers must differ, else the test shows little"
    net = jaxhar.load(weights)
    for name, true in zip(names[3:], scores, strict=True):
        np.testing.assert_allclose(net.predict(tmp_path / "set" / name).actions[0], true, rtol=0, atol=1e-6)


def test_what_does_not_fit_is_said_in_one_sentence(weights, source, tmp_path, capsys):
    write_png(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    boxes = tmp_path / "b.txt"
    boxes.write_text("1,1,10,8,24,24,1\n")
    config = MaeConfig(**SIZES, pred_frames=2, decoder_width=16, decoder_depth=1, decoder_heads=2, mask_ratio=0.5)
    checkpoint.save_model(tmp_path / "mae", zoo.create(config), None, ())
    wrong = {
        (tmp_path / "a.png",): (2, "names actions in videos; "),
        (source, "--persons", "all"): (2, "--persons is for networks that look for persons"),
        (source, "--boxes", boxes): (2, "--boxes is for networks that look for persons"),
        (source, "--maps"): (2, "predicts no heat maps"),
        (source, "--format", "mot"): (2, "has the joints of persons"),
        (source, "--every", "0"): (2, "--every must be a number of seconds above 0"),
        (source, "--views", "10x2"): (2, "is not a number of clips and one or three crops"),
        (source, "--views", "10x3", "--attention"): (2, "--views takes clips of its own"),
        (source, "--bbox", "70,0,90,20"): (2, "lies outside of the video, which has 64x48 pixels"),
        (source, "--actions", str(weights)): (1, "predicts no joints"),
    }
    for words, (code, sentence) in wrong.items():
        args = ["predict", *map(str, words), "--weights", str(weights), "--out", str(tmp_path / "out")]
        assert cli.main([*args, "--no-progress"]) == code, words
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and sentence in error, error
        assert not list((tmp_path / "out").glob("*")), words
    with pytest.raises(Problem, match="reconstructs videos and names nothing: `jaxhar inpaint`"):
        jaxhar.load(tmp_path / "mae")


def test_weights_whose_actions_no_label_has_trained_name_none(source, tmp_path):
    weights = save(tmp_path / "fresh", {"actions": False, "step": 2, "steps": 6, "data": {}})
    result = jaxhar.load(weights).predict(source)
    assert result.action is None and "2 of 6 steps" in result.notes[0] and len(result.frames) == FRAMES
