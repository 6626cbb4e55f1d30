"""Results in memory beside the files of the command: of a small real network, and of one that finds dots of colour."""

import csv
import dataclasses
import json
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from flax import nnx
from PIL import Image

import jaxhar
from jaxhar import zoo
from jaxhar.cli import main as cli
from jaxhar.core.calibration import Calibration, of_joints
from jaxhar.data.formats.video import Video
from jaxhar.data.formats.writer import VideoWriter
from jaxhar.host import download
from jaxhar.host.errors import Problem, Usage
from jaxhar.predict import persons, predictor
from jaxhar.predict.detector import GENERATED, Own
from jaxhar.predict.options import Options
from jaxhar.predict.persons_test import LOWER, UPPER, FindsFigures, film, line, mot
from jaxhar.predict.predictor_test import ACTIONS, DOTS, OFFSETS, FindsDots, draw, meta, path_of, write_video
from jaxhar.weights import checkpoint

FORMS = "coco,mot,trajectories,pyskl"


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A network with random weights that sees somebody nearly everywhere."""
    folder = tmp_path_factory.mktemp("small")
    entry = zoo.entry("reception-penn")
    net = zoo.create(zoo.tiny("reception-penn"), rngs=nnx.Rngs(3))
    checkpoint.save_model(folder / "net", net, entry.skeleton, entry.actions)
    write_video(folder / "a.mp4", 30)
    return folder


def dots_network(monkeypatch) -> predictor.LoadedNetwork:
    """A network that is FindsDots, with clips of 4 frames."""
    find = FindsDots(actions=True)
    monkeypatch.setattr(predictor, "infer", lambda model, frames: find(frames))
    monkeypatch.setattr(checkpoint, "sha256", lambda model: "0" * 64)
    told = meta(4)
    return predictor.LoadedNetwork(Path("dots"), nnx.Module(), checkpoint.Meta(DOTS, ACTIONS, told.config))


@pytest.fixture
def dots(monkeypatch):
    return dots_network(monkeypatch)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_saved_equals_the_files_of_the_command_in_every_byte(small, tmp_path, capsys):
    source, weights = str(small / "a.mp4"), str(small / "net")
    words = ["predict", source, "--weights", weights, "--no-progress", "--format", FORMS]
    assert cli.main([*words, "--out", str(tmp_path / "command")]) == 0
    told = []
    net = jaxhar.load(weights)
    result = net.predict(source, progress=lambda *call: told.append(call))
    files = result.save(tmp_path / "saved", formats=FORMS.split(","))
    assert content(tmp_path / "saved") == content(tmp_path / "command") and len(files) == 8
    assert {path.name for path in files} == content(tmp_path / "saved").keys()
    assert f"action: {result.action} ({result.probability:.1%})" in capsys.readouterr().out
    assert told == [(what, n, 30) for what in ("finding the person", "predicting") for n in range(1, 31)]
    coco = json.loads((tmp_path / "command" / "coco.json").read_text())
    assert json.loads(json.dumps(result.to_coco())) == coco and coco["annotations"]
    with open(tmp_path / "command" / "trajectories.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    table = result.to_table()
    assert list(table) == list(rows[0]) and len(table["x"]) == len(rows) > 0
    for name, digits in (("time", 6), ("x", 2), ("y", 2), ("confidence", 4)):
        assert [f"{value:.{digits}f}" for value in table[name]] == [row[name] for row in rows]
    assert table["joint"] == [row["joint"] for row in rows] and np.isnan(table["z"]).all()
    with open(tmp_path / "command" / "segments.csv", newline="") as file:
        segments = list(csv.DictReader(file))
    assert [(str(s.start_frame), str(s.end_frame), result.classes[s.action]) for s in result.segments] == [
        (row["start_frame"], row["end_frame"], row["action"]) for row in segments
    ]
    with pytest.raises(Usage, match="--format 'xml' is not known"):
        result.save(tmp_path / "no", formats=["xml"])
    with pytest.raises(Usage, match="--batch and --stride"):
        net.predict(source, stride=0)


def test_arrays_of_the_person(dots, tmp_path):
    result = dots.predict(write_video(tmp_path / "a.mp4", 25))
    assert result.joints.shape == (25, 5, 2) and result.confidence.shape == (25, 5)
    for t, centre in enumerate(path_of(25)):
        np.testing.assert_allclose(result.joints[t], OFFSETS + centre, atol=1.5)
    np.testing.assert_allclose(result.times, np.arange(25) / 20, atol=1e-5)
    assert result.actions.shape == (25, 3) and result.action in result.classes == ACTIONS
    np.testing.assert_allclose(result.actions.sum(1), 1)
    (person,) = result.persons
    assert person.id == 1 and person.joints is result.joints and not person.unfamiliar.any()


def test_a_drawn_frame_is_that_of_the_overlay(dots, tmp_path):
    result = dots.predict(str(write_video(tmp_path / "a.mp4", 12)))
    result.save(tmp_path / "out")
    for frame in Video(tmp_path / "out" / "overlay.mp4").frames():
        # what compression changes; the panel of another frame has other curves
        assert np.abs(result.draw(frame.index).astype(int) - frame.image).mean() < 3
    np.testing.assert_array_equal(result.draw(-1), result.draw(11))
    with pytest.raises(IndexError):
        result.draw(12)
    write_video(tmp_path / "a.mp4", 5)
    with pytest.raises(Problem, match="a.mp4: it has changed and has no frame 11"):
        result.draw(11)
    with pytest.raises(Problem, match="a.mp4: the file has changed since it was predicted"):
        result.save(tmp_path / "late")
    assert not list((tmp_path / "late").iterdir())


def test_several_persons(dots, tmp_path, monkeypatch):
    monkeypatch.setattr("jaxhar.predict.persons._own", lambda least: FindsFigures())
    source = film(tmp_path / "a.mp4", UPPER, [*LOWER[:20], *[None] * 20])
    result = dots.predict(source, persons="all")
    assert [person.id for person in result.persons] == [1, 2] and result.person.id == 1
    first, second = result.persons
    np.testing.assert_allclose(first.joints[30], OFFSETS + UPPER[30], atol=1.5)
    np.testing.assert_allclose(second.joints[7], OFFSETS + LOWER[7], atol=1.5)
    assert np.isnan(second.joints[30]).all() and np.isnan(second.confidence[30]).all()
    assert {segment.person for segment in result.segments} == {1, 2}
    assert dots.predict(source, persons=1).persons[0].id == 1


def test_frames_as_they_come(dots, tmp_path):
    source = write_video(tmp_path / "a.mp4", 9)
    result = dots.predict(source)
    frames = list(dots.stream(source))
    assert [frame.index for frame in frames] == list(range(9)) and frames[4].image.shape == (240, 320, 3)
    assert [frame.time for frame in frames] == result.times.tolist()
    np.testing.assert_array_equal([frame.persons[0].pose for frame in frames], result.joints)
    stream = dots.stream(source)
    assert next(stream).index == 0
    stream.close()


def test_photos(dots, tmp_path):
    (tmp_path / "in").mkdir()
    for name, centre in (("a", (90, 120)), ("b", (200, 100)), ("c", None)):
        image = np.zeros((240, 320, 3), np.uint8) if centre is None else draw(centre)
        Image.fromarray(image).save(tmp_path / "in" / f"{name}.png")
    result = dots.predict(tmp_path / "in")
    np.testing.assert_allclose(result.joints[1], OFFSETS + (200, 100), atol=1.5)
    assert np.isnan(result.joints[2]).all() and result.action is None and result.segments == ()
    assert result.notes == (f"images in {tmp_path / 'in'}: 3 .png",)
    saved = {path.name for path in result.save(tmp_path / "out")}
    assert saved == {"a.png", "b.png", "c.png", "poses.json"}
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "b.png")), result.draw(1))
    nobody = dots.predict(tmp_path / "in" / "c.png")
    assert nobody.persons == () and np.isnan(nobody.joints).all() and nobody.joints.shape == (1, 5, 2)


def test_weights_by_the_name_of_a_network(tmp_path, monkeypatch, capsys):
    """A file with the published layout in place of the download; it is ported once, and again if that is damaged."""
    monkeypatch.setenv("JAXHAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    entry, config = zoo.entry("reception-mpii"), zoo.tiny("reception-mpii")
    small = dataclasses.replace(entry, config=config, md5="1" * 32)
    monkeypatch.setitem(zoo.family(config).entries, "reception-mpii", small)
    jaxhar.port.save_keras(tmp_path / "published.h5", jaxhar.port.to_flat(zoo.create(config)), config)
    fetched = []
    monkeypatch.setattr(download, "fetch", lambda *words, **_: fetched.append(words) or tmp_path / "published.h5")
    net = jaxhar.load("reception-mpii")
    said = capsys.readouterr().out
    assert "fetching about" in said and entry.release in said and "licence: MIT" in said
    assert fetched == [(entry.release, "1" * 32)] and len(net.skeleton) == 16
    jaxhar.load("reception-mpii")
    assert len(fetched) == 1 and net.path == tmp_path / "cache" / "networks" / "reception-mpii-11111111.safetensors"
    net.path.write_bytes(net.path.read_bytes()[:-5])
    jaxhar.load("reception-mpii")
    assert len(fetched) == 2
    for name, sentence in (
        ("reception-pen", "no model at reception-pen; .* published weights: reception-mpii, reception-h36m"),
        ("poseconv3d-ntu60-joint", "predicts no joints"),
        ("hrnet-w32-coco", "no weights were published"),
        ("spnet-penn", "by hand and name it: jaxhar weights spnet-penn --from FILE"),
    ):
        with pytest.raises(Problem, match=sentence):
            jaxhar.load(name)
    assert len(fetched) == 2


def test_fitted_temperatures_are_used(dots, tmp_path):
    """Confidences and probabilities are calibrated; joints, and the named action, stay."""
    write_video(tmp_path / "a.mp4", 12)
    plain = dots.predict(tmp_path / "a.mp4")
    meta = dataclasses.replace(dots.meta, calibration=Calibration(joints=3.0, actions=2.0))
    mended = dataclasses.replace(dots, meta=meta).predict(tmp_path / "a.mp4")
    before, after = plain.persons[0], mended.persons[0]
    np.testing.assert_array_equal(before.joints, after.joints)
    np.testing.assert_allclose(after.confidence, of_joints(before.confidence, 3.0), atol=1e-4)
    np.testing.assert_array_equal(before.actions.argmax(-1), after.actions.argmax(-1))
    assert (before.actions.max(-1) > after.actions.max(-1)).all()
    assert mended.made_by["settings"]["temperatures"] == {"joints": 3.0, "actions": 2.0}


@pytest.mark.parametrize(
    ("settings", "margin"),
    [
        ({}, 1.35),
        ({"augment.fixed_scale": "0.8", "augment_stills.fixed_scale": "0.8"}, 1.08),
        ({"augment.fixed_scale": "0.8", "augment_stills.fixed_scale": "1.0"}, 1.08),
        ({"sets.a.augment.fixed_scale": "0.8", "sets.b.augment.fixed_scale": "1.0"}, 1.35),
        ({"augment.fixed_scale": "0.8", "margin": "1.25"}, 1.0),
    ],
)
def test_crops_of_several_persons_are_as_tight_as_in_the_training(dots, tmp_path, settings, margin):
    trained = {"actions": True, "unseen_classes": [], "data": {f"data.{k}": text for k, text in settings.items()}}
    net = dataclasses.replace(dots, meta=dataclasses.replace(dots.meta, trained=trained))
    write_video(tmp_path / "a.mp4", 4)
    (tmp_path / "boxes.txt").write_text("\n".join(f"{i},1,100,40,60,150,1" for i in range(1, 5)))
    result = net.predict(tmp_path / "a.mp4", boxes=tmp_path / "boxes.txt")
    for seen in result.frames:
        assert np.ptp(seen.results[0].box.reshape(2, 2), axis=0) == pytest.approx(150 * margin, abs=1.5)


@pytest.mark.parametrize("known", [True, False])
def test_a_network_that_has_learned_to_look_at_the_box_alone_sees_nobody_beside_it(dots, tmp_path, known):
    """Two figures side by side: each lies within the other's square, but not within its box."""
    ways = line((100, 80), (2, 0), 12), line((185, 80), (2, 0), 12)
    film(tmp_path / "a.mp4", *ways)
    table = mot(tmp_path / "boxes.txt", *ways)
    if not known:
        table.write_text(re.sub(r"^(\d+),\d+", r"\1,-1", table.read_text(), flags=re.MULTILINE))
    found = {}
    for around in ("None", "0.05"):
        told = {"actions": True, "unseen_classes": [], "data": {"data.augment.fixed_around": around}}
        net = dataclasses.replace(dots, meta=dataclasses.replace(dots.meta, trained=told))
        found[around] = net.predict(tmp_path / "a.mp4", boxes=table)
    for frame in range(12):
        seen = sorted(found["0.05"].frames[frame].there, key=lambda one: one.box[0])
        for one, way in zip(seen, ways, strict=True):
            np.testing.assert_allclose(one.pose, OFFSETS + way[frame], atol=1.5)
    assert np.abs(found["None"].frames[5].there[0].pose - OFFSETS - ways[0][5]).max() > 20, "the others confuse it"


def test_clips_are_as_fast_as_in_the_training(dots, tmp_path):
    def of_rate(rate: str) -> predictor.LoadedNetwork:
        told = {"actions": True, "unseen_classes": [], "data": {"data.sets.a.frame_rate": rate, "data.dims": "2"}}
        return dataclasses.replace(dots, meta=dataclasses.replace(dots.meta, trained=told))

    def starts(result) -> list[list[int]]:
        clips = [clip.frames.tolist() for seen in result.frames for one in seen.results for clip in one.clips]
        return [clip for clip in clips if clip[0] == 0]

    with VideoWriter(tmp_path / "fast.mp4", Fraction(60), 320, 240) as writer:
        for i, centre in enumerate(path_of(40)):
            writer.write(draw(centre), i / 60)
    unknown = dots.predict(tmp_path / "fast.mp4")
    assert starts(unknown) == [[0, 2, 4, 6]]
    assert "the training is not known: clips take one in 2 frames of the video, which has 60 a" in unknown.notes[0]
    known = of_rate("20.0").predict(tmp_path / "fast.mp4")
    assert starts(known) == [[0, 6, 12, 18]]
    assert known.notes == (
        "clips take a frame of the video every 100 ms, because it has 60 frames a second and the training had 20",
    )
    np.testing.assert_allclose(known.joints, unknown.joints, atol=1)
    source = write_video(tmp_path / "a.mp4", 25)  # 20 frames a second
    same = of_rate("20.0").predict(source), of_rate("None").predict(source)
    assert same[0].notes == same[1].notes == () and starts(same[0]) == starts(same[1])
    np.testing.assert_array_equal(same[0].joints, same[1].joints)
    with VideoWriter(tmp_path / "uneven.mp4", Fraction(20), 320, 240) as writer:
        for i, centre in enumerate(path_of(20)):
            writer.write(draw(centre), (i if i < 3 else i + 10) / 20)
    uneven = dots.predict(tmp_path / "uneven.mp4")
    assert "because its frames come at uneven times" in uneven.notes[0] and np.isfinite(uneven.joints).all()
    summary = of_rate("20.0").write(tmp_path / "fast.mp4", tmp_path / "out", Options())
    assert summary.notes == summary.warnings == known.notes


def test_that_the_detector_of_the_package_has_seen_no_photo_is_said(dots, tmp_path):
    source = write_video(tmp_path / "a.mp4", 9)
    assert GENERATED in dots.predict(source, detector="own").notes
    assert GENERATED not in dots.predict(source).notes


def test_other_weights_of_a_detector_are_another_detector(small, tmp_path):
    prints = set()
    for seed in (0, 1):
        model = zoo.create(zoo.tiny("people"), rngs=nnx.Rngs(seed))
        checkpoint.save_model(tmp_path / "people.safetensors", model, None, ())
        prints.add(
            jaxhar.load(small / "net").fingerprint(Options(detector=tmp_path / "people.safetensors"))["detector"]
        )
    assert len(prints) == 2


def test_a_detector_of_ones_own_is_named_by_its_weights(dots, tmp_path):
    checkpoint.save_model(tmp_path / "people.safetensors", zoo.create(zoo.tiny("people")), None, ())
    for text in (str(tmp_path / "people.safetensors"), "own"):
        found = persons.detector_of(text, 0.1)
        assert isinstance(found, Own) and found.packaged == (text == "own")
    source = write_video(tmp_path / "a.mp4", 5)
    assert GENERATED not in dots.predict(source, detector=tmp_path / "people.safetensors").notes
    checkpoint.save_model(tmp_path / "pose", zoo.create(zoo.tiny("reception-mpii")), None, ())
    with pytest.raises(Problem, match="pose is no person detector, but a network of"):
        dots.predict(source, detector=tmp_path / "pose")
