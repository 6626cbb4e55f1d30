import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from jaxhar import port
from jaxhar.cli import main as cli
from jaxhar.core import geometry
from jaxhar.core.skeleton import PA16
from jaxhar.data import transforms
from jaxhar.data.formats import box_json as penn_boxes
from jaxhar.data.formats import jpeg
from jaxhar.data.generate.film import Synth
from jaxhar.data.ntu import generate as synthetic_ntu
from jaxhar.data.ntu.settings import NTU
from jaxhar.data.penn import generate as penn_generate
from jaxhar.data.penn import generate_deephar as generate_deephar
from jaxhar.data.penn.settings import Penn
from jaxhar.models.reception.network import ReceptionConfig
from jaxhar.predict import data_set_boxes as data_boxes
from jaxhar.weights import checkpoint

SYNTH = Synth(3, 2, 2, 1, frames=(5, 7), size=(96, 72))
WRITERS = {"penn": penn_generate.write, "penn-deephar": generate_deephar.write, "ntu": synthetic_ntu.write}


def prepared(name: str, root: Path, cache: Path, **settings):
    kind = NTU if name == "ntu" else Penn
    small = {"clip_frames": 3, "image_size": 32, "augment": transforms.NONE, "cache": str(cache), **settings}
    return kind(root=str(root), **small).prepare(cache)


@pytest.fixture(params=WRITERS)
def layout(request, tmp_path):
    root = tmp_path / "set"
    WRITERS[request.param](root, SYNTH, progress=False)
    return request.param, root


def eye(frames):
    """A network that sees four joints, further apart in brighter pictures."""
    B, T = frames.shape[:2]
    pose, sure = np.zeros((1, B, T, 4, 2)), np.ones((1, B, T, 4))
    for b, t in np.ndindex(B, T):
        mean = frames[b, t].mean() / 510  # differs from frame to frame
        pose[0, b, t] = [[0.2, 0.3], [0.5 + mean, 0.3], [0.2, 0.5], [0.5 + mean, 0.5]]
    return {"pose": pose, "visible": sure}


def test_boxes_are_what_the_network_saw(layout, tmp_path):
    name, root = layout
    out = tmp_path / "boxes.json"
    data = prepared(name, root, tmp_path)
    frames = sum(entry["length"] for split in ("train", "test") for entry in data.entries(split))
    assert data_boxes.predict(data, eye, (32, 32), (2, 2), out, "eye", progress=False) == frames
    # deephar's form, told by hand
    test, train, valid = json.loads(out.read_text())
    assert not valid and len(test) + len(train) == frames
    assert set(test) == {f"{i}.{t}" for i, entry in enumerate(data.entries("test")) for t in range(entry["length"])}
    record = data.records("test")[1]
    size = record["size"].tolist()
    whole = transforms.centred_bbox(size)
    crop = transforms.plan_crop(whole, size, 32)
    image = transforms.crop_image(jpeg.decode(record["pictures"][4], "frame"), crop)
    pose = eye(image[None, None])["pose"][0, 0, 0]
    box = transforms.valid_bbox(geometry.apply(geometry.invert(crop.affine), pose))
    np.testing.assert_allclose(test["1.4"], box, atol=1.5)
    # and the settings evaluate with it
    plain = next(iter(data.eval_stream(batch=2)))
    boxed = prepared(name, root, tmp_path, boxes=str(out))
    batch = next(iter(boxed.eval_stream(batch=2)))
    chosen = transforms.clip_frames(boxed.entries("test")[1]["length"], 1, 3)
    clip = penn_boxes.read(out).clip("test", 1, chosen)
    corners = geometry.apply(geometry.invert(batch["affine"][1, 0]), np.array([[0.0, 0], [1, 1]])).ravel()
    np.testing.assert_allclose(corners, clip, atol=1)
    assert np.abs(batch["affine"] - plain["affine"]).max() > 0.01


def test_the_authors_choose_joints_by_a_coordinate(tmp_path):
    def unsure(frames):
        pose = np.broadcast_to([[0.1, 0.2], [0.3, 0.26], [0.9, 0.5], [0.6, 0.9]], (1, *frames.shape[:2], 4, 2))
        return {"pose": pose, "visible": np.zeros(pose.shape[:-1])}

    penn_generate.write(tmp_path / "penn", SYNTH, progress=False)
    data = prepared("penn", tmp_path / "penn", tmp_path)
    boxes = {}
    for authors in (False, True):
        data_boxes.predict(data, unsure, (32, 32), (2, 2), tmp_path / "boxes.json", "one", authors, progress=False)
        boxes[authors] = json.loads((tmp_path / "boxes.json").read_text())[0]["0.1"]
    # frames of 96x72 in a square of 96 from (0, -12): the joints below the first are at (28.8, 12.96) to (86.4, 74.4)
    assert boxes[False] == [0, -12, 96, 84]
    middle, half = np.array([57.6, 43.68]), 1.5 * 61.44 / 2
    assert boxes[True] == np.trunc([*(middle - half), *(middle + half)]).astype(int).tolist()


def test_a_killed_run_goes_on(layout, tmp_path):
    name, root = layout
    data = prepared(name, root, tmp_path)
    calls = []
    predict = partial(data_boxes.predict, data, size=(32, 32), shape=(1, 4), progress=False)

    def counted(frames):
        calls.append(1)
        return eye(frames)

    predict(infer=counted, out=tmp_path / "whole.json", network="eye")
    runs = len(calls)
    calls.clear()

    def tired(frames):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return eye(frames)

    out = tmp_path / "boxes.json"
    with pytest.raises(KeyboardInterrupt):
        predict(infer=tired, out=out, network="eye")
    journal = tmp_path / "boxes.json.unfinished"
    lines = journal.read_text().splitlines()
    assert not out.exists() and len(lines) == 3  # its identity, and two sequences of two runs each
    journal.write_text("\n".join([*lines, '["train 0", [[1, 2']))
    calls.clear()
    predict(infer=counted, out=out, network="eye")
    assert out.read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert len(calls) == runs - 4 and not journal.exists()
    # of another network nothing is taken over
    journal.write_text("\n".join(lines))
    calls.clear()
    predict(infer=counted, out=out, network="other")
    assert len(calls) == runs


def test_the_command(tmp_path, capsys):
    config = ReceptionConfig.tiny()
    rng = np.random.default_rng(0)
    flat = {leaf: rng.uniform(0.01, 0.1, shape).astype(np.float32) for leaf, shape in port.shapes(config).items()}
    checkpoint.save_model(tmp_path / "net", port.from_flat(flat, config), PA16, ())
    penn_generate.write(tmp_path / "penn", SYNTH, progress=False)
    words = ["--root", tmp_path / "penn", "--weights", tmp_path / "net", "--out", tmp_path / "boxes.json"]
    words = ["data", "boxes", "penn", *map(str, words), "--cache", str(tmp_path)]
    assert cli.main(words) == 0
    assert f"data.boxes={tmp_path / 'boxes.json'}" in capsys.readouterr().out
    boxed = prepared("penn", tmp_path / "penn", tmp_path, boxes=str(tmp_path / "boxes.json"))
    assert len(list(boxed.eval_stream(batch=2))) == 1
    for option in ("--deephar", "--authors"):  # the second is the old word
        out = tmp_path / f"boxes{option}.json"
        assert cli.main([*words, "--out", str(out), option]) == 0
    assert (tmp_path / "boxes--deephar.json").read_bytes() == (tmp_path / "boxes--authors.json").read_bytes()
    assert cli.main([*words, "--batch", "0"]) == 2
    assert cli.main([*words, "--out", str(tmp_path)]) == 1
    assert "is a folder" in capsys.readouterr().err
