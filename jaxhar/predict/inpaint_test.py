"""`jaxhar inpaint`: what stands beside what, masks by seed, ratio and boxes, and what does not fit."""

from pathlib import Path

import numpy as np
import pytest

from jaxhar import port, zoo
from jaxhar.cli import main as cli
from jaxhar.data.formats.picture import read_image
from jaxhar.data.formats.video import Video
from jaxhar.data.formats.writer import write_png
from jaxhar.models.mae.config import ImageMaeConfig, MaeConfig
from jaxhar.predict import inpaint
from jaxhar.predict.picture_actions_test import FPS, FRAMES, SIZES, save, source  # noqa: F401
from jaxhar.weights import checkpoint

TINY = {"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2, "mask_ratio": 0.5}
#: Of a frame in the files.
SIDE, STRIP = 160, 24


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "mae"
    checkpoint.save_model(path, zoo.create(MaeConfig(**SIZES, pred_frames=2, **TINY)), None, ())
    return path


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    """A person in the left half of the crop."""
    path = tmp_path_factory.mktemp("boxes") / "a.txt"
    path.write_text("".join(f"{i + 1},1,8,0,24,48,1\n" for i in range(FRAMES)))
    return path


def small(image: np.ndarray, columns: int) -> np.ndarray:
    """The rows of a written picture, (rows, columns, 16, 16, 3), without the titles."""
    rows = (len(image) - STRIP) // SIDE
    cells = image[STRIP:].reshape(rows, SIDE, columns, SIDE, 3).swapaxes(1, 2)
    return cells[:, :, SIDE // 32 :: SIDE // 16, SIDE // 32 :: SIDE // 16].astype(int)


def test_the_whole_video_is_filled_in(weights, source, boxes, tmp_path, capsys):  # noqa: F811
    words = ["inpaint", str(source), "--weights", str(weights), "--boxes", str(boxes), "--no-progress"]
    directed = ["--masking", "directed_v2", "--temperature", "50"]
    assert cli.main([*words, *directed, "--stride", "2", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "4 of 8 patches of a clip were seen; mean squared error of the others" in said and "6 clips in" in said
    frame, person, seen, made = small(read_image(tmp_path / "inpaint.png"), 4).swapaxes(0, 1)
    assert len(frame) == 2 and (person[:, :, :8] == 255).all() and (person[:, :, 9:] == 0).all()
    patches = [image.reshape(2, 2, 8, 2, 8, 3).swapaxes(2, 3) for image in (frame, seen, made)]
    same = np.abs(patches[0] - patches[1]).max((3, 4, 5)) <= 1
    assert not same[..., 0].any() and same[..., 1].all(), "those outside of the boxes are seen"
    assert (np.abs(patches[0] - patches[2])[same] <= 1).all(), "what is seen stays"
    assert (patches[1][~same] == patches[1][~same][0, 0, 0]).all(), "what is not seen is one grey"
    shown = list(Video(tmp_path / "inpaint.mp4").frames())
    assert shown[0].image.shape == (STRIP + SIDE, 4 * SIDE, 3) and len(shown) == 12
    # each clip shows its first and its last frame
    span = 2 * 4 * FPS / 30
    frames = [int(np.float32(place)) for n in range(6) for place in (n * span, n * span + span - 1)]
    np.testing.assert_allclose([one.time for one in shown], np.array(frames) / FPS, atol=2e-3)


def removed(weights: Path, source: Path, out: Path, **settings) -> np.ndarray:  # noqa: F811
    """Which patches (2, 2, 2) of the clip in the middle are not seen, and the error."""
    columns = 4 if "boxes" in settings else 3
    summary = inpaint.run(source, weights, out, inpaint.Settings(stride=2, **settings))
    rows = small(read_image(out / "inpaint.png"), columns)
    differ = np.abs(rows[:, 0] - rows[:, -2]).reshape(2, 2, 8, 2, 8, 3).max((2, 4, 5)) > 1
    assert differ.sum() == summary.tokens - summary.kept
    return differ


@pytest.mark.slow
def test_masks_follow_seed_ratio_and_boxes(weights, source, boxes, tmp_path):  # noqa: F811
    first = removed(weights, source, tmp_path)
    np.testing.assert_array_equal(removed(weights, source, tmp_path), first)
    assert not np.array_equal(removed(weights, source, tmp_path, seed=1), first)
    directed = {"temperature": "50", "masking": "directed_v2", "mask_ratio": "0.75"}
    more = removed(weights, source, tmp_path, boxes=boxes, changes=directed)
    assert more[..., 0].all() and more.sum() == 6


@pytest.mark.slow
def test_masks_are_those_of_the_step_of_the_weights(source, boxes, tmp_path):  # noqa: F811
    curriculum = {"masking": "directed_v2", "temperature": -50.0, "temperature_end": 50.0, "temperature_steps": 10}
    config = MaeConfig(**SIZES, pred_frames=2, **TINY, **curriculum)
    model = port.from_flat(port.to_flat(zoo.create(config)), config)
    for step, inside in ((0, False), (10, True), (None, True)):
        trained = None if step is None else {"actions": True, "step": step, "steps": 10, "data": {}}
        checkpoint.save_model(tmp_path / f"{step}", model, None, (), trained)
        found = removed(tmp_path / f"{step}", source, tmp_path / "out", boxes=boxes)
        assert (found[..., 0] == inside).all() and (found[..., 1] != inside).all()
    found = removed(tmp_path / "0", source, tmp_path / "out", boxes=boxes, changes={"temperature": "50"})
    assert found[..., 0].all(), "a given temperature holds at every step"


@pytest.mark.slow
def test_clips_of_another_size_and_pictures(weights, source, tmp_path):  # noqa: F811
    larger = inpaint.Settings(changes={"image_size": "32", "pred_frames": "4", "num_frames": "8"})
    summary = inpaint.run(source, weights, tmp_path / "larger", larger)
    assert summary.tokens == 64 and summary.kept == 32
    config = ImageMaeConfig(image_size=16, patch=8, width=16, depth=1, heads=2, **TINY)
    checkpoint.save_model(tmp_path / "image", port.from_flat(port.to_flat(zoo.create(config)), config), None, ())
    (tmp_path / "photos").mkdir()
    for n, size in enumerate(((20, 30), (40, 24))):
        write_png(tmp_path / "photos" / f"{n}.png", np.full((*size, 3), 90 + n, np.uint8))
    summary = inpaint.run(tmp_path / "photos", tmp_path / "image", tmp_path / "out", inpaint.Settings())
    assert [path.name for path in summary.files] == ["0.png", "1.png"] and summary.clips == 2
    assert inpaint.run(source, tmp_path / "image", tmp_path / "video", inpaint.Settings(stride=10)).clips == 5


def test_what_does_not_fit_is_said_in_one_sentence(weights, source, boxes, tmp_path, capsys):  # noqa: F811
    write_png(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    classifier = save(tmp_path / "k400")
    (tmp_path / "short.txt").write_text("1000,1,8,0,24,48,1\n")
    wrong = {
        (source, "--weights", classifier): (1, "reconstructs nothing: `jaxhar inpaint` shows what"),
        (source, "--weights", "mae-st-vit-b-k400"): (1, "reconstructs nothing"),
        (tmp_path / "a.png",): (2, "reads clips of 4 frames; "),
        (tmp_path / "none.mp4",): (1, "none.mp4"),
        (source, "--mask-ratio", "0.99"): (2, "mask_ratio 0.99 keeps "),
        (source, "--mask-ratio", "most"): (2, "expected float"),
        (source, "--masking", "squares"): (2, "expected Masking"),
        (source, "--masking", "directed_v1"): (2, "directed by person boxes: name them by --boxes"),
        (source, "--masking", "directed_v1", "--temperature", "0"): (2, "temperature must not be 0"),
        (source, "--set", "image_size=20"): (2, "image_size must be a multiple of patch (8), not 20"),
        (source, "--boxes", tmp_path / "short.txt"): (1, "there is no frame 999"),
        (source, "--bbox", "70,0,90,20"): (2, "lies outside of the video"),
        (source, "--stride", "0"): (2, "--stride must be 1 or more"),
        (source, "--seed", "-1"): (2, "--seed must be 0 or more, not -1"),
        **{
            (source, f"--bbox={box}"): (2, f"--bbox {box} is not a box: give x1,y1,x2,y2")
            for box in ("nan,0,9,9", "0,0,inf,9", "5,5,5,9", "50,5,5,9", "0,0,1e+300,9", "0,0,9,1e+08")
        },
        (source, "--bbox", "0,0,0.5,1"): (2, "lies within one pixel"),
    }
    for words, (code, sentence) in wrong.items():
        more = () if "--weights" in words else ("--weights", weights)
        given = [str(word) for word in ("inpaint", *words, *more, "--out", tmp_path / "out", "--no-progress")]
        assert cli.main(given) == code, words
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and sentence in error, error
        assert not list((tmp_path / "out").glob("*")), words
